//! Who manages what, told by scripts: a few writes, then the entries.

use serde_json::{Value, json};

use super::{apply::Refused, *};
use crate::registry::Registry;

fn schema(kind: &str) -> std::sync::Arc<Schema> {
    let registry = Registry::builtin();
    registry
        .iter()
        .find(|row| row.kind == kind)
        .unwrap()
        .schema()
}

fn writer<'a>(manager: &'a str, schema: &'a Schema) -> Writer<'a> {
    Writer {
        manager,
        api_version: "apps/v1",
        subresource: None,
        time: "2026-01-02T03:04:05Z",
        schema,
    }
}

fn deployment(replicas: Value, containers: Value) -> Value {
    let mut object = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "labels": {"app": "web"}},
        "spec": {"selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": containers}}}});
    if !replicas.is_null() {
        object["spec"]["replicas"] = replicas;
    }
    object
}

/// Every entry as `manager Operation: fieldsV1`.
fn told(object: &Value) -> Vec<String> {
    let entries = object["metadata"]["managedFields"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let shown = entries.iter().map(|entry| {
        let text = |name: &str| entry[name].as_str().unwrap_or_default();
        format!(
            "{} {}: {}",
            text("manager"),
            text("operation"),
            entry["fieldsV1"]
        )
    });
    shown.collect()
}

fn set(fields: Value) -> Set {
    Set::parse(&fields).unwrap()
}

#[test]
fn sets_survive_their_encoding_and_do_what_sets_do() {
    let a = json!({"f:a": {}, "f:b": {".": {}, "f:c": {}}, "f:l": {"k:{\"n\":\"x\",\"p\":80}": {".": {}, "f:q": {}}, "v:\"s\"": {}, "i:3": {}}});
    assert_eq!(set(a.clone()).encode(), a);
    let b = json!({"f:b": {"f:c": {}}, "f:d": {}});
    let both = set(a.clone()).union(&set(b.clone()));
    assert_eq!(both.difference(&set(a.clone())), set(json!({"f:d": {}})));
    assert_eq!(both.intersection(&set(b.clone())), set(b));
    assert!(set(a.clone()).difference(&both).is_empty());
    for bad in [
        json!([]),
        json!({"x": {}}),
        json!({"f:a": 1}),
        json!({"k:x": {}}),
        json!({"k:{}": {}}),
        json!({"i:-1": {}}),
    ] {
        assert_eq!(Set::parse(&bad), None, "{bad}");
    }
    let path = [
        Element::field("spec"),
        Element::parse(r#"k:{"port":80,"name":"a"}"#).unwrap(),
        Element::parse(r#"v:"x""#).unwrap(),
    ];
    assert_eq!(fields::shown(&path), r#".spec[name="a",port=80][="x"]"#);
}

#[test]
fn a_new_object_is_managed_by_who_made_it() {
    let schema = schema("Deployment");
    let mut object = deployment(
        json!(2),
        json!([{"name": "a", "image": "x", "ports": [{"containerPort": 80}], "resources": {}}]),
    );
    update::update(None, &mut object, &writer("kubectl-create", &schema));
    let expected = json!({
        "f:metadata": {"f:labels": {".": {}, "f:app": {}}},
        "f:spec": {"f:replicas": {}, "f:selector": {}, "f:template": {
            "f:metadata": {"f:labels": {".": {}, "f:app": {}}},
            "f:spec": {"f:containers": {"k:{\"name\":\"a\"}": {".": {}, "f:image": {}, "f:name": {}, "f:resources": {},
                "f:ports": {".": {}, "k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}}}}}}}}});
    assert_eq!(
        told(&object),
        [format!("kubectl-create Update: {expected}")]
    );
    let entry = &object["metadata"]["managedFields"][0];
    assert_eq!(entry["time"], "2026-01-02T03:04:05Z");
    assert_eq!(
        (&entry["apiVersion"], &entry["fieldsType"]),
        (&json!("apps/v1"), &json!("FieldsV1"))
    );
}

#[test]
fn who_changes_a_field_takes_it_and_who_removes_it_loses_it() {
    let schema = schema("Deployment");
    let containers = json!([{"name": "a", "image": "x"}]);
    let mut first = deployment(json!(2), containers.clone());
    update::update(None, &mut first, &writer("one", &schema));
    let mut second = first.clone();
    second["spec"]["replicas"] = json!(3);
    second["metadata"]["labels"] = json!({"tier": "front"});
    update::update(Some(&first), &mut second, &writer("two", &schema));
    assert_eq!(
        told(&second)[1],
        r#"two Update: {"f:metadata":{"f:labels":{"f:tier":{}}},"f:spec":{"f:replicas":{}}}"#
    );
    let one = &told(&second)[0];
    assert!(
        !one.contains("f:replicas") && one.contains(r#""f:metadata":{"f:labels":{}}"#),
        "{one}"
    );

    // The status of another subresource is another entry; nothing changed is nothing new.
    let mut third = second.clone();
    third["status"] = json!({"replicas": 1});
    let by = Writer {
        subresource: Some("status"),
        ..writer("two", &schema)
    };
    update::update(Some(&second), &mut third, &by);
    assert_eq!(told(&third).len(), 3);
    assert_eq!(
        third["metadata"]["managedFields"][2]["subresource"],
        "status"
    );
    let mut same = third.clone();
    let later = Writer {
        time: "2027-01-01T00:00:00Z",
        ..by
    };
    update::update(Some(&third), &mut same, &later);
    assert_eq!(same, third);
}

#[test]
fn entries_can_be_set_and_taken_away() {
    let schema = schema("Deployment");
    let mut object = deployment(json!(2), json!([{"name": "a", "image": "x"}]));
    update::update(None, &mut object, &writer("one", &schema));
    // A client that does not know the field does not lose it.
    let mut without = bare(&object);
    update::update(Some(&object), &mut without, &writer("two", &schema));
    assert_eq!(without, object);
    let mut renamed = object.clone();
    renamed["metadata"]["managedFields"][0]["manager"] = json!("other");
    let expected = renamed.clone();
    update::update(Some(&object), &mut renamed, &writer("two", &schema));
    assert_eq!(renamed, expected);
    let mut reset = object.clone();
    reset["metadata"]["managedFields"] = json!([{}]);
    update::update(Some(&object), &mut reset, &writer("two", &schema));
    assert_eq!(told(&reset), Vec::<String>::new());
    // What is not tracked stays untracked until it is applied.
    let mut changed = reset.clone();
    changed["spec"]["replicas"] = json!(9);
    update::update(Some(&reset), &mut changed, &writer("two", &schema));
    assert_eq!(told(&changed), Vec::<String>::new());
    let config = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {"paused": true}});
    let applied = apply::apply(Some(&changed), &config, &writer("me", &schema), false).unwrap();
    assert_eq!(told(&applied)[0], r#"me Apply: {"f:spec":{"f:paused":{}}}"#);
    assert!(
        told(&applied)[1].starts_with("before-first-apply Update: "),
        "{:?}",
        told(&applied)
    );
}

#[test]
fn what_is_applied_no_more_goes_unless_somebody_else_manages_it() {
    let schema = schema("Deployment");
    let me = writer("me", &schema);
    let both = deployment(
        json!(2),
        json!([{"name": "a", "image": "x"}, {"name": "b", "image": "y"}]),
    );
    let first = apply::apply(None, &both, &me, false).unwrap();
    // Another adds an environment to b, and a container.
    let mut second = first.clone();
    let containers = second["spec"]["template"]["spec"]["containers"]
        .as_array_mut()
        .unwrap();
    containers[0]["env"] = json!([{"name": "E", "value": "1"}]);
    containers.push(json!({"name": "c", "image": "z"}));
    update::update(Some(&first), &mut second, &writer("other", &schema));
    let less = deployment(Value::Null, json!([{"name": "a", "image": "x"}]));
    let third = apply::apply(Some(&second), &less, &me, false).unwrap();
    assert_eq!(third["spec"].get("replicas"), None);
    assert_eq!(
        third["spec"]["template"]["spec"]["containers"],
        json!([{"name": "a", "image": "x", "env": [{"name": "E", "value": "1"}]}, {"name": "c", "image": "z"}])
    );
    let again = apply::apply(
        Some(&third),
        &less,
        &Writer {
            time: "2027-01-01T00:00:00Z",
            ..me
        },
        false,
    )
    .unwrap();
    assert_eq!(again, third, "applied again, nothing is new");
}

#[test]
fn conflicts_are_told_and_can_be_forced() {
    let schema = schema("Deployment");
    let containers = json!([{"name": "a", "image": "x"}]);
    let first = apply::apply(
        None,
        &deployment(json!(2), containers.clone()),
        &writer("me", &schema),
        false,
    )
    .unwrap();
    let mut second = first.clone();
    second["spec"]["replicas"] = json!(5);
    update::update(Some(&first), &mut second, &writer("scaler", &schema));
    let config = deployment(json!(2), containers);
    let Err(Refused::Conflicts(conflicts)) =
        apply::apply(Some(&second), &config, &writer("me", &schema), false)
    else {
        panic!("no conflict");
    };
    assert_eq!(conflicts.len(), 1);
    assert_eq!(conflicts[0].field, ".spec.replicas");
    assert_eq!(
        conflicts[0].manager,
        "\"scaler\" using apps/v1 at 2026-01-02T03:04:05Z"
    );
    let forced = apply::apply(Some(&second), &config, &writer("me", &schema), true).unwrap();
    assert_eq!(forced["spec"]["replicas"], 2);
    assert_eq!(told(&forced).len(), 1);
    // Two that apply the same value share it; a third value conflicts with both.
    let shared = apply::apply(Some(&forced), &config, &writer("you", &schema), false).unwrap();
    assert_eq!(told(&shared).len(), 2);
    let mut third = config.clone();
    third["spec"]["replicas"] = json!(9);
    let Err(Refused::Conflicts(conflicts)) =
        apply::apply(Some(&shared), &third, &writer("she", &schema), false)
    else {
        panic!("no conflict");
    };
    assert_eq!(
        conflicts
            .iter()
            .map(|c| c.manager.as_str())
            .collect::<Vec<_>>(),
        ["\"me\"", "\"you\""]
    );
}

#[test]
fn what_kubectl_applied_on_its_side_it_may_take_over() {
    let schema = schema("Deployment");
    let config = deployment(json!(2), json!([{"name": "a", "image": "x"}]));
    let mut object = config.clone();
    object["metadata"]["annotations"] =
        json!({"kubectl.kubernetes.io/last-applied-configuration": format!("{config}\n")});
    update::update(
        None,
        &mut object,
        &writer("kubectl-client-side-apply", &schema),
    );
    let mut changed = config.clone();
    changed["spec"]["replicas"] = json!(3);
    let refused = apply::apply(Some(&object), &changed, &writer("somebody", &schema), false);
    assert!(matches!(refused, Err(Refused::Conflicts(_))));
    let taken = apply::apply(Some(&object), &changed, &writer("kubectl", &schema), false).unwrap();
    assert_eq!(taken["spec"]["replicas"], 3);
    let last = taken["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"]
        .as_str()
        .unwrap();
    assert_eq!(last, format!("{changed}\n"));
}

#[test]
fn what_is_no_configuration_is_refused_in_upstreams_words() {
    let schema = schema("Deployment");
    let me = writer("me", &schema);
    let refused = |config: Value| match apply::apply(None, &config, &me, false) {
        Err(Refused::Untyped(why)) => why,
        other => panic!("{other:?}"),
    };
    let mut unknown = deployment(json!(1), json!([]));
    unknown["spec"]["foo"] = json!(1);
    assert_eq!(refused(unknown), ".spec.foo: field not declared in schema");
    let twice = deployment(json!(1), json!([{"name": "a"}, {"name": "a"}]));
    assert_eq!(
        refused(twice),
        ".spec.template.spec.containers: duplicate entries for key [name=\"a\"]"
    );
    let nameless = deployment(json!(1), json!([{"image": "a"}]));
    assert_eq!(
        refused(nameless),
        ".spec.template.spec.containers: element 0: associative list with keys has an element that omits key field \"name\" (and doesn't have default value)"
    );
}

#[test]
fn merged_lists_keep_the_order_of_the_configuration() {
    let schema = schema("Deployment");
    let names = |containers: &Value| -> Vec<String> {
        let containers = containers.as_array().unwrap().iter();
        containers
            .map(|one| one["name"].as_str().unwrap().to_owned())
            .collect()
    };
    let list = |names: &[&str]| {
        names
            .iter()
            .map(|name| json!({"name": name}))
            .collect::<Vec<_>>()
    };
    for (live, config, expected) in [
        (&["a", "b", "c"][..], &["c", "a"][..], &["b", "c", "a"][..]),
        (&["a", "b"], &["x", "b"], &["a", "x", "b"]),
        (&["a", "b", "c"], &["a", "b", "c"], &["a", "b", "c"]),
        (&[], &["a"], &["a"]),
        (&["a"], &[], &["a"]),
    ] {
        let live = deployment(json!(1), json!(list(live)));
        let config = deployment(json!(1), json!(list(config)));
        let merged = merge::merge(&live, &config, &schema);
        let merged = names(&merged["spec"]["template"]["spec"]["containers"]);
        assert_eq!(merged, expected);
    }
}

#[test]
fn many_that_update_become_one() {
    let schema = schema("Deployment");
    let mut object = deployment(json!(1), json!([{"name": "a", "image": "x"}]));
    update::update(None, &mut object, &writer("m00", &schema));
    for n in 1..25 {
        let before = object.clone();
        object["metadata"]["labels"][format!("l{n}")] = json!("x");
        let (name, time) = (format!("m{n:02}"), format!("2026-01-02T03:05:{n:02}Z"));
        let by = Writer {
            time: &time,
            ..writer(&name, &schema)
        };
        update::update(Some(&before), &mut object, &by);
    }
    let told = told(&object);
    assert_eq!(told.len(), 10);
    assert!(
        told.iter()
            .any(|entry| entry.starts_with("ancient-changes Update: ")),
        "{told:?}"
    );
    assert!(told.last().unwrap().starts_with("m24 Update"));
}
