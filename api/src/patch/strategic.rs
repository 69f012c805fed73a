//! Strategic merge patch: a merge patch that knows the kind. Lists with a merge key are merged element by element; directives in the patch delete,
//! replace, keep or order (sig-api-machinery's `strategic-merge-patch.md`). kubectl sends it for built-in kinds on apply, edit, set and more.

use serde_json::{Map, Value};

use crate::{
    schema::{Field, Schema, Type},
    status::ApiError,
};

/// On an object or list element: `replace`, `delete` or `merge`.
const PATCH: &str = "$patch";
/// On an object: the only keys that stay.
const RETAIN_KEYS: &str = "$retainKeys";
/// `$deleteFromPrimitiveList/FIELD`: scalars that go from a list.
const DELETE_FROM: &str = "$deleteFromPrimitiveList/";
/// `$setElementOrder/FIELD`: the order of a merged list.
const ORDER: &str = "$setElementOrder/";

/// Applies a strategic merge patch.
///
/// # Errors
/// `BadRequest` when the patch is not an object or a directive makes no sense.
pub fn apply(current: &Value, patch: &Value, schema: &Schema) -> Result<Value, ApiError> {
    let Value::Object(patch) = patch else {
        return Err(ApiError::bad_request(
            "error decoding patch: a strategic merge patch must be a JSON object",
        ));
    };
    let current = current.as_object().cloned().unwrap_or_default();
    let merged = merge_object(
        current,
        patch,
        Of {
            schema,
            of: &schema.root,
        },
    )?;
    Ok(Value::Object(merged.unwrap_or_default()))
}

/// The type being merged.
#[derive(Clone, Copy)]
struct Of<'a> {
    schema: &'a Schema,
    of: &'a Type,
}

impl<'a> Of<'a> {
    fn field(self, name: &str) -> Option<&'a Field> {
        self.schema.field(self.of, name)
    }

    /// The type of what `name` holds.
    fn child(self, name: &str) -> Of<'a> {
        let of = match (self.field(name), self.of) {
            (Some(field), _) => &field.of,
            (None, Type::Map(inner)) => inner,
            _ => &Type::Any,
        };
        Of { of, ..self }
    }

    /// The type of a list's elements.
    fn element(self) -> Of<'a> {
        let of = match self.of {
            Type::List(inner) => inner,
            _ => &Type::Any,
        };
        Of { of, ..self }
    }
}

/// Merges a patch into an object. `None`: the patch deletes it.
fn merge_object(
    mut current: Map<String, Value>,
    patch: &Map<String, Value>,
    of: Of<'_>,
) -> Result<Option<Map<String, Value>>, ApiError> {
    match directive(patch)? {
        Some("replace") => return Ok(Some(without_directives(patch))),
        Some("delete") => return Ok(None),
        _ => {}
    }
    if let Some(kept) = patch.get(RETAIN_KEYS) {
        let kept = kept
            .as_array()
            .ok_or_else(|| bad(RETAIN_KEYS, "must be a list of keys"))?;
        for key in patch
            .iter()
            .filter(|(key, value)| !key.starts_with('$') && !value.is_null())
            .map(|(key, _)| key)
        {
            if !kept.iter().any(|one| one == key) {
                return Err(bad(
                    RETAIN_KEYS,
                    &format!("must list {key}, which the patch sets"),
                ));
            }
        }
        current.retain(|key, _| kept.iter().any(|one| one == key));
    }
    for (key, value) in patch.iter().filter(|(key, _)| !key.starts_with('$')) {
        if value.is_null() {
            current.remove(key);
            continue;
        }
        let old = current.remove(key);
        if let Some(merged) = merge_value(old, value, patch, key, of)? {
            current.insert(key.clone(), merged);
        }
    }
    // Directives for lists that the patch does not name otherwise.
    for (directive, value) in patch {
        let Some(key) = directive
            .strip_prefix(DELETE_FROM)
            .or_else(|| directive.strip_prefix(ORDER))
        else {
            continue;
        };
        if patch.contains_key(key) {
            continue;
        }
        if let Some(Value::Array(items)) = current.remove(key) {
            let none = Vec::new();
            let merged = merge_list(items, &none, patch, key, of)?;
            current.insert(key.to_owned(), Value::Array(merged));
        } else if !value.is_array() {
            return Err(bad(directive, "must be a list"));
        }
    }
    Ok(Some(current))
}

fn merge_value(
    old: Option<Value>,
    new: &Value,
    patch: &Map<String, Value>,
    key: &str,
    of: Of<'_>,
) -> Result<Option<Value>, ApiError> {
    match new {
        Value::Object(inner) => {
            let current = match old {
                Some(Value::Object(current)) => current,
                _ => Map::new(),
            };
            Ok(merge_object(current, inner, of.child(key))?.map(Value::Object))
        }
        Value::Array(items) => {
            let current = match old {
                Some(Value::Array(current)) => current,
                _ => Vec::new(),
            };
            merge_list(current, items, patch, key, of).map(|merged| Some(Value::Array(merged)))
        }
        scalar => Ok(Some(scalar.clone())),
    }
}

