//! Services of type LoadBalancer: the nodes are the load balancer. They open the Service's ports; here their addresses are written into its status. One
//! that names a class is somebody else's.

use std::collections::BTreeSet;

use coracle_api::names::ObjectKey;
use k8s_openapi::api::core::v1::{Node, Service};
use serde_json::{Value, json};

use crate::{
    action::{Plan, StatusPatch, Target, key_of},
    caches::{Change, Object},
    controller::{Controller, Seen, Watch},
    kind::Kind,
};

/// The label of nodes that are not to be used (upstream's).
const EXCLUDED: &str = "node.kubernetes.io/exclude-from-external-load-balancers";

/// The controller. Keys are Services.
#[derive(Clone, Copy, Debug, Default)]
pub struct LoadBalancers;

impl Controller for LoadBalancers {
    fn name(&self) -> &'static str {
        "service-lb-controller"
    }

    fn watches(&self) -> Vec<Watch> {
        vec![
            Watch::of(Kind::SERVICE, |change| {
                let key = change.new.map(|one| key_of(one.meta()));
                key.into_iter().collect()
            }),
            Watch::of(Kind::NODE, of_node),
        ]
    }

    fn plan(&self, key: &ObjectKey, seen: &Seen<'_>) -> Option<Plan> {
        let service = seen.caches.services.get(key)?;
        let nodes = seen.caches.nodes.iter().map(AsRef::as_ref);
        Some(plan(service, nodes))
    }
}

/// All Services that the nodes balance, if a node comes, goes, or is another than before.
fn of_node(change: &Change<'_>) -> Vec<ObjectKey> {
    let used = |one: Option<&Object>| match one {
        Some(Object::Node(node)) => addresses(node),
        _ => Vec::new(),
    };
    if used(change.old) == used(change.new) {
        return Vec::new();
    }
    let services = change.caches.services.iter();
    let balanced = services.filter(|service| is_ours(service));
    balanced.map(|service| key_of(&service.metadata)).collect()
}

fn is_ours(service: &Service) -> bool {
    service.spec.as_ref().is_some_and(|spec| {
        spec.type_.as_deref() == Some("LoadBalancer") && spec.load_balancer_class.is_none()
    })
}

/// The addresses at which a node takes what comes from outside; none while it is not to be used.
fn addresses(node: &Node) -> Vec<String> {
    let labels = node.metadata.labels.as_ref();
    let is_excluded = labels.is_some_and(|labels| labels.contains_key(EXCLUDED));
    let status = node.status.as_ref();
    let conditions = status.and_then(|status| status.conditions.as_ref());
    let mut conditions = conditions.into_iter().flatten();
    let is_ready = conditions.any(|one| one.type_ == "Ready" && one.status == "True");
    if is_excluded || !is_ready || node.metadata.deletion_timestamp.is_some() {
        return Vec::new();
    }
    let all = status.and_then(|status| status.addresses.as_ref());
    let of_type = |wanted: &str| -> Vec<String> {
        let all = all.into_iter().flatten().filter(|one| one.type_ == wanted);
        all.map(|one| one.address.clone()).collect()
    };
    let external = of_type("ExternalIP");
    if external.is_empty() {
        of_type("InternalIP")
    } else {
        external
    }
}

/// Decides.
pub fn plan<'a>(service: &Service, nodes: impl Iterator<Item = &'a Node>) -> Plan {
    let mut plan = Plan::default();
    if !is_ours(service) || service.metadata.deletion_timestamp.is_some() {
        return plan;
    }
    let spec = service.spec.as_ref();
    let families = spec.and_then(|spec| spec.ip_families.as_ref());
    let has_family = |address: &String| {
        let family = if address.contains(':') {
            "IPv6"
        } else {
            "IPv4"
        };
        families.is_none_or(|families| families.iter().any(|one| one == family))
    };
    let wanted: BTreeSet<String> = nodes.flat_map(addresses).filter(has_family).collect();
    let status = service.status.as_ref();
    let balancer = status.and_then(|status| status.load_balancer.as_ref());
    let told = balancer
        .into_iter()
        .flat_map(|one| one.ingress.iter().flatten());
    let told: Vec<&str> = told.filter_map(|one| one.ip.as_deref()).collect();
    if told.iter().copied().eq(wanted.iter().map(String::as_str)) {
        return plan;
    }
    let ingress = wanted.iter().map(|ip| json!({ "ip": ip, "ipMode": "VIP" }));
    let ingress: Vec<Value> = ingress.collect();
    plan.status = Some(StatusPatch {
        target: Target::of(&Kind::SERVICE, &service.metadata),
        seen: service
            .metadata
            .resource_version
            .clone()
            .unwrap_or_default(),
        patch: json!({ "status": { "loadBalancer": { "ingress": ingress } } }),
    });
    plan
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, ip: &str, ready: &str, labels: Value) -> Node {
        serde_json::from_value(json!({
            "metadata": { "name": name, "labels": labels },
            "status": {
                "conditions": [{ "type": "Ready", "status": ready }],
                "addresses": [{ "type": "InternalIP", "address": ip }, { "type": "Hostname", "address": name }]
            }
        }))
        .unwrap()
    }

    fn service(spec: Value, told: &[&str]) -> Service {
        let ingress: Vec<Value> = told.iter().map(|ip| json!({ "ip": ip })).collect();
        serde_json::from_value(json!({
            "metadata": { "name": "web", "namespace": "a", "uid": "u", "resourceVersion": "7" },
            "spec": spec, "status": { "loadBalancer": { "ingress": ingress } }
        }))
        .unwrap()
    }

    fn told(service: &Service, nodes: &[Node]) -> Option<Vec<String>> {
        let patch = plan(service, nodes.iter()).status?.patch;
        let ingress = patch["status"]["loadBalancer"]["ingress"]
            .as_array()
            .unwrap()
            .clone();
        Some(
            ingress
                .iter()
                .map(|one| one["ip"].as_str().unwrap().to_owned())
                .collect(),
        )
    }

    #[test]
    fn ready_nodes_are_the_load_balancer() {
        let balanced = || json!({ "type": "LoadBalancer", "ipFamilies": ["IPv4"] });
        let nodes = [
            node("b", "192.168.0.2", "True", json!({})),
            node("a", "192.168.0.1", "True", json!({})),
            node("c", "192.168.0.3", "False", json!({})),
            node("d", "192.168.0.4", "True", json!({ EXCLUDED: "" })),
            node("six", "fd00::1", "True", json!({})),
        ];
        let two = ["192.168.0.1", "192.168.0.2"];
        assert_eq!(told(&service(balanced(), &[]), &nodes).unwrap(), two);
        assert_eq!(
            told(&service(balanced(), &two), &nodes),
            None,
            "nothing to do"
        );
        assert_eq!(
            told(&service(balanced(), &two), &[]).unwrap(),
            Vec::<String>::new()
        );
        let of_class = json!({ "type": "LoadBalancer", "loadBalancerClass": "x/y" });
        assert_eq!(told(&service(of_class, &[]), &nodes), None);
        assert_eq!(
            told(&service(json!({ "type": "NodePort" }), &[]), &nodes),
            None
        );
    }
}
