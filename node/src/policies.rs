//! NetworkPolicies and namespaces: watched, turned into the network's plain structs and put into the switch. What a policy means is decided in
//! `coracle_network::policy`; here is only the translation, and telling of what was denied.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use coracle_lifecycle::{Note, NoteKind};
use coracle_network::{
    Protocol, Switch,
    cidr::Cidr,
    policy::{
        Denial, Direction, Labels, Peer, PodFacts, Policies, Policy, PortRule, Ports, Requirement,
        Rule, Selector,
    },
};
use k8s_openapi::{
    api::{
        core::v1::{Namespace, Pod},
        networking::v1::{NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort},
    },
    apimachinery::pkg::{apis::meta::v1::LabelSelector, util::intstr::IntOrString},
};
use kube::{Api, Client, ResourceExt, api::ListParams};
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::{
    parts::Parts,
    pods::Pods,
    services::{apply, follow},
};

/// How soon it is looked again whether the API server has the kind.
const RETRY: Duration = Duration::from_secs(10);

type Known<K> = Mutex<BTreeMap<(String, String), Arc<K>>>;

/// The policies as last seen.
#[derive(Debug)]
pub(crate) struct PolicyWatch {
    policies: Known<NetworkPolicy>,
    namespaces: Known<Namespace>,
    synced: watch::Sender<(bool, bool)>,
}

impl PolicyWatch {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            policies: Mutex::default(),
            namespaces: Mutex::default(),
            synced: watch::Sender::new((false, false)),
        })
    }

    /// Waits until all policies were seen, or the API server has said that it has none. Before that no pod may run.
    pub(crate) async fn synced(&self) {
        let mut synced = self.synced.subscribe();
        // Closed only by dropping, which does not happen while it is waited for.
        let _ = synced.wait_for(|(one, other)| *one && *other).await;
    }

    /// Keeps the switch's policies as the API server has them until `stop`.
    pub(crate) async fn follow(
        self: Arc<Self>,
        client: Client,
        switch: Arc<Switch>,
        stop: CancellationToken,
    ) {
        let policies = async {
            let api = Api::<NetworkPolicy>::all(client.clone());
            while !is_served(&api).await {
                self.synced.send_modify(|synced| synced.0 = true);
                tokio::time::sleep(RETRY).await;
            }
            follow(api, |change| {
                let is_whole = apply(&mut self.policies.lock(), change);
                self.changed(&switch, is_whole, |synced| synced.0 = true);
            })
            .await;
        };
        let namespaces = follow(Api::<Namespace>::all(client.clone()), |change| {
            let is_whole = apply(&mut self.namespaces.lock(), change);
            self.changed(&switch, is_whole, |synced| synced.1 = true);
        });
        tokio::select! {
            () = stop.cancelled() => {}
            ((), ()) = async { tokio::join!(policies, namespaces) } => {}
        }
    }

    fn changed(&self, switch: &Switch, is_whole: bool, mark: impl FnOnce(&mut (bool, bool))) {
        let policies = self
            .policies
            .lock()
            .values()
            .map(|one| policy(one))
            .collect();
        let namespaces = self.namespaces.lock();
        let labels = namespaces.values().map(|one| {
            let labels = one.labels().clone();
            (one.name_any(), labels)
        });
        switch.set_policies(Policies::new(policies, labels.collect()));
        drop(namespaces);
        if is_whole {
            self.synced.send_modify(mark);
        }
    }
}

/// Whether the API server has the kind; not being able to tell counts as that, as it must not let pods run that a policy is for.
async fn is_served(api: &Api<NetworkPolicy>) -> bool {
    let listed = api.list(&ListParams::default().limit(1)).await;
    !matches!(listed, Err(kube::Error::Api(status)) if status.code == 404)
}

