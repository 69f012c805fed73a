//! JSON patch (RFC 6902), through the json-patch crate.

use serde_json::Value;

use crate::status::{ApiError, Reason};

/// Upstream's limit on the number of operations in one patch.
const OPERATIONS_LIMIT: usize = 10_000;

/// Applies a JSON patch.
///
/// # Errors
/// `BadRequest` when it is no patch; `Invalid` (422) when it does not apply: a test failed or a path does not exist.
pub fn apply(current: &Value, patch: &Value) -> Result<Value, ApiError> {
    let operations = patch.as_array().ok_or_else(|| {
        ApiError::bad_request("error decoding patch: json: cannot unmarshal object into Go value of type jsonpatch.Patch")
    })?;
    if operations.len() > OPERATIONS_LIMIT {
        let message = format!(
            "The allowed maximum operations in a JSON patch is {OPERATIONS_LIMIT}, got {}",
            operations.len()
        );
        return Err(ApiError::new(Reason::RequestEntityTooLarge, message));
    }
    let patch: json_patch::Patch = serde_json::from_value(patch.clone())
        .map_err(|error| ApiError::bad_request(format!("error decoding patch: {error}")))?;
    let mut patched = current.clone();
    json_patch::patch(&mut patched, &patch).map_err(|error| {
        ApiError::new(
            Reason::Invalid,
            format!("the server rejected our request due to an error in our request: {error}"),
        )
    })?;
    Ok(patched)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn operations_apply_in_order_or_not_at_all() {
        let current = json!({"a": [1, 2], "b": {"c": 1}});
        let patched = apply(
            &current,
            &json!([
                {"op": "test", "path": "/a/0", "value": 1},
                {"op": "add", "path": "/a/-", "value": 3},
                {"op": "remove", "path": "/b/c"},
                {"op": "move", "from": "/a/0", "path": "/b/d"},
            ]),
        );
        assert_eq!(patched.unwrap(), json!({"a": [2, 3], "b": {"d": 1}}));
        assert_eq!(
            apply(
                &current,
                &json!([{"op": "test", "path": "/a/0", "value": 9}])
            )
            .unwrap_err()
            .code,
            422
        );
        assert_eq!(
            apply(&current, &json!([{"op": "remove", "path": "/none"}]))
                .unwrap_err()
                .code,
            422
        );
        assert_eq!(apply(&current, &json!({"op": "x"})).unwrap_err().code, 400);
        assert_eq!(
            apply(&current, &json!([{"op": "nonsense", "path": "/a"}]))
                .unwrap_err()
                .code,
            400
        );
    }
}
