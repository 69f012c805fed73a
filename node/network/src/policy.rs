//! NetworkPolicy as a pure function: may this pod talk to that one. Rules: upstream's documentation of `networking.k8s.io/v1`.
//!
//! Policies only allow. A pod that a policy selects for a direction is isolated in it: what no policy that selects it allows is denied. A connection needs
//! both its ends' consent; answers need none.

mod selector;

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};

pub use selector::{Labels, Requirement, Selector};

use crate::{cidr::Cidr, service::Protocol};

/// Which way a policy looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Direction {
    /// What comes in.
    Ingress,
    /// What goes out.
    Egress,
}

/// A policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The pods of its namespace that it is for.
    pub pods: Selector,
    /// What may come in. `None`: it says nothing about that; empty: nothing may.
    pub ingress: Option<Vec<Rule>>,
    /// What may go out, likewise.
    pub egress: Option<Vec<Rule>>,
}

/// Something that is allowed: to or from any of the peers, on any of the ports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// With whom. Empty: with everybody.
    pub peers: Vec<Peer>,
    /// Where. Empty: everywhere.
    pub ports: Vec<PortRule>,
}

/// The other side of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peer {
    /// Pods: of the namespaces selected, or, without a selector, of the policy's; all of them or those selected.
    Pods {
        /// Which namespaces.
        namespaces: Option<Selector>,
        /// Which pods in them.
        pods: Option<Selector>,
    },
    /// Addresses.
    Block {
        /// The range.
        range: Cidr,
        /// What is left out of it.
        except: Vec<Cidr>,
    },
}

/// Ports of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortRule {
    /// The protocol. `None`: one that is not carried, so that nothing matches.
    pub protocol: Option<Protocol>,
    /// Which.
    pub ports: Ports,
}

/// Which ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ports {
    /// All.
    All,
    /// Those from one to another, both included.
    Range(u16, u16),
    /// The one of this name at the pod that is connected to.
    Named(String),
}

/// What policies need to know of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodFacts {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: Labels,
    /// Its named ports: name, protocol, number.
    pub ports: Vec<(String, Protocol, u16)>,
}

/// One end of a connection: where it is, and which pod, if it is one.
#[derive(Clone, Copy, Debug)]
pub struct End<'a> {
    /// Its address.
    pub ip: IpAddr,
    /// The pod there.
    pub pod: Option<&'a PodFacts>,
}

/// A connection, or a datagram that begins a conversation.
#[derive(Clone, Copy, Debug)]
pub struct Attempt<'a> {
    /// Who begins.
    pub source: End<'a>,
    /// With whom.
    pub target: End<'a>,
    /// At which port.
    pub port: u16,
    /// How.
    pub protocol: Protocol,
}

/// What was denied, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// Whose policies deny it.
    pub pod: (String, String),
    /// Which way.
    pub direction: Direction,
    /// Who began.
    pub source: IpAddr,
    /// With whom.
    pub target: SocketAddr,
    /// How.
    pub protocol: Protocol,
}

/// The policies of a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policies {
    by_namespace: BTreeMap<String, Vec<Policy>>,
    /// The labels of namespaces.
    namespaces: BTreeMap<String, Labels>,
}

impl Policies {
    /// Those of a cluster with these namespaces.
    #[must_use]
    pub fn new(policies: Vec<Policy>, namespaces: BTreeMap<String, Labels>) -> Self {
        let mut by_namespace: BTreeMap<String, Vec<Policy>> = BTreeMap::new();
        for policy in policies {
            by_namespace
                .entry(policy.namespace.clone())
                .or_default()
                .push(policy);
        }
        Self {
            by_namespace,
            namespaces,
        }
    }

