//! What a pod may ask for in the API and cannot have on this node: refused by name before anything runs, instead of running without it. Pure.
//! Volumes say for themselves what they cannot be made of; see [`crate::volumes`].

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};

/// Looks at what `container` of `pod` asks for. Settings that concern Linux users, groups and files alone are no obstacle: guests have none of them.
///
/// # Errors
/// What cannot be had, with the field's name.
pub fn check(pod: &Pod, container: &Container) -> Result<(), String> {
    let spec = pod.spec.as_ref();
    let problem = spec.and_then(of_pod).or_else(|| of_container(container));
    problem.map_or(Ok(()), |(field, why)| Err(format!("{field}: {why}")))
}

type Problem = (String, &'static str);

fn of_pod(spec: &PodSpec) -> Option<Problem> {
    let is_windows = spec.os.as_ref().is_some_and(|os| os.name == "windows");
    let has_claims = spec
        .resource_claims
        .as_ref()
        .is_some_and(|all| !all.is_empty());
    let has_aliases = spec
        .host_aliases
        .as_ref()
        .is_some_and(|all| !all.is_empty());
    let all = [
        (
            spec.host_network == Some(true),
            "spec.hostNetwork",
            "pods have a network of their own and never the host's",
        ),
        (
            spec.host_pid == Some(true),
            "spec.hostPID",
            "pods never see the host's processes",
        ),
        (
            spec.host_ipc == Some(true),
            "spec.hostIPC",
            "pods never share memory with the host",
        ),
        (
            spec.share_process_namespace == Some(true),
            "spec.shareProcessNamespace",
            "containers here are no processes that could see each other",
        ),
        (
            is_windows,
            "spec.os.name",
            "this node runs WebAssembly modules, not programs of an operating system",
        ),
        (
            has_claims,
            "spec.resourceClaims",
            "this node has no devices to claim",
        ),
        (
            has_aliases,
            "spec.hostAliases",
            "names come from the cluster's Services alone",
        ),
    ];
    first("", all)
}

fn of_container(container: &Container) -> Option<Problem> {
    let security = container.security_context.as_ref();
    let adds = security
        .and_then(|security| security.capabilities.as_ref()?.add.as_ref())
        .is_some_and(|add| !add.is_empty());
    let has_devices = container
        .volume_devices
        .as_ref()
        .is_some_and(|all| !all.is_empty());
    let mut ports = container.ports.iter().flatten();
    let directory = container.working_dir.as_deref().unwrap_or_default();
    let prefix = format!("spec.containers[{}].", container.name);
    let own = [
        (
            security.is_some_and(|security| security.privileged == Some(true)),
            "securityContext.privileged",
            "containers here can be given no privileges",
        ),
        (
            adds,
            "securityContext.capabilities.add",
            "containers here can be given no capabilities of the kernel",
        ),
        (
            has_devices,
            "volumeDevices",
            "containers here see directories, not devices",
        ),
        (
            ports.any(|port| port.host_port.is_some_and(|port| port > 0)),
            "ports.hostPort",
            "pods open no ports of the host; use a Service of type NodePort",
        ),
        (
            !matches!(directory, "" | "/"),
            "workingDir",
            "WASI knows no working directory; use absolute paths",
        ),
    ];
    first(&prefix, own)
}

fn first<const N: usize>(
    prefix: &str,
    all: [(bool, &'static str, &'static str); N],
) -> Option<Problem> {
    let (_, field, why) = all.into_iter().find(|(is_asked, _, _)| *is_asked)?;
    Some((format!("{prefix}{field}"), why))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn problem(pod: Value, container: Value) -> Option<String> {
        let mut of = json!({ "name": "c" });
        of.as_object_mut()
            .unwrap()
            .extend(container.as_object().unwrap().clone());
        let mut spec = json!({ "containers": [of.clone()] });
        spec.as_object_mut()
            .unwrap()
            .extend(pod.as_object().unwrap().clone());
        let pod = serde_json::from_value(json!({ "metadata": {}, "spec": spec })).unwrap();
        let container = serde_json::from_value(of).unwrap();
        check(&pod, &container).err()
    }

    #[test]
    fn what_cannot_be_had_is_named() {
        for (pod, field) in [
            (json!({ "hostNetwork": true }), "spec.hostNetwork"),
            (json!({ "hostPID": true }), "spec.hostPID"),
            (json!({ "hostIPC": true }), "spec.hostIPC"),
            (
                json!({ "shareProcessNamespace": true }),
                "spec.shareProcessNamespace",
            ),
            (json!({ "os": { "name": "windows" } }), "spec.os.name"),
            (
                json!({ "hostAliases": [{ "ip": "10.0.0.1" }] }),
                "spec.hostAliases",
            ),
            (
                json!({ "resourceClaims": [{ "name": "gpu" }] }),
                "spec.resourceClaims",
            ),
        ] {
            let told = problem(pod, json!({})).unwrap();
            assert!(told.starts_with(&format!("{field}: ")), "{told}");
        }
        for (container, field) in [
            (
                json!({ "securityContext": { "privileged": true } }),
                "securityContext.privileged",
            ),
            (
                json!({ "securityContext": { "capabilities": { "add": ["NET_ADMIN"] } } }),
                "securityContext.capabilities.add",
            ),
            (
                json!({ "volumeDevices": [{ "name": "d", "devicePath": "/d" }] }),
                "volumeDevices",
            ),
            (
                json!({ "ports": [{ "containerPort": 1 }, { "containerPort": 2, "hostPort": 2 }] }),
                "ports.hostPort",
            ),
            (json!({ "workingDir": "/srv" }), "workingDir"),
        ] {
            let told = problem(json!({}), container).unwrap();
            assert!(
                told.starts_with(&format!("spec.containers[c].{field}: ")),
                "{told}"
            );
        }
    }

    #[test]
    fn what_has_no_meaning_here_is_no_obstacle() {
        let pod = json!({ "hostNetwork": false, "securityContext": { "runAsUser": 1000, "fsGroup": 2 }, "os": { "name": "linux" }, "serviceAccountName": "x" });
        let container = json!({
            "securityContext": { "runAsNonRoot": true, "readOnlyRootFilesystem": true, "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] } },
            "ports": [{ "containerPort": 80 }], "workingDir": "/", "livenessProbe": { "httpGet": { "port": 80 } }
        });
        assert_eq!(problem(pod, container), None);
    }
}
