//! Label and field selectors: upstream's grammar, errors and matching. Which fields a kind lets selectors name is in [`fields`].

mod fields;

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector as MetaSelector;
use serde_json::Value;

use crate::{names, status::ApiError};

pub use fields::{
    event_field, job_field, metadata_field, node_field, pod_field, secret_field, service_field,
};

/// What a label must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// One of the values.
    In,
    /// None of the values, or not there.
    NotIn,
    /// There.
    Exists,
    /// Not there.
    DoesNotExist,
    /// A number above the value.
    GreaterThan,
    /// A number below the value.
    LessThan,
}

/// One requirement of a label selector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    /// The label.
    pub key: String,
    /// What it must be.
    pub operator: Operator,
    /// In comparison with these.
    pub values: Vec<String>,
}

/// A conjunction of requirements. The empty selector matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelSelector {
    requirements: Vec<Requirement>,
}

/// As long as a selector in a query may be.
const SELECTOR_LIMIT: usize = 16 << 10;

impl Requirement {
    fn matches(&self, value: Option<&str>) -> bool {
        let compare = |above: bool| {
            let number = value.and_then(|value| value.parse::<i64>().ok());
            let bound = self
                .values
                .first()
                .and_then(|value| value.parse::<i64>().ok());
            match (number, bound) {
                (Some(number), Some(bound)) => {
                    if above {
                        number > bound
                    } else {
                        number < bound
                    }
                }
                _ => false,
            }
        };
        match self.operator {
            Operator::In => value.is_some_and(|value| self.values.iter().any(|one| one == value)),
            Operator::NotIn => value.is_none_or(|value| self.values.iter().all(|one| one != value)),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
            Operator::GreaterThan => compare(true),
            Operator::LessThan => compare(false),
        }
    }
}

impl LabelSelector {
    /// A selector of these requirements.
    #[must_use]
    pub fn new(requirements: Vec<Requirement>) -> Self {
        Self { requirements }
    }

    /// Reads the form of queries: `a=b,c!=d,e in (f,g),h notin (i),j,!k,l>1`.
    ///
    /// # Errors
    /// `BadRequest` with upstream's words.
    pub fn parse(text: &str) -> Result<Self, ApiError> {
        let refused =
            |why: String| ApiError::bad_request(format!("unable to parse requirement: {why}"));
        if text.len() > SELECTOR_LIMIT {
            return Err(refused("the selector is too long".to_owned()));
        }
        let mut requirements = Vec::new();
        for part in split(text).map_err(&refused)? {
            requirements.push(requirement(part.trim()).map_err(&refused)?);
        }
        Ok(Self { requirements })
    }

    /// Reads the form that objects carry. A missing selector matches nothing (`None`), an empty one everything.
    ///
    /// # Errors
    /// When an operator is unknown.
    pub fn from_meta(selector: &MetaSelector) -> Result<Self, ApiError> {
        let mut requirements: Vec<Requirement> = Vec::new();
        for (key, value) in selector.match_labels.iter().flatten() {
            requirements.push(Requirement {
                key: key.clone(),
                operator: Operator::In,
                values: vec![value.clone()],
            });
        }
        for expression in selector.match_expressions.iter().flatten() {
            let operator = match expression.operator.as_str() {
                "In" => Operator::In,
                "NotIn" => Operator::NotIn,
                "Exists" => Operator::Exists,
                "DoesNotExist" => Operator::DoesNotExist,
                other => {
                    return Err(ApiError::bad_request(format!(
                        "{other:?} is not a valid label selector operator"
                    )));
                }
            };
            requirements.push(Requirement {
                key: expression.key.clone(),
                operator,
                values: expression.values.clone().unwrap_or_default(),
            });
        }
        Ok(Self { requirements })
    }

    /// A selector of equalities, as Services have.
    #[must_use]
    pub fn from_map(labels: &BTreeMap<String, String>) -> Self {
        let requirements = labels.iter().map(|(key, value)| Requirement {
            key: key.clone(),
            operator: Operator::In,
            values: vec![value.clone()],
        });
        Self {
            requirements: requirements.collect(),
        }
    }

    /// Whether nothing is required.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.requirements.is_empty()
    }

    /// What is required.
    #[must_use]
    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }

    /// Whether labels, looked up by key, fulfil every requirement.
    pub fn matches_with<'a>(&self, label: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.requirements
            .iter()
            .all(|requirement| requirement.matches(label(&requirement.key)))
    }

    /// Whether `labels` fulfil every requirement.
    #[must_use]
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.matches_with(|key| labels.get(key).map(String::as_str))
    }

    /// Whether an object's labels fulfil every requirement.
    #[must_use]
    pub fn matches_object(&self, object: &Value) -> bool {
        let labels = object.pointer("/metadata/labels");
        self.matches_with(|key| labels?.get(key)?.as_str())
    }
}

