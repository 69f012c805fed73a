//! The pods that wait for a node: who is next, who has to wait for a while, who for something to change. An event wakes only pods that it could help, as the
//! plugins say that refused them. No clock of its own: times are whatever the caller's clock shows.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::Add,
    sync::Arc,
    time::Duration,
};

use k8s_openapi::api::core::v1::Pod;

use crate::{
    plugins::{Plugin, Plugins, refusal_of_node},
    request::{Request, priority},
    snapshot::{NodeState, Snapshot},
};

/// How long a pod waits after it was refused for the first time; it doubles each time. Upstream's.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// The longest wait. Upstream's.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// Higher priority first, then who came first, then any order.
type Rank = (Reverse<i32>, i64, String);

/// Something that has changed.
#[derive(Clone, Debug)]
pub enum Event {
    /// A node is there, or another than it was.
    Node(String),
    /// A pod is on a node that was not, or its labels have changed.
    Placed(Arc<Request>),
    /// A pod no longer takes anything on a node.
    Gone {
        /// The pod.
        pod: Arc<Request>,
        /// The node.
        node: String,
    },
    /// Something of which it is not known whom it could help.
    Other,
}

/// What waits, by the clock `T`.
#[derive(Debug)]
pub struct Queue<T> {
    /// All of them, by uid.
    pods: HashMap<String, Waiting<T>>,
    /// Those that may be decided now.
    active: BTreeSet<Rank>,
    /// Those that may be decided at a time.
    timed: BTreeSet<(T, String)>,
}

#[derive(Debug)]
struct Waiting<T> {
    pod: Arc<Pod>,
    state: State<T>,
    /// How often it was refused.
    n_refusals: u32,
    /// What was told of it last.
    told: Option<String>,
}

#[derive(Debug)]
enum State<T> {
    /// It may be decided.
    Active,
    /// It may be decided at that time.
    Timed(T),
    /// It was taken and is being decided.
    Taken,
    /// It waits for something to change.
    Refused {
        /// What it asks for.
        request: Arc<Request>,
        /// Who refused it.
        by: Plugins,
        /// It is not decided before that, whatever changes.
        not_before: T,
    },
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self {
            pods: HashMap::new(),
            active: BTreeSet::new(),
            timed: BTreeSet::new(),
        }
    }
}

impl<T: Copy + Ord + Add<Duration, Output = T>> Queue<T> {
    /// A pod waits, or has changed while it did.
    pub fn put(&mut self, pod: Arc<Pod>) {
        let Some(uid) = pod.metadata.uid.clone() else {
            return;
        };
        if let Some(known) = self.pods.get_mut(&uid) {
            // A change of its status is what we have written ourselves.
            let is_same =
                known.pod.spec == pod.spec && known.pod.metadata.labels == pod.metadata.labels;
            known.pod = pod;
            if is_same || matches!(known.state, State::Active | State::Taken) {
                return;
            }
        } else {
            let waiting = Waiting {
                pod,
                state: State::Taken,
                n_refusals: 0,
                told: None,
            };
            self.pods.insert(uid.clone(), waiting);
        }
        self.activate(&uid);
    }

    /// A pod waits no more.
    pub fn remove(&mut self, uid: &str) {
        if let Some(waiting) = self.pods.remove(uid) {
            self.active.remove(&rank(&waiting.pod));
            if let State::Timed(at) = waiting.state {
                self.timed.remove(&(at, uid.to_owned()));
            }
        }
    }

