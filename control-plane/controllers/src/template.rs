//! Pods from pod templates.

use k8s_openapi::api::core::v1::PodTemplateSpec;
use serde_json::{Map, Value, json};

use crate::action::Target;

/// A pod made from a template, controlled by `owner`.
#[must_use]
pub fn pod(template: &PodTemplateSpec, owner: &Target, base: &str, name: &str) -> Value {
    let from = template.metadata.as_ref();
    let mut metadata = Map::new();
    metadata.insert("name".to_owned(), json!(name));
    metadata.insert("generateName".to_owned(), json!(base));
    if let Some(namespace) = &owner.key.namespace {
        metadata.insert("namespace".to_owned(), json!(namespace));
    }
    if let Some(from) = from {
        for (field, map) in [("labels", &from.labels), ("annotations", &from.annotations)] {
            if let Some(map) = map {
                metadata.insert(field.to_owned(), json!(map));
            }
        }
        if let Some(finalizers) = &from.finalizers {
            metadata.insert("finalizers".to_owned(), json!(finalizers));
        }
    }
    metadata.insert(
        "ownerReferences".to_owned(),
        json!([owner.controller_ref()]),
    );
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": template.spec,
    })
}
