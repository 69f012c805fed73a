//! Reads and writes of the metadata every object has, on JSON values. Missing and mistyped fields read as absent: types have been checked
//! where the object came in.

use serde_json::{Map, Value};

/// The field `metadata.NAME` as a string.
#[must_use]
pub fn text<'a>(object: &'a Value, name: &str) -> Option<&'a str> {
    object
        .get("metadata")?
        .get(name)?
        .as_str()
        .filter(|text| !text.is_empty())
}

/// `metadata.name`.
#[must_use]
pub fn name(object: &Value) -> Option<&str> {
    text(object, "name")
}

/// `metadata.namespace`.
#[must_use]
pub fn namespace(object: &Value) -> Option<&str> {
    text(object, "namespace")
}

/// `metadata.uid`.
#[must_use]
pub fn uid(object: &Value) -> Option<&str> {
    text(object, "uid")
}

/// `metadata.resourceVersion`.
#[must_use]
pub fn resource_version(object: &Value) -> Option<&str> {
    text(object, "resourceVersion")
}

/// Whether the object is being deleted.
#[must_use]
pub fn is_terminating(object: &Value) -> bool {
    text(object, "deletionTimestamp").is_some()
}

/// `metadata.deletionGracePeriodSeconds`.
#[must_use]
pub fn deletion_grace(object: &Value) -> Option<i64> {
    object
        .get("metadata")?
        .get("deletionGracePeriodSeconds")?
        .as_i64()
}

/// `metadata.generation`, 0 when there is none.
#[must_use]
pub fn generation(object: &Value) -> i64 {
    object
        .get("metadata")
        .and_then(|metadata| metadata.get("generation"))
        .and_then(Value::as_i64)
        .unwrap_or(0)
}

/// `metadata.finalizers`.
pub fn finalizers(object: &Value) -> impl Iterator<Item = &str> {
    object
        .get("metadata")
        .and_then(|metadata| metadata.get("finalizers"))
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
}

/// Replaces `metadata.finalizers`; none at all when empty.
pub fn set_finalizers(object: &mut Value, finalizers: Vec<String>) {
    let metadata = metadata_mut(object);
    if finalizers.is_empty() {
        metadata.remove("finalizers");
    } else {
        metadata.insert("finalizers".to_owned(), Value::from(finalizers));
    }
}

/// The metadata, made if it is not there. What is no object becomes one.
pub fn metadata_mut(object: &mut Value) -> &mut Map<String, Value> {
    child_mut(object, "metadata")
}

/// The object under `name`, made if it is not there. What is no object becomes one.
pub fn child_mut<'a>(object: &'a mut Value, name: &str) -> &'a mut Map<String, Value> {
    if !object.is_object() {
        *object = Value::Object(Map::new());
    }
    let Value::Object(map) = object else {
        unreachable!("it was made an object above");
    };
    let child = map.entry(name).or_insert_with(|| Value::Object(Map::new()));
    if !child.is_object() {
        *child = Value::Object(Map::new());
    }
    let Value::Object(child) = child else {
        unreachable!("it was made an object above");
    };
    child
}

/// Sets a field of an object; of anything else nothing.
pub fn put(object: &mut Value, name: &str, value: impl Into<Value>) {
    if let Some(map) = object.as_object_mut() {
        map.insert(name.to_owned(), value.into());
    }
}

/// Sets `metadata.NAME`.
pub fn set(object: &mut Value, name: &str, value: impl Into<Value>) {
    metadata_mut(object).insert(name.to_owned(), value.into());
}

/// Makes `metadata.NAME` of `object` what it is in `from`, absent included.
pub fn copy(object: &mut Value, from: &Value, name: &str) {
    match from.get("metadata").and_then(|metadata| metadata.get(name)) {
        Some(value) => set(object, name, value.clone()),
        None => {
            metadata_mut(object).remove(name);
        }
    }
}

/// The value at a path of object keys.
#[must_use]
pub fn at<'a>(object: &'a Value, path: &[&str]) -> Option<&'a Value> {
    path.iter().try_fold(object, |value, key| value.get(key))
}

/// The string at a path of object keys.
#[must_use]
pub fn text_at<'a>(object: &'a Value, path: &[&str]) -> Option<&'a str> {
    at(object, path)?.as_str()
}
