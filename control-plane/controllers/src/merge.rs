//! JSON merge patches (RFC 7396) between two values. Lists are replaced as wholes, as the RFC has it.

use serde_json::{Map, Value};

/// The patch that makes `to` of `from`; `None` where they are the same.
#[must_use]
pub fn diff(from: &Value, to: &Value) -> Option<Value> {
    if from == to {
        return None;
    }
    let (Some(old), Some(new)) = (from.as_object(), to.as_object()) else {
        return Some(to.clone());
    };
    let mut patch = Map::new();
    for key in old.keys().filter(|key| !new.contains_key(*key)) {
        patch.insert(key.clone(), Value::Null);
    }
    for (key, value) in new {
        match old.get(key) {
            Some(before) => {
                if let Some(change) = diff(before, value) {
                    patch.insert(key.clone(), change);
                }
            }
            None => {
                patch.insert(key.clone(), value.clone());
            }
        }
    }
    Some(Value::Object(patch))
}

/// Makes of `value` what the patch says.
pub fn apply(value: &mut Value, patch: &Value) {
    let Value::Object(changes) = patch else {
        *value = patch.clone();
        return;
    };
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    let Some(map) = value.as_object_mut() else {
        return;
    };
    for (key, change) in changes {
        if change.is_null() {
            map.remove(key);
        } else {
            apply(map.entry(key.clone()).or_insert(Value::Null), change);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<bool>().prop_map(Value::from),
            (0_i64..3).prop_map(Value::from),
            prop::collection::vec(0_i64..3, 0..3).prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 12, 3, |inner| {
            prop::collection::btree_map("[abc]", inner, 0..3)
                .prop_map(|map| Value::Object(map.into_iter().collect()))
        })
    }

    #[test]
    fn only_what_changed_is_in_the_patch() {
        let from = json!({"a": 1, "b": {"c": 1, "d": [1]}, "e": 1});
        let to = json!({"a": 1, "b": {"c": 2, "d": [1]}, "f": 1});
        let patch = json!({"b": {"c": 2}, "e": null, "f": 1});
        assert_eq!(diff(&from, &to), Some(patch));
        assert_eq!(diff(&from, &from), None);
    }

    proptest! {
        #[test]
        fn applying_the_difference_gives_the_other_value(from in values(), to in values()) {
            let mut made = from.clone();
            if let Some(patch) = diff(&from, &to) {
                apply(&mut made, &patch);
            }
            prop_assert_eq!(made, to);
        }
    }
}