/// The parts between commas, those inside parentheses apart.
fn split(text: &str) -> Result<Vec<&str>, String> {
    let mut parts = Vec::new();
    let (mut depth, mut start) = (0_usize, 0);
    for (index, character) in text.char_indices() {
        match character {
            '(' => depth += 1,
            ')' => {
                depth = depth
                    .checked_sub(1)
                    .ok_or_else(|| "found ')', expected: identifier".to_owned())?
            }
            ',' if depth == 0 => {
                parts.push(text.get(start..index).unwrap_or_default());
                start = index + 1;
            }
            _ => {}
        }
    }
    if depth > 0 {
        return Err("found '', expected: ',' or ')'".to_owned());
    }
    let last = text.get(start..).unwrap_or_default();
    if !(parts.is_empty() && last.trim().is_empty()) {
        parts.push(last);
    }
    Ok(parts)
}

fn requirement(part: &str) -> Result<Requirement, String> {
    let (key, operator, values) = if let Some(key) = part.strip_prefix('!') {
        (key.trim(), Operator::DoesNotExist, Vec::new())
    } else if let Some((key, value)) = part.split_once("!=") {
        (key.trim(), Operator::NotIn, vec![value.trim().to_owned()])
    } else if let Some((key, value)) = part.split_once("==") {
        (key.trim(), Operator::In, vec![value.trim().to_owned()])
    } else if let Some((key, value)) = part.split_once('=') {
        (key.trim(), Operator::In, vec![value.trim().to_owned()])
    } else if let Some((key, value)) = part.split_once('>') {
        (
            key.trim(),
            Operator::GreaterThan,
            vec![value.trim().to_owned()],
        )
    } else if let Some((key, value)) = part.split_once('<') {
        (
            key.trim(),
            Operator::LessThan,
            vec![value.trim().to_owned()],
        )
    } else if let Some((head, rest)) = part.split_once('(') {
        let inner = rest
            .strip_suffix(')')
            .ok_or_else(|| format!("found '{rest}', expected: ')'"))?;
        let values = inner
            .split(',')
            .map(|value| value.trim().to_owned())
            .collect();
        match head.trim().rsplit_once(char::is_whitespace) {
            Some((key, "in")) => (key.trim(), Operator::In, values),
            Some((key, "notin")) => (key.trim(), Operator::NotIn, values),
            _ => {
                return Err(format!(
                    "found '{}', expected: in, notin, =, ==, !=, gt, lt",
                    head.trim()
                ));
            }
        }
    } else {
        (part, Operator::Exists, Vec::new())
    };
    if let Some(problem) = names::qualified_name(key).into_iter().next() {
        return Err(format!("<nil>: Invalid value: {key:?}: {problem}"));
    }
    match operator {
        Operator::GreaterThan | Operator::LessThan => {
            if values.iter().any(|value| value.parse::<i64>().is_err()) {
                return Err(
                    "values[0]: for 'Gt', 'Lt' operators, the value must be an integer".to_owned(),
                );
            }
        }
        _ => {
            for value in &values {
                if let Some(problem) = names::label_value(value).into_iter().next() {
                    return Err(format!(
                        "values[0][{key}]: Invalid value: {value:?}: {problem}"
                    ));
                }
            }
        }
    }
    Ok(Requirement {
        key: key.to_owned(),
        operator,
        values,
    })
}

/// One term of a field selector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldTerm {
    /// The field.
    pub field: String,
    /// The value it is compared with.
    pub value: String,
    /// Whether it must be that value or must not.
    pub equal: bool,
}

/// A conjunction of comparisons of fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSelector {
    terms: Vec<FieldTerm>,
}

