//! A container of a pod: name, image, ports, environment, mounts, resources, probes, and what a module cannot have.

use std::collections::BTreeSet;

use super::{At, port_name, port_or_name, quantity, volume::inner_path};
use crate::{
    fields::{FieldError, Problems},
    names,
};

/// A container that is added to a pod that runs: without what only means something to one that belongs to the pod from its beginning.
pub(super) fn ephemeral(container: &At<'_>, volumes: &BTreeSet<&str>, problems: &mut Problems) {
    self::container(container, volumes, false, problems);
    for field in [
        "ports",
        "livenessProbe",
        "readinessProbe",
        "startupProbe",
        "lifecycle",
        "resources",
    ] {
        let one = container.field(field);
        if !one.is_empty() {
            let detail = "cannot be set for an Ephemeral Container";
            problems.push(FieldError::forbidden(&one.path, detail));
        }
    }
}

/// Checks one container against the pod's volumes.
pub(super) fn container(
    container: &At<'_>,
    volumes: &BTreeSet<&str>,
    init: bool,
    problems: &mut Problems,
) {
    let name = container.field("name");
    if name.require(problems) {
        name.named(names::dns1123_label, problems);
    }
    let image = container.field("image");
    if image.require(problems) && image.text().trim() != image.text() {
        problems.push(FieldError::invalid(
            &image.path,
            image.value.clone(),
            "must not have leading or trailing whitespace",
        ));
    }
    container
        .field("imagePullPolicy")
        .one_of(&["Always", "IfNotPresent", "Never"], problems);
    let policy = container.field("restartPolicy");
    if policy.is_set() && !(init && policy.text() == "Always") {
        policy.one_of(if init { &["Always"] } else { &[] }, problems);
    }
    ports(container, problems);
    environment(container, problems);
    mounts(container, volumes, problems);
    resources(&container.field("resources"), problems);
    for field in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let one = container.field(field);
        if one.is_set() && init && container.field("restartPolicy").text() != "Always" {
            problems.push(FieldError::forbidden(
                &one.path,
                "may not be set for init containers without restartPolicy=Always",
            ));
        } else if one.is_set() {
            probe(&one, problems);
        }
        if field != "readinessProbe"
            && one.is_set()
            && one.field("successThreshold").number() != Some(1)
        {
            let threshold = one.field("successThreshold");
            problems.push(FieldError::invalid(
                &threshold.path,
                threshold.value.clone(),
                "must be 1",
            ));
        }
    }
    for hook in ["postStart", "preStop"] {
        let hook = container.field("lifecycle").field(hook);
        if hook.is_set() {
            handler(&hook, problems);
        }
    }
    let devices = container.field("volumeDevices");
    if !devices.is_empty() {
        problems.push(FieldError::forbidden(
            &devices.path,
            "a module cannot open block devices",
        ));
    }
    super::pod::security_context(&container.field("securityContext"), problems);
}

fn ports(container: &At<'_>, problems: &mut Problems) {
    let mut seen = BTreeSet::new();
    for port in container.field("ports").items() {
        let name = port.field("name");
        if !name.is_empty() {
            name.named(port_name, problems);
            if !seen.insert(name.text()) {
                problems.push(FieldError::duplicate(&name.path, name.value.clone()));
            }
        }
        if port.field("containerPort").is_set() {
            port.field("containerPort").port(problems);
        } else {
            problems.push(FieldError::required(&port.field("containerPort").path, ""));
        }
        if port.field("hostPort").is_set() {
            let detail = "host ports are not available yet; reach the pod through a Service of type NodePort";
            problems.push(FieldError::forbidden(&port.field("hostPort").path, detail));
        }
        port.field("protocol")
            .one_of(&["SCTP", "TCP", "UDP"], problems);
    }
}

fn environment(container: &At<'_>, problems: &mut Problems) {
    for variable in container.field("env").items() {
        let name = variable.field("name");
        if name.require(problems) && (name.text().contains('=') || name.text().contains('\0')) {
            let detail = "a valid environment variable name must consist only of printable ASCII characters other than '='";
            problems.push(FieldError::invalid(&name.path, name.value.clone(), detail));
        }
        let from = variable.field("valueFrom");
        if !from.is_set() {
            continue;
        }
        let sources = [
            "configMapKeyRef",
            "secretKeyRef",
            "fieldRef",
            "resourceFieldRef",
        ];
        let given: Vec<_> = sources
            .iter()
            .map(|source| from.field(source))
            .filter(At::is_set)
            .collect();
        match given.as_slice() {
            [] => problems.push(FieldError::invalid(&from.path, "", "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`")),
            [_] if !variable.field("value").is_empty() => {
                problems.push(FieldError::invalid(&from.path, "", "may not be specified when `value` is not empty"));
            }
            [one] => key_reference(one, problems),
            _ => problems.push(FieldError::invalid(&from.path, "", "may not have more than one field specified at a time")),
        }
    }
    for source in container.field("envFrom").items() {
        for field in ["configMapRef", "secretRef"] {
            let one = source.field(field);
            if one.is_set() {
                one.field("name").require(problems);
            }
        }
    }
}

