//! What a pod asks for, read once: resources, ports, the groups of pods it wants near or far, how it is spread. Made by [`crate::Snapshot::prepare`],
//! which knows the groups; this file reads the pod.

use std::{collections::BTreeSet, sync::Arc};

use coracle_api::{
    pods,
    selector::{LabelSelector, Operator, Requirement},
};
use k8s_openapi::{
    api::core::v1::{
        ContainerPort, Pod, PodAffinityTerm, PodSpec, TopologySpreadConstraint,
        WeightedPodAffinityTerm,
    },
    apimachinery::pkg::apis::meta::v1::LabelSelector as MetaSelector,
};

use crate::{
    groups::{Definition, GroupId, Stance, Term, Which},
    resources::{Common, Resources},
    topology::{HOSTNAME, Key, ZONE},
};

/// How much a pod that must be near others is liked by those that must be near it. Upstream's default.
const HARD_AFFINITY_WEIGHT: i32 = 1;
/// How pods with a controller are spread when they do not say: upstream's system defaults, never a reason to refuse a node.
const DEFAULT_SPREADING: [(&str, i32); 2] = [(HOSTNAME, 3), (ZONE, 5)];

/// A port of a node: protocol, number, address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostPort {
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
    /// The number.
    pub number: i32,
    /// The address; `0.0.0.0` for all.
    pub address: String,
}

/// What a pod asks for.
#[derive(Clone, Debug)]
pub struct Request {
    /// The pod.
    pub pod: Arc<Pod>,
    /// Its uid.
    pub uid: String,
    /// Its priority.
    pub priority: i32,
    /// What it takes.
    pub resources: Resources,
    /// What it counts as taking when nodes are scored.
    pub weighed: Common,
    /// Ports of its node.
    pub ports: Vec<HostPort>,
    /// The only nodes it may be on, where it names them.
    pub nodes: Option<Vec<String>>,
    /// Whether it selects nodes by their labels.
    pub selects_nodes: bool,
    /// Which pods it must be near, all at once: the group and the keys.
    pub near: Option<(GroupId, Vec<Key>)>,
    /// Whether the pod is one of those it must be near.
    pub is_near_itself: bool,
    /// Which pods it must not be near.
    pub far: Vec<(GroupId, Key)>,
    /// Which pods it would like to be near, or not.
    pub likes: Vec<(GroupId, Key, i32)>,
    /// How it is spread.
    pub spreading: Vec<Spreading>,
    /// What it will say about other pods once it is on a node.
    pub stances: Vec<(GroupId, Key, Stance)>,
}

/// How a pod is to be spread.
#[derive(Clone, Debug)]
pub struct Spreading {
    /// Over the values of this label,
    pub key: Key,
    /// among these pods;
    pub group: GroupId,
    /// how uneven it may be.
    pub max_skew: i32,
    /// Whether that is a must.
    pub is_hard: bool,
    /// With fewer values than this, the least counts as none.
    pub min_domains: usize,
    /// Whether only nodes count that the pod selects.
    pub honors_affinity: bool,
    /// Whether only nodes count whose taints the pod tolerates.
    pub honors_taints: bool,
    /// Whether the pod is one of the group.
    pub counts_itself: bool,
    /// Whether the pod says so itself.
    pub is_explicit: bool,
}

/// What of a pod needs groups: as [`Request`], before they are known.
#[derive(Debug, Default)]
pub(crate) struct Wishes {
    pub near: Option<(Definition, Vec<String>)>,
    pub far: Vec<(Definition, String)>,
    pub likes: Vec<(Definition, String, i32)>,
    pub stances: Vec<(Definition, String, Stance)>,
    pub spreading: Vec<(Definition, TopologySpreadConstraint, bool)>,
}

fn of_terms(terms: Vec<Term>) -> Definition {
    Definition {
        which: Which::Selected(terms),
        only_staying: false,
    }
}

impl Wishes {
    /// Reads a pod's.
    pub(crate) fn of(pod: &Pod) -> Self {
        let mut wishes = Self::default();
        let Some(spec) = &pod.spec else {
            return wishes;
        };
        wishes.affinity(pod, spec);
        wishes.spread(pod, spec);
        wishes
    }

