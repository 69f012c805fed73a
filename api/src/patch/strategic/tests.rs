//! Strategic merge as kubectl uses it, directive by directive.

use serde_json::{Value, json};

use super::apply;
use crate::{registry::Registry, schema::Schema};

fn schema(group: &str, kind: &str) -> Schema {
    (*Registry::builtin()
        .by_kind(group, "v1", kind)
        .unwrap()
        .schema())
    .clone()
}

fn pod_spec(current: Value, patch: Value) -> Value {
    let patched = apply(
        &json!({ "spec": current }),
        &json!({ "spec": patch }),
        &schema("", "Pod"),
    )
    .unwrap();
    patched["spec"].clone()
}

#[test]
fn containers_merge_by_name() {
    let patched = pod_spec(
        json!({"containers": [{"name": "a", "image": "a:1", "env": [{"name": "X", "value": "1"}]}, {"name": "b", "image": "b:1"}]}),
        json!({"containers": [{"name": "b", "image": "b:2"}, {"name": "a", "env": [{"name": "Y", "value": "2"}]}]}),
    );
    assert_eq!(
        patched,
        json!({"containers": [
            {"name": "a", "image": "a:1", "env": [{"name": "X", "value": "1"}, {"name": "Y", "value": "2"}]},
            {"name": "b", "image": "b:2"}
        ]})
    );
}

#[test]
fn set_image_as_kubectl_sends_it() {
    let patched = pod_spec(
        json!({"containers": [{"name": "a", "image": "a:1"}, {"name": "b", "image": "b:1"}]}),
        json!({"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}], "containers": [{"name": "a", "image": "a:2"}]}),
    );
    assert_eq!(
        patched,
        json!({"containers": [{"name": "b", "image": "b:1"}, {"name": "a", "image": "a:2"}]})
    );
}

#[test]
fn elements_are_deleted_and_lists_replaced_by_directive() {
    let current =
        json!({"containers": [{"name": "a", "image": "a:1"}, {"name": "b", "image": "b:1"}]});
    let deleted = pod_spec(
        current.clone(),
        json!({"containers": [{"name": "a", "$patch": "delete"}]}),
    );
    assert_eq!(
        deleted,
        json!({"containers": [{"name": "b", "image": "b:1"}]})
    );
    let replaced = pod_spec(
        current,
        json!({"containers": [{"$patch": "replace"}, {"name": "c", "image": "c:1"}]}),
    );
    assert_eq!(
        replaced,
        json!({"containers": [{"name": "c", "image": "c:1"}]})
    );
}

#[test]
fn maps_merge_and_null_deletes() {
    let patched = apply(
        &json!({"metadata": {"labels": {"a": "1", "b": "2"}, "annotations": {"x": "y"}}}),
        &json!({"metadata": {"labels": {"a": null, "c": "3"}, "annotations": null}}),
        &schema("", "Pod"),
    );
    assert_eq!(
        patched.unwrap(),
        json!({"metadata": {"labels": {"b": "2", "c": "3"}}})
    );
}

#[test]
fn an_object_is_replaced_by_directive() {
    let patched = pod_spec(
        json!({"nodeSelector": {"a": "1"}, "securityContext": {"runAsUser": 1}}),
        json!({"nodeSelector": {"$patch": "replace", "b": "2"}, "securityContext": {"$patch": "delete"}}),
    );
    assert_eq!(patched, json!({"nodeSelector": {"b": "2"}}));
}

#[test]
fn retain_keys_drops_the_former_member_of_a_union() {
    let patched = pod_spec(
        json!({"volumes": [{"name": "v", "emptyDir": {}}]}),
        json!({"volumes": [{"name": "v", "$retainKeys": ["name", "configMap"], "configMap": {"name": "c"}}]}),
    );
    assert_eq!(
        patched,
        json!({"volumes": [{"name": "v", "configMap": {"name": "c"}}]})
    );
    let strategy = apply(
        &json!({"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}}),
        &json!({"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}),
        &schema("apps", "Deployment"),
    );
    assert_eq!(
        strategy.unwrap(),
        json!({"spec": {"strategy": {"type": "Recreate"}}})
    );
    let wrong = apply(
        &json!({}),
        &json!({"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate", "rollingUpdate": {}}}}),
        &schema("apps", "Deployment"),
    );
    assert_eq!(wrong.unwrap_err().code, 400);
}

#[test]
fn finalizers_are_a_set_that_elements_can_be_deleted_from() {
    let patched = apply(
        &json!({"metadata": {"finalizers": ["a/x", "b/y"]}}),
        &json!({"metadata": {"finalizers": ["c/z", "b/y"], "$deleteFromPrimitiveList/finalizers": ["a/x"]}}),
        &schema("", "Pod"),
    );
    assert_eq!(
        patched.unwrap(),
        json!({"metadata": {"finalizers": ["b/y", "c/z"]}})
    );
    let only_deleted = apply(
        &json!({"metadata": {"finalizers": ["a/x", "b/y"]}}),
        &json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["b/y"]}}),
        &schema("", "Pod"),
    );
    assert_eq!(
        only_deleted.unwrap(),
        json!({"metadata": {"finalizers": ["a/x"]}})
    );
}

#[test]
fn lists_without_a_merge_key_are_replaced() {
    let patched = pod_spec(
        json!({"tolerations": [{"key": "a"}], "containers": [{"name": "a", "args": ["1", "2"]}]}),
        json!({"tolerations": [{"key": "b"}], "containers": [{"name": "a", "args": ["3"]}]}),
    );
    assert_eq!(
        patched,
        json!({"tolerations": [{"key": "b"}], "containers": [{"name": "a", "args": ["3"]}]})
    );
}

#[test]
fn nonsense_is_a_bad_request() {
    let schema = schema("", "Pod");
    for patch in [
        json!([]),
        json!({"spec": {"containers": [{"image": "x"}]}}),
        json!({"spec": {"containers": ["x"]}}),
        json!({"spec": {"$patch": "explode"}}),
        json!({"spec": {"$retainKeys": "name"}}),
        json!({"metadata": {"$deleteFromPrimitiveList/finalizers": "a"}}),
    ] {
        assert_eq!(
            apply(&json!({}), &patch, &schema).unwrap_err().code,
            400,
            "{patch}"
        );
    }
}
