//! Starts a container: makes what the runtime is told of what the spec says.

use std::{net::IpAddr, sync::Arc};

use coracle_api::{
    channels::{STDERR, STDOUT},
    quantity::Quantity,
};
use coracle_lifecycle::{Exit, RunId, StartFault};
use coracle_runtime::{
    Container as Instance, ContainerKind, ContainerSpec, Reuse, StartError, Stdin,
};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod};
use sha2::{Digest as _, Sha256};

use super::effects::{container, log_id};
use crate::{
    environment::{self, fields::Facts},
    logs::line::Stream,
    parts::Parts,
    sandbox::Sandbox,
    unsupported,
    volumes::{PodVolumes, mounts},
};

/// The resource that bounds all the fuel a container ever burns.
const FUEL: &str = "coracle.dev/fuel";
/// The annotation of a pod that says how instances of HTTP handlers are used: `per-request` makes one for each request.
const INSTANCES: &str = "coracle.dev/http-instances";
/// The name of the port that an HTTP handler is served on, where a container has several.
const HTTP_PORT: &str = "http";

/// Starts a run; says which container runs and what its id is.
pub(super) fn start(
    parts: &Arc<Parts>,
    sandbox: &Arc<Sandbox>,
    pod: &Pod,
    run: &RunId,
    ips: &[IpAddr],
) -> Result<(Arc<Instance>, String), (StartFault, String)> {
    let config = |message: String| (StartFault::Config, message);
    let of = container(pod, &run.container)
        .ok_or_else(|| config(format!("the pod has no container {}", run.container)))?;
    unsupported::check(pod, of).map_err(config)?;
    let ready = sandbox
        .image(&run.container)
        .ok_or_else(|| config("the image is not at hand".to_owned()))?;
    let stack = sandbox
        .network()
        .ok_or_else(|| config("the pod has no network".to_owned()))?;
    let facts = Facts {
        pod,
        container: of,
        pod_ips: ips,
        host_ips: &parts.config.addresses,
        capacity: parts.config.capacity,
    };
    let referred = match sandbox.references() {
        Some(held) => held
            .now()
            .ok_or_else(|| config("objects that the pod refers to are not known yet".to_owned()))?,
        None => environment::Referred::new(),
    };
    let wants_links = pod
        .spec
        .as_ref()
        .is_none_or(|spec| spec.enable_service_links != Some(false));
    let links = parts.services.variables(&sandbox.namespace, wants_links);
    let mut env = environment::variables(of, &facts, &referred, &links)
        .map_err(|error| config(error.to_string()))?;
    // As every container runtime does: programs look here for their pod's name.
    if env.iter().all(|(name, _)| name != "HOSTNAME") {
        env.push(("HOSTNAME".to_owned(), stack.identity().hostname.clone()));
    }
    // Few system calls, and none for a volume that is mounted whole: not worth another thread.
    let mounts = mounts::resolve(
        of,
        mounts::Places {
            volumes: &sandbox.volumes.volumes(),
            scratch: &sandbox.volumes.scratch(&of.name),
        },
        |volume| PodVolumes::is_writable(pod, volume),
        |text| environment::expanded(text, &env),
    );
    let mounts = mounts.map_err(|error| config(error.to_string()))?;
    let id = container_id(sandbox, run);
    let log = parts.logs.begin(&log_id(&sandbox.log_directory, run));
    let attached = sandbox.attached(&run.container);
    let is_terminal = of.tty == Some(true);
    let spec = ContainerSpec {
        id: format!("{}/{}/{}", sandbox.namespace, sandbox.name, run.container),
        args: environment::arguments(of, &[], &[], &env),
        env,
        mounts: mounts.mounts,
        cpu_limit_millis: limit(of, "cpu")
            .map(|cpu| u32::try_from(cpu.millis()).unwrap_or(u32::MAX)),
        cpu_weight_millis: request(of, "cpu")
            .map_or(0, |cpu| u32::try_from(cpu.millis()).unwrap_or(u32::MAX)),
        memory_limit: limit(of, "memory").map(|memory| u64::try_from(memory.value()).unwrap_or(0)),
        fuel_budget: limit(of, FUEL).map(|fuel| u64::try_from(fuel.value()).unwrap_or(0)),
        stdin: (of.stdin == Some(true)).then(|| Stdin::new(is_terminal)),
        is_terminal,
        stdout: attached.tee(log.sink(Stream::Stdout), STDOUT),
        // A terminal has one output.
        stderr: if is_terminal {
            attached.tee(log.sink(Stream::Stdout), STDOUT)
        } else {
            attached.tee(log.sink(Stream::Stderr), STDERR)
        },
        stack,
        http_port: (ready.artifact.kind == ContainerKind::HttpHandler)
            .then(|| http_port(of))
            .flatten(),
        http_reuse: reuse(pod),
        artifact: ready.artifact,
    };
    let started = parts.runtime.start(spec, &sandbox.place);
    // From here on the runtime has its own descriptors.
    drop(mounts.held);
    match started {
        Ok(instance) => Ok((Arc::new(instance), format!("coracle://{id}"))),
        Err(error) => {
            parts.logs.end(&log_id(&sandbox.log_directory, run));
            let fault = match &error {
                StartError::Spec(_) => StartFault::Config,
                StartError::Full | StartError::Listen { .. } => StartFault::Start,
            };
            Err((fault, error.to_string()))
        }
    }
}

