//! Where policies are enforced: before a connection is made, before it is taken in, and at every datagram of which no conversation is known.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Instant,
};

use super::Switch;
use crate::{
    error::NetError,
    policy::{Attempt, Denial, Direction, End, PodFacts, Policies},
    service::Protocol,
    stack::PodStack,
};

/// What is known of who has an address.
enum Known {
    /// The pod there, or that it is none.
    Is(Option<Arc<PodFacts>>),
    /// A pod of another node, which is to be asked.
    Ask,
}

/// Which ends of something have policies about it.
struct Subjects {
    source: Option<Arc<PodStack>>,
    target: Option<Arc<PodStack>>,
    leaves: bool,
    enters: bool,
}

impl Switch {
    /// Makes these the policies of the cluster from now on. Connections that exist are not touched; conversations by datagram begin anew.
    pub fn set_policies(&self, policies: Policies) {
        *self.policies.write() = Arc::new(policies);
        for stack in self.stacks.read().values() {
            stack.udp.conversations.lock().clear();
        }
    }

    fn policies(&self) -> Arc<Policies> {
        Arc::clone(&self.policies.read())
    }

    /// Tells `told` of what is denied, as far as it has room.
    pub fn set_denials(&self, told: tokio::sync::mpsc::Sender<Denial>) {
        *self.denials.write() = Some(told);
    }

    /// Whether a connection may be made; asks another node about its pod if that matters.
    ///
    /// # Errors
    /// `AccessDenied`, and what comes of asking.
    pub(crate) async fn consent(
        &self,
        source: SocketAddr,
        target: SocketAddr,
        protocol: Protocol,
    ) -> Result<(), NetError> {
        let policies = self.policies();
        let Some(subjects) = self.subjects(&policies, source, target) else {
            return Ok(());
        };
        let source_facts = self.facts(source.ip()).await?;
        let target_facts = self.facts(target.ip()).await?;
        let ends = (source_facts.as_deref(), target_facts.as_deref());
        self.decide(&policies, &subjects, (source, target), ends, protocol)
    }

    /// Whether a datagram may go from `source` to `target`. `None`: another node is to be asked first.
    pub(super) fn consent_to_datagram(
        &self,
        source: SocketAddr,
        target: SocketAddr,
    ) -> Option<Result<(), NetError>> {
        let policies = self.policies();
        let Some(mut subjects) = self.subjects(&policies, source, target) else {
            return Some(Ok(()));
        };
        let now = Instant::now();
        // Whoever was let through may go on, and be answered.
        if let Some(stack) = subjects.source.as_ref().filter(|_| subjects.leaves) {
            let mut conversations = stack.udp.conversations.lock();
            subjects.leaves = !conversations.goes_on(source, target, now);
        }
        if let Some(stack) = subjects.target.as_ref().filter(|_| subjects.enters) {
            let mut conversations = stack.udp.conversations.lock();
            subjects.enters = !conversations.goes_on(target, source, now);
        }
        if !subjects.leaves && !subjects.enters {
            return Some(Ok(()));
        }
        let (Known::Is(from), Known::Is(to)) = (self.known(source.ip()), self.known(target.ip()))
        else {
            return None;
        };
        let ends = (from.as_deref(), to.as_deref());
        let decided = self.decide(&policies, &subjects, (source, target), ends, Protocol::Udp);
        if decided.is_ok() {
            if let Some(stack) = &subjects.source {
                stack.udp.conversations.lock().begin(source, target, now);
            }
            if let Some(stack) = &subjects.target {
                stack.udp.conversations.lock().begin(target, source, now);
            }
        }
        Some(decided)
    }

