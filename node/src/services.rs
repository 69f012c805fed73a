//! Services and their endpoints: watched, turned into the network's plain structs and put into the switch. What a Service means is decided in
//! `coracle_network::vip`; here is only the translation.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc, time::Duration};

use coracle_network::{
    Endpoint, EndpointSlice, NodePorts, Place, Protocol, Service, ServiceKind, ServicePort,
    SlicePort, Switch, TrafficPolicy, vip,
};
use futures::StreamExt;
use k8s_openapi::api::{core::v1, discovery::v1 as discovery};
use kube::{
    Api, Client, ResourceExt,
    runtime::watcher::{self, watcher},
};
use parking_lot::RwLock;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::environment::links;

/// The label by which a slice names its Service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// The first pause after a watch failed, and the longest.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));
/// A node port that could not be opened is tried again after this long, as whoever has it may go.
const PORT_RETRY: Duration = Duration::from_secs(10);

type Key = (String, String);

/// The Services and slices as last seen.
#[derive(Debug)]
pub struct Services {
    /// The node these are for.
    place: RwLock<Place>,
    /// There is a way to the pods of other nodes.
    reaches_others: bool,
    services: RwLock<BTreeMap<Key, Arc<v1::Service>>>,
    slices: RwLock<BTreeMap<Key, Arc<discovery::EndpointSlice>>>,
    changes: watch::Sender<u64>,
    synced: watch::Sender<(bool, bool)>,
}

impl Services {
    /// Those for a node; none were seen yet.
    #[must_use]
    pub fn new(place: Place, reaches_others: bool) -> Self {
        Self {
            place: RwLock::new(place),
            reaches_others,
            services: RwLock::default(),
            slices: RwLock::default(),
            changes: watch::Sender::new(0),
            synced: watch::Sender::new((false, false)),
        }
    }

    /// Waits until all Services and slices there are were seen.
    pub async fn synced(&self) {
        let mut synced = self.synced.subscribe();
        // Closed only by dropping, which does not happen while it is waited for.
        let _ = synced
            .wait_for(|(services, slices)| *services && *slices)
            .await;
    }

    /// The environment variables for the pods of a namespace: of its Services if they are wanted, and always of the API server's.
    #[must_use]
    pub fn variables(&self, namespace: &str, wanted: bool) -> Vec<(String, String)> {
        let services = self.services.read();
        let master = ("default".to_owned(), "kubernetes".to_owned());
        let own = services
            .range((namespace.to_owned(), String::new())..)
            .take_while(|((of, _), _)| of == namespace)
            .filter(|(key, _)| wanted && **key != master);
        let master = services.get(&master).into_iter();
        links::variables(
            master
                .chain(own.map(|(_, service)| service))
                .map(Arc::as_ref),
        )
    }

    /// Says where the node is now.
    pub(crate) fn set_place(&self, place: Place) {
        if *self.place.read() == place {
            return;
        }
        *self.place.write() = place;
        self.changed(false, |_| {});
    }

    /// Watches Services and slices until `stop`.
    pub async fn follow(self: Arc<Self>, client: Client, stop: CancellationToken) {
        let services = follow(Api::<v1::Service>::all(client.clone()), |change| {
            let is_whole = apply(&mut self.services.write(), change);
            self.changed(is_whole, |synced| synced.0 = true);
        });
        let slices = follow(Api::<discovery::EndpointSlice>::all(client), |change| {
            let is_whole = apply(&mut self.slices.write(), change);
            self.changed(is_whole, |synced| synced.1 = true);
        });
        tokio::select! {
            () = stop.cancelled() => {}
            ((), ()) = async { tokio::join!(services, slices) } => {}
        }
    }

    fn changed(&self, is_whole: bool, mark: impl FnOnce(&mut (bool, bool))) {
        if is_whole {
            self.synced.send_modify(mark);
        }
        self.changes
            .send_modify(|changes| *changes = changes.wrapping_add(1));
    }

