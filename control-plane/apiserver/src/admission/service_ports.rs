//! Gives Services of type NodePort and LoadBalancer their node ports, claimed like the addresses.

use coracle_api::{
    fields::{FieldError, FieldPath},
    status::ApiError,
};
use serde_json::{Map, Value, json};

use super::{
    addresses,
    services::{TRIES, is_claimed, kind},
};
use crate::{meta, writes::Write};

pub(super) async fn admit(
    write: &Write<'_>,
    service: &mut Value,
    old: Option<&Value>,
) -> Result<(), ApiError> {
    let held = old.map(held_ports).unwrap_or_default();
    if !has_node_ports(service) {
        // What was allocated for the former type goes; what a client sends on purpose is validation's to refuse.
        if old.is_some_and(has_node_ports) {
            for port in ports_mut(service) {
                if node_port(port).is_some_and(|n| held.iter().any(|(_, held)| *held == n)) {
                    port.remove("nodePort");
                }
            }
        }
        return Ok(());
    }
    let held_claims: Vec<String> = held
        .iter()
        .map(|(key, node_port)| claim(&key.0, *node_port))
        .collect();
    let name = meta::name(service).unwrap_or_default().to_owned();
    let gives = gives_node_ports(service);
    let mut taken: Vec<String> = Vec::new();
    // First what is asked for or held, then what is free, so that the free do not take what a later port asks for.
    for (n, port) in ports_mut(service).enumerate() {
        let key = port_key(port);
        if node_port(port).is_none()
            && let Some((_, kept)) = held.iter().find(|(held, _)| *held == key)
            && !taken.contains(&claim(&key.0, *kept))
        {
            port.insert("nodePort".to_owned(), json!(kept));
        }
        let Some(asked) = node_port(port) else {
            continue;
        };
        let claim = claim(&key.0, asked);
        if !held_claims.contains(&claim)
            && let Some(why) = refusal(write, asked, &claim, &taken).await?
        {
            let ports = FieldPath::new("spec").child("ports");
            let problem = FieldError::invalid(&ports.index(n).child("nodePort"), asked, why);
            return Err(ApiError::invalid(&write.resource, &name, &[problem]));
        }
        taken.push(claim);
    }
    let mut given: Vec<(u64, u64)> = Vec::new();
    for port in ports_mut(service).filter(|_| gives) {
        let (protocol, number) = port_key(port);
        if let Some(node_port) = node_port(port) {
            given.push((number, node_port));
            continue;
        }
        // One port served over TCP and UDP gets one number for both, where that is free.
        let same = given.iter().find(|(of, _)| *of == number).map(|(_, n)| *n);
        let node_port = free_port(write, &protocol, same, &taken).await?;
        port.insert("nodePort".to_owned(), json!(node_port));
        taken.push(claim(&protocol, node_port));
        given.push((number, node_port));
    }
    Ok(())
}

/// Whether Services of this type have node ports.
fn has_node_ports(service: &Value) -> bool {
    matches!(kind(service), "NodePort" | "LoadBalancer")
}

/// Whether missing ones are to be given.
fn gives_node_ports(service: &Value) -> bool {
    let wanted = meta::at(service, &["spec", "allocateLoadBalancerNodePorts"]);
    kind(service) == "NodePort" || wanted.and_then(Value::as_bool).unwrap_or(true)
}

fn ports_mut(service: &mut Value) -> impl Iterator<Item = &mut Map<String, Value>> {
    service
        .pointer_mut("/spec/ports")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
        .filter_map(Value::as_object_mut)
}

/// Protocol (in lower case) and number: what tells the ports of a Service apart.
fn port_key(port: &Map<String, Value>) -> (String, u64) {
    let protocol = port
        .get("protocol")
        .and_then(Value::as_str)
        .unwrap_or("TCP");
    let number = port.get("port").and_then(Value::as_u64).unwrap_or(0);
    (protocol.to_ascii_lowercase(), number)
}

fn node_port(port: &Map<String, Value>) -> Option<u64> {
    port.get("nodePort")?.as_u64().filter(|port| *port > 0)
}

/// The node ports a stored Service holds.
fn held_ports(service: &Value) -> Vec<((String, u64), u64)> {
    if !has_node_ports(service) {
        return Vec::new();
    }
    let ports = meta::at(service, &["spec", "ports"]).and_then(Value::as_array);
    ports
        .into_iter()
        .flatten()
        .filter_map(Value::as_object)
        .filter_map(|port| Some((port_key(port), node_port(port)?)))
        .collect()
}

fn claim(protocol: &str, port: u64) -> String {
    format!("nodeport/{protocol}/{port}")
}

/// Why a node port a client chose cannot be given.
async fn refusal(
    write: &Write<'_>,
    port: u64,
    claim: &str,
    taken: &[String],
) -> Result<Option<String>, ApiError> {
    let range = &write.server.node_ports;
    if !u16::try_from(port).is_ok_and(|port| range.contains(&port)) {
        return Ok(Some(format!(
            "provided port is not in the valid range. The range of valid ports is {}-{}",
            range.start(),
            range.end()
        )));
    }
    if taken.iter().any(|other| other == claim) || is_claimed(write, claim).await? {
        return Ok(Some("provided port is already allocated".to_owned()));
    }
    Ok(None)
}

async fn free_port(
    write: &Write<'_>,
    protocol: &str,
    wanted: Option<u64>,
    taken: &[String],
) -> Result<u64, ApiError> {
    let any = addresses::ports(&write.server.node_ports, write.server.ambient.draw());
    for port in wanted.into_iter().chain(any.map(u64::from)).take(TRIES) {
        let claim = claim(protocol, port);
        if !taken.contains(&claim) && !is_claimed(write, &claim).await? {
            return Ok(port);
        }
    }
    Err(ApiError::internal(
        "failed to allocate a nodePort: the range is full",
    ))
}
