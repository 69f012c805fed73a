//! Every field of every kind survives the way to bytes and back; bad bytes are refused in upstream's words.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::{
    registry::{Registry, Verb},
    upstream::{Field, Form, Many, Message, Of},
};

/// An object with every field of a message, down to a depth.
fn full(of: &Message, depth: usize) -> Value {
    let child = |place: u16| {
        table()
            .at(place)
            .map_or(Value::Null, |of| full(of, depth + 1))
    };
    match of.form {
        Form::Quantity => return json!("500m"),
        Form::IntOrString => return json!("25%"),
        Form::Time => return json!("2026-01-02T03:04:05Z"),
        Form::MicroTime => return json!("2026-01-02T03:04:05.678901Z"),
        Form::Duration => return json!("1m30s"),
        Form::Json => return json!({"f:spec": {"k:{\"a\":1}": {}}}),
        Form::Items => return json!(["a", "b"]),
        Form::BoolOrSchema => return json!(true),
        Form::SchemaOr if of.name.ends_with("StringArray") => return json!(["a"]),
        Form::SchemaOr => return json!([{"type": "string"}]),
        Form::Object => {}
    }
    let mut object = Map::new();
    // Schemas contain schemas in a dozen fields.
    if depth > 6 || depth > 5 && of.name == "apiextensions.v1.JSONSchemaProps" {
        return Value::Object(object);
    }
    for field in table().fields(of) {
        let value = match field.of {
            Of::String => json!("text"),
            Of::Bytes => json!("aGk="),
            Of::Bool => json!(true),
            Of::Int32 => json!(-7),
            Of::Int64 => json!(1_i64 << 40),
            Of::Double => json!(1.5),
            Of::Message(place) => child(place),
        };
        if field.inline {
            let inner = value.as_object().cloned().unwrap_or_default();
            object.extend(inner);
            continue;
        }
        let value = match field.many {
            Many::One => value,
            Many::List => json!([value, value]),
            Many::Map => json!({"k1": value, "k2": value}),
        };
        object.insert(field.name.to_owned(), value);
    }
    Value::Object(object)
}

#[test]
fn every_field_of_every_kind_survives() {
    let mut met = 0;
    for row in Registry::builtin().iter() {
        let api_version = row.api_version();
        let Some(message) = table().kind(&api_version, &row.kind) else {
            continue;
        };
        let mut object = full(message, 0);
        object["apiVersion"] = json!(api_version);
        object["kind"] = json!(row.kind);
        let bytes = encode(&object).unwrap().unwrap();
        assert_eq!(decode(&bytes, ("", "")).unwrap(), object, "{}", row.kind);
        met += 1;
        if row.allows(Verb::List) {
            let meta = json!({"resourceVersion": "7", "remainingItemCount": 3});
            let list = List::begin(&api_version, &row.list_kind, &row.kind, &meta);
            let mut list = list.unwrap().unwrap();
            list.add(&object).unwrap();
            list.add(&object).unwrap();
            let decoded = decode(&list.finish().concat(), ("", "")).unwrap();
            assert_eq!(decoded["metadata"], meta);
            for item in decoded["items"].as_array().unwrap() {
                assert_eq!(item["metadata"], object["metadata"], "{}", row.list_kind);
            }
        }
    }
    assert!(met > 20, "only {met} kinds");
}

/// What kubectl sends for `kubectl create configmap a --from-literal=k=v`, by hand.
const CONFIG_MAP: &[u8] =
    b"k8s\0\x0a\x0f\x0a\x02v1\x12\x09ConfigMap\x12\x1b\x0a\x11\x0a\x01a\x12\x00\x1a\x00\x22\x00\x2a\x002\x008\x00B\x00\x12\x06\x0a\x01k\x12\x01v\x1a\x00\x22\x00";

#[test]
fn what_go_writes_is_read_and_its_zeros_are_left_out() {
    assert_eq!(
        decode(CONFIG_MAP, ("", "")).unwrap(),
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"k": "v"}})
    );
    // A pointer's zero is a value: replicas is one, minReadySeconds is not.
    let spec = b"\x08\x00\x28\x00";
    let mut raw = vec![0x12, spec.len() as u8];
    raw.extend_from_slice(spec);
    let mut body = b"k8s\0\x12\x06".to_vec();
    body.extend_from_slice(&raw);
    let decoded = decode(&body, ("apps/v1", "Deployment")).unwrap();
    assert_eq!(decoded["spec"], json!({"replicas": 0}));
    assert_eq!(decoded["kind"], "Deployment");
}

