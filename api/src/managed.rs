//! Who manages which field of an object (`metadata.managedFields`, KEP-555): kept up at every write, asked when a configuration is applied. Sets of fields are in
//! [`set`]; [`update`] and [`apply`] are the two ways a write changes them. Pure: the time is given.

pub mod apply;
mod compare;
mod element;
mod entries;
mod fields;
mod merge;
mod remove;
mod set;
pub mod update;

use serde_json::{Map, Value};

pub use element::Element;
pub use entries::{Entries, Manager, Operation};
pub use set::Set;

use crate::schema::{Field, Schema, Type};

/// Who writes, through what, when.
#[derive(Clone, Copy, Debug)]
pub struct Writer<'a> {
    /// The name of the field manager.
    pub manager: &'a str,
    /// The version the object is written in.
    pub api_version: &'a str,
    /// The subresource it is written through.
    pub subresource: Option<&'a str>,
    /// Now, as RFC 3339 in whole seconds.
    pub time: &'a str,
    /// The structure of the kind.
    pub schema: &'a Schema,
}

/// The fields nobody manages: they say which object it is, or are the server's.
const NEVER: [&[&str]; 12] = [
    &["apiVersion"],
    &["kind"],
    &["metadata"],
    &["metadata", "name"],
    &["metadata", "namespace"],
    &["metadata", "creationTimestamp"],
    &["metadata", "selfLink"],
    &["metadata", "uid"],
    &["metadata", "clusterName"],
    &["metadata", "generation"],
    &["metadata", "managedFields"],
    &["metadata", "resourceVersion"],
];

/// `set` without the fields nobody manages.
fn without_identity(mut set: Set) -> Set {
    for path in NEVER {
        let path: Vec<Element> = path.iter().map(|name| Element::field(name)).collect();
        set.remove(&path);
    }
    set
}

/// The entries as they are in an object.
fn field_of(object: &Value) -> Option<&Value> {
    object.get("metadata")?.get("managedFields")
}

/// Puts entries into an object; an empty list is left out.
fn put(object: &mut Value, entries: &Entries) {
    let encoded = entries.encode();
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        match encoded {
            Value::Array(list) if list.is_empty() => metadata.remove("managedFields"),
            encoded => metadata.insert("managedFields".to_owned(), encoded),
        };
    }
}

/// An object without its entries.
fn bare(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
    object
}

/// How a value is taken apart.
enum Shape<'a> {
    /// As a whole.
    Leaf,
    /// Field by field, or key by key: where it is a struct, its fields are known.
    Map(Place<'a>),
    /// Element by element, each known by its keys, or by its value if there are none.
    List(Place<'a>, &'a [&'static str]),
}

/// A place in the structure.
#[derive(Clone, Copy)]
struct Place<'a> {
    schema: &'a Schema,
    of: &'a Type,
    /// The field that holds the value, where it is one of a struct.
    field: Option<&'a Field>,
}

impl<'a> Place<'a> {
    fn root(schema: &'a Schema) -> Self {
        Self {
            schema,
            of: &schema.root,
            field: None,
        }
    }

    /// How `value` at this place is taken apart.
    fn shape(self, value: &Value) -> Shape<'a> {
        let atomic = self.field.is_some_and(|field| field.merging.atomic)
            || self.schema.resolve(self.of).is_some_and(|of| of.atomic);
        match value {
            Value::Object(_) if !atomic && self.is_granular_map() => Shape::Map(self),
            Value::Array(_) => match self.field.map(|field| field.merging.list_keys.as_slice()) {
                None | Some([]) => Shape::Leaf,
                Some([""]) => Shape::List(self, &[]),
                Some(keys) => Shape::List(self, keys),
            },
            _ => Shape::Leaf,
        }
    }

    fn is_granular_map(self) -> bool {
        matches!(self.of, Type::Struct(_) | Type::Map(_) | Type::Any)
    }

    /// Whether `key` is a field of a struct here, and not a key of a map.
    fn declares(self, key: &str) -> bool {
        self.schema.field(self.of, key).is_some()
    }

    /// What Go has for the field `key` if nothing is said of it: an empty struct, list or map, where it always has one.
    fn always_has(self, key: &str) -> Option<Value> {
        let field = self.schema.field(self.of, key)?;
        match field.of {
            _ if !field.merging.always => None,
            Type::List(_) => Some(Value::Array(Vec::new())),
            _ => Some(Value::Object(Map::new())),
        }
    }

    /// Where the value of `key` is.
    fn child(self, key: &str) -> Self {
        match (self.schema.field(self.of, key), self.of) {
            (Some(field), _) => Self {
                of: &field.of,
                field: Some(field),
                ..self
            },
            (None, Type::Map(inner)) => Self {
                of: inner,
                field: None,
                ..self
            },
            (None, _) => Self {
                of: &Type::Any,
                field: None,
                ..self
            },
        }
    }

    /// Where the elements of a list are.
    fn item(self) -> Self {
        let of = match self.of {
            Type::List(inner) => inner,
            _ => &Type::Any,
        };
        Self {
            of,
            field: None,
            ..self
        }
    }

    /// What identifies an element of a list with these keys: `None` when it lacks a key.
    fn identity(self, item: &Value, keys: &[&str]) -> Option<Element> {
        if keys.is_empty() {
            return Some(Element::value(item));
        }
        let mut identity = Map::new();
        for key in keys {
            let value = match item.get(key).filter(|value| !value.is_null()) {
                Some(value) => value.clone(),
                None => self
                    .item()
                    .schema
                    .field(self.item().of, key)?
                    .merging
                    .default?
                    .into(),
            };
            identity.insert((*key).to_owned(), value);
        }
        Some(Element::key(identity))
    }
}

#[cfg(test)]
mod tests;