    /// Whether nothing is isolated.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_namespace.is_empty()
    }

    /// Whether any policy is about a pod in a direction.
    #[must_use]
    pub fn isolates(&self, pod: &PodFacts, direction: Direction) -> bool {
        let all = self.by_namespace.get(&pod.namespace);
        all.into_iter().flatten().any(|policy| {
            let says = match direction {
                Direction::Ingress => policy.ingress.is_some(),
                Direction::Egress => policy.egress.is_some(),
            };
            says && policy.pods.matches(&pod.labels)
        })
    }

    /// Whether the source's policies let it out.
    ///
    /// # Errors
    /// [`Denial`].
    pub fn may_leave(&self, attempt: &Attempt<'_>) -> Result<(), Denial> {
        let subject = attempt.source.pod;
        self.decide(attempt, Direction::Egress, subject, &attempt.target)
    }

    /// Whether the target's policies let it in.
    ///
    /// # Errors
    /// [`Denial`].
    pub fn may_enter(&self, attempt: &Attempt<'_>) -> Result<(), Denial> {
        let subject = attempt.target.pod;
        self.decide(attempt, Direction::Ingress, subject, &attempt.source)
    }

    fn decide(
        &self,
        attempt: &Attempt<'_>,
        direction: Direction,
        subject: Option<&PodFacts>,
        other: &End<'_>,
    ) -> Result<(), Denial> {
        // A pod cannot shut itself out.
        let Some(subject) = subject.filter(|_| attempt.source.ip != attempt.target.ip) else {
            return Ok(());
        };
        let all = self.by_namespace.get(&subject.namespace);
        let mut is_isolated = false;
        for policy in all.into_iter().flatten() {
            let rules = match direction {
                Direction::Ingress => &policy.ingress,
                Direction::Egress => &policy.egress,
            };
            let Some(rules) = rules else { continue };
            if !policy.pods.matches(&subject.labels) {
                continue;
            }
            is_isolated = true;
            let allows = |rule: &Rule| {
                rule.has_port(attempt) && self.has_peer(rule, &policy.namespace, other)
            };
            if rules.iter().any(allows) {
                return Ok(());
            }
        }
        if !is_isolated {
            return Ok(());
        }
        Err(Denial {
            pod: (subject.namespace.clone(), subject.name.clone()),
            direction,
            source: attempt.source.ip,
            target: SocketAddr::new(attempt.target.ip, attempt.port),
            protocol: attempt.protocol,
        })
    }

    fn has_peer(&self, rule: &Rule, namespace: &str, other: &End<'_>) -> bool {
        let matches = |peer: &Peer| match peer {
            Peer::Block { range, except } => {
                range.has(other.ip) && !except.iter().any(|range| range.has(other.ip))
            }
            Peer::Pods { namespaces, pods } => other.pod.is_some_and(|pod| {
                let is_in = match namespaces {
                    None => pod.namespace == namespace,
                    Some(selector) => match self.namespaces.get(&pod.namespace) {
                        Some(labels) => selector.matches(labels),
                        // One that is not known yet has no labels to be chosen by.
                        None => selector.matches(&Labels::new()),
                    },
                };
                let of_pods = pods.as_ref();
                is_in && of_pods.is_none_or(|selector| selector.matches(&pod.labels))
            }),
        };
        rule.peers.is_empty() || rule.peers.iter().any(matches)
    }
}

impl Rule {
    fn has_port(&self, attempt: &Attempt<'_>) -> bool {
        let matches = |one: &PortRule| {
            one.protocol == Some(attempt.protocol)
                && match &one.ports {
                    Ports::All => true,
                    Ports::Range(first, last) => (*first..=*last).contains(&attempt.port),
                    // Names are the target's, whichever end the policy is for.
                    Ports::Named(name) => attempt.target.pod.is_some_and(|pod| {
                        pod.ports.iter().any(|(own, protocol, number)| {
                            own == name && *protocol == attempt.protocol && *number == attempt.port
                        })
                    }),
                }
        };
        self.ports.is_empty() || self.ports.iter().any(matches)
    }
}

#[cfg(test)]
mod tests;
