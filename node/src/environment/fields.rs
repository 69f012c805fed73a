//! What a pod tells its containers of itself: the fields and resources that `fieldRef` and `resourceFieldRef` can name. Pure.

use std::net::IpAddr;

use coracle_api::quantity::Quantity;
use k8s_openapi::api::core::v1::{Container, Pod, ResourceFieldSelector};

use super::ConfigError;
use crate::config::Capacity;

/// A pod as its containers may see it.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// Its object.
    pub pod: &'a Pod,
    /// The container that asks.
    pub container: &'a Container,
    /// The pod's addresses, the main one first.
    pub pod_ips: &'a [IpAddr],
    /// The node's addresses, the main one first.
    pub host_ips: &'a [IpAddr],
    /// What the node offers: a container's limit where it has none.
    pub capacity: Capacity,
}

impl<'a> Facts<'a> {
    /// The pod's namespace.
    #[must_use]
    pub fn namespace(&self) -> &'a str {
        self.pod.metadata.namespace.as_deref().unwrap_or_default()
    }

    /// A field of the pod.
    ///
    /// # Errors
    /// [`ConfigError::Field`] when there is no such field to be told.
    pub fn field(&self, path: &str) -> Result<String, ConfigError> {
        let meta = &self.pod.metadata;
        let spec = self.pod.spec.as_ref();
        let text = |of: Option<&String>| of.cloned().unwrap_or_default();
        if let Some((field, key)) = subscript(path) {
            let map = match field {
                "metadata.labels" => meta.labels.as_ref(),
                "metadata.annotations" => meta.annotations.as_ref(),
                _ => return Err(unsupported(path)),
            };
            return Ok(text(map.and_then(|map| map.get(key))));
        }
        let listed = |all: &[IpAddr]| {
            all.iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(",")
        };
        let first = |all: &[IpAddr]| all.first().map(ToString::to_string).unwrap_or_default();
        match path {
            "metadata.name" => Ok(text(meta.name.as_ref())),
            "metadata.namespace" => Ok(text(meta.namespace.as_ref())),
            "metadata.uid" => Ok(text(meta.uid.as_ref())),
            "metadata.labels" => Ok(lines(meta.labels.as_ref())),
            "metadata.annotations" => Ok(lines(meta.annotations.as_ref())),
            "spec.nodeName" => Ok(text(spec.and_then(|spec| spec.node_name.as_ref()))),
            "spec.serviceAccountName" => Ok(text(
                spec.and_then(|spec| spec.service_account_name.as_ref()),
            )),
            "status.hostIP" => Ok(first(self.host_ips)),
            "status.hostIPs" => Ok(listed(self.host_ips)),
            "status.podIP" => Ok(first(self.pod_ips)),
            "status.podIPs" => Ok(listed(self.pod_ips)),
            _ => Err(unsupported(path)),
        }
    }

    /// A resource of a container, in units of its divisor, rounded up.
    ///
    /// # Errors
    /// [`ConfigError::Field`] when there is no such container or resource.
    pub fn resource(&self, of: &ResourceFieldSelector) -> Result<String, ConfigError> {
        let name = of.container_name.as_deref().filter(|name| !name.is_empty());
        let container = match name {
            None => Some(self.container),
            Some(name) => {
                let spec = self.pod.spec.as_ref();
                let inits = spec
                    .and_then(|spec| spec.init_containers.as_ref())
                    .into_iter()
                    .flatten();
                let mains = spec.map(|spec| &spec.containers).into_iter().flatten();
                inits.chain(mains).find(|one| one.name == name)
            }
        };
        let Some(container) = container else {
            return Err(ConfigError::Field(format!(
                "container {:?} not found",
                name.unwrap_or_default()
            )));
        };
        let divisor = of.divisor.as_ref().map(|given| Quantity::parse(&given.0));
        let divisor = match divisor {
            None => None,
            Some(Ok(divisor)) => Some(divisor).filter(Quantity::is_positive),
            Some(Err(error)) => return Err(ConfigError::Field(format!("divisor: {error}"))),
        };
        let resources = container.resources.as_ref();
        let (bounds, resource) = of.resource.split_once('.').unwrap_or_default();
        let map = match bounds {
            "limits" => resources.and_then(|resources| resources.limits.as_ref()),
            "requests" => resources.and_then(|resources| resources.requests.as_ref()),
            _ => return Err(unsupported(&of.resource)),
        };
        let given = map
            .and_then(|map| map.get(resource))
            .and_then(|given| Quantity::parse(&given.0).ok());
        let node = if bounds == "limits" {
            self.capacity
        } else {
            Capacity {
                cpu_millis: 0,
                memory_bytes: 0,
                pods: 0,
            }
        };
        let (amount, unit) = match resource {
            "cpu" => (
                given.map_or(node.cpu_millis, |given| given.millis()),
                divisor.map_or(1000, |divisor| divisor.millis()),
            ),
            "memory" => (
                given.map_or(node.memory_bytes, |given| given.value()),
                divisor.map_or(1, |divisor| divisor.value()),
            ),
            "ephemeral-storage" => (
                given.map_or(0, |given| given.value()),
                divisor.map_or(1, |divisor| divisor.value()),
            ),
            _ => return Err(unsupported(&of.resource)),
        };
        let unit = unit.max(1);
        let rounded = amount.div_euclid(unit) + i64::from(amount.rem_euclid(unit) != 0);
        Ok(rounded.to_string())
    }
}

/// `metadata.labels['key']` in its parts.
fn subscript(path: &str) -> Option<(&str, &str)> {
    path.strip_suffix("']")?.split_once("['")
}

/// As a downward API file has a map: a line per entry, the value quoted.
fn lines(map: Option<&std::collections::BTreeMap<String, String>>) -> String {
    let lines = map
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={value:?}"));
    lines.collect::<Vec<_>>().join("\n")
}

fn unsupported(path: &str) -> ConfigError {
    ConfigError::Field(format!("unsupported fieldPath: {path}"))
}