/// Tells of what was denied until `stop`: as events of the pods whose policies it were. Repeated ones are counted by the recorder.
pub(crate) async fn tell(
    parts: Arc<Parts>,
    pods: Arc<Pods>,
    mut denials: mpsc::Receiver<Denial>,
    stop: CancellationToken,
) {
    loop {
        let denial = tokio::select! {
            () = stop.cancelled() => return,
            denial = denials.recv() => denial,
        };
        let Some(denial) = denial else { return };
        let (namespace, name) = &denial.pod;
        let Some(sandbox) = pods.find(namespace, name) else {
            continue;
        };
        let note = Note {
            kind: NoteKind::Warning,
            reason: "NetworkPolicyDenied",
            message: message(&denial),
            container: None,
        };
        parts.recorder.tell(sandbox.subject(None), &note);
    }
}

fn message(denial: &Denial) -> String {
    let protocol = match denial.protocol {
        Protocol::Tcp => "TCP",
        Protocol::Udp => "UDP",
    };
    match denial.direction {
        Direction::Ingress => format!(
            "No policy allows {protocol} from {} to port {}",
            denial.source,
            denial.target.port()
        ),
        Direction::Egress => format!("No policy allows {protocol} to {}", denial.target),
    }
}

/// What policies need to know of a pod.
pub(crate) fn facts(pod: &Pod) -> PodFacts {
    let spec = pod.spec.iter();
    let containers = spec.flat_map(|spec| {
        spec.init_containers
            .iter()
            .flatten()
            .chain(&spec.containers)
    });
    let ports = containers.flat_map(|container| container.ports.iter().flatten());
    let ports = ports.filter_map(|port| {
        let protocol = protocol(port.protocol.as_deref())?;
        let number = u16::try_from(port.container_port).ok()?;
        Some((port.name.clone()?, protocol, number))
    });
    PodFacts {
        namespace: pod.namespace().unwrap_or_default(),
        name: pod.name_any(),
        labels: pod.labels().clone(),
        ports: ports.collect(),
    }
}

fn protocol(text: Option<&str>) -> Option<Protocol> {
    match text {
        None | Some("TCP") => Some(Protocol::Tcp),
        Some("UDP") => Some(Protocol::Udp),
        Some(_) => None,
    }
}

fn policy(object: &NetworkPolicy) -> Policy {
    let spec = object.spec.clone().unwrap_or_default();
    // Upstream's default: ingress always, egress if there are rules for it.
    let types = spec.policy_types.unwrap_or_else(|| {
        let egress = spec.egress.is_some().then(|| "Egress".to_owned());
        std::iter::once("Ingress".to_owned())
            .chain(egress)
            .collect()
    });
    let has = |direction: &str| types.iter().any(|one| one == direction);
    let ingress = spec
        .ingress
        .iter()
        .flatten()
        .map(|one| rule(&one.from, &one.ports));
    let egress = spec
        .egress
        .iter()
        .flatten()
        .map(|one| rule(&one.to, &one.ports));
    Policy {
        namespace: object.namespace().unwrap_or_default(),
        name: object.name_any(),
        pods: spec.pod_selector.as_ref().map(selector).unwrap_or_default(),
        ingress: has("Ingress").then(|| ingress.collect()),
        egress: has("Egress").then(|| egress.collect()),
    }
}

fn rule(peers: &Option<Vec<NetworkPolicyPeer>>, ports: &Option<Vec<NetworkPolicyPort>>) -> Rule {
    Rule {
        peers: peers.iter().flatten().map(peer).collect(),
        ports: ports.iter().flatten().map(port).collect(),
    }
}

fn peer(peer: &NetworkPolicyPeer) -> Peer {
    let Some(block) = &peer.ip_block else {
        return Peer::Pods {
            namespaces: peer.namespace_selector.as_ref().map(selector),
            pods: peer.pod_selector.as_ref().map(selector),
        };
    };
    let except = block.except.iter().flatten();
    let except: Result<Vec<Cidr>, _> = except.map(|text| text.parse()).collect();
    let range = block.cidr.parse();
    match range.and_then(|range| Ok((range, except?))) {
        Ok((range, except)) => Peer::Block { range, except },
        // Validation refuses it; should one get past it, it allows nobody.
        Err(error) => {
            tracing::warn!(%error, "a network policy has a range that is none");
            nobody()
        }
    }
}