    /// Whether any pod of this node has policies about it. Most of the time none has, and nothing else is looked at.
    fn subjects(
        &self,
        policies: &Policies,
        source: SocketAddr,
        target: SocketAddr,
    ) -> Option<Subjects> {
        if policies.is_empty() {
            return None;
        }
        let source_stack = self.stack(source.ip());
        let target_stack = self.stack(target.ip());
        let isolates = |stack: &Option<Arc<PodStack>>, direction| {
            stack
                .as_ref()
                .is_some_and(|stack| policies.isolates(&stack.facts(), direction))
        };
        let leaves = isolates(&source_stack, Direction::Egress);
        // The node may always reach its pods: probes must not fail over a policy (upstream's rule).
        let enters =
            source.ip() != self.config.host_ip && isolates(&target_stack, Direction::Ingress);
        (leaves || enters).then_some(Subjects {
            source: source_stack,
            target: target_stack,
            leaves,
            enters,
        })
    }

    fn decide(
        &self,
        policies: &Policies,
        subjects: &Subjects,
        (source, target): (SocketAddr, SocketAddr),
        (from, to): (Option<&PodFacts>, Option<&PodFacts>),
        protocol: Protocol,
    ) -> Result<(), NetError> {
        let attempt = Attempt {
            source: End {
                ip: source.ip(),
                pod: from,
            },
            target: End {
                ip: target.ip(),
                pod: to,
            },
            port: target.port(),
            protocol,
        };
        if subjects.leaves
            && let Err(denial) = policies.may_leave(&attempt)
        {
            return Err(self.denied(subjects.source.as_ref(), denial));
        }
        if subjects.enters
            && let Err(denial) = policies.may_enter(&attempt)
        {
            return Err(self.denied(subjects.target.as_ref(), denial));
        }
        Ok(())
    }

    fn denied(&self, subject: Option<&Arc<PodStack>>, denial: Denial) -> NetError {
        if let Some(stack) = subject {
            stack.counters.denied();
        }
        tracing::debug!(?denial, "denied by policy");
        // Who is told may be slower than who is denied; the counters have them all.
        if let Some(told) = self.denials.read().as_ref()
            && told.try_send(denial).is_err()
        {
            tracing::trace!("a denial was not told");
        }
        NetError::AccessDenied
    }

    fn known(&self, ip: IpAddr) -> Known {
        if let Some(stack) = self.stack(ip) {
            return Known::Is(Some(stack.facts()));
        }
        if self.config.dns_ip == Some(ip) {
            return Known::Is(Some(Arc::new(dns_facts())));
        }
        let dialer = self.dialer.read().clone();
        match dialer.and_then(|dialer| dialer.known_facts(ip)) {
            None => Known::Is(None),
            Some(Some(facts)) => Known::Is(facts),
            Some(None) => Known::Ask,
        }
    }

    /// The pod at an address, if it is one; asks the node that has it.
    async fn facts(&self, ip: IpAddr) -> Result<Option<Arc<PodFacts>>, NetError> {
        match self.known(ip) {
            Known::Is(facts) => Ok(facts),
            Known::Ask => {
                let asking = self.dialer.read().as_ref().map(|dialer| dialer.ask(ip));
                match asking {
                    Some(asking) => asking.await,
                    None => Ok(None),
                }
            }
        }
    }

    /// What is known of a pod of this node.
    pub(crate) fn local_facts(&self, ip: IpAddr) -> Option<Arc<PodFacts>> {
        self.stack(ip).map(|stack| stack.facts())
    }

    /// Asks about both ends of a datagram, so that the next decision needs no other node.
    pub(super) async fn learn(&self, source: IpAddr, target: IpAddr) -> Result<(), NetError> {
        self.facts(source).await?;
        self.facts(target).await?;
        Ok(())
    }
}

/// The DNS server as policies see it: they name it by the labels that it has in every cluster.
fn dns_facts() -> PodFacts {
    let label = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    PodFacts {
        namespace: "kube-system".to_owned(),
        name: "kube-dns".to_owned(),
        labels: [label("k8s-app", "kube-dns")].into(),
        ports: vec![
            ("dns".to_owned(), Protocol::Udp, 53),
            ("dns-tcp".to_owned(), Protocol::Tcp, 53),
        ],
    }
}

#[cfg(test)]
mod tests;
