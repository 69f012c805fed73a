//! What decides: each plugin says of a node why it refuses a pod, how well it suits, and which events could change its mind. Named as upstream's; reasons are
//! upstream's word for word, since people search for them.

pub mod fit;
pub mod images;
pub mod pod_affinity;
pub mod ports;
pub mod spread;
pub mod taints;

use coracle_api::affinity;
use k8s_openapi::api::core::v1::Taint;

use crate::{groups::Slot, request::Request, snapshot::NodeState, snapshot::Snapshot};
use fit::Lack;

/// A plugin that refuses nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u16)]
pub enum Plugin {
    /// `NodeUnschedulable`
    Unschedulable = 1 << 0,
    /// `NodeName`
    NodeName = 1 << 1,
    /// `TaintToleration`
    Taints = 1 << 2,
    /// `NodeAffinity`
    NodeAffinity = 1 << 3,
    /// `NodePorts`
    Ports = 1 << 4,
    /// `NodeResourcesFit`
    Fit = 1 << 5,
    /// `PodTopologySpread`
    Spread = 1 << 6,
    /// `InterPodAffinity`
    PodAffinity = 1 << 7,
}

/// Several plugins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Plugins(u16);

impl Plugins {
    /// Adds one.
    pub fn insert(&mut self, plugin: Plugin) {
        self.0 |= plugin as u16;
    }

    /// Whether it is one of them.
    #[must_use]
    pub fn contains(self, plugin: Plugin) -> bool {
        self.0 & plugin as u16 != 0
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// Why a node cannot take a pod.
#[derive(Clone, Debug, PartialEq)]
pub enum Refusal<'a> {
    /// It takes no new pods.
    Cordoned,
    /// The pod names another.
    OtherNode,
    /// It has a taint that the pod does not tolerate.
    Tainted(&'a Taint),
    /// The pod does not select it.
    NotSelected,
    /// Its ports are taken.
    PortsTaken,
    /// It has too little of something.
    Lacks(Lack<'a>),
    /// It lacks a label over whose values the pod must be spread.
    Unspread,
    /// Too many of the pod's like are where it is.
    Skewed,
    /// The pods that the pod must be near are not.
    NotNear,
    /// Pods that the pod must not be near are.
    TooNear,
    /// Pods that must not be near the pod are.
    Repelled,
}

impl Refusal<'_> {
    /// Whose it is.
    #[must_use]
    pub fn plugin(&self) -> Plugin {
        match self {
            Self::Cordoned => Plugin::Unschedulable,
            Self::OtherNode => Plugin::NodeName,
            Self::Tainted(_) => Plugin::Taints,
            Self::NotSelected => Plugin::NodeAffinity,
            Self::PortsTaken => Plugin::Ports,
            Self::Lacks(_) => Plugin::Fit,
            Self::Unspread | Self::Skewed => Plugin::Spread,
            Self::NotNear | Self::TooNear | Self::Repelled => Plugin::PodAffinity,
        }
    }

    /// Whether it could be otherwise if pods of the node ended.
    #[must_use]
    pub fn is_curable(&self) -> bool {
        match self {
            Self::PortsTaken | Self::Skewed | Self::TooNear | Self::Repelled => true,
            Self::Lacks(lack) => !lack.is_hopeless,
            Self::Cordoned
            | Self::OtherNode
            | Self::Tainted(_)
            | Self::NotSelected
            | Self::Unspread
            | Self::NotNear => false,
        }
    }

    /// What is told of it.
    #[must_use]
    pub fn reasons(&self) -> Vec<String> {
        let told = match self {
            Self::Cordoned => "node(s) were unschedulable",
            Self::OtherNode => "node(s) didn't match the requested node name",
            Self::Tainted(taint) => {
                let value = taint.value.as_deref().unwrap_or_default();
                return vec![format!(
                    "node(s) had untolerated taint {{{}: {value}}}",
                    taint.key
                )];
            }
            Self::NotSelected => "node(s) didn't match Pod's node affinity/selector",
            Self::PortsTaken => "node(s) didn't have free ports for the requested pod ports",
            Self::Lacks(lack) => return lack.reasons(),
            Self::Unspread => {
                "node(s) didn't match pod topology spread constraints (missing required label)"
            }
            Self::Skewed => "node(s) didn't match pod topology spread constraints",
            Self::NotNear => "node(s) didn't match pod affinity rules",
            Self::TooNear => "node(s) didn't match pod anti-affinity rules",
            Self::Repelled => "node(s) didn't satisfy existing pods anti-affinity rules",
        };
        vec![told.to_owned()]
    }
}

/// What is the same for all nodes in one decision.
pub struct Decision<'a> {
    /// What is asked for.
    pub request: &'a Request,
    /// What is known.
    pub snapshot: &'a Snapshot,
    spread: spread::Spread<'a>,
    affinity: pod_affinity::Affinity<'a>,
    images: images::Images<'a>,
}

impl<'a> Decision<'a> {
    /// Looks up what is needed at every node.
    #[must_use]
    pub fn new(request: &'a Request, snapshot: &'a Snapshot) -> Self {
        Self {
            spread: spread::Spread::new(request, snapshot),
            affinity: pod_affinity::Affinity::new(request, snapshot),
            images: images::Images::new(request, snapshot),
            request,
            snapshot,
        }
    }