fn nobody() -> Peer {
    let never = Selector(vec![Requirement::In(String::new(), Vec::new())]);
    Peer::Pods {
        namespaces: None,
        pods: Some(never),
    }
}

fn port(port: &NetworkPolicyPort) -> PortRule {
    let number = |number: i32| u16::try_from(number).ok();
    let ports = match (&port.port, port.end_port) {
        (None, _) => Some(Ports::All),
        (Some(IntOrString::String(name)), _) => Some(Ports::Named(name.clone())),
        (Some(IntOrString::Int(first)), last) => {
            let last = last.unwrap_or(*first);
            number(*first)
                .zip(number(last))
                .map(|(first, last)| Ports::Range(first, last))
        }
    };
    match ports {
        Some(ports) => PortRule {
            protocol: protocol(port.protocol.as_deref()),
            ports,
        },
        // No port has that number.
        None => PortRule {
            protocol: None,
            ports: Ports::All,
        },
    }
}

fn selector(selector: &LabelSelector) -> Selector {
    let labels: &Option<Labels> = &selector.match_labels;
    let equal = labels.iter().flatten();
    let equal = equal.map(|(key, value)| Requirement::In(key.clone(), vec![value.clone()]));
    let sets = selector.match_expressions.iter().flatten();
    let sets = sets.map(|one| {
        let (key, values) = (one.key.clone(), one.values.clone().unwrap_or_default());
        match one.operator.as_str() {
            "In" => Requirement::In(key, values),
            "NotIn" => Requirement::NotIn(key, values),
            "Exists" => Requirement::Exists(key),
            "DoesNotExist" => Requirement::DoesNotExist(key),
            // Validation knows no other; one that is not understood chooses nothing.
            _ => Requirement::In(key, Vec::new()),
        }
    });
    Selector(equal.chain(sets).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(spec: serde_json::Value) -> Policy {
        let object = json!({ "metadata": { "name": "n", "namespace": "shop" }, "spec": spec });
        policy(&serde_json::from_value(object).unwrap())
    }

    #[test]
    fn types_have_upstreams_defaults() {
        let of_types = |spec| {
            let policy = of(spec);
            (policy.ingress.is_some(), policy.egress.is_some())
        };
        assert_eq!(of_types(json!({ "podSelector": {} })), (true, false));
        assert_eq!(
            of_types(json!({ "podSelector": {}, "egress": [{}] })),
            (true, true)
        );
        let egress = json!({ "podSelector": {}, "policyTypes": ["Egress"] });
        assert_eq!(of_types(egress.clone()), (false, true));
        assert_eq!(of(egress).egress, Some(Vec::new()), "nothing may leave");
    }

    #[test]
    fn peers_and_ports_are_translated() {
        let policy = of(json!({
            "podSelector": { "matchLabels": { "app": "db" }, "matchExpressions": [{ "key": "tier", "operator": "NotIn", "values": ["x"] }] },
            "ingress": [{
                "from": [
                    { "ipBlock": { "cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"] } },
                    { "namespaceSelector": {}, "podSelector": { "matchLabels": { "app": "web" } } }
                ],
                "ports": [{ "port": 80, "endPort": 90 }, { "port": "http", "protocol": "UDP" }, { "protocol": "SCTP" }]
            }]
        }));
        assert_eq!(policy.pods.0.len(), 2);
        let rule = &policy.ingress.unwrap()[0];
        let block = Peer::Block {
            range: "10.0.0.0/8".parse().unwrap(),
            except: vec!["10.1.0.0/16".parse().unwrap()],
        };
        let pods = Peer::Pods {
            namespaces: Some(Selector::default()),
            pods: Some(Selector::label("app", "web")),
        };
        assert_eq!(rule.peers, [block, pods]);
        let tcp = PortRule {
            protocol: Some(Protocol::Tcp),
            ports: Ports::Range(80, 90),
        };
        let udp = PortRule {
            protocol: Some(Protocol::Udp),
            ports: Ports::Named("http".into()),
        };
        let sctp = PortRule {
            protocol: None,
            ports: Ports::All,
        };
        assert_eq!(rule.ports, [tcp, udp, sctp]);
    }
}