impl FieldSelector {
    /// Reads `a.b=c,d!=e`. A backslash takes a comma, equals sign or backslash literally.
    ///
    /// # Errors
    /// `BadRequest` with upstream's words.
    pub fn parse(text: &str) -> Result<Self, ApiError> {
        if text.len() > SELECTOR_LIMIT {
            return Err(ApiError::bad_request("invalid selector: too long"));
        }
        let mut terms = Vec::new();
        let mut parts = vec![String::new()];
        let mut escaped = false;
        for character in text.chars() {
            let last = parts.last_mut();
            match (character, last) {
                (',', _) if !escaped => parts.push(String::new()),
                (character, Some(last)) => last.push(character),
                _ => {}
            }
            escaped = character == '\\' && !escaped;
        }
        for part in parts.iter().filter(|part| !part.is_empty()) {
            let term = [("!=", false), ("==", true), ("=", true)]
                .into_iter()
                .find_map(|(sign, equal)| {
                    let (field, value) = part.split_once(sign)?;
                    Some(FieldTerm {
                        field: field.to_owned(),
                        value: unescape(value)?,
                        equal,
                    })
                });
            terms.push(term.ok_or_else(|| {
                ApiError::bad_request(format!(
                    "invalid selector: '{text}'; can't understand '{part}'"
                ))
            })?);
        }
        Ok(Self { terms })
    }

    /// What is required.
    #[must_use]
    pub fn requirements(&self) -> &[FieldTerm] {
        &self.terms
    }

    /// Whether nothing is required.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    /// Whether fields, read by name, fulfil every term. A field that is unknown or unset is empty.
    pub fn matches(&self, field: impl Fn(&str) -> Option<String>) -> bool {
        self.terms
            .iter()
            .all(|term| (field(&term.field).unwrap_or_default() == term.value) == term.equal)
    }

    /// The value that a field must have, if the selector says so.
    #[must_use]
    pub fn exact(&self, field: &str) -> Option<&str> {
        self.terms
            .iter()
            .find(|term| term.equal && term.field == field)
            .map(|term| term.value.as_str())
    }
}

/// Takes backslashes away; `None` when one stands before something else or at the end.
fn unescape(value: &str) -> Option<String> {
    let mut plain = String::with_capacity(value.len());
    let mut characters = value.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => match characters.next()? {
                literal @ ('\\' | ',' | '=') => plain.push(literal),
                _ => return None,
            },
            '=' => return None,
            other => plain.push(other),
        }
    }
    Some(plain)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matches(selector: &str, labels: &[(&str, &str)]) -> bool {
        let labels = labels
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        LabelSelector::parse(selector).unwrap().matches(&labels)
    }

    #[test]
    fn label_selectors_match_as_upstream() {
        let labels = &[("app", "web"), ("tier", "front"), ("n", "5")];
        for yes in [
            "",
            "app=web",
            "app==web",
            "app!=db",
            "other!=x",
            "app in (web, db)",
            "app notin (db)",
            "tier",
            "!other",
            "n>4",
            "n<6",
            "app=web,tier in (front,back),!x",
            " app = web ",
        ] {
            assert!(matches(yes, labels), "{yes}");
        }
        for no in [
            "app=db",
            "app!=web",
            "app in (db)",
            "app notin (web)",
            "other",
            "!app",
            "n>5",
            "other in (x)",
            "app=web,tier=back",
            "app=",
        ] {
            assert!(!matches(no, labels), "{no}");
        }
    }

    #[test]
    fn nonsense_selectors_are_bad_requests() {
        for bad in [
            "a=b=c d", "a in b", "a in (b", "=x", "a b", "!", ",", "a=b,,c", "a in ()x", "a>b",
            "-a=b", "a=-", "x/y/z=1", ")",
        ] {
            assert_eq!(
                LabelSelector::parse(bad).map_err(|error| error.code),
                Err(400),
                "{bad}"
            );
        }
        for bad in ["a", "a=b=c", "a=\\x", "a=b\\"] {
            assert_eq!(
                FieldSelector::parse(bad).map_err(|error| error.code),
                Err(400),
                "{bad}"
            );
        }
    }

    #[test]
    fn field_selectors_compare() {
        let selector = FieldSelector::parse("metadata.name=a\\,b,status.phase!=Failed").unwrap();
        let field = |phase: &'static str| {
            move |name: &str| {
                Some(
                    if name == "metadata.name" {
                        "a,b"
                    } else {
                        phase
                    }
                    .to_owned(),
                )
            }
        };
        assert!(selector.matches(field("Running")));
        assert!(!selector.matches(field("Failed")));
        assert_eq!(selector.exact("metadata.name"), Some("a,b"));
        assert_eq!(selector.exact("status.phase"), None);
    }

    proptest! {
        #[test]
        fn any_text_is_a_selector_or_refused(text in "\\PC{0,40}") {
            let _ = LabelSelector::parse(&text);
            let _ = FieldSelector::parse(&text);
        }
    }
}
