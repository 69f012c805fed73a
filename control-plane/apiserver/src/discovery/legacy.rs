//! Discovery in one document per group-version: what clients before 1.26 read, and some tools for ever.

use serde_json::{Value, json};

use super::order::{Group, Version, verbs};
use crate::meta;

/// All documents with their paths.
pub(super) fn documents(groups: &[Group]) -> Vec<(String, Value)> {
    let mut documents = Vec::new();
    let mut listed = Vec::new();
    let core_versions: Vec<_> = groups
        .iter()
        .filter(|group| group.name.is_empty())
        .flat_map(|group| group.versions.iter().map(|version| version.name.clone()))
        .collect();
    documents.push((
        "/api".to_owned(),
        json!({"kind": "APIVersions", "versions": core_versions,
            "serverAddressByClientCIDRs": []}),
    ));
    for group in groups {
        let root = match group.name.as_str() {
            "" => "/api".to_owned(),
            name => format!("/apis/{name}"),
        };
        for version in &group.versions {
            documents.push((
                format!("{root}/{}", version.name),
                resources(&group.name, version),
            ));
        }
        if group.name.is_empty() {
            continue;
        }
        let mut described = describe(group);
        listed.push(described.clone());
        meta::put(&mut described, "kind", json!("APIGroup"));
        meta::put(&mut described, "apiVersion", json!("v1"));
        documents.push((root, described));
    }
    documents.push((
        "/apis".to_owned(),
        json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": listed}),
    ));
    documents
}

fn describe(group: &Group) -> Value {
    let versions: Vec<_> = group
        .versions
        .iter()
        .map(|version| json!({"groupVersion": group_version(&group.name, &version.name), "version": version.name}))
        .collect();
    json!({"name": group.name, "preferredVersion": versions.first(), "versions": versions})
}

fn group_version(group: &str, version: &str) -> String {
    match group {
        "" => version.to_owned(),
        group => format!("{group}/{version}"),
    }
}

fn resources(group: &str, version: &Version) -> Value {
    let mut resources = Vec::new();
    for resource in &version.resources {
        let namespaced = !resource.is_cluster_scoped();
        let mut entry = json!({
            "name": resource.plural,
            "singularName": resource.singular,
            "namespaced": namespaced,
            "kind": resource.kind,
            "verbs": verbs(resource),
        });
        if !resource.short_names.is_empty() {
            meta::put(&mut entry, "shortNames", json!(resource.short_names));
        }
        if !resource.categories.is_empty() {
            meta::put(&mut entry, "categories", json!(resource.categories));
        }
        resources.push(entry);
        for sub in &resource.subresources {
            let mut entry = json!({
                "name": format!("{}/{}", resource.plural, sub.name),
                "singularName": "",
                "namespaced": namespaced,
                "kind": sub.kind,
                "verbs": sub.verbs,
            });
            if (sub.group.as_ref(), sub.version.as_ref()) != (group, version.name.as_str()) {
                meta::put(&mut entry, "group", json!(sub.group));
                meta::put(&mut entry, "version", json!(sub.version));
            }
            resources.push(entry);
        }
    }
    json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version(group, &version.name), "resources": resources})
}