    /// Keeps the switch and the node's ports as the Services say until `stop`. A burst of changes costs one look.
    pub async fn program(
        self: Arc<Self>,
        switch: Arc<Switch>,
        ports: Arc<NodePorts>,
        stop: CancellationToken,
    ) {
        let mut changes = self.changes.subscribe();
        // Pods have ports of the node, too.
        let mut switched = switch.changes();
        tokio::select! {
            () = stop.cancelled() => return,
            () = self.synced() => {}
        }
        loop {
            changes.mark_unchanged();
            let table = self.table();
            let ops = switch.with_table(|old| vip::diff(old, &table));
            switch.apply(ops);
            switched.mark_unchanged();
            let failed = ports.reconcile().await;
            for error in &failed {
                tracing::warn!(port = error.port, address = %error.address, error = %error.source, "a node port cannot be opened");
            }
            let retry = async {
                if failed.is_empty() {
                    std::future::pending::<()>().await;
                }
                tokio::time::sleep(PORT_RETRY).await;
            };
            tokio::select! {
                () = stop.cancelled() => return,
                changed = changes.changed() => if changed.is_err() { return },
                changed = switched.changed() => if changed.is_err() { return },
                () = retry => {}
            }
        }
    }

    fn table(&self) -> vip::VipTable {
        let place = self.place.read().clone();
        // Without a way to other nodes their pods are not there, and may have the addresses of this one's.
        let alone = (!self.reaches_others).then_some(place.node.as_str());
        let services: Vec<Service> = self
            .services
            .read()
            .values()
            .filter_map(|one| service(one))
            .collect();
        let slices: Vec<EndpointSlice> = self
            .slices
            .read()
            .values()
            .filter_map(|one| slice(one, alone))
            .collect();
        vip::build(&services, &slices, &place)
    }
}

/// What a watch tells.
pub(crate) enum Change<K> {
    All(Vec<K>),
    Put(K),
    Gone(K),
}

/// Applies a change; says whether it told everything there is.
pub(crate) fn apply<K: kube::Resource>(
    known: &mut BTreeMap<Key, Arc<K>>,
    change: Change<K>,
) -> bool {
    let key = |object: &K| (object.namespace().unwrap_or_default(), object.name_any());
    match change {
        Change::All(objects) => {
            *known = objects
                .into_iter()
                .map(|object| (key(&object), Arc::new(object)))
                .collect();
            return true;
        }
        Change::Put(object) => drop(known.insert(key(&object), Arc::new(object))),
        Change::Gone(object) => drop(known.remove(&key(&object))),
    }
    false
}

/// Watches objects of a kind for ever, and tells of changes.
pub(crate) async fn follow<K>(api: Api<K>, mut tell: impl FnMut(Change<K>))
where
    K: kube::Resource + Clone + serde::de::DeserializeOwned + std::fmt::Debug + Send + 'static,
{
    let mut events = std::pin::pin!(watcher(api, watcher::Config::default()));
    let mut pause = PAUSE.0;
    let mut listed = Vec::new();
    while let Some(event) = events.next().await {
        match event {
            Ok(watcher::Event::Init) => listed.clear(),
            Ok(watcher::Event::InitApply(object)) => listed.push(object),
            Ok(watcher::Event::InitDone) => {
                pause = PAUSE.0;
                tell(Change::All(std::mem::take(&mut listed)));
            }
            Ok(watcher::Event::Apply(object)) => tell(Change::Put(object)),
            Ok(watcher::Event::Delete(object)) => tell(Change::Gone(object)),
            Err(error) => {
                tracing::debug!(%error, "watching services or their endpoints failed");
                tokio::time::sleep(pause).await;
                pause = pause.saturating_mul(2).min(PAUSE.1);
            }
        }
    }
}

fn protocol(text: Option<&str>) -> Option<Protocol> {
    match text.unwrap_or("TCP") {
        "TCP" => Some(Protocol::Tcp),
        "UDP" => Some(Protocol::Udp),
        _ => None,
    }
}

