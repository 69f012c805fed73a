//! The pods that wait for a node: which is next, which wait for something to change, which wait for time to pass. No clock of its own.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use k8s_openapi::api::core::v1::Pod;
use tokio::time::Instant;

/// Higher priority first, then who came first, then any order.
type Rank = (Reverse<i32>, i64, String);

/// What waits.
#[derive(Debug, Default)]
pub(super) struct Pending {
    /// All of them, by uid.
    pods: HashMap<String, Waiting>,
    /// Those that may be decided now.
    active: BTreeSet<Rank>,
    /// Those that wait for a time.
    timed: BTreeMap<(Instant, String), ()>,
}

#[derive(Debug)]
struct Waiting {
    pod: Arc<Pod>,
    /// Why it was refused last.
    refused: Option<String>,
    until: Option<Instant>,
}

impl Pending {
    /// A pod waits, or has changed while it did.
    pub(super) fn put(&mut self, pod: Arc<Pod>) {
        let Some(uid) = pod.metadata.uid.clone() else {
            return;
        };
        let rank = rank(&pod);
        match self.pods.get_mut(&uid) {
            // A change of its status is what we have written ourselves.
            Some(known) => {
                let is_same = known.pod.spec == pod.spec;
                known.pod = pod;
                if is_same {
                    return;
                }
            }
            None => {
                let waiting = Waiting {
                    pod,
                    refused: None,
                    until: None,
                };
                self.pods.insert(uid, waiting);
            }
        }
        self.active.insert(rank);
    }

    pub(super) fn remove(&mut self, uid: &str) {
        if let Some(waiting) = self.pods.remove(uid) {
            self.active.remove(&rank(&waiting.pod));
            if let Some(until) = waiting.until {
                self.timed.remove(&(until, uid.to_owned()));
            }
        }
    }

    /// Takes the next one; it waits for something to change until it is told otherwise.
    pub(super) fn next(&mut self) -> Option<Arc<Pod>> {
        let (_, _, uid) = self.active.pop_first()?;
        self.pods.get(&uid).map(|waiting| Arc::clone(&waiting.pod))
    }

    /// Whether none may be decided now.
    pub(super) fn is_idle(&self) -> bool {
        self.active.is_empty()
    }

    /// A pod was refused. Says whether that is news.
    pub(super) fn refused(&mut self, pod: &Pod, message: &str) -> bool {
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        let Some(waiting) = self.pods.get_mut(uid) else {
            return false;
        };
        let is_news = waiting.refused.as_deref() != Some(message);
        waiting.refused = Some(message.to_owned());
        is_news
    }

    /// A pod waits until a time.
    pub(super) fn later(&mut self, pod: Arc<Pod>, until: Instant) {
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        if let Some(waiting) = self.pods.get_mut(&uid) {
            if let Some(before) = waiting.until.replace(until) {
                self.timed.remove(&(before, uid.clone()));
            }
            self.timed.insert((until, uid), ());
        }
    }

    /// When the next one has waited long enough.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        self.timed.keys().next().map(|(at, _)| *at)
    }

    /// Those that have waited long enough may be decided.
    pub(super) fn wake(&mut self, now: Instant) {
        while let Some(((at, uid), ())) = self.timed.pop_first() {
            if at > now {
                self.timed.insert((at, uid), ());
                return;
            }
            if let Some(waiting) = self.pods.get_mut(&uid) {
                waiting.until = None;
                self.active.insert(rank(&waiting.pod));
            }
        }
    }

    /// Something has changed: all that were refused may be decided again.
    pub(super) fn retry_all(&mut self) {
        let refused = self
            .pods
            .values()
            .filter(|waiting| waiting.refused.is_some());
        self.active
            .extend(refused.map(|waiting| rank(&waiting.pod)));
    }
}

fn rank(pod: &Pod) -> Rank {
    let priority = pod
        .spec
        .as_ref()
        .and_then(|spec| spec.priority)
        .unwrap_or(0);
    let created = pod.metadata.creation_timestamp.as_ref();
    let created = created.map_or(0, |time| time.0.as_second());
    let uid = pod.metadata.uid.clone().unwrap_or_default();
    (Reverse(priority), created, uid)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;

    fn pod(uid: &str, priority: i32) -> Arc<Pod> {
        Arc::new(serde_json::from_value(json!({ "metadata": { "uid": uid }, "spec": { "containers": [], "priority": priority } })).unwrap())
    }

    fn taken(pending: &mut Pending) -> Vec<String> {
        std::iter::from_fn(|| pending.next())
            .filter_map(|pod| pod.metadata.uid.clone())
            .collect()
    }

    #[test]
    fn higher_priorities_come_first() {
        let mut pending = Pending::default();
        for (uid, priority) in [("a", 0), ("b", 10), ("c", 5)] {
            pending.put(pod(uid, priority));
        }
        assert_eq!(taken(&mut pending), ["b", "c", "a"]);
        assert!(pending.is_idle());
    }

    #[test]
    fn who_was_refused_waits_for_a_change_and_is_told_of_once() {
        let mut pending = Pending::default();
        pending.put(pod("a", 0));
        let first = pending.next().unwrap();
        assert!(pending.refused(&first, "no room"));
        pending.put(pod("a", 0));
        assert!(pending.is_idle(), "our own status is no change");
        pending.retry_all();
        assert_eq!(taken(&mut pending), ["a"]);
        assert!(!pending.refused(&first, "no room"));
        pending.remove("a");
        pending.retry_all();
        assert!(pending.is_idle());
    }

    #[test]
    fn who_could_not_be_bound_comes_again_in_time() {
        let mut pending = Pending::default();
        let now = Instant::now();
        pending.put(pod("a", 0));
        let first = pending.next().unwrap();
        pending.later(first, now + Duration::from_secs(1));
        pending.wake(now);
        assert!(pending.is_idle());
        assert_eq!(pending.wake_at(), Some(now + Duration::from_secs(1)));
        pending.wake(now + Duration::from_secs(1));
        assert_eq!(taken(&mut pending), ["a"]);
    }
}
