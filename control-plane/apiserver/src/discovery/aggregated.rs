//! Aggregated discovery (apidiscovery.k8s.io, KEP-3352): everything in one document. v2 is what clients from 1.30 on read, v2beta1 what those from 1.26
//! read; the two differ in their version only.

use serde_json::{Value, json};

use super::order::{Group, Version, verbs};
use crate::meta;

/// The version of the document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AggregatedVersion {
    /// `apidiscovery.k8s.io/v2`.
    V2,
    /// `apidiscovery.k8s.io/v2beta1`.
    V2beta1,
}

impl AggregatedVersion {
    /// From the parameter `v` of a media type.
    pub(super) fn parse(text: &str) -> Option<Self> {
        match text {
            "v2" => Some(Self::V2),
            "v2beta1" => Some(Self::V2beta1),
            _ => None,
        }
    }

    fn api_version(self) -> &'static str {
        match self {
            Self::V2 => "apidiscovery.k8s.io/v2",
            Self::V2beta1 => "apidiscovery.k8s.io/v2beta1",
        }
    }

    /// The media type clients recognise the document by.
    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::V2 => "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
            Self::V2beta1 => {
                "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList"
            }
        }
    }
}

/// The document that describes `groups`.
pub(super) fn document<'a>(
    groups: impl Iterator<Item = &'a Group>,
    version: AggregatedVersion,
) -> Value {
    let items: Vec<_> = groups
        .map(|group| {
            let versions: Vec<_> = group.versions.iter().map(|v| of_version(&group.name, v)).collect();
            json!({"metadata": {"name": group.name, "creationTimestamp": null}, "versions": versions})
        })
        .collect();
    json!({"kind": "APIGroupDiscoveryList", "apiVersion": version.api_version(), "metadata": {}, "items": items})
}

fn of_version(group: &str, version: &Version) -> Value {
    let resources: Vec<_> = version
        .resources
        .iter()
        .map(|resource| {
            let kind = |group: &str, version: &str, kind: &str| {
                json!({"group": group, "version": version, "kind": kind})
            };
            let mut entry = json!({
                "resource": resource.plural,
                "responseKind": kind(group, &version.name, &resource.kind),
                "scope": if resource.is_cluster_scoped() { "Cluster" } else { "Namespaced" },
                "singularResource": resource.singular,
                "verbs": verbs(resource),
            });
            if !resource.short_names.is_empty() {
                meta::put(&mut entry, "shortNames", json!(resource.short_names));
            }
            if !resource.categories.is_empty() {
                meta::put(&mut entry, "categories", json!(resource.categories));
            }
            let subresources: Vec<_> = resource
                .subresources
                .iter()
                .map(|sub| {
                    json!({"subresource": sub.name, "responseKind": kind(&sub.group, &sub.version, &sub.kind), "verbs": sub.verbs})
                })
                .collect();
            if !subresources.is_empty() {
                meta::put(&mut entry, "subresources", json!(subresources));
            }
            entry
        })
        .collect();
    json!({"version": version.name, "resources": resources, "freshness": "Current"})
}