fn key_reference(reference: &At<'_>, problems: &mut Problems) {
    /// What upstream lets environment variables read.
    const FIELDS: [&str; 8] = [
        "metadata.name",
        "metadata.namespace",
        "metadata.uid",
        "spec.nodeName",
        "spec.serviceAccountName",
        "status.hostIP",
        "status.podIP",
        "status.podIPs",
    ];
    let path = reference.field("fieldPath");
    let resource = reference.field("resource");
    if path.is_set() {
        let subscripted = ["metadata.labels['", "metadata.annotations['"]
            .iter()
            .any(|prefix| path.text().starts_with(prefix));
        if !subscripted || !path.text().ends_with("']") {
            path.one_of(&FIELDS, problems);
        }
    } else if resource.is_set() {
        let known = [
            "limits.cpu",
            "limits.memory",
            "requests.cpu",
            "requests.memory",
            "limits.ephemeral-storage",
            "requests.ephemeral-storage",
        ];
        resource.one_of(&known, problems);
    } else {
        reference.field("key").require(problems);
    }
}

fn mounts(container: &At<'_>, volumes: &BTreeSet<&str>, problems: &mut Problems) {
    let mut seen = BTreeSet::new();
    for mount in container.field("volumeMounts").items() {
        let name = mount.field("name");
        if name.require(problems) && !volumes.contains(name.text()) {
            problems.push(FieldError::not_found(&name.path, name.value.clone()));
        }
        let path = mount.field("mountPath");
        if path.require(problems) && !seen.insert(path.text()) {
            problems.push(FieldError::invalid(
                &path.path,
                path.value.clone(),
                "must be unique",
            ));
        }
        if !mount.field("subPath").is_empty() {
            inner_path(&mount.field("subPath"), problems);
        }
        if mount.field("mountPropagation").is_set()
            && mount.field("mountPropagation").text() != "None"
        {
            problems.push(FieldError::forbidden(
                &mount.field("mountPropagation").path,
                "modules have no mount table",
            ));
        }
    }
}

/// Requests and limits.
pub(super) fn resources(resources: &At<'_>, problems: &mut Problems) {
    for (name, limit) in resources.field("limits").entries() {
        resource_name(name, &limit, problems);
        quantity(&limit, problems);
    }
    for (name, request) in resources.field("requests").entries() {
        resource_name(name, &request, problems);
        let requested = quantity(&request, problems);
        let limit = resources.field("limits").field(name);
        let limited = crate::quantity::Quantity::parse(limit.text()).ok();
        if let (Some(requested), Some(limited)) = (requested, limited)
            && requested > limited
        {
            let detail = format!(
                "must be less than or equal to {name} limit of {}",
                limit.text()
            );
            problems.push(FieldError::invalid(
                &request.path,
                request.value.clone(),
                detail,
            ));
        }
    }
}

fn resource_name(name: &str, at: &At<'_>, problems: &mut Problems) {
    if !name.contains('/')
        && !matches!(name, "cpu" | "memory" | "ephemeral-storage" | "storage")
        && !name.starts_with("hugepages-")
    {
        problems.push(FieldError::invalid(
            &at.path,
            name,
            "must be a standard resource type or fully qualified",
        ));
        problems.push(FieldError::invalid(
            &at.path,
            name,
            "must be a standard resource for containers",
        ));
    }
}

fn probe(probe: &At<'_>, problems: &mut Problems) {
    handler(probe, problems);
    for field in [
        "initialDelaySeconds",
        "timeoutSeconds",
        "periodSeconds",
        "successThreshold",
        "failureThreshold",
    ] {
        probe.field(field).not_negative(problems);
    }
}

fn handler(handler: &At<'_>, problems: &mut Problems) {
    let kinds = ["exec", "httpGet", "tcpSocket", "grpc", "sleep"];
    let given: Vec<_> = kinds
        .iter()
        .filter(|kind| handler.field(kind).is_set())
        .collect();
    if given.is_empty() {
        problems.push(FieldError::required(
            &handler.path,
            "must specify a handler type",
        ));
    }
    for extra in given.iter().skip(1) {
        problems.push(FieldError::forbidden(
            &handler.field(extra).path,
            "may not specify more than 1 handler type",
        ));
    }
    let exec = handler.field("exec");
    if exec.is_set() && exec.field("command").is_empty() {
        problems.push(FieldError::required(&exec.field("command").path, ""));
    }
    if handler.field("grpc").is_set() {
        port_or_name(&handler.field("grpc").field("port"), problems);
    }
    let http = handler.field("httpGet");
    if http.is_set() {
        http.field("path").require(problems);
        port_or_name(&http.field("port"), problems);
        http.field("scheme").one_of(&["HTTP", "HTTPS"], problems);
    }
    if handler.field("tcpSocket").is_set() {
        port_or_name(&handler.field("tcpSocket").field("port"), problems);
    }
}
