//! How lists merge: the patch strategies and list types that Kubernetes declares on its Go types, as a table, because k8s-openapi's JSON schemas
//! leave them out. A field that is not here is atomic.

use super::Merging;

/// Struct (the last two parts of its definition's name), field, patch merge key (empty: a set of scalars), keeps keys, server-side apply keys.
type Row = (
    &'static str,
    &'static str,
    Option<&'static str>,
    bool,
    &'static [&'static str],
);

const ROWS: &[Row] = &[
    ("v1.ObjectMeta", "finalizers", Some(""), false, &[""]),
    (
        "v1.ObjectMeta",
        "ownerReferences",
        Some("uid"),
        false,
        &["uid"],
    ),
    ("v1.PodSpec", "containers", Some("name"), false, &["name"]),
    (
        "v1.PodSpec",
        "ephemeralContainers",
        Some("name"),
        false,
        &["name"],
    ),
    ("v1.PodSpec", "hostAliases", Some("ip"), false, &["ip"]),
    (
        "v1.PodSpec",
        "imagePullSecrets",
        Some("name"),
        false,
        &["name"],
    ),
    (
        "v1.PodSpec",
        "initContainers",
        Some("name"),
        false,
        &["name"],
    ),
    (
        "v1.PodSpec",
        "resourceClaims",
        Some("name"),
        true,
        &["name"],
    ),
    (
        "v1.PodSpec",
        "schedulingGates",
        Some("name"),
        false,
        &["name"],
    ),
    (
        "v1.PodSpec",
        "topologySpreadConstraints",
        Some("topologyKey"),
        false,
        &["topologyKey", "whenUnsatisfiable"],
    ),
    ("v1.PodSpec", "volumes", Some("name"), true, &["name"]),
    ("v1.Container", "env", Some("name"), false, &["name"]),
    (
        "v1.Container",
        "ports",
        Some("containerPort"),
        false,
        &["containerPort", "protocol"],
    ),
    (
        "v1.Container",
        "volumeDevices",
        Some("devicePath"),
        false,
        &["devicePath"],
    ),
    (
        "v1.Container",
        "volumeMounts",
        Some("mountPath"),
        false,
        &["mountPath"],
    ),
    (
        "v1.EphemeralContainer",
        "env",
        Some("name"),
        false,
        &["name"],
    ),
    (
        "v1.EphemeralContainer",
        "ports",
        Some("containerPort"),
        false,
        &["containerPort", "protocol"],
    ),
    (
        "v1.EphemeralContainer",
        "volumeDevices",
        Some("devicePath"),
        false,
        &["devicePath"],
    ),
    (
        "v1.EphemeralContainer",
        "volumeMounts",
        Some("mountPath"),
        false,
        &["mountPath"],
    ),
    ("v1.ResourceRequirements", "claims", None, false, &["name"]),
    ("v1.PodStatus", "conditions", Some("type"), false, &["type"]),
    ("v1.PodStatus", "hostIPs", Some("ip"), false, &[]),
    ("v1.PodStatus", "podIPs", Some("ip"), false, &["ip"]),
    (
        "v1.PodStatus",
        "resourceClaimStatuses",
        Some("name"),
        true,
        &["name"],
    ),
    (
        "v1.NamespaceStatus",
        "conditions",
        Some("type"),
        false,
        &["type"],
    ),
    ("v1.NodeSpec", "podCIDRs", Some(""), false, &[""]),
    ("v1.NodeStatus", "addresses", Some("type"), false, &["type"]),
    (
        "v1.NodeStatus",
        "conditions",
        Some("type"),
        false,
        &["type"],
    ),
    (
        "v1.PersistentVolumeClaimStatus",
        "conditions",
        Some("type"),
        false,
        &["type"],
    ),
    (
        "v1.ReplicationControllerStatus",
        "conditions",
        Some("type"),
        false,
        &["type"],
    ),
    (
        "v1.ResourceQuotaStatus",
        "conditions",
        Some("type"),
        false,
        &["type"],
    ),
    (
        "v1.ServiceAccount",
        "secrets",
        Some("name"),
        false,
        &["name"],
    ),
    (
        "v1.ServiceSpec",
        "ports",
        Some("port"),
        false,
        &["port", "protocol"],
    ),
    (
        "v1.ServiceStatus",
        "conditions",
        Some("type"),
        false,
        &["type"],
    ),
    (
        "v1.DaemonSetStatus",
        "conditions",
        Some("type"),
        false,
        &["type"],
    ),
    ("v1.DeploymentSpec", "strategy", None, true, &[]),
    (
        "v1.DeploymentStatus",
        "conditions",
        Some("type"),
        false,
        &["type"],
    ),
    (
        "v1.ReplicaSetStatus",
        "conditions",
        Some("type"),
        false,
        &["type"],
    ),
    (
        "v1.StatefulSetStatus",
        "conditions",
        Some("type"),
        false,
        &["type"],
    ),
    ("v1.JobStatus", "conditions", Some("type"), false, &[]),
    (
        "v2.HorizontalPodAutoscalerStatus",
        "conditions",
        Some("type"),
        false,
        &["type"],
    ),
    (
        "v1.PodDisruptionBudgetStatus",
        "conditions",
        Some("type"),
        false,
        &["type"],
    ),
    (
        "v1.CertificateSigningRequestStatus",
        "conditions",
        None,
        false,
        &["type"],
    ),
    (
        "v1.CustomResourceDefinitionStatus",
        "conditions",
        None,
        false,
        &["type"],
    ),
    (
        "v1.MutatingWebhookConfiguration",
        "webhooks",
        Some("name"),
        false,
        &["name"],
    ),
    (
        "v1.ValidatingWebhookConfiguration",
        "webhooks",
        Some("name"),
        false,
        &["name"],
    ),
];

/// How the field `field` of the definition `name` merges.
pub(super) fn of(name: &str, field: &str) -> Merging {
    let row = ROWS
        .iter()
        .find(|(of, named, ..)| *named == field && name.ends_with(of) && name.len() > of.len());
    let Some((_, _, patch_key, retain_keys, list_keys)) = row else {
        return Merging::default();
    };
    Merging {
        patch_key: *patch_key,
        retain_keys: *retain_keys,
        list_keys,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Registry;

    #[test]
    fn every_row_names_a_field_that_exists_or_a_kind_not_served() {
        let registry = Registry::builtin();
        let catalog = registry.catalog();
        let mut met = 0;
        for (of, field, ..) in ROWS {
            for structure in catalog
                .iter()
                .filter(|structure| structure.name.ends_with(&format!(".{of}")))
            {
                assert!(
                    structure.fields.contains_key(*field),
                    "{} has no field {field}",
                    structure.name
                );
                met += 1;
            }
        }
        assert!(met > 20, "only {met} rows met a served kind");
    }
}
