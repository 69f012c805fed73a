//! What clients are told about subresources: the kind they speak and their verbs.

use coracle_api::registry::Resource;

/// A subresource as discovery describes it.
pub(super) struct Subresource {
    /// Group, version and kind where they are not those of the resource.
    pub kind: Option<(&'static str, &'static str, &'static str)>,
    pub verbs: &'static [&'static str],
}

/// Describes the subresource `name`.
pub(super) fn describe(_: &Resource, name: &str) -> Subresource {
    let (kind, verbs): (_, &'static [&'static str]) = match name {
        "scale" => (Some(("autoscaling", "v1", "Scale")), &["get", "patch", "update"]),
        "binding" => (Some(("", "v1", "Binding")), &["create"]),
        "eviction" => (Some(("policy", "v1", "Eviction")), &["create"]),
        "token" => (Some(("authentication.k8s.io", "v1", "TokenRequest")), &["create"]),
        "log" => (None, &["get"]),
        "finalize" => (None, &["update"]),
        "exec" => (Some(("", "v1", "PodExecOptions")), &["create", "get"]),
        "attach" => (Some(("", "v1", "PodAttachOptions")), &["create", "get"]),
        "portforward" => (Some(("", "v1", "PodPortForwardOptions")), &["create", "get"]),
        _ => (None, &["get", "patch", "update"]),
    };
    Subresource { kind, verbs }
}