    /// Takes the next one. It is nowhere until the caller says what became of it.
    pub fn take(&mut self) -> Option<Arc<Pod>> {
        while let Some((_, _, uid)) = self.active.pop_first() {
            if let Some(waiting) = self.pods.get_mut(&uid) {
                waiting.state = State::Taken;
                return Some(Arc::clone(&waiting.pod));
            }
        }
        None
    }

    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pods.len()
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pods.is_empty()
    }

    /// Whether none may be decided now.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.active.is_empty()
    }

    /// A pod was refused. Says whether `told` is news.
    pub fn refuse(&mut self, request: Arc<Request>, by: Plugins, told: &str, now: T) -> bool {
        let uid = request.uid.clone();
        let Some(waiting) = self.pods.get_mut(&uid) else {
            return false;
        };
        let not_before = now + wait(waiting.n_refusals);
        waiting.n_refusals = waiting.n_refusals.saturating_add(1);
        waiting.state = State::Refused {
            request,
            by,
            not_before,
        };
        let is_news = waiting.told.as_deref() != Some(told);
        waiting.told = Some(told.to_owned());
        is_news
    }

    /// A pod that was taken waits until a time.
    pub fn later(&mut self, uid: &str, at: T) {
        if let Some(waiting) = self.pods.get_mut(uid) {
            self.active.remove(&rank(&waiting.pod));
            if let State::Timed(before) = waiting.state {
                self.timed.remove(&(before, uid.to_owned()));
            }
            waiting.state = State::Timed(at);
            self.timed.insert((at, uid.to_owned()));
        }
    }

    /// When the next one has waited long enough.
    #[must_use]
    pub fn wake_at(&self) -> Option<T> {
        self.timed.first().map(|(at, _)| *at)
    }

    /// Those that have waited long enough may be decided.
    pub fn wake(&mut self, now: T) {
        while let Some((at, uid)) = self.timed.first().cloned()
            && at <= now
        {
            self.timed.pop_first();
            self.activate(&uid);
        }
    }

    /// Things have changed: pods that one of them could help may be decided again, once they have waited for as long as they must.
    pub fn tell(&mut self, events: &[Event], snapshot: &Snapshot, now: T) {
        let helped: Vec<(String, T)> = self
            .pods
            .iter()
            .filter_map(|(uid, waiting)| match &waiting.state {
                State::Refused {
                    request,
                    by,
                    not_before,
                } => {
                    let helps = events
                        .iter()
                        .any(|event| helps(event, request, *by, snapshot));
                    helps.then(|| (uid.clone(), *not_before))
                }
                State::Active | State::Timed(_) | State::Taken => None,
            })
            .collect();
        for (uid, not_before) in helped {
            if not_before <= now {
                self.activate(&uid);
            } else {
                self.later(&uid, not_before);
            }
        }
    }

    /// All that were refused may be decided again: what no event told of may have changed.
    pub fn flush(&mut self) {
        let refused = self
            .pods
            .iter()
            .filter(|(_, one)| matches!(one.state, State::Refused { .. }));
        let refused: Vec<String> = refused.map(|(uid, _)| uid.clone()).collect();
        for uid in refused {
            self.activate(&uid);
        }
    }

    fn activate(&mut self, uid: &str) {
        if let Some(waiting) = self.pods.get_mut(uid) {
            if let State::Timed(at) = waiting.state {
                self.timed.remove(&(at, uid.to_owned()));
            }
            waiting.state = State::Active;
            self.active.insert(rank(&waiting.pod));
        }
    }
}

/// The wait after so many refusals before.
fn wait(n_refusals: u32) -> Duration {
    let doubled = FIRST_WAIT.saturating_mul(1 << n_refusals.min(10));
    doubled.min(LONGEST_WAIT)
}

/// Whether an event could make a pod fit that these plugins refused.
fn helps(event: &Event, request: &Request, by: Plugins, snapshot: &Snapshot) -> bool {
    // Nobody refused it: there was no node at all.
    if by.is_empty() {
        return matches!(event, Event::Node(_) | Event::Other);
    }
    let is_about_pods = by.contains(Plugin::Spread) || by.contains(Plugin::PodAffinity);
    match event {
        Event::Other => true,
        Event::Node(name) => {
            // A node more or less changes how pods are spread, wherever it is.
            by.contains(Plugin::Spread) || could_take(name, request, snapshot)
        }
        Event::Gone { pod, node } => {
            (is_about_pods && matters(pod, request, snapshot))
                || could_take(node, request, snapshot)
        }
        Event::Placed(pod) => is_about_pods && matters(pod, request, snapshot),
    }
}

/// Whether a node that was refused for reasons of its own could take a pod now.
fn could_take(node: &str, request: &Request, snapshot: &Snapshot) -> bool {
    let state: Option<&NodeState> = snapshot.node(node).filter(|state| state.node.is_some());
    state.is_some_and(|state| refusal_of_node(request, state).is_none())
}

/// Whether a pod is one of those that another must be near, far from or spread with, or the other way round.
fn matters(pod: &Request, request: &Request, snapshot: &Snapshot) -> bool {
    let groups = snapshot.groups();
    let namespaces = snapshot.namespaces();
    let is_in = |id: usize, one: &Request| {
        let group = groups.get(id);
        // A group that was forgotten meanwhile says nothing.
        group.is_none_or(|group| group.contains(&one.pod, namespaces))
    };
    let near = request.near.iter().map(|(id, _)| *id);
    let far = request.far.iter().map(|(id, _)| *id);
    let spread = request
        .spreading
        .iter()
        .filter(|one| one.is_hard)
        .map(|one| one.group);
    near.chain(far).chain(spread).any(|id| is_in(id, pod))
        || pod.stances.iter().any(|(id, ..)| is_in(*id, request))
}

fn rank(pod: &Pod) -> Rank {
    let created = pod.metadata.creation_timestamp.as_ref();
    let created = created.map_or(0, |time| time.0.as_second());
    let uid = pod.metadata.uid.clone().unwrap_or_default();
    (Reverse(priority(pod)), created, uid)
}

/// How many pods wait for what, for those who look on.
impl<T: Copy + Ord + Add<Duration, Output = T>> Queue<T> {
    /// Pods by state: to be decided, waiting for a time, waiting for a change.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<&'static str, usize> {
        let mut counts = BTreeMap::new();
        for waiting in self.pods.values() {
            let of = match waiting.state {
                State::Active | State::Taken => "active",
                State::Timed(_) => "backoff",
                State::Refused { .. } => "unschedulable",
            };
            *counts.entry(of).or_default() += 1;
        }
        counts
    }
}

#[cfg(test)]
mod tests;