    fn affinity(&mut self, pod: &Pod, spec: &PodSpec) {
        let Some(affinity) = &spec.affinity else {
            return;
        };
        let near = affinity.pod_affinity.as_ref();
        let far = affinity.pod_anti_affinity.as_ref();
        let required = near.and_then(|near| {
            near.required_during_scheduling_ignored_during_execution
                .as_ref()
        });
        if let Some(required) = required.filter(|required| !required.is_empty()) {
            let terms = required.iter().map(|one| term(pod, one)).collect();
            let keys = required.iter().map(|one| one.topology_key.clone());
            self.near = Some((of_terms(terms), keys.collect()));
            for one in required {
                let definition = of_terms(vec![term(pod, one)]);
                let stance = Stance::Likes(HARD_AFFINITY_WEIGHT);
                self.stances
                    .push((definition, one.topology_key.clone(), stance));
            }
        }
        let repelled = far.and_then(|far| {
            far.required_during_scheduling_ignored_during_execution
                .as_ref()
        });
        for one in repelled.into_iter().flatten() {
            let definition = of_terms(vec![term(pod, one)]);
            self.far
                .push((definition.clone(), one.topology_key.clone()));
            self.stances
                .push((definition, one.topology_key.clone(), Stance::Repels));
        }
        let liked = near.and_then(|near| {
            near.preferred_during_scheduling_ignored_during_execution
                .as_ref()
        });
        let disliked = far.and_then(|far| {
            far.preferred_during_scheduling_ignored_during_execution
                .as_ref()
        });
        let mut like = |one: &WeightedPodAffinityTerm, sign: i32| {
            let definition = of_terms(vec![term(pod, &one.pod_affinity_term)]);
            let key = one.pod_affinity_term.topology_key.clone();
            let weight = sign * one.weight;
            self.likes.push((definition.clone(), key.clone(), weight));
            self.stances.push((definition, key, Stance::Likes(weight)));
        };
        for one in liked.into_iter().flatten() {
            like(one, 1);
        }
        for one in disliked.into_iter().flatten() {
            like(one, -1);
        }
    }

    fn spread(&mut self, pod: &Pod, spec: &PodSpec) {
        let explicit = spec.topology_spread_constraints.as_ref();
        for one in explicit.into_iter().flatten() {
            let keys = one.match_label_keys.as_deref().unwrap_or_default();
            let selected = Term {
                namespaces: own_namespace(pod),
                of_namespaces: None,
                labels: selector(pod, one.label_selector.as_ref(), keys, &[]),
            };
            let definition = Definition {
                which: Which::Selected(vec![selected]),
                only_staying: true,
            };
            self.spreading.push((definition, one.clone(), true));
        }
        let owner = pods::controller_ref(&pod.metadata);
        if let Some(owner) = owner.filter(|_| self.spreading.is_empty()) {
            let definition = Definition {
                which: Which::OwnedBy(owner.uid.clone()),
                only_staying: true,
            };
            for (key, max_skew) in DEFAULT_SPREADING {
                let constraint = TopologySpreadConstraint {
                    max_skew,
                    topology_key: key.to_owned(),
                    when_unsatisfiable: "ScheduleAnyway".to_owned(),
                    ..TopologySpreadConstraint::default()
                };
                self.spreading.push((definition.clone(), constraint, false));
            }
        }
    }
}

fn own_namespace(pod: &Pod) -> BTreeSet<String> {
    pod.metadata.namespace.iter().cloned().collect()
}

/// A term of affinity. Without namespaces and a selector of them it is about the pod's own.
fn term(pod: &Pod, term: &PodAffinityTerm) -> Term {
    let mut namespaces: BTreeSet<String> = term.namespaces.iter().flatten().cloned().collect();
    if namespaces.is_empty() && term.namespace_selector.is_none() {
        namespaces = own_namespace(pod);
    }
    let read = |selector: &MetaSelector| LabelSelector::from_meta(selector).ok();
    Term {
        namespaces,
        of_namespaces: term.namespace_selector.as_ref().and_then(read),
        labels: selector(
            pod,
            term.label_selector.as_ref(),
            term.match_label_keys.as_deref().unwrap_or_default(),
            term.mismatch_label_keys.as_deref().unwrap_or_default(),
        ),
    }
}

/// A selector with the pod's own values of some labels, to match or to mismatch. One that does not parse selects nothing.
fn selector(
    pod: &Pod,
    selector: Option<&MetaSelector>,
    alike: &[String],
    unlike: &[String],
) -> Option<LabelSelector> {
    let read = LabelSelector::from_meta(selector?).ok()?;
    let labels = pod.metadata.labels.as_ref();
    let own = |key: &String, operator| {
        let value = labels?.get(key)?;
        Some(Requirement {
            key: key.clone(),
            operator,
            values: vec![value.clone()],
        })
    };
    let mut requirements = read.requirements().to_vec();
    requirements.extend(alike.iter().filter_map(|key| own(key, Operator::In)));
    requirements.extend(unlike.iter().filter_map(|key| own(key, Operator::NotIn)));
    Some(LabelSelector::new(requirements))
}

/// A pod's priority.
#[must_use]
pub fn priority(pod: &Pod) -> i32 {
    let spec = pod.spec.as_ref();
    spec.and_then(|spec| spec.priority).unwrap_or(0)
}

/// The ports of its node that a pod asks for.
pub(crate) fn host_ports(pod: &Pod) -> Vec<HostPort> {
    let spec = pod.spec.as_ref();
    let main = spec.into_iter().flat_map(|spec| &spec.containers);
    let init = spec
        .into_iter()
        .flat_map(|spec| spec.init_containers.iter().flatten());
    let sidecars = init.filter(|one| one.restart_policy.as_deref() == Some("Always"));
    let ports = main
        .chain(sidecars)
        .flat_map(|container| container.ports.iter().flatten());
    let of = |port: &ContainerPort| {
        let number = port.host_port.filter(|number| *number > 0)?;
        let address = port.host_ip.clone().filter(|ip| !ip.is_empty());
        Some(HostPort {
            protocol: port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()),
            number,
            address: address.unwrap_or_else(|| "0.0.0.0".to_owned()),
        })
    };
    ports.filter_map(of).collect()
}
