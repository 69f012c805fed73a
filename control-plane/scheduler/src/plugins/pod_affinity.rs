//! Pods that must, must not, would like or would rather not be near others, both ways round (upstream: `InterPodAffinity`). Near is where a label of nodes has
//! the same value. Everything is read from counts; a node costs a look-up for each term.

use super::Refusal;
use crate::{
    groups::{Group, Stance},
    request::Request,
    snapshot::{NodeState, Snapshot},
    topology::{Counts, Key, NOWHERE},
};

/// What is the same for all nodes.
pub struct Affinity<'a> {
    /// Where pods must be that this one must be near: all of these.
    near: Vec<(Key, Option<&'a Counts>)>,
    /// Whether it may be the first of those that must be near each other.
    may_be_first: bool,
    /// Where pods are that this one must not be near.
    far: Vec<(Key, &'a Counts)>,
    /// Where pods are that must not be near this one.
    repelled: Vec<(Key, &'a Counts)>,
    /// Where pods are that this one likes or that like it, and how much.
    likes: Vec<(Key, &'a Counts, i64)>,
}

impl<'a> Affinity<'a> {
    /// Looks up what the pod says of others, and others of it.
    #[must_use]
    pub fn new(request: &'a Request, snapshot: &'a Snapshot) -> Self {
        let groups = snapshot.groups();
        let mut affinity = Self {
            near: Vec::new(),
            may_be_first: false,
            far: Vec::new(),
            repelled: Vec::new(),
            likes: Vec::new(),
        };
        if let Some((id, keys)) = &request.near {
            let group = groups.get(*id);
            let counts = |key: &Key| group.and_then(|group| group.counts(*key));
            affinity.near = keys.iter().map(|key| (*key, counts(key))).collect();
            let nowhere = affinity
                .near
                .iter()
                .all(|(_, counts)| counts.is_none_or(Counts::is_empty));
            affinity.may_be_first = nowhere && request.is_near_itself;
        }
        let counts = |id: usize, key: Key| groups.get(id).and_then(|group| group.counts(key));
        for (id, key) in &request.far {
            let found = counts(*id, *key).filter(|counts| !counts.is_empty());
            affinity.far.extend(found.map(|counts| (*key, counts)));
        }
        for (id, key, weight) in &request.likes {
            let found = counts(*id, *key).filter(|counts| !counts.is_empty());
            let found = found.map(|counts| (*key, counts, i64::from(*weight)));
            affinity.likes.extend(found);
        }
        for id in groups.of(&request.pod, snapshot.namespaces()) {
            let stances = groups.get(id).into_iter().flat_map(Group::stances);
            for (key, stance, counts) in stances {
                match stance {
                    Stance::Repels => affinity.repelled.push((key, counts)),
                    Stance::Likes(weight) => affinity.likes.push((key, counts, i64::from(weight))),
                }
            }
        }
        affinity
    }

    /// Why a node cannot take the pod.
    #[must_use]
    pub fn refusal(&self, state: &NodeState) -> Option<Refusal<'static>> {
        let any = |list: &[(Key, &Counts)]| {
            list.iter()
                .any(|(key, counts)| counts.get(state.at(*key)) > 0)
        };
        let are_near = |(key, counts): &(Key, Option<&Counts>)| {
            let at = state.at(*key);
            at != NOWHERE && (self.may_be_first || counts.is_some_and(|counts| counts.get(at) > 0))
        };
        if !self.near.iter().all(are_near) {
            return Some(Refusal::NotNear);
        }
        if any(&self.far) {
            return Some(Refusal::TooNear);
        }
        any(&self.repelled).then_some(Refusal::Repelled)
    }

    /// How much the pod likes the pods that are near a node, and they it.
    #[must_use]
    pub fn liking(&self, state: &NodeState) -> i64 {
        let of = |(key, counts, weight): &(Key, &Counts, i64)| {
            i64::from(counts.get(state.at(*key))).saturating_mul(*weight)
        };
        self.likes.iter().map(of).fold(0, i64::saturating_add)
    }
}
