//! The fields a configuration sets: its leaves, the keys of its maps and the elements of its lists.

use serde_json::Value;

use super::{Element, Place, Set, Shape};
use crate::schema::Schema;

/// The fields `object` sets.
///
/// # Errors
/// What is wrong with it, in upstream's words: fields the kind does not have, list elements without keys or with the same ones.
pub(super) fn of(object: &Value, schema: &Schema) -> Result<Set, String> {
    let mut set = Set::default();
    walk(object, Place::root(schema), &mut Vec::new(), &mut set)?;
    Ok(set)
}

fn walk(
    value: &Value,
    place: Place<'_>,
    path: &mut Vec<Element>,
    set: &mut Set,
) -> Result<(), String> {
    match (place.shape(value), value) {
        (Shape::Map(place), Value::Object(map)) => {
            for (key, value) in map {
                path.push(Element::field(key));
                if place.schema.resolve(place.of).is_some() && !place.declares(key) {
                    return Err(format!("{}: field not declared in schema", shown(path)));
                }
                walk(value, place.child(key), path, set)?;
                let empty = value.as_object().is_some_and(serde_json::Map::is_empty);
                if value.is_null() || empty || !place.declares(key) {
                    set.insert(path);
                }
                path.pop();
            }
        }
        (Shape::List(place, keys), Value::Array(items)) => {
            let mut seen = Vec::with_capacity(items.len());
            for item in items {
                let Some(element) = place.identity(item, keys) else {
                    let missing = keys.iter().find(|key| item.get(**key).is_none());
                    return Err(format!(
                        "{}: element {}: associative list with keys has an element that omits key field {:?} (and doesn't have default value)",
                        shown(path),
                        seen.len(),
                        missing.copied().unwrap_or_default()
                    ));
                };
                if seen.contains(&element) {
                    return Err(format!(
                        "{}: duplicate entries for key {element}",
                        shown(path)
                    ));
                }
                path.push(element.clone());
                seen.push(element);
                walk(item, place.item(), path, set)?;
                set.insert(path);
                path.pop();
            }
        }
        _ => set.insert(path),
    }
    Ok(())
}

/// A path as messages show it.
pub(super) fn shown(path: &[Element]) -> String {
    path.iter().map(ToString::to_string).collect()
}