fn service(object: &v1::Service) -> Option<Service> {
    let spec = object.spec.as_ref()?;
    let single = spec.cluster_ip.as_deref().unwrap_or_default();
    let kind = match spec.type_.as_deref() {
        Some("ExternalName") => ServiceKind::ExternalName(spec.external_name.clone()?),
        _ if single == "None" => ServiceKind::Headless,
        _ => ServiceKind::Virtual,
    };
    let listed = spec.cluster_ips.iter().flatten().map(String::as_str);
    let status = object.status.as_ref();
    let balancer = status.and_then(|status| status.load_balancer.as_ref());
    let ingress = balancer
        .into_iter()
        .flat_map(|one| one.ingress.iter().flatten());
    // One that is a proxy wants to see what goes through it (upstream: `ipMode`).
    let ingress = ingress.filter(|one| one.ip_mode.as_deref() != Some("Proxy"));
    let external = spec.external_ips.iter().flatten().map(String::as_str);
    let external = external.chain(ingress.filter_map(|one| one.ip.as_deref()));
    let is_local = |policy: &Option<String>| match policy.as_deref() {
        Some("Local") => TrafficPolicy::Local,
        _ => TrafficPolicy::Cluster,
    };
    let port = |port: &v1::ServicePort| {
        Some(ServicePort {
            name: port.name.clone().unwrap_or_default(),
            protocol: protocol(port.protocol.as_deref())?,
            port: u16::try_from(port.port).ok()?,
            node_port: port
                .node_port
                .and_then(|number| u16::try_from(number).ok())
                .filter(|number| *number > 0),
        })
    };
    let sticks = spec.session_affinity.as_deref() == Some("ClientIP");
    let timeout = spec
        .session_affinity_config
        .as_ref()
        .and_then(|config| config.client_ip.as_ref()?.timeout_seconds);
    Some(Service {
        namespace: object.namespace().unwrap_or_default(),
        name: object.name_any(),
        kind,
        addresses: addresses(std::iter::once(single).chain(listed)),
        external_addresses: addresses(external),
        internal_policy: is_local(&spec.internal_traffic_policy),
        external_policy: is_local(&spec.external_traffic_policy),
        // One of a class is somebody else's to balance.
        is_opened_by_nodes: spec.type_.as_deref() == Some("LoadBalancer")
            && spec.load_balancer_class.is_none(),
        ports: spec.ports.iter().flatten().filter_map(port).collect(),
        // Upstream's default is three hours.
        affinity: sticks.then(|| {
            Duration::from_secs(
                timeout
                    .and_then(|seconds| u64::try_from(seconds).ok())
                    .unwrap_or(10_800),
            )
        }),
        publish_not_ready: spec.publish_not_ready_addresses == Some(true),
    })
}

