//! An object without a set of its fields.

use serde_json::{Map, Value};

use super::{Element, Place, Set, Shape};
use crate::schema::Schema;

/// `object` without what is in `set`. What becomes empty by it goes too.
pub(super) fn remove(object: &Value, set: &Set, schema: &Schema) -> Value {
    without(object, set, Place::root(schema)).unwrap_or_else(|| Value::Object(Map::new()))
}

fn without(value: &Value, set: &Set, place: Place<'_>) -> Option<Value> {
    match (place.shape(value), value) {
        (Shape::Map(place), Value::Object(map)) => {
            let mut out = Map::new();
            for (key, value) in map {
                let element = Element::field(key);
                if set.has(&element) {
                    continue;
                }
                let kept = match set.below(&element) {
                    Some(below) => without(value, below, place.child(key)),
                    None => Some(value.clone()),
                };
                if let Some(kept) = kept {
                    out.insert(key.clone(), kept);
                }
            }
            (!out.is_empty()).then_some(Value::Object(out))
        }
        (Shape::List(place, keys), Value::Array(items)) => {
            let mut out = Vec::with_capacity(items.len());
            for item in items {
                let element = place.identity(item, keys);
                if element.as_ref().is_some_and(|element| set.has(element)) {
                    continue;
                }
                match element.and_then(|element| set.below(&element)) {
                    Some(below) => out.extend(without(item, below, place.item())),
                    None => out.push(item.clone()),
                }
            }
            (!out.is_empty()).then_some(Value::Array(out))
        }
        // What is taken as a whole is named itself or not at all.
        _ => Some(value.clone()),
    }
}
