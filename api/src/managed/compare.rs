//! What differs between two states of an object.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{Element, Place, Set, Shape};
use crate::schema::Schema;

/// The fields by what became of them.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Comparison {
    pub(super) added: Set,
    pub(super) modified: Set,
    pub(super) removed: Set,
}

impl Comparison {
    /// Compares `old` with `new`.
    pub(super) fn of(old: &Value, new: &Value, schema: &Schema) -> Self {
        let mut comparison = Self::default();
        comparison.walk(Some(old), Some(new), Place::root(schema), &mut Vec::new());
        comparison
    }

    fn walk(
        &mut self,
        old: Option<&Value>,
        new: Option<&Value>,
        place: Place<'_>,
        path: &mut Vec<Element>,
    ) {
        if old == new {
            return;
        }
        let shape_of = |value: Option<&Value>| value.map(|value| place.shape(value));
        match (shape_of(old), shape_of(new)) {
            (Some(Shape::Map(place)), Some(Shape::Map(_)) | None)
            | (None, Some(Shape::Map(place))) => {
                let (old_map, new_map) = (map(old), map(new));
                if old_map.is_empty() && new_map.is_empty() {
                    return self.leaf(old, new, path);
                }
                self.walk_map(
                    old_map,
                    new_map,
                    (old.is_some(), new.is_some()),
                    place,
                    path,
                );
            }
            (Some(Shape::List(place, keys)), Some(Shape::List(..)) | None)
            | (None, Some(Shape::List(place, keys))) => {
                let (old_items, new_items) = (items(old), items(new));
                if old_items.is_empty() && new_items.is_empty() {
                    return self.leaf(old, new, path);
                }
                self.walk_list(old_items, new_items, place, keys, path);
            }
            _ => return self.leaf(old, new, path),
        }
        if old.is_none() {
            self.added.insert(path);
        } else if new.is_none() {
            self.removed.insert(path);
        }
    }

    fn walk_map(
        &mut self,
        old: &Map<String, Value>,
        new: &Map<String, Value>,
        (had, has): (bool, bool),
        place: Place<'_>,
        path: &mut Vec<Element>,
    ) {
        let only_new = new.keys().filter(|key| !old.contains_key(*key));
        for key in old.keys().chain(only_new) {
            let (mut old, mut new) = (present(old.get(key)), present(new.get(key)));
            let always = match (old, new) {
                (Some(_), Some(_)) => None,
                _ => place.always_has(key),
            };
            if had {
                old = old.or(always.as_ref());
            }
            if has {
                new = new.or(always.as_ref());
            }
            path.push(Element::field(key));
            self.walk(old, new, place.child(key), path);
            path.pop();
        }
    }

    fn walk_list(
        &mut self,
        old: &[Value],
        new: &[Value],
        place: Place<'_>,
        keys: &[&str],
        path: &mut Vec<Element>,
    ) {
        let by_identity = |items: &[Value]| {
            let mut found: BTreeMap<Element, Vec<usize>> = BTreeMap::new();
            for (at, item) in items.iter().enumerate() {
                if let Some(element) = place.identity(item, keys) {
                    found.entry(element).or_default().push(at);
                }
            }
            found
        };
        let (old_places, new_places) = (by_identity(old), by_identity(new));
        let only_new = new_places
            .keys()
            .filter(|element| !old_places.contains_key(*element));
        for element in old_places.keys().chain(only_new) {
            let of = |places: &BTreeMap<Element, Vec<usize>>| {
                places.get(element).cloned().unwrap_or_default()
            };
            let (old_at, new_at) = (of(&old_places), of(&new_places));
            path.push(element.clone());
            match (old_at.as_slice(), new_at.as_slice()) {
                ([] | [_], [] | [_]) => {
                    let old = old_at.first().and_then(|at| old.get(*at));
                    let new = new_at.first().and_then(|at| new.get(*at));
                    self.walk(old, new, place.item(), path);
                }
                // Elements of one identity, which validation may still refuse: they are compared as one.
                _ => {
                    let all = |items: &[Value], at: &[usize]| {
                        let picked = at.iter().filter_map(|at| items.get(*at)).cloned();
                        (!at.is_empty()).then(|| Value::Array(picked.collect()))
                    };
                    let (old, new) = (all(old, &old_at), all(new, &new_at));
                    if old != new {
                        self.leaf(old.as_ref(), new.as_ref(), path);
                    }
                }
            }
            path.pop();
        }
    }

    fn leaf(&mut self, old: Option<&Value>, new: Option<&Value>, path: &[Element]) {
        match (old, new) {
            (None, None) => {}
            (None, Some(_)) => self.added.insert(path),
            (Some(_), None) => self.removed.insert(path),
            (Some(_), Some(_)) => self.modified.insert(path),
        }
    }
}

/// null is the absence of a value.
fn present(value: Option<&Value>) -> Option<&Value> {
    value.filter(|value| !value.is_null())
}

fn map(value: Option<&Value>) -> &Map<String, Value> {
    static EMPTY: std::sync::OnceLock<Map<String, Value>> = std::sync::OnceLock::new();
    value
        .and_then(Value::as_object)
        .unwrap_or_else(|| EMPTY.get_or_init(Map::new))
}

fn items(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}