#[test]
fn kinds_of_every_group_are_known() {
    for (api_version, kind) in [
        ("v1", "DeleteOptions"),
        ("apps/v1", "DeleteOptions"),
        ("v1", "Status"),
        ("autoscaling/v1", "Scale"),
        ("policy/v1", "Eviction"),
        ("v1", "Binding"),
        ("authentication.k8s.io/v1", "TokenRequest"),
        ("authorization.k8s.io/v1", "SelfSubjectAccessReview"),
        ("meta.k8s.io/v1", "PartialObjectMetadataList"),
        ("rbac.authorization.k8s.io/v1", "Role"),
    ] {
        assert!(has(api_version, kind), "{api_version} {kind}");
    }
    assert!(!has("example.com/v1", "Widget") && !has("meta.k8s.io/v1", "Table"));
}

#[test]
fn bad_bytes_are_refused_in_upstreams_words() {
    for (body, told) in [
        (&b""[..], "empty data"),
        (
            b"{}",
            "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]",
        ),
        (b"k8s\0", "empty body"),
        (b"k8s\0\x0a", "unexpected EOF"),
        (b"k8s\0\x0a\x05v1", "unexpected EOF"),
        (
            b"k8s\0\x08\x01",
            "proto: wrong wireType = 0 for field TypeMeta",
        ),
        (b"k8s\0\x0f\x01", "proto: illegal wireType 7"),
        (
            b"k8s\0\x02\x00",
            "proto: Unknown: illegal tag 0 (wire type 2)",
        ),
        (b"k8s\0\x12\x02\x0a\x05", "unexpected EOF"),
        (
            b"k8s\0\x12\x02\x08\x01",
            "proto: wrong wireType = 0 for field metadata",
        ),
        (
            b"k8s\0\x12\x05\x0a\x03\x0a\x01\xff",
            "proto: field name contains invalid UTF-8",
        ),
        (
            b"k8s\0\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
            "proto: integer overflow",
        ),
    ] {
        let error = decode(body, ("v1", "ConfigMap")).unwrap_err();
        assert_eq!(error.to_string(), told, "{body:?}");
    }
    let unknown = b"k8s\0\x0a\x0a\x0a\x02v1\x12\x04Nope";
    assert_eq!(
        decode(unknown, ("", "")).unwrap_err().to_string(),
        "no kind \"Nope\" is registered for version \"v1\" in scheme \"coracle\""
    );
}

#[test]
fn deep_nesting_is_refused() {
    // JSONSchemaProps.not, which is a schema again.
    let place = |name: &str, of: &str| {
        let message = table().message(of).unwrap();
        let fields: &[Field] = table().fields(message);
        u32::from(
            fields
                .iter()
                .find(|field| field.name == name)
                .unwrap()
                .number,
        )
    };
    let not = place("not", "apiextensions.v1.JSONSchemaProps");
    let mut inner = Vec::new();
    for _ in 0..5_000 {
        let mut writer = Writer::default();
        writer.bytes(not, &inner);
        inner = writer.into_bytes();
    }
    for (name, of) in [
        (
            "openAPIV3Schema",
            "apiextensions.v1.CustomResourceValidation",
        ),
        ("schema", "apiextensions.v1.CustomResourceDefinitionVersion"),
        ("versions", "apiextensions.v1.CustomResourceDefinitionSpec"),
        ("spec", "apiextensions.v1.CustomResourceDefinition"),
    ] {
        let mut writer = Writer::default();
        writer.bytes(place(name, of), &inner);
        inner = writer.into_bytes();
    }
    let mut body = Writer::starting_with(MAGIC);
    body.bytes(envelope::RAW, &inner);
    let kind = ("apiextensions.k8s.io/v1", "CustomResourceDefinition");
    let error = decode(&body.into_bytes(), kind).unwrap_err();
    assert_eq!(error.to_string(), "exceeded max depth");
}

#[test]
fn a_watch_frame_is_its_length_and_an_event() {
    let frame = frame("ADDED", b"k8s\0x");
    assert_eq!(frame, b"\0\0\0\x10\x0a\x05ADDED\x12\x07\x0a\x05k8s\0x");
}

proptest! {
    #[test]
    fn any_bytes_are_decoded_or_refused(tail in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mut body = b"k8s\0\x12".to_vec();
        body.push(u8::try_from(tail.len().min(127)).unwrap());
        body.extend_from_slice(&tail);
        let _ = decode(&body, ("v1", "Pod"));
        let _ = decode(&body, ("apiextensions.k8s.io/v1", "CustomResourceDefinition"));
    }

    #[test]
    fn a_body_cut_off_inside_a_field_is_refused(cut in 5_usize..CONFIG_MAP.len()) {
        let between_fields = [21, 50, 52].contains(&cut);
        prop_assert_eq!(decode(&CONFIG_MAP[..cut], ("", "")).is_ok(), between_fields);
    }
}