/// How the life cycle calls what ended an instance.
pub(super) fn exit(exit: coracle_runtime::Exit) -> Exit {
    match exit {
        coracle_runtime::Exit::Completed(code) => Exit::Completed(code),
        coracle_runtime::Exit::Trapped(trap) => Exit::Trapped(
            format!("{}\n{}", trap.kind, trap.backtrace)
                .trim_end()
                .to_owned(),
        ),
        coracle_runtime::Exit::OutOfFuel => Exit::OutOfFuel,
        coracle_runtime::Exit::OutOfMemory => Exit::OutOfMemory,
        // The runtime says so only of what did not end by itself in time.
        coracle_runtime::Exit::Stopped => Exit::Killed,
        coracle_runtime::Exit::HostFault(fault) => Exit::HostFault(fault),
    }
}

fn limit(of: &Container, resource: &str) -> Option<Quantity> {
    let limits = of.resources.as_ref()?.limits.as_ref()?;
    Quantity::parse(&limits.get(resource)?.0).ok()
}

fn request(of: &Container, resource: &str) -> Option<Quantity> {
    let requests = of.resources.as_ref()?.requests.as_ref()?;
    Quantity::parse(&requests.get(resource)?.0).ok()
}

/// The port that an HTTP handler is served on: the one called `http`, else the first.
fn http_port(of: &Container) -> Option<u16> {
    let tcp = |port: &&k8s_openapi::api::core::v1::ContainerPort| {
        port.protocol.as_deref().unwrap_or("TCP") == "TCP"
    };
    let ports = || of.ports.iter().flatten().filter(tcp);
    let named = ports().find(|port| port.name.as_deref() == Some(HTTP_PORT));
    let port = named.or_else(|| ports().next())?;
    u16::try_from(port.container_port).ok()
}

fn reuse(pod: &Pod) -> Reuse {
    let annotations = pod.metadata.annotations.as_ref();
    match annotations
        .and_then(|all| all.get(INSTANCES))
        .map(String::as_str)
    {
        Some("per-request") => Reuse::PerRequest,
        _ => Reuse::default(),
    }
}

/// A name that no other run of a container ever had.
fn container_id(sandbox: &Sandbox, run: &RunId) -> String {
    use std::fmt::Write as _;
    let now = Timestamp::now().as_nanosecond();
    let text = format!("{}/{}/{}/{now}", sandbox.uid, run.container, run.number);
    let mut id = String::with_capacity(64);
    for byte in Sha256::digest(text) {
        // Writing to a String cannot fail.
        let _ = write!(id, "{byte:02x}");
    }
    id
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(ports: serde_json::Value) -> Container {
        serde_json::from_value(json!({ "name": "c", "ports": ports })).unwrap()
    }

    #[test]
    fn http_is_served_on_the_port_of_that_name_or_the_first() {
        assert_eq!(http_port(&of(json!([]))), None);
        let first = json!([{ "containerPort": 53, "protocol": "UDP" }, { "containerPort": 8080 }]);
        assert_eq!(http_port(&of(first)), Some(8080));
        let named = json!([{ "containerPort": 9090, "name": "metrics" }, { "containerPort": 80, "name": "http" }]);
        assert_eq!(http_port(&of(named)), Some(80));
    }

    #[test]
    fn instances_are_reused_unless_the_pod_says_otherwise() {
        let pod = |annotation: &str| -> Pod {
            serde_json::from_value(
                json!({ "metadata": { "annotations": { INSTANCES: annotation } } }),
            )
            .unwrap()
        };
        assert_eq!(reuse(&pod("per-request")), Reuse::PerRequest);
        assert_eq!(reuse(&pod("pooled")), Reuse::default());
        assert_eq!(reuse(&Pod::default()), Reuse::default());
    }
}
