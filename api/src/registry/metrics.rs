//! Rows of metrics.k8s.io: what pods and nodes use, answered from the nodes. k8s-openapi has no types for them; theirs are here.

use std::{borrow::Cow, collections::BTreeMap};

use k8s_openapi::{
    ClusterResourceScope, ListableResource, NamespaceResourceScope,
    apimachinery::pkg::{
        api::resource::Quantity,
        apis::meta::v1::{ObjectMeta, Time},
    },
};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::json;

use super::{Resource, Scope, Storage, Verb, row::stored};
use crate::table;

/// `NodeMetrics` of metrics.k8s.io/v1beta1: its structure only, it is never constructed.
pub struct NodeMetrics;
/// `PodMetrics` of metrics.k8s.io/v1beta1: its structure only, it is never constructed.
pub struct PodMetrics;

pub(super) fn rows() -> Vec<Resource> {
    let only_read = |row: Resource| Resource {
        verbs: vec![Verb::Get, Verb::List],
        storage: Storage::Virtual,
        ..row
    };
    vec![
        only_read(stored::<NodeMetrics>("", Scope::Cluster))
            .with_table(table::metrics::columns(), table::metrics::node),
        only_read(stored::<PodMetrics>("", Scope::Namespaced))
            .with_table(table::metrics::columns(), table::metrics::pod),
    ]
}

impl k8s_openapi::Resource for NodeMetrics {
    const API_VERSION: &'static str = "metrics.k8s.io/v1beta1";
    const GROUP: &'static str = "metrics.k8s.io";
    const KIND: &'static str = "NodeMetrics";
    const VERSION: &'static str = "v1beta1";
    const URL_PATH_SEGMENT: &'static str = "nodes";
    type Scope = ClusterResourceScope;
}

impl ListableResource for NodeMetrics {
    const LIST_KIND: &'static str = "NodeMetricsList";
}

impl k8s_openapi::Resource for PodMetrics {
    const API_VERSION: &'static str = "metrics.k8s.io/v1beta1";
    const GROUP: &'static str = "metrics.k8s.io";
    const KIND: &'static str = "PodMetrics";
    const VERSION: &'static str = "v1beta1";
    const URL_PATH_SEGMENT: &'static str = "pods";
    type Scope = NamespaceResourceScope;
}

impl ListableResource for PodMetrics {
    const LIST_KIND: &'static str = "PodMetricsList";
}

impl JsonSchema for NodeMetrics {
    fn schema_name() -> Cow<'static, str> {
        "io.k8s.metrics.pkg.apis.metrics.v1beta1.NodeMetrics".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        object(generator, "What a node uses.", ("usage", usage))
    }
}

impl JsonSchema for PodMetrics {
    fn schema_name() -> Cow<'static, str> {
        "io.k8s.metrics.pkg.apis.metrics.v1beta1.PodMetrics".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        object(
            generator,
            "What the containers of a pod use.",
            ("containers", containers),
        )
    }
}

fn usage(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<BTreeMap<String, Quantity>>()
}

fn containers(generator: &mut SchemaGenerator) -> Schema {
    let usage = usage(generator);
    schemars::json_schema!({ "type": "array", "items": { "type": "object", "properties": { "name": { "type": "string" }, "usage": usage } } })
}

fn object(
    generator: &mut SchemaGenerator,
    description: &str,
    (name, part): (&str, fn(&mut SchemaGenerator) -> Schema),
) -> Schema {
    let mut properties = json!({
        "apiVersion": { "type": "string" },
        "kind": { "type": "string" },
        "metadata": generator.subschema_for::<ObjectMeta>(),
        "timestamp": generator.subschema_for::<Time>(),
        "window": { "type": "string" },
    });
    if let Some(properties) = properties.as_object_mut() {
        properties.insert(name.to_owned(), part(generator).to_value());
    }
    schemars::json_schema!({ "description": description, "type": "object", "properties": properties })
}
