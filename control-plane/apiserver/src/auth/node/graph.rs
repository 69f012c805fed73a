//! Which pods are bound to which node, and which objects they refer to. Pure: fed with stored pods. Answers in constant time per question.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use serde::{Deserialize, de::IgnoredAny};

use crate::auth::rbac::rule::or_default;

/// A kind of object that pods refer to by name in their own namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Referred {
    /// A Secret: volume, environment, or pull secret.
    Secret,
    /// A ConfigMap: volume or environment.
    ConfigMap,
    /// The pod's service account.
    ServiceAccount,
    /// A claim mounted as a volume.
    PersistentVolumeClaim,
}

/// Pods, nodes, and what they refer to.
#[derive(Debug, Default)]
pub struct Graph {
    pods: HashMap<PodKey, BoundPod>,
    /// How many pods of each node refer to an object.
    referring: HashMap<Reference, HashMap<Arc<str>, u32>>,
}

/// Namespace and name.
type PodKey = (Arc<str>, Arc<str>);
/// Kind, namespace and name.
type Reference = (Referred, Arc<str>, Arc<str>);

#[derive(Debug)]
struct BoundPod {
    node: Arc<str>,
    references: BTreeSet<(Referred, Arc<str>)>,
}

impl Graph {
    /// Takes in a stored pod, or forgets it (`None`). A pod that is not bound to a node is not kept; one that has ended refers to nothing any more.
    ///
    /// # Errors
    /// When the pod cannot be read; then no node may touch it.
    pub fn apply(
        &mut self,
        namespace: &str,
        name: &str,
        pod: Option<&[u8]>,
    ) -> Result<(), serde_json::Error> {
        let key: PodKey = (namespace.into(), name.into());
        self.forget(&key);
        let Some(pod) = pod else {
            return Ok(());
        };
        let pod: Pod = serde_json::from_slice(pod)?;
        if pod.spec.node_name.is_empty() {
            return Ok(());
        }
        let node: Arc<str> = pod.spec.node_name.as_str().into();
        let ended = matches!(pod.status.phase.as_str(), "Succeeded" | "Failed");
        let references = if ended {
            BTreeSet::new()
        } else {
            pod.spec.references(name)
        };
        for (kind, object) in &references {
            let reference = (*kind, Arc::clone(&key.0), Arc::clone(object));
            let nodes = self.referring.entry(reference).or_default();
            *nodes.entry(Arc::clone(&node)).or_default() += 1;
        }
        self.pods.insert(key, BoundPod { node, references });
        Ok(())
    }

    fn forget(&mut self, key: &PodKey) {
        let Some(pod) = self.pods.remove(key) else {
            return;
        };
        for (kind, object) in pod.references {
            let reference = (kind, Arc::clone(&key.0), object);
            let Some(nodes) = self.referring.get_mut(&reference) else {
                continue;
            };
            if let Some(count) = nodes.get_mut(&pod.node) {
                *count = count.saturating_sub(1);
                if *count == 0 {
                    nodes.remove(&pod.node);
                }
            }
            if nodes.is_empty() {
                self.referring.remove(&reference);
            }
        }
    }

    /// Whether the pod is bound to `node`.
    #[must_use]
    pub fn is_bound(&self, namespace: &str, name: &str, node: &str) -> bool {
        let key: PodKey = (namespace.into(), name.into());
        self.pods.get(&key).is_some_and(|pod| &*pod.node == node)
    }

    /// Whether the pod is bound to another node than `node`.
    #[must_use]
    pub fn is_elsewhere(&self, namespace: &str, name: &str, node: &str) -> bool {
        let key: PodKey = (namespace.into(), name.into());
        self.pods.get(&key).is_some_and(|pod| &*pod.node != node)
    }

    /// Whether a pod bound to `node` refers to the object.
    #[must_use]
    pub fn refers(&self, node: &str, kind: Referred, namespace: &str, name: &str) -> bool {
        let reference: Reference = (kind, namespace.into(), name.into());
        self.referring
            .get(&reference)
            .is_some_and(|nodes| nodes.contains_key(node))
    }

