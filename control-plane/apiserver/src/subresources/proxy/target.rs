//! Whom a proxied request is for: `NAME`, `NAME:PORT` or `SCHEME:NAME:PORT`, where a port is a number or a name. A Service stands for one of its ready pods.

use coracle_api::{registry::Resource, status::ApiError};
use coracle_store::storage::List;
use serde_json::Value;

use super::super::host_of;
use crate::{encoded::Stored, error, keys, meta, resources::Call};

/// Slices of a Service that are looked at. A slice has up to 100 endpoints.
const SLICES: usize = 100;

/// Where the request goes.
pub(super) enum Target {
    /// A node's own endpoint.
    Node(String),
    /// A port of a pod.
    Pod(PodPort),
}

/// A port of a pod.
pub(super) struct PodPort {
    pub(super) node: String,
    /// What connects to it on the node.
    pub(super) uri: String,
    /// What the server in the pod is called.
    pub(super) host: String,
}

impl Target {
    pub(super) async fn find(call: &Call<'_>, name: &str) -> Result<Self, ApiError> {
        let (scheme, name, port) = split(name)?;
        if scheme == "https" {
            return Err(ApiError::bad_request(
                "this server speaks http to proxied servers, not https",
            ));
        }
        match &*call.resource.plural {
            "nodes" => {
                call.read(name).await?;
                Ok(Self::Node(name.to_owned()))
            }
            "services" => of_service(call, name, port).await.map(Self::Pod),
            _ => {
                let pod = call.read(name).await?.value()?;
                let port = if port.is_empty() {
                    first_port(&pod)
                } else {
                    port_of(&pod, port)?
                };
                pod_port(call, &pod, port).map(Self::Pod)
            }
        }
    }
}

/// Scheme, name and port.
fn split(name: &str) -> Result<(&str, &str, &str), ApiError> {
    let parts: Vec<&str> = name.split(':').collect();
    match parts.as_slice() {
        [name] => Ok(("", name, "")),
        [name, port] => Ok(("", name, port)),
        [scheme @ ("" | "http" | "https"), name, port] => Ok((scheme, name, port)),
        _ => Err(ApiError::bad_request(format!(
            "invalid name {name:?}: expected [SCHEME:]NAME[:PORT]"
        ))),
    }
}

fn pod_port(call: &Call<'_>, pod: &Value, port: u16) -> Result<PodPort, ApiError> {
    let namespace = call.namespace().unwrap_or_default();
    let name = meta::name(pod).unwrap_or_default();
    let uid = meta::uid(pod).unwrap_or_default();
    let ip = meta::text_at(pod, &["status", "podIP"]).unwrap_or(name);
    Ok(PodPort {
        node: host_of(pod)?.to_owned(),
        // Names in paths are DNS labels and subdomains, uids are UUIDs: nothing to escape.
        uri: format!("/portForward/{namespace}/{name}/{port}?uid={uid}"),
        host: format!("{ip}:{port}"),
    })
}

fn items<'a>(object: &'a Value, path: &[&str]) -> impl Iterator<Item = &'a Value> {
    meta::at(object, path)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

/// The ports of a pod's containers: names and numbers.
fn ports(pod: &Value) -> impl Iterator<Item = (&str, u16)> {
    items(pod, &["spec", "containers"])
        .flat_map(|container| items(container, &["ports"]))
        .filter_map(|port| {
            let number = port.get("containerPort")?.as_u64()?;
            let name = port.get("name").and_then(Value::as_str).unwrap_or_default();
            Some((name, u16::try_from(number).ok()?))
        })
}

fn first_port(pod: &Value) -> u16 {
    ports(pod).next().map_or(80, |(_, number)| number)
}

fn port_of(pod: &Value, wanted: &str) -> Result<u16, ApiError> {
    let numbered = wanted.parse().ok().filter(|port| *port > 0);
    let named = || {
        ports(pod)
            .find(|(name, _)| *name == wanted)
            .map(|(_, number)| number)
    };
    numbered
        .or_else(named)
        .ok_or_else(|| ApiError::bad_request(format!("no port {wanted:?}")))
}

