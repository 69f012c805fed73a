//! Kinds as controllers name them: enough to find an object's URL and to write an owner reference. What a kind is made of is not known here.

use std::borrow::Cow;

/// Text that is part of the program for built-in kinds and found by discovery for others.
pub type Text = Cow<'static, str>;

/// A served kind in one version.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kind {
    /// API group; empty for core.
    pub group: Text,
    /// API version.
    pub version: Text,
    /// Kind.
    pub kind: Text,
    /// The resource's name in paths.
    pub plural: Text,
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
}

impl Kind {
    /// `Pod`
    pub const POD: Self = Self::built_in("", "v1", "Pod", "pods", true);
    /// `Node`
    pub const NODE: Self = Self::built_in("", "v1", "Node", "nodes", false);
    /// `Namespace`
    pub const NAMESPACE: Self = Self::built_in("", "v1", "Namespace", "namespaces", false);
    /// `Service`
    pub const SERVICE: Self = Self::built_in("", "v1", "Service", "services", true);
    /// `ServiceAccount`
    pub const SERVICE_ACCOUNT: Self =
        Self::built_in("", "v1", "ServiceAccount", "serviceaccounts", true);
    /// `ReplicaSet`
    pub const REPLICA_SET: Self = Self::built_in("apps", "v1", "ReplicaSet", "replicasets", true);
    /// `Deployment`
    pub const DEPLOYMENT: Self = Self::built_in("apps", "v1", "Deployment", "deployments", true);
    /// `Job`
    pub const JOB: Self = Self::built_in("batch", "v1", "Job", "jobs", true);
    /// `HorizontalPodAutoscaler`
    pub const AUTOSCALER: Self = Self::built_in(
        "autoscaling",
        "v2",
        "HorizontalPodAutoscaler",
        "horizontalpodautoscalers",
        true,
    );
    /// `EndpointSlice`
    pub const ENDPOINT_SLICE: Self = Self::built_in(
        "discovery.k8s.io",
        "v1",
        "EndpointSlice",
        "endpointslices",
        true,
    );
    /// `Lease`
    pub const LEASE: Self = Self::built_in("coordination.k8s.io", "v1", "Lease", "leases", true);

    /// `StatefulSet`
    pub const STATEFUL_SET: Self =
        Self::built_in("apps", "v1", "StatefulSet", "statefulsets", true);
    /// `DaemonSet`
    pub const DAEMON_SET: Self = Self::built_in("apps", "v1", "DaemonSet", "daemonsets", true);
    /// `ControllerRevision`
    pub const CONTROLLER_REVISION: Self = Self::built_in(
        "apps",
        "v1",
        "ControllerRevision",
        "controllerrevisions",
        true,
    );
    /// `PersistentVolumeClaim`
    pub const CLAIM: Self = Self::built_in(
        "",
        "v1",
        "PersistentVolumeClaim",
        "persistentvolumeclaims",
        true,
    );

    const fn built_in(
        group: &'static str,
        version: &'static str,
        kind: &'static str,
        plural: &'static str,
        namespaced: bool,
    ) -> Self {
        Self {
            group: Cow::Borrowed(group),
            version: Cow::Borrowed(version),
            kind: Cow::Borrowed(kind),
            plural: Cow::Borrowed(plural),
            namespaced,
        }
    }

    /// `v1` or `apps/v1`.
    #[must_use]
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_string()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// Whether `api_version` and `kind` name this kind, in whatever version.
    #[must_use]
    pub fn is(&self, api_version: &str, kind: &str) -> bool {
        self.kind == kind && self.group == group_of(api_version)
    }
}

/// The group in an `apiVersion`.
#[must_use]
pub fn group_of(api_version: &str) -> &str {
    api_version.split_once('/').map_or("", |(group, _)| group)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_the_same_in_every_version() {
        assert_eq!(Kind::POD.api_version(), "v1");
        assert_eq!(Kind::JOB.api_version(), "batch/v1");
        assert!(Kind::AUTOSCALER.is("autoscaling/v1", "HorizontalPodAutoscaler"));
        assert!(!Kind::POD.is("metrics.k8s.io/v1beta1", "Pod"));
    }
}
