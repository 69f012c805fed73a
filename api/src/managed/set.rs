//! A set of fields, as a tree: FieldsV1 in memory. A node that is a member is managed itself (the key of a map, an element of a list, a value); one that is
//! not only leads to members.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::{Element, Place};

/// The form of the member itself in FieldsV1, beside what is below it.
const ITSELF: &str = ".";
/// FieldsV1 from clients nests no deeper.
const DEPTH_LIMIT: usize = 200;

/// A set of fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Set {
    members: BTreeSet<Element>,
    /// None of them empty.
    children: BTreeMap<Element, Set>,
}

impl Set {
    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty() && self.children.is_empty()
    }

    /// Adds a path.
    pub fn insert(&mut self, path: &[Element]) {
        match path {
            [] => {}
            [last] => {
                self.members.insert(last.clone());
            }
            [first, rest @ ..] => self.children.entry(first.clone()).or_default().insert(rest),
        }
    }

    /// Takes a path out; what is below it stays.
    pub fn remove(&mut self, path: &[Element]) {
        match path {
            [] => {}
            [last] => {
                self.members.remove(last);
            }
            [first, rest @ ..] => {
                if let Some(child) = self.children.get_mut(first) {
                    child.remove(rest);
                    if child.is_empty() {
                        self.children.remove(first);
                    }
                }
            }
        }
    }

    /// Whether a step from here is a member.
    #[must_use]
    pub fn has(&self, element: &Element) -> bool {
        self.members.contains(element)
    }

    /// What is below a step.
    #[must_use]
    pub fn below(&self, element: &Element) -> Option<&Self> {
        self.children.get(element)
    }

    /// Keeps only what is below one field.
    #[must_use]
    pub fn only(mut self, name: &str) -> Self {
        let element = Element::field(name);
        self.members.retain(|member| *member == element);
        self.children.retain(|child, _| *child == element);
        self
    }

    /// Drops a field and what is below it.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        let element = Element::field(name);
        self.members.remove(&element);
        self.children.remove(&element);
        self
    }

    /// What is in either.
    #[must_use]
    pub fn union(mut self, other: &Self) -> Self {
        self.add(other);
        self
    }

    fn add(&mut self, other: &Self) {
        self.members.extend(other.members.iter().cloned());
        for (element, child) in &other.children {
            self.children.entry(element.clone()).or_default().add(child);
        }
    }

    /// What is in this and not in the other.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Self {
        self.filter(other, |in_other| !in_other)
    }

    /// What is in both.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        self.filter(other, |in_other| in_other)
    }

    fn filter(&self, other: &Self, keep: fn(bool) -> bool) -> Self {
        let none = Self::default();
        let members = self.members.iter();
        let members = members.filter(|member| keep(other.members.contains(*member)));
        let children = self.children.iter().map(|(element, child)| {
            let other = other.children.get(element).unwrap_or(&none);
            (element.clone(), child.filter(other, keep))
        });
        Self {
            members: members.cloned().collect(),
            children: children.filter(|(_, child)| !child.is_empty()).collect(),
        }
    }

    /// The same with every field of a struct that leads to members a member itself.
    pub(super) fn with_named_fields(&self, place: Place<'_>) -> Self {
        let mut made = Self {
            members: self.members.clone(),
            children: BTreeMap::new(),
        };
        for (element, child) in &self.children {
            let below = match element {
                Element::Field(name) => {
                    if place.declares(name) {
                        made.members.insert(element.clone());
                    }
                    place.child(name)
                }
                _ => place.item(),
            };
            made.children
                .insert(element.clone(), child.with_named_fields(below));
        }
        made
    }

    /// Every path in it, in order.
    #[must_use]
    pub fn paths(&self) -> Vec<Vec<Element>> {
        let mut found = Vec::new();
        self.collect(&mut Vec::new(), &mut found);
        found
    }

    fn collect(&self, path: &mut Vec<Element>, found: &mut Vec<Vec<Element>>) {
        for member in &self.members {
            path.push(member.clone());
            found.push(path.clone());
            path.pop();
        }
        for (element, child) in &self.children {
            path.push(element.clone());
            child.collect(path, found);
            path.pop();
        }
    }

    /// Reads FieldsV1. `None` when it is none.
    #[must_use]
    pub fn parse(fields: &Value) -> Option<Self> {
        Self::parse_at(fields.as_object()?, 0)
    }

    fn parse_at(fields: &Map<String, Value>, depth: usize) -> Option<Self> {
        if depth > DEPTH_LIMIT {
            return None;
        }
        let mut set = Self::default();
        for (key, below) in fields.iter().filter(|(key, _)| *key != ITSELF) {
            let element = Element::parse(key)?;
            let below = below.as_object()?;
            if below.is_empty() || below.contains_key(ITSELF) {
                set.members.insert(element.clone());
            }
            let child = Self::parse_at(below, depth + 1)?;
            if !child.is_empty() {
                set.children.insert(element, child);
            }
        }
        Some(set)
    }

    /// Writes FieldsV1.
    #[must_use]
    pub fn encode(&self) -> Value {
        let mut fields = Map::new();
        for member in &self.members {
            fields.insert(member.encode(), json!({}));
        }
        for (element, child) in &self.children {
            let mut below = child.encode();
            if self.members.contains(element)
                && let Some(below) = below.as_object_mut()
            {
                below.insert(ITSELF.to_owned(), json!({}));
            }
            fields.insert(element.encode(), below);
        }
        Value::Object(fields)
    }
}
