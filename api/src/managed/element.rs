//! One step of a path to a field: a name, an element of a list by its keys or its value, or (read, never made) by its place.

use std::fmt;

use serde_json::{Map, Value};

/// A step. Keys and values are kept as canonical JSON, so that equal ones are equal text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Element {
    /// A field of a struct or a key of a map.
    Field(Box<str>),
    /// An element of a list, by the values of its key fields.
    Key(Box<str>),
    /// An element of a list, by its value.
    Value(Box<str>),
    /// An element of a list, by its place.
    Index(u64),
}

impl Element {
    /// A field or key of that name.
    #[must_use]
    pub fn field(name: &str) -> Self {
        Self::Field(name.into())
    }

    /// An element by its key fields.
    #[must_use]
    pub fn key(keys: Map<String, Value>) -> Self {
        Self::Key(Value::Object(keys).to_string().into())
    }

    /// An element by its value.
    #[must_use]
    pub fn value(value: &Value) -> Self {
        Self::Value(value.to_string().into())
    }

    /// Reads the form that FieldsV1 has: `f:name`, `k:{…}`, `v:…`, `i:0`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (kind, rest) = text.split_once(':')?;
        match kind {
            "f" => Some(Self::field(rest)),
            "k" => match serde_json::from_str(rest).ok()? {
                Value::Object(keys) if !keys.is_empty() => Some(Self::key(keys)),
                _ => None,
            },
            "v" => serde_json::from_str(rest)
                .ok()
                .map(|value| Self::value(&value)),
            "i" => rest.parse().ok().map(Self::Index),
            _ => None,
        }
    }

    /// The form that FieldsV1 has.
    #[must_use]
    pub fn encode(&self) -> String {
        match self {
            Self::Field(name) => format!("f:{name}"),
            Self::Key(keys) => format!("k:{keys}"),
            Self::Value(value) => format!("v:{value}"),
            Self::Index(index) => format!("i:{index}"),
        }
    }
}

/// As messages name it: `.name`, `[name="a",port=80]`, `[="x"]`, `[0]`.
impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field(name) => write!(f, ".{name}"),
            Self::Key(keys) => {
                let keys: Map<String, Value> = serde_json::from_str(keys).unwrap_or_default();
                let keys = keys.iter().map(|(key, value)| format!("{key}={value}"));
                write!(f, "[{}]", keys.collect::<Vec<_>>().join(","))
            }
            Self::Value(value) => write!(f, "[={value}]"),
            Self::Index(index) => write!(f, "[{index}]"),
        }
    }
}