/// What the texts stand for, each once, in their order.
fn addresses<'a>(texts: impl Iterator<Item = &'a str>) -> Vec<IpAddr> {
    let mut addresses: Vec<IpAddr> = Vec::new();
    for address in texts.filter_map(|text| text.parse().ok()) {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    addresses
}

/// Only the endpoints on one node, if one is given.
fn slice(object: &discovery::EndpointSlice, alone: Option<&str>) -> Option<EndpointSlice> {
    let service = object.metadata.labels.as_ref()?.get(SERVICE_NAME)?.clone();
    let port = |port: &discovery::EndpointPort| {
        Some(SlicePort {
            name: port.name.clone().unwrap_or_default(),
            protocol: protocol(port.protocol.as_deref())?,
            port: u16::try_from(port.port?).ok()?,
        })
    };
    let endpoint = |endpoint: &discovery::Endpoint| {
        let conditions = endpoint.conditions.as_ref();
        let hints = endpoint.hints.as_ref();
        // What is not said counts as ready (the API's rule).
        let ready = conditions
            .and_then(|conditions| conditions.ready)
            .unwrap_or(true);
        Endpoint {
            addresses: endpoint
                .addresses
                .iter()
                .filter_map(|text| text.parse().ok())
                .collect(),
            ready,
            serving: conditions
                .and_then(|conditions| conditions.serving)
                .unwrap_or(ready),
            terminating: conditions
                .and_then(|conditions| conditions.terminating)
                .unwrap_or(false),
            hostname: endpoint.hostname.clone(),
            node: endpoint.node_name.clone(),
            for_nodes: hints
                .and_then(|hints| hints.for_nodes.as_ref())
                .into_iter()
                .flatten()
                .map(|one| one.name.clone())
                .collect(),
            for_zones: hints
                .and_then(|hints| hints.for_zones.as_ref())
                .into_iter()
                .flatten()
                .map(|one| one.name.clone())
                .collect(),
        }
    };
    Some(EndpointSlice {
        namespace: object.namespace().unwrap_or_default(),
        service,
        ports: object.ports.iter().flatten().filter_map(port).collect(),
        endpoints: object
            .endpoints
            .iter()
            .flatten()
            .filter(|one| {
                let on = one.node_name.as_deref();
                on.zip(alone).is_none_or(|(on, node)| on == node)
            })
            .map(endpoint)
            .collect(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn services_are_translated() {
        let object = serde_json::from_value(json!({
            "metadata": { "name": "web", "namespace": "shop" },
            "spec": {
                "type": "NodePort", "clusterIP": "10.96.0.9", "clusterIPs": ["10.96.0.9"], "sessionAffinity": "ClientIP", "publishNotReadyAddresses": true,
                "ports": [{ "name": "http", "port": 80, "nodePort": 30080 }, { "name": "s", "port": 9, "protocol": "SCTP" }],
                "externalIPs": ["203.0.113.5"], "internalTrafficPolicy": "Local"
            },
            "status": { "loadBalancer": { "ingress": [{ "ip": "203.0.113.6", "ipMode": "VIP" }, { "ip": "203.0.113.7", "ipMode": "Proxy" }, { "hostname": "lb" }] } }
        }))
        .unwrap();
        let of = service(&object).unwrap();
        assert_eq!(of.kind, ServiceKind::Virtual);
        assert_eq!(of.addresses.len(), 1);
        assert_eq!(of.ports.len(), 1, "SCTP is not carried");
        assert_eq!(of.ports[0].node_port, Some(30080));
        assert_eq!(of.affinity, Some(Duration::from_secs(10_800)));
        assert!(of.publish_not_ready);
        let external: Vec<String> = of
            .external_addresses
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(external, ["203.0.113.5", "203.0.113.6"]);
        assert_eq!(of.internal_policy, TrafficPolicy::Local);
        assert_eq!(of.external_policy, TrafficPolicy::Cluster);
        assert!(!of.is_opened_by_nodes);
    }

    #[test]
    fn slices_are_translated_with_the_apis_defaults() {
        let object = serde_json::from_value(json!({
            "metadata": { "name": "web-1", "namespace": "shop", "labels": { SERVICE_NAME: "web" } },
            "addressType": "IPv4",
            "ports": [{ "name": "http", "port": 8080, "protocol": "TCP" }],
            "endpoints": [{ "addresses": ["10.1.0.2"], "nodeName": "n" }, { "addresses": ["10.1.0.2"], "nodeName": "other" }, { "addresses": ["10.1.0.3"], "conditions": { "ready": false, "serving": true, "terminating": true } }]
        }))
        .unwrap();
        let of = slice(&object, Some("n")).unwrap();
        assert_eq!((of.service.as_str(), of.ports[0].port), ("web", 8080));
        assert_eq!(of.endpoints.len(), 2, "pods of other nodes are not reached");
        assert!(of.endpoints[0].ready && of.endpoints[0].serving && !of.endpoints[0].terminating);
        assert!(!of.endpoints[1].ready && of.endpoints[1].serving && of.endpoints[1].terminating);
    }

    #[test]
    fn pods_learn_of_their_namespaces_services_and_of_the_api_server() {
        let services = Services::new(Place::default(), false);
        let service = |namespace: &str, name: &str| {
            let object = json!({ "metadata": { "name": name, "namespace": namespace }, "spec": { "clusterIP": "10.96.0.1", "ports": [{ "port": 80 }] } });
            Change::Put(serde_json::from_value(object).unwrap())
        };
        for (namespace, name) in [
            ("default", "kubernetes"),
            ("shop", "web"),
            ("shop2", "other"),
        ] {
            apply(&mut services.services.write(), service(namespace, name));
        }
        let hosts = |namespace: &str, wanted| -> Vec<String> {
            let all = services
                .variables(namespace, wanted)
                .into_iter()
                .map(|(name, _)| name);
            all.filter(|name| name.ends_with("_SERVICE_HOST")).collect()
        };
        assert_eq!(
            hosts("shop", true),
            ["KUBERNETES_SERVICE_HOST", "WEB_SERVICE_HOST"]
        );
        assert_eq!(hosts("shop", false), ["KUBERNETES_SERVICE_HOST"]);
        assert_eq!(hosts("default", true), ["KUBERNETES_SERVICE_HOST"]);
    }
}
