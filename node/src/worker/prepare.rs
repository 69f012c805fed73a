//! Makes a pod's network and volumes, and takes them away again.

use std::{collections::BTreeSet, net::IpAddr, sync::Arc, time::Duration};

use coracle_lifecycle::Event;
use coracle_network::{HostPort, PodIdentity, Protocol};
use k8s_openapi::api::core::v1::{Container, Pod};

use crate::{
    environment::{self, fields::Facts},
    parts::Parts,
    policies,
    references::Held,
    sandbox::Sandbox,
    volumes::{self, payload},
};

/// How long objects that the pod refers to may take to be known. Beyond it the pod says that it waits; then it goes on waiting.
const PATIENCE: Duration = Duration::from_secs(30);
/// Host names are DNS labels (RFC 1123).
const HOST_NAME_LIMIT: usize = 63;

/// Why something could not be made: reason and message.
pub(super) type Failure = (&'static str, String);

/// Watches what the pod refers to.
pub(super) fn hold(parts: &Parts, pod: &Pod) -> Held {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let mut all: BTreeSet<_> = environment::references(pod);
    all.extend(payload::references(pod));
    parts.references.hold(namespace, all)
}

/// Makes network and volumes; leaves nothing behind when it cannot.
pub(super) async fn prepare(parts: &Arc<Parts>, sandbox: &Arc<Sandbox>, pod: &Arc<Pod>) -> Event {
    parts.services.synced().await;
    let made = async {
        let ip =
            attach(parts, sandbox, pod).map_err(|message| ("FailedCreatePodSandBox", message))?;
        write_volumes(parts, sandbox, pod).await?;
        Ok::<_, Failure>(vec![ip])
    };
    match made.await {
        Ok(ips) => Event::Prepared { ips },
        Err((reason, message)) => {
            let held = sandbox.references();
            release(parts, sandbox).await;
            // Its news are what the next attempt waits for.
            if let Some(held) = held {
                sandbox.set_references(held);
            }
            Event::PrepareFailed { reason, message }
        }
    }
}

/// Gives the pod an address and puts it on the switch.
fn attach(parts: &Parts, sandbox: &Sandbox, pod: &Pod) -> Result<IpAddr, String> {
    let ip = parts
        .addresses
        .lock()
        .allocate(&sandbox.uid)
        .map_err(|error| error.to_string())?;
    let spec = pod.spec.as_ref();
    let hostname = spec.and_then(|spec| spec.hostname.clone());
    let mut hostname = hostname.unwrap_or_else(|| sandbox.name.clone());
    hostname.truncate(HOST_NAME_LIMIT);
    let identity = PodIdentity {
        namespace: sandbox.namespace.clone(),
        name: sandbox.name.clone(),
        uid: sandbox.uid.clone(),
        ip,
        hostname: hostname.trim_end_matches(['-', '.']).to_owned(),
        subdomain: spec.and_then(|spec| spec.subdomain.clone()),
    };
    match parts.switch.attach(identity) {
        Ok(stack) => {
            stack.set_facts(policies::facts(pod));
            stack.set_host_ports(host_ports(pod));
            sandbox.set_network(stack);
            Ok(ip)
        }
        Err(error) => {
            parts.addresses.lock().release(&sandbox.uid);
            Err(format!("attach the pod to the network as {ip}: {error}"))
        }
    }
}

/// The node's ports that the pod asks for.
fn host_ports(pod: &Pod) -> Vec<HostPort> {
    let spec = pod.spec.iter();
    let containers = spec.flat_map(|spec| {
        spec.init_containers
            .iter()
            .flatten()
            .chain(&spec.containers)
    });
    let ports = containers.flat_map(|container| container.ports.iter().flatten());
    let ports = ports.filter_map(|port| {
        let protocol = match port.protocol.as_deref() {
            None | Some("TCP") => Protocol::Tcp,
            Some("UDP") => Protocol::Udp,
            Some(_) => return None,
        };
        let address = port.host_ip.as_deref().and_then(|text| text.parse().ok());
        Some(HostPort {
            address: address.filter(|ip: &IpAddr| !ip.is_unspecified()),
            port: u16::try_from(port.host_port?)
                .ok()
                .filter(|port| *port > 0)?,
            protocol,
            pod_port: u16::try_from(port.container_port).ok()?,
        })
    });
    ports.collect()
}

/// Writes the pod's volumes as the objects they are made of are now.
pub(super) async fn write_volumes(
    parts: &Arc<Parts>,
    sandbox: &Arc<Sandbox>,
    pod: &Arc<Pod>,
) -> Result<(), Failure> {
    let Some(held) = sandbox.references() else {
        return Ok(());
    };
    if held.is_empty() && !volumes::has_any(pod) {
        return Ok(());
    }
    let referred = tokio::time::timeout(PATIENCE, held.known()).await;
    let referred = referred.map_err(|_| {
        let message = "timed out waiting for the objects that the pod refers to".to_owned();
        ("FailedMount", message)
    })?;
    if !volumes::has_any(pod) {
        return Ok(());
    }
    let (parts, volumes, pod, ip) = (
        Arc::clone(parts),
        Arc::clone(&sandbox.volumes),
        Arc::clone(pod),
        sandbox.ip(),
    );
    let writing = tokio::task::spawn_blocking(move || {
        let nobody = Container::default();
        let facts = Facts {
            pod: &pod,
            container: &nobody,
            pod_ips: ip.as_slice(),
            host_ips: &parts.config.addresses,
            capacity: parts.config.capacity,
        };
        volumes.write(&facts, &referred)
    });
    match writing.await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(("FailedMount", error.to_string())),
        Err(panic) => Err(("FailedMount", format!("writing volumes failed: {panic}"))),
    }
}

/// Takes network and volumes away.
pub(super) async fn release(parts: &Parts, sandbox: &Sandbox) {
    if let Some(stack) = sandbox.take_network() {
        stack.close();
    }
    parts.addresses.lock().release(&sandbox.uid);
    let volumes = Arc::clone(&sandbox.volumes);
    let removed = tokio::task::spawn_blocking(move || volumes.remove()).await;
    match removed {
        Ok(Ok(())) => {}
        // Swept when the agent starts again.
        Ok(Err(error)) => {
            tracing::warn!(pod = sandbox.name, %error, "a pod's volumes cannot be removed");
        }
        // The whole process ends: swept as well.
        Err(error) if error.is_cancelled() => {}
        Err(error) => {
            tracing::error!(pod = sandbox.name, %error, "removing a pod's volumes failed");
        }
    }
}
