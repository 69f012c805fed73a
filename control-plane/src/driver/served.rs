//! Which kinds the API server serves, found by discovery: what to watch, what to empty namespaces of, and what an owner reference means.

use std::{collections::BTreeSet, sync::Arc};

use coracle_controllers::kind::{Kind, group_of};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::core::discovery::v2::{APIGroupDiscoveryList, APIResourceDiscovery};

use super::shelf;

/// Kinds whose objects come and go too fast to be worth following: nobody owns them and they own nobody. Upstream's garbage collector leaves out the same.
const UNWATCHED: [(&str, &str); 2] = [("", "Event"), ("events.k8s.io", "Event")];

/// The kinds that are served, by group, resource and version; the version that a group prefers comes first.
#[derive(Clone, Debug, Default)]
pub struct Served {
    entries: Vec<Entry>,
}

#[derive(Clone, Debug)]
struct Entry {
    kind: Arc<Kind>,
    /// Whether it can be listed, watched and deleted.
    is_watched: bool,
    /// Whether it can be listed and deleted.
    is_content: bool,
    /// Whether its group prefers this version of it.
    is_preferred: bool,
}

impl Served {
    /// Asks the API server.
    ///
    /// # Errors
    /// What the client says.
    pub async fn discover(client: &kube::Client) -> kube::Result<Self> {
        let core = client.list_core_api_versions_aggregated().await?;
        let groups = client.list_api_groups_aggregated().await?;
        Ok(Self::read([core, groups]))
    }

    fn read(lists: impl IntoIterator<Item = APIGroupDiscoveryList>) -> Self {
        let mut served = Self::default();
        let mut seen = BTreeSet::new();
        for group in lists.into_iter().flat_map(|list| list.items) {
            let name = group.metadata.and_then(|meta| meta.name);
            let name = name.unwrap_or_default();
            for version in group.versions {
                let of = version.version.unwrap_or_default();
                for resource in version.resources {
                    let Some(kind) = kind(&name, &of, &resource) else {
                        continue;
                    };
                    let has = |verb: &str| resource.verbs.iter().any(|one| one == verb);
                    let is_content = has("list") && has("delete") && has("deletecollection");
                    let is_preferred = seen.insert((kind.group.clone(), kind.plural.clone()));
                    served.entries.push(Entry {
                        is_watched: is_content && has("watch"),
                        is_content,
                        is_preferred,
                        kind: Arc::new(kind),
                    });
                }
            }
        }
        served
    }

    /// The kinds to follow by their metadata: those no controller needs more of, each in one version.
    pub fn watched(&self) -> impl Iterator<Item = &Arc<Kind>> {
        self.entries.iter().filter_map(|entry| {
            let kind = &entry.kind;
            let is_left_out = UNWATCHED.contains(&(&*kind.group, &*kind.kind));
            let is_known = shelf::WHOLE
                .iter()
                .any(|one| one.group == kind.group && one.plural == kind.plural);
            let is_meant = entry.is_watched && entry.is_preferred && !is_left_out && !is_known;
            is_meant.then_some(kind)
        })
    }

    /// The kinds of which something can be in a namespace and can be deleted, each in one version.
    pub fn contents(&self) -> impl Iterator<Item = &Arc<Kind>> {
        let entries = self.entries.iter();
        let meant =
            entries.filter(|entry| entry.is_content && entry.is_preferred && entry.kind.namespaced);
        meant.map(|entry| &entry.kind)
    }

    /// The kind that these words of an owner reference name, in that version or else in the preferred one.
    #[must_use]
    pub fn resolve(&self, api_version: &str, kind: &str) -> Option<&Arc<Kind>> {
        let group = group_of(api_version);
        let mut found = self
            .entries
            .iter()
            .filter(|entry| entry.kind.kind == kind && entry.kind.group == group);
        let exact = found
            .clone()
            .find(|entry| entry.kind.api_version() == api_version);
        exact
            .or_else(|| found.find(|entry| entry.is_preferred))
            .map(|entry| &entry.kind)
    }

    /// The kind of an owner.
    #[must_use]
    pub fn owner(&self, owner: &OwnerReference) -> Option<&Arc<Kind>> {
        self.resolve(&owner.api_version, &owner.kind)
    }
}

fn kind(group: &str, version: &str, resource: &APIResourceDiscovery) -> Option<Kind> {
    let kind = resource.response_kind.as_ref()?.kind.clone()?;
    Some(Kind {
        group: group.to_owned().into(),
        version: version.to_owned().into(),
        kind: kind.into(),
        plural: resource.resource.clone()?.into(),
        namespaced: resource.scope.as_deref() == Some("Namespaced"),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn served() -> Served {
        let resource = |plural: &str, kind: &str, scope: &str, verbs: &[&str]| json!({"resource": plural, "responseKind": {"group": "", "version": "", "kind": kind}, "scope": scope, "verbs": verbs});
        let all = ["list", "watch", "delete", "deletecollection"];
        let core = json!({"items": [{"versions": [{"version": "v1", "resources": [
            resource("pods", "Pod", "Namespaced", &all),
            resource("events", "Event", "Namespaced", &all),
            resource("persistentvolumes", "PersistentVolume", "Cluster", &all),
            resource("bindings", "Binding", "Namespaced", &["create"]),
        ]}]}]});
        let groups = json!({"items": [
            {"metadata": {"name": "x.io"}, "versions": [
                {"version": "v2", "resources": [resource("xs", "X", "Namespaced", &all)]},
                {"version": "v1", "resources": [resource("xs", "X", "Namespaced", &all), resource("olds", "Old", "Namespaced", &all)]},
            ]},
            {"metadata": {"name": "metrics.k8s.io"}, "versions": [
                {"version": "v1beta1", "resources": [resource("pods", "PodMetrics", "Namespaced", &["list"])]},
            ]},
        ]});
        Served::read([core, groups].map(|list| serde_json::from_value(list).unwrap()))
    }

    #[test]
    fn every_kind_is_followed_in_one_version() {
        let served = served();
        let names = |kinds: Vec<&Arc<Kind>>| {
            let name = |kind: &Arc<Kind>| format!("{}/{}", kind.api_version(), kind.plural);
            kinds.into_iter().map(name).collect::<Vec<_>>()
        };
        let watched = names(served.watched().collect());
        assert_eq!(
            watched,
            ["v1/persistentvolumes", "x.io/v2/xs", "x.io/v1/olds"]
        );
        let contents = names(served.contents().collect());
        assert_eq!(
            contents,
            ["v1/pods", "v1/events", "x.io/v2/xs", "x.io/v1/olds"]
        );
    }

    #[test]
    fn owners_are_found_in_the_version_they_name() {
        let served = served();
        let version = |api_version: &str, kind: &str| {
            let found = served.resolve(api_version, kind);
            found.map(|kind| kind.version.to_string())
        };
        assert_eq!(version("x.io/v1", "X").as_deref(), Some("v1"));
        assert_eq!(version("x.io/v3", "X").as_deref(), Some("v2"));
        assert_eq!(version("v1", "Pod").as_deref(), Some("v1"));
        assert_eq!(version("y.io/v1", "X"), None);
    }
}
