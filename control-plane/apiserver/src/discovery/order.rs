//! Groups, versions and kinds in the order clients are told of them. The order decides what a short name means that two groups have.

use std::sync::Arc;

use coracle_api::registry::{Registry, Resource};

/// A group with its versions, best first.
pub(super) struct Group {
    /// Empty for core.
    pub name: String,
    /// Best first.
    pub versions: Vec<Version>,
}

/// A version with its kinds in the order of their plurals.
pub(super) struct Version {
    pub name: String,
    pub resources: Vec<Arc<Resource>>,
}

/// Upstream's order of its groups. Others come behind, by name.
const GROUPS: [&str; 18] = [
    "",
    "apps",
    "events.k8s.io",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "autoscaling",
    "batch",
    "certificates.k8s.io",
    "networking.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "storage.k8s.io",
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "scheduling.k8s.io",
    "coordination.k8s.io",
    "node.k8s.io",
    "discovery.k8s.io",
];

/// The verbs of a kind as discovery lists them.
pub(super) fn verbs(resource: &Resource) -> Vec<&'static str> {
    resource.verbs.iter().map(|verb| verb.as_str()).collect()
}

/// The registry in order.
pub(super) fn groups(registry: &Registry) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for resource in registry.iter() {
        let group = match groups.iter().position(|group| group.name == resource.group) {
            Some(found) => found,
            None => {
                groups.push(Group {
                    name: resource.group.to_string(),
                    versions: Vec::new(),
                });
                groups.len() - 1
            }
        };
        let Some(group) = groups.get_mut(group) else {
            continue;
        };
        match group
            .versions
            .iter_mut()
            .find(|v| v.name == resource.version)
        {
            Some(version) => version.resources.push(Arc::clone(resource)),
            None => group.versions.push(Version {
                name: resource.version.to_string(),
                resources: vec![Arc::clone(resource)],
            }),
        }
    }
    for group in &mut groups {
        group
            .versions
            .sort_by_key(|version| std::cmp::Reverse(rank(&version.name)));
        for version in &mut group.versions {
            version.resources.sort_by(|a, b| a.plural.cmp(&b.plural));
        }
    }
    let place = |name: &str| {
        GROUPS
            .iter()
            .position(|known| *known == name)
            .unwrap_or(GROUPS.len())
    };
    groups.sort_by(|a, b| (place(&a.name), &a.name).cmp(&(place(&b.name), &b.name)));
    groups
}

/// How good a version is (Kubernetes' version priority): stable before beta before alpha, higher numbers first, anything else last.
fn rank(version: &str) -> (u8, u32, u32, std::cmp::Reverse<String>) {
    let parse = || -> Option<(u8, u32, u32)> {
        let rest = version.strip_prefix('v')?;
        for (level, stage) in [(2, "beta"), (1, "alpha")] {
            if let Some((major, minor)) = rest.split_once(stage) {
                return Some((level, major.parse().ok()?, minor.parse().ok()?));
            }
        }
        Some((3, rest.parse().ok()?, 0))
    };
    let (level, major, minor) = parse().unwrap_or((0, 0, 0));
    (level, major, minor, std::cmp::Reverse(version.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stable_versions_come_first() {
        let mut versions = [
            "v1beta1", "foo", "v2", "v1alpha3", "v10", "v1", "v2beta1", "v1beta2", "bar",
        ];
        versions.sort_by_key(|version| std::cmp::Reverse(rank(version)));
        assert_eq!(
            versions,
            [
                "v10", "v2", "v1", "v2beta1", "v1beta2", "v1beta1", "v1alpha3", "bar", "foo"
            ]
        );
    }
}
