//! What the scheduler hears, and what that changes: the snapshot, the queue, and what waiting pods are told. Decides nothing.

use std::sync::Arc;

use coracle_api::{pods, selector::LabelSelector};
use coracle_scheduler::{Budget, Event};
use k8s_openapi::api::{
    core::v1::{Namespace, Node, Pod},
    policy::v1::PodDisruptionBudget,
};
use kube::{ResourceExt, runtime::watcher};

use super::{NAME, Scheduler};

impl Scheduler {
    pub(super) fn node(&mut self, event: watcher::Event<Node>) {
        match event {
            watcher::Event::Init => {}
            watcher::Event::Apply(node) | watcher::Event::InitApply(node) => {
                let name = node.name_any();
                if self.snapshot.put_node(Arc::new(node)) {
                    self.news.push(Event::Node(name));
                }
            }
            watcher::Event::Delete(node) => {
                let name = node.name_any();
                self.snapshot.remove_node(&name);
                self.news.push(Event::Node(name));
            }
            watcher::Event::InitDone => self.synced.nodes = true,
        }
    }

    pub(super) fn namespace(&mut self, event: watcher::Event<Namespace>) {
        match event {
            watcher::Event::Init => {}
            watcher::Event::Apply(namespace) | watcher::Event::InitApply(namespace) => {
                let labels = namespace.labels().clone();
                if self
                    .snapshot
                    .put_namespace(&namespace.name_any(), Some(labels))
                {
                    self.news.push(Event::Other);
                }
            }
            watcher::Event::Delete(namespace) => {
                self.snapshot.put_namespace(&namespace.name_any(), None);
            }
            watcher::Event::InitDone => self.synced.namespaces = true,
        }
    }

    pub(super) fn budget(&mut self, event: watcher::Event<PodDisruptionBudget>) {
        match event {
            watcher::Event::Init | watcher::Event::InitDone => {}
            watcher::Event::Apply(budget) | watcher::Event::InitApply(budget) => {
                let key = (budget.namespace().unwrap_or_default(), budget.name_any());
                let selector = budget.spec.as_ref().and_then(|spec| spec.selector.as_ref());
                let selector = selector.and_then(|one| LabelSelector::from_meta(one).ok());
                let status = budget.status.as_ref();
                let allowed = status.and_then(|status| status.disruptions_allowed);
                let read = selector.map(|selector| Budget {
                    namespace: key.0.clone(),
                    selector,
                    // What is not known is not allowed.
                    allowed: allowed.unwrap_or(0),
                });
                match read {
                    Some(read) => drop(self.budgets.insert(key, read)),
                    None => drop(self.budgets.remove(&key)),
                }
            }
            watcher::Event::Delete(budget) => {
                let key = (budget.namespace().unwrap_or_default(), budget.name_any());
                self.budgets.remove(&key);
            }
        }
    }

    pub(super) fn pod(&mut self, event: watcher::Event<Pod>) {
        match event {
            watcher::Event::Init => {}
            watcher::Event::Apply(pod) | watcher::Event::InitApply(pod) => self.put_pod(pod),
            watcher::Event::Delete(pod) => self.gone(&pod.uid().unwrap_or_default()),
            watcher::Event::InitDone => self.synced.pods = true,
        }
    }

    fn put_pod(&mut self, pod: Pod) {
        let Some(uid) = pod.uid() else { return };
        if pods::is_terminal(&pod) {
            self.gone(&uid);
        } else if let Some(node) = pods::node_name(&pod).map(str::to_owned) {
            self.queue.remove(&uid);
            self.placed(&node, Arc::new(pod));
        } else if !is_ours(&pod) {
            self.gone(&uid);
        } else {
            self.waits(Arc::new(pod));
        }
    }

    /// A pod is on a node, by our doing or others'.
    fn placed(&mut self, node: &str, pod: Arc<Pod>) {
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let known = self.snapshot.placed(&uid).filter(|(at, _)| *at == node);
        let known = known.map(|(_, request)| Arc::clone(request));
        let request = self.snapshot.put_pod(node, pod);
        let Some(before) = known else {
            self.news.push(Event::Placed(request));
            return;
        };
        let marks = |pod: &Pod| {
            (
                pod.metadata.labels.clone(),
                pod.metadata.deletion_timestamp.is_some(),
            )
        };
        if marks(&before.pod) != marks(&request.pod) {
            self.news.push(Event::Placed(Arc::clone(&request)));
        }
        if before.resources != request.resources {
            self.news.push(Event::Node(node.to_owned()));
        }
    }

    /// A pod waits for a node. One that was promised a place before this scheduler started still is.
    fn waits(&mut self, pod: Arc<Pod>) {
        let status = pod.status.as_ref();
        let promised = status.and_then(|status| status.nominated_node_name.clone());
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        if let Some(node) = promised.filter(|node| !node.is_empty())
            && self.snapshot.placed(&uid).is_none()
            && self.snapshot.promised(&uid).is_none()
            && self.snapshot.node(&node).is_some()
        {
            let request = Arc::new(self.snapshot.prepare(Arc::clone(&pod)));
            self.snapshot.promise(&node, request);
        }
        self.queue.put(pod);
    }

    fn gone(&mut self, uid: &str) {
        self.queue.remove(uid);
        self.leave(uid);
    }

    /// A pod takes nothing any more, and is promised nothing.
    pub(super) fn leave(&mut self, uid: &str) {
        if let Some(node) = self.snapshot.promised(uid).map(str::to_owned) {
            self.snapshot.withdraw(uid);
            self.news.push(Event::Node(node));
        }
        let node = self.snapshot.place_of(uid).map(str::to_owned);
        let pod = self.snapshot.remove_pod(uid);
        if let (Some(node), Some(pod)) = (node, pod) {
            self.news.push(Event::Gone { pod, node });
        }
    }
}

/// Whether this scheduler is to decide a pod now.
fn is_ours(pod: &Pod) -> bool {
    let spec = pod.spec.as_ref();
    let named = spec.and_then(|spec| spec.scheduler_name.as_deref());
    let is_gated = spec
        .and_then(|spec| spec.scheduling_gates.as_ref())
        .is_some_and(|gates| !gates.is_empty());
    named.is_none_or(|named| named == NAME)
        && !is_gated
        && pod.metadata.deletion_timestamp.is_none()
}
