//! Services.

use std::{collections::BTreeSet, net::IpAddr};

use serde_json::Value;

use super::{At, metadata, port_or_name};
use crate::{
    fields::{FieldError, Problems},
    names,
};

/// The ports of nodes that Services may have.
pub const NODE_PORTS: std::ops::RangeInclusive<i64> = 30000..=32767;

/// A Service.
#[must_use]
pub fn service(object: &Value) -> Problems {
    let mut problems = Problems::new();
    let spec = At::root(object).field("spec");
    let kind = spec.field("type");
    kind.one_of(
        &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"],
        &mut problems,
    );
    metadata::labels(&spec.field("selector"), &mut problems);
    spec.field("sessionAffinity")
        .one_of(&["ClientIP", "None"], &mut problems);
    let timeout = spec
        .field("sessionAffinityConfig")
        .field("clientIP")
        .field("timeoutSeconds");
    if timeout
        .number()
        .is_some_and(|seconds| !(1..=86400).contains(&seconds))
    {
        problems.push(FieldError::invalid(
            &timeout.path,
            timeout.value.clone(),
            "must be greater than 0 and less than 86400",
        ));
    }
    let headless = spec.field("clusterIP").text() == "None";
    if kind.text() == "ExternalName" {
        let name = spec.field("externalName");
        if name.require(&mut problems) {
            name.named(
                |name| names::dns1123_subdomain(name.trim_end_matches('.')),
                &mut problems,
            );
        }
    } else if !headless {
        spec.field("ports").require(&mut problems);
    }
    if headless && matches!(kind.text(), "NodePort" | "LoadBalancer") {
        let detail = format!("may not be set to 'None' for {} services", kind.text());
        problems.push(FieldError::invalid(
            &spec.field("clusterIP").path,
            "None",
            detail,
        ));
    }
    let address = spec.field("clusterIP");
    if !address.is_empty() && !headless && address.text().parse::<IpAddr>().is_err() {
        let detail = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
        problems.push(FieldError::invalid(
            &address.path,
            address.value.clone(),
            detail,
        ));
    }
    ports(&spec, &mut problems);
    problems
}

fn ports(spec: &At<'_>, problems: &mut Problems) {
    let several = spec.field("ports").items().count() > 1;
    let exposed = matches!(spec.field("type").text(), "NodePort" | "LoadBalancer");
    let (mut seen_names, mut seen_ports) = (BTreeSet::new(), BTreeSet::new());
    for port in spec.field("ports").items() {
        let name = port.field("name");
        if name.is_empty() && several {
            problems.push(FieldError::required(&name.path, ""));
        } else if !name.is_empty() {
            name.named(names::dns1123_label, problems);
            if !seen_names.insert(name.text()) {
                problems.push(FieldError::duplicate(&name.path, name.value.clone()));
            }
        }
        let number = port.field("port");
        number.port(problems);
        if !seen_ports.insert((number.number(), port.field("protocol").text())) {
            problems.push(FieldError::duplicate(&port.path, port.value.clone()));
        }
        port.field("protocol")
            .one_of(&["SCTP", "TCP", "UDP"], problems);
        if port.field("targetPort").is_set() {
            port_or_name(&port.field("targetPort"), problems);
        }
        let node_port = port.field("nodePort");
        match node_port.number() {
            Some(number) if number != 0 && !exposed => {
                let detail = format!(
                    "may not be used when `type` is '{}'",
                    spec.field("type").text()
                );
                problems.push(FieldError::forbidden(&node_port.path, detail));
            }
            Some(number) if number != 0 && !NODE_PORTS.contains(&number) => {
                let detail = format!(
                    "provided port is not in the valid range. The range of valid ports is {}-{}",
                    NODE_PORTS.start(),
                    NODE_PORTS.end()
                );
                problems.push(FieldError::invalid(&node_port.path, number, detail));
            }
            _ => {}
        }
    }
}

/// A changed Service keeps its address as long as it has one.
#[must_use]
pub fn update(new: &Value, old: &Value) -> Problems {
    let mut problems = Problems::new();
    let (new, old) = (At::root(new).field("spec"), At::root(old).field("spec"));
    let keeps = |spec: &At<'_>| {
        spec.field("type").text() != "ExternalName" && !spec.field("clusterIP").is_empty()
    };
    if keeps(&new) && keeps(&old) && new.field("clusterIP").value != old.field("clusterIP").value {
        let address = new.field("clusterIP");
        problems.push(FieldError::invalid(
            &address.path,
            address.value.clone(),
            "field is immutable",
        ));
    }
    problems
}

/// What a Service must hold alone: its addresses, and its ports on nodes.
#[must_use]
pub fn claims(object: &Value) -> Vec<String> {
    let spec = At::root(object).field("spec");
    let mut claims: BTreeSet<String> = BTreeSet::new();
    if spec.field("type").text() != "ExternalName" {
        let first = spec.field("clusterIP");
        let all = spec.field("clusterIPs");
        let addresses = all
            .items()
            .chain([first])
            .map(|at| at.text())
            .filter(|address| !address.is_empty() && *address != "None");
        claims.extend(addresses.map(|address| format!("ip/{address}")));
    }
    for port in spec.field("ports").items() {
        if let Some(number) = port
            .field("nodePort")
            .number()
            .filter(|number| *number != 0)
        {
            claims.insert(format!(
                "nodeport/{}/{number}",
                port.field("protocol").text().to_lowercase()
            ));
        }
    }
    claims.into_iter().collect()
}