    /// Why a node cannot take the pod, as far as the node alone decides; nothing when it can.
    #[must_use]
    pub fn refusal_of_node(&self, state: &'a NodeState) -> Option<Refusal<'a>> {
        refusal_of_node(self.request, state)
    }

    /// Why a node cannot take the pod; nothing when it can.
    #[must_use]
    pub fn refusal(&self, state: &'a NodeState) -> Option<Refusal<'a>> {
        self.refusal_of_node(state)
            .or_else(|| self.spread.refusal(state))
            .or_else(|| self.affinity.refusal(state))
    }

    /// Measures a node that can take the pod.
    #[must_use]
    pub fn measure(&self, slot: Slot, state: &NodeState) -> Raw {
        let request = self.request;
        Raw {
            taints: taints::n_disliked(&request.pod, state),
            node_affinity: match &state.node {
                Some(node) => affinity::preference(&request.pod, node),
                None => 0,
            },
            free: fit::free(request, state),
            balance: fit::balance(request, state),
            pod_affinity: self.affinity.liking(state),
            spread: self.spread.crowding(slot, state),
            images: self.images.locality(state),
        }
    }

    /// The scores of nodes that were measured, in their order.
    #[must_use]
    pub fn scores(&self, measured: &[Raw]) -> Vec<i64> {
        let most = |of: fn(&Raw) -> i64| measured.iter().map(of).max().unwrap_or(0);
        let least = |of: fn(&Raw) -> i64| measured.iter().map(of).min().unwrap_or(0);
        let taints = most(|raw| raw.taints);
        let node_affinity = most(|raw| raw.node_affinity);
        let affinity = (least(|raw| raw.pod_affinity), most(|raw| raw.pod_affinity));
        let spread = self
            .spread
            .scores(measured.iter().map(|raw| raw.spread).collect());
        let part = |of: i64, all: i64| of.saturating_mul(BEST).checked_div(all).unwrap_or(0);
        let score = |(raw, spread): (&Raw, i64)| {
            let liked = part(raw.pod_affinity - affinity.0, affinity.1 - affinity.0);
            WEIGHTS.taints * (BEST - part(raw.taints, taints))
                + WEIGHTS.node_affinity * part(raw.node_affinity, node_affinity)
                + WEIGHTS.spread * spread
                + WEIGHTS.pod_affinity * liked
                + WEIGHTS.free * raw.free
                + WEIGHTS.balance * raw.balance
                + WEIGHTS.images * raw.images
        };
        measured.iter().zip(spread).map(score).collect()
    }
}

/// The filters that look at one node and nothing else, in upstream's order: the first that refuses is told.
#[must_use]
pub fn refusal_of_node<'a>(request: &'a Request, state: &'a NodeState) -> Option<Refusal<'a>> {
    let node = state.node.as_deref()?;
    let pod = &request.pod;
    if state.is_cordoned && !taints::tolerates_cordon(pod) {
        return Some(Refusal::Cordoned);
    }
    let named = coracle_api::pods::node_name(pod);
    if named.is_some_and(|named| named != state.name) {
        return Some(Refusal::OtherNode);
    }
    if let Some(taint) = taints::untolerated(pod, &state.repelling) {
        return Some(Refusal::Tainted(taint));
    }
    if request.selects_nodes && !affinity::matches(pod, node) {
        return Some(Refusal::NotSelected);
    }
    if ports::are_taken(request, state) {
        return Some(Refusal::PortsTaken);
    }
    fit::lack(request, state).map(Refusal::Lacks)
}

/// The best a plugin gives.
pub const BEST: i64 = 100;

/// How much each plugin's score, 0 to [`BEST`], counts. This table is the policy.
struct Weights {
    taints: i64,
    node_affinity: i64,
    spread: i64,
    pod_affinity: i64,
    free: i64,
    balance: i64,
    images: i64,
}

/// Upstream's defaults.
const WEIGHTS: Weights = Weights {
    taints: 3,
    node_affinity: 2,
    spread: 2,
    pod_affinity: 2,
    free: 1,
    balance: 1,
    images: 1,
};

/// What is measured of a node before nodes are compared.
#[derive(Clone, Copy, Debug, Default)]
pub struct Raw {
    /// Taints that the pod would rather not have.
    pub taints: i64,
    /// Weights of the node terms that the pod prefers.
    pub node_affinity: i64,
    /// How much would be free, 0 to [`BEST`].
    pub free: i64,
    /// How evenly resources would be used, 0 to [`BEST`].
    pub balance: i64,
    /// How much the pod likes the pods there, and they it.
    pub pod_affinity: i64,
    /// How many of the pod's like are there; nothing where that cannot be said.
    pub spread: Option<f64>,
    /// How much of the pod's images is there, 0 to [`BEST`].
    pub images: i64,
}