/// Merges the list that `patch` has at `key`.
fn merge_list(
    current: Vec<Value>,
    items: &[Value],
    patch: &Map<String, Value>,
    key: &str,
    of: Of<'_>,
) -> Result<Vec<Value>, ApiError> {
    let deleted = list_directive(patch, DELETE_FROM, key)?;
    let order = list_directive(patch, ORDER, key)?;
    match of.field(key).and_then(|field| field.merging.patch_key) {
        None => Ok(items.iter().filter_map(cleaned).collect()),
        Some("") => {
            let mut merged: Vec<Value> = current
                .into_iter()
                .filter(|one| !deleted.contains(one))
                .collect();
            for item in items {
                if !merged.contains(item) {
                    merged.push(item.clone());
                }
            }
            Ok(ordered(merged, order, |one, wanted| one == wanted))
        }
        Some(merge_key) => {
            let merged = merge_elements(current, items, merge_key, of.child(key).element())?;
            Ok(ordered(merged, order, |one, wanted| {
                one.get(merge_key)
                    .is_some_and(|value| Some(value) == wanted.get(merge_key))
            }))
        }
    }
}

/// Merges elements that are identified by `merge_key`.
fn merge_elements(
    current: Vec<Value>,
    items: &[Value],
    merge_key: &str,
    of: Of<'_>,
) -> Result<Vec<Value>, ApiError> {
    // A lone {"$patch": "replace"} element replaces the list by the others.
    let replaces = |item: &&Value| {
        item.get(PATCH).and_then(Value::as_str) == Some("replace") && item.get(merge_key).is_none()
    };
    let mut merged = if items.iter().any(|item| replaces(&item)) {
        Vec::new()
    } else {
        current
    };
    for item in items.iter().filter(|item| !replaces(item)) {
        let Value::Object(element) = item else {
            return Err(bad(
                merge_key,
                "elements of a list merged by key must be objects",
            ));
        };
        let key = element.get(merge_key).ok_or_else(|| {
            ApiError::bad_request(format!(
                "map: {item} does not contain declared merge key: {merge_key}"
            ))
        })?;
        let position = merged
            .iter()
            .position(|one| one.get(merge_key) == Some(key));
        match position {
            None => {
                if let Some(new) = merge_object(Map::new(), element, of)? {
                    merged.push(Value::Object(new));
                }
            }
            Some(position) => {
                let Value::Object(old) = merged.remove(position) else {
                    continue;
                };
                if let Some(new) = merge_object(old, element, of)? {
                    merged.insert(position, Value::Object(new));
                    // Two elements of one key, as ports of two protocols can be: the patch means the first and deletes all.
                } else {
                    merged.retain(|one| one.get(merge_key) != Some(key));
                }
            }
        }
    }
    Ok(merged)
}

/// Puts elements into the order wanted. Those not named keep their place relative to the element before them.
fn ordered(
    merged: Vec<Value>,
    order: &[Value],
    same: impl Fn(&Value, &Value) -> bool,
) -> Vec<Value> {
    if order.is_empty() {
        return merged;
    }
    let rank = |one: &Value| order.iter().position(|wanted| same(one, wanted));
    let mut last = None;
    let mut ranked: Vec<(Option<usize>, usize, Value)> = Vec::with_capacity(merged.len());
    for (index, one) in merged.into_iter().enumerate() {
        let named = rank(&one);
        if named.is_some() {
            last = named;
        }
        ranked.push((named.or(last), index, one));
    }
    // Stable by the element they follow; what precedes every named one stays in front.
    ranked.sort_by_key(|(rank, index, _)| (*rank, *index));
    ranked.into_iter().map(|(_, _, one)| one).collect()
}

fn directive(patch: &Map<String, Value>) -> Result<Option<&str>, ApiError> {
    match patch.get(PATCH) {
        None => Ok(None),
        Some(Value::String(word)) if matches!(word.as_str(), "replace" | "delete" | "merge") => {
            Ok(Some(word))
        }
        Some(other) => Err(ApiError::bad_request(format!(
            "Unknown patch type found: {other}"
        ))),
    }
}

fn list_directive<'a>(
    patch: &'a Map<String, Value>,
    prefix: &str,
    key: &str,
) -> Result<&'a [Value], ApiError> {
    let name = format!("{prefix}{key}");
    match patch.get(&name) {
        None => Ok(&[]),
        Some(Value::Array(items)) => Ok(items),
        Some(_) => Err(bad(&name, "must be a list")),
    }
}

fn without_directives(patch: &Map<String, Value>) -> Map<String, Value> {
    let kept = patch.iter().filter(|(key, _)| !key.starts_with('$'));
    kept.filter_map(|(key, value)| Some((key.clone(), cleaned(value)?)))
        .collect()
}

/// A value without the directives and nulls in it; `None` when it is to be deleted.
fn cleaned(value: &Value) -> Option<Value> {
    match value {
        Value::Null => None,
        Value::Object(map) if map.get(PATCH).and_then(Value::as_str) == Some("delete") => None,
        Value::Object(map) if map.len() == 1 && map.contains_key(PATCH) => None,
        Value::Object(map) => Some(Value::Object(without_directives(map))),
        Value::Array(items) => Some(Value::Array(items.iter().filter_map(cleaned).collect())),
        scalar => Some(scalar.clone()),
    }
}

fn bad(directive: &str, why: &str) -> ApiError {
    ApiError::bad_request(format!("invalid patch: {directive} {why}"))
}

#[cfg(test)]
mod tests;
