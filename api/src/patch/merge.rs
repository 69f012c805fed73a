//! JSON merge patch (RFC 7386).

use serde_json::Value;

use crate::status::ApiError;

/// Applies a merge patch.
///
/// # Errors
/// `BadRequest` when the patch is not an object: an API object cannot become anything else.
pub fn apply(current: &Value, patch: &Value) -> Result<Value, ApiError> {
    if !patch.is_object() {
        return Err(ApiError::bad_request(
            "error decoding patch: a merge patch must be a JSON object",
        ));
    }
    let mut patched = current.clone();
    json_patch::merge(&mut patched, patch);
    Ok(patched)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            "[a-z]{0,4}".prop_map(Value::from)
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::btree_map("[a-c]", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    fn objects() -> impl Strategy<Value = Value> {
        proptest::collection::btree_map("[a-c]", values(), 0..4)
            .prop_map(|map| Value::Object(map.into_iter().collect()))
    }

    /// The patch that makes `to` from `from`.
    fn diff(from: &Value, to: &Value) -> Value {
        let (Value::Object(from), Value::Object(to)) = (from, to) else {
            return to.clone();
        };
        let mut patch = serde_json::Map::new();
        for (key, value) in to {
            match from.get(key) {
                Some(old) if old == value => {}
                Some(old @ Value::Object(_)) if value.is_object() => {
                    patch.insert(key.clone(), diff(old, value));
                }
                _ => {
                    patch.insert(key.clone(), value.clone());
                }
            }
        }
        for key in from.keys().filter(|key| !to.contains_key(*key)) {
            patch.insert(key.clone(), Value::Null);
        }
        Value::Object(patch)
    }

    proptest! {
        #[test]
        fn a_difference_applied_gives_the_target(from in objects(), to in objects()) {
            prop_assert_eq!(apply(&from, &diff(&from, &to)).unwrap(), to);
        }

        #[test]
        fn applying_twice_is_applying_once(current in objects(), patch in objects()) {
            let once = apply(&current, &patch).unwrap();
            prop_assert_eq!(apply(&once, &patch).unwrap(), once);
        }
    }

    #[test]
    fn a_patch_that_is_no_object_is_refused() {
        assert_eq!(apply(&json!({}), &json!([1])).unwrap_err().code, 400);
    }
}