    /// How many bound pods are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pods.len()
    }

    /// Whether no bound pod is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pods.is_empty()
    }
}

/// What of a pod is read; everything else is skipped over. Null is nothing, everywhere.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Pod {
    #[serde(deserialize_with = "or_default")]
    spec: Spec,
    #[serde(deserialize_with = "or_default")]
    status: Status,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Status {
    #[serde(deserialize_with = "or_default")]
    phase: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    #[serde(deserialize_with = "or_default")]
    node_name: String,
    #[serde(deserialize_with = "or_default")]
    service_account_name: String,
    #[serde(deserialize_with = "or_default")]
    image_pull_secrets: Vec<Named>,
    #[serde(deserialize_with = "or_default")]
    volumes: Vec<Volume>,
    #[serde(deserialize_with = "or_default")]
    containers: Vec<Container>,
    #[serde(deserialize_with = "or_default")]
    init_containers: Vec<Container>,
    #[serde(deserialize_with = "or_default")]
    ephemeral_containers: Vec<Container>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Named {
    #[serde(deserialize_with = "or_default")]
    name: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Volume {
    #[serde(deserialize_with = "or_default")]
    name: String,
    secret: Option<SecretVolume>,
    config_map: Option<Named>,
    projected: Option<Projected>,
    persistent_volume_claim: Option<Claim>,
    ephemeral: Option<IgnoredAny>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct SecretVolume {
    #[serde(deserialize_with = "or_default")]
    secret_name: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Claim {
    #[serde(deserialize_with = "or_default")]
    claim_name: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Projected {
    #[serde(deserialize_with = "or_default")]
    sources: Vec<Source>,
}

/// A projected volume's source; also a container's `envFrom` and an environment variable's source, whose fields have other names.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Source {
    #[serde(alias = "secretRef", alias = "secretKeyRef")]
    secret: Option<Named>,
    #[serde(alias = "configMapRef", alias = "configMapKeyRef")]
    config_map: Option<Named>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Container {
    #[serde(deserialize_with = "or_default")]
    env: Vec<Variable>,
    #[serde(deserialize_with = "or_default")]
    env_from: Vec<Source>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Variable {
    value_from: Option<Source>,
}

impl Spec {
    /// What the pod called `pod` refers to.
    fn references(&self, pod: &str) -> BTreeSet<(Referred, Arc<str>)> {
        let mut found = BTreeSet::new();
        let mut add = |kind, name: &str| {
            if !name.is_empty() {
                found.insert((kind, Arc::from(name)));
            }
        };
        add(Referred::ServiceAccount, &self.service_account_name);
        for secret in &self.image_pull_secrets {
            add(Referred::Secret, &secret.name);
        }
        let mut sources: Vec<&Source> = Vec::new();
        for volume in &self.volumes {
            if let Some(secret) = &volume.secret {
                add(Referred::Secret, &secret.secret_name);
            }
            if let Some(map) = &volume.config_map {
                add(Referred::ConfigMap, &map.name);
            }
            if let Some(claim) = &volume.persistent_volume_claim {
                add(Referred::PersistentVolumeClaim, &claim.claim_name);
            }
            if volume.ephemeral.is_some() {
                add(
                    Referred::PersistentVolumeClaim,
                    &format!("{pod}-{}", volume.name),
                );
            }
            sources.extend(volume.projected.iter().flat_map(|volume| &volume.sources));
        }
        let containers = [
            &self.containers,
            &self.init_containers,
            &self.ephemeral_containers,
        ];
        for container in containers.into_iter().flatten() {
            sources.extend(&container.env_from);
            sources.extend(
                container
                    .env
                    .iter()
                    .filter_map(|variable| variable.value_from.as_ref()),
            );
        }
        for source in sources {
            if let Some(secret) = &source.secret {
                add(Referred::Secret, &secret.name);
            }
            if let Some(map) = &source.config_map {
                add(Referred::ConfigMap, &map.name);
            }
        }
        found
    }
}

#[cfg(test)]
mod tests;