async fn of_service(call: &Call<'_>, name: &str, port: &str) -> Result<PodPort, ApiError> {
    let service = call.read(name).await?.value()?;
    let none = || ApiError::unavailable(format!("no endpoints available for service {name:?}"));
    let port_name = port_name(&service, port).ok_or_else(|| {
        ApiError::unavailable(format!(
            "no service port {port:?} found for service {name:?}"
        ))
    })?;
    let registry = call.server.registry();
    let kind = |group: &str, plural: &str| {
        let found = registry.get(group, "v1", plural).cloned();
        found.ok_or_else(|| ApiError::internal(format!("the registry has no {plural}")))
    };
    let of_slices = kind("discovery.k8s.io", "endpointslices")?;
    let slices = slices(call, &of_slices, name).await?;
    let pods = kind("", "pods")?;
    let mut ready: Vec<(&Value, u16)> = Vec::new();
    for slice in &slices {
        let number = items(slice, &["ports"]).find_map(|port| {
            let name = port.get("name").and_then(Value::as_str).unwrap_or_default();
            let number = port.get("port")?.as_u64()?;
            (name == port_name).then(|| u16::try_from(number).ok())?
        });
        let Some(number) = number else { continue };
        let endpoints = items(slice, &["endpoints"]);
        let is_ready = |endpoint: &&Value| {
            let ready = meta::at(endpoint, &["conditions", "ready"]).and_then(Value::as_bool);
            ready.unwrap_or(true)
        };
        ready.extend(
            endpoints
                .filter(is_ready)
                .map(|endpoint| (endpoint, number)),
        );
    }
    // Each request to another one; which first is left to the clock.
    let turn = call.server.ambient.now().as_nanosecond().unsigned_abs();
    let turn = usize::try_from(turn / 1000 % 1_000_003).unwrap_or(0);
    let (endpoint, number) = ready.get(turn % ready.len().max(1)).ok_or_else(none)?;
    let pod = meta::text_at(endpoint, &["targetRef", "name"]).ok_or_else(none)?;
    let key = keys::object(&pods, call.namespace(), pod);
    let found = call
        .server
        .store
        .get(&key)
        .await
        .map_err(error::from_store)?;
    let pod = Stored::open(found.ok_or_else(none)?)?.value()?;
    pod_port(call, &pod, *number)
}

/// The name of a Service's port, by its name or number, or of its only one.
fn port_name<'a>(service: &'a Value, wanted: &str) -> Option<&'a str> {
    let all: Vec<&Value> = items(service, &["spec", "ports"]).collect();
    fn name(port: &Value) -> &str {
        port.get("name").and_then(Value::as_str).unwrap_or_default()
    }
    if wanted.is_empty() {
        return match all.as_slice() {
            [only] => Some(name(only)),
            several => several
                .iter()
                .copied()
                .map(name)
                .find(|name| name.is_empty()),
        };
    }
    let number = wanted.parse::<u64>().ok();
    let mut wanted = all.into_iter().filter(|port| {
        let own = port.get("port").and_then(Value::as_u64);
        name(port) == wanted || (number.is_some() && own == number)
    });
    wanted.next().map(name)
}

fn is_of(slice: &Value, service: &str) -> bool {
    meta::text_at(slice, &["metadata", "labels", "kubernetes.io/service-name"]) == Some(service)
}

/// The Service's slices. Their names begin with its own.
async fn slices(call: &Call<'_>, kind: &Resource, service: &str) -> Result<Vec<Value>, ApiError> {
    let list = List {
        prefix: keys::object(kind, call.namespace(), service),
        ..List::default()
    };
    let page = call
        .server
        .store
        .list(list)
        .await
        .map_err(error::from_store)?;
    let mut slices = Vec::new();
    for record in page.records {
        let slice = Stored::open(record)?.value()?;
        if is_of(&slice, service) {
            slices.push(slice);
        }
        if slices.len() >= SLICES {
            break;
        }
    }
    Ok(slices)
}
