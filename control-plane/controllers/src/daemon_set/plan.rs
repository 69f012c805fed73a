//! Decides which pods of a DaemonSet to make and to end: one on each node that is to have one, replaced little by little. Rules: upstream
//! `pkg/controller/daemon/{daemon_controller,update}.go`.

use std::{collections::BTreeMap, sync::Arc};

use coracle_api::{pods, selector::LabelSelector};
use jiff::Timestamp;
use k8s_openapi::{
    api::{
        apps::v1::{ControllerRevision, DaemonSet, DaemonSetSpec, DaemonSetStatus},
        core::v1::{Node, Pod},
    },
    apimachinery::pkg::util::intstr::IntOrString,
};

use super::eligible::{self, Place};
use crate::{
    action::{BURST, Plan, Severity, Target},
    kind::Kind,
    naming::Namer,
    ownership::claim,
    readiness,
    replica_set::plan::{create_pod, delete_pod, n, some},
    revisions::{self, REVISION},
    template,
};

/// What is known of a DaemonSet.
pub struct Observed<'a> {
    /// The set.
    pub set: &'a DaemonSet,
    /// All nodes.
    pub nodes: Vec<&'a Arc<Node>>,
    /// The pods it controls.
    pub controlled: Vec<&'a Arc<Pod>>,
    /// The pods of its namespace that nobody controls.
    pub orphans: Vec<&'a Arc<Pod>>,
    /// Whether there is a pod of this name in the namespace.
    pub taken: &'a dyn Fn(&str) -> bool,
    /// Its revisions.
    pub revisions: Vec<&'a Arc<ControllerRevision>>,
    /// Whether there is a revision of this name in the namespace.
    pub revision_taken: &'a dyn Fn(&str) -> bool,
    /// The time.
    pub now: Timestamp,
}

/// A node and the set's pods there.
struct Spot<'a> {
    node: String,
    place: Place,
    pods: Vec<&'a Arc<Pod>>,
}

struct Work<'a> {
    observed: &'a Observed<'a>,
    spec: &'a DaemonSetSpec,
    owner: Target,
    spots: Vec<Spot<'a>>,
    /// Pods on nodes that are not.
    strays: Vec<&'a Arc<Pod>>,
    revision: String,
}

/// Decides.
///
/// # Guarantees
/// While pods are replaced, no more nodes are without an available pod than `maxUnavailable` says, and no more have two than `maxSurge`.
#[must_use]
pub fn plan<'a>(observed: &'a Observed<'a>) -> Plan {
    let set = observed.set;
    let mut plan = Plan::default();
    let spec = &set.spec;
    let owner = Target::of(&Kind::DAEMON_SET, &set.metadata);
    let Ok(selector) = LabelSelector::from_meta(&spec.selector) else {
        return plan;
    };
    let claimed = claim(
        &owner,
        &set.metadata,
        &selector,
        observed.controlled.iter().copied(),
        observed.orphans.iter().copied(),
    );
    if !claimed.claims.is_empty() {
        for action in claimed.claims {
            plan.act(action);
        }
        return plan;
    }
    let was = set.status.clone();
    let collisions = was
        .as_ref()
        .and_then(|was| was.collision_count)
        .unwrap_or(0);
    let newest = revisions::newest(
        &owner,
        &spec.template,
        &observed.revisions,
        collisions,
        observed.revision_taken,
    );
    let is_going = set.metadata.deletion_timestamp.is_some();
    let Some(newest) = newest else {
        let mut collided = was.clone().unwrap_or_default();
        collided.collision_count = Some(collisions.saturating_add(1));
        plan.status = owner.status(&set.metadata, was.as_ref(), &collided);
        return plan;
    };
    if let Some(due) = newest.due
        && !is_going
    {
        plan.act(due);
        return plan;
    }
    let mut by_node: BTreeMap<String, Vec<&Arc<Pod>>> = BTreeMap::new();
    let mut strays = Vec::new();
    for pod in claimed.own {
        match eligible::node_of(pod) {
            Some(node) => by_node.entry(node).or_default().push(pod),
            None => strays.push(pod),
        }
    }
    let pod_spec = spec.template.spec.clone().unwrap_or_default();
    let spots = observed.nodes.iter().filter_map(|node| {
        let name = node.metadata.name.clone()?;
        let pods = by_node.remove(&name).unwrap_or_default();
        Some(Spot {
            place: eligible::place(&pod_spec, node),
            node: name,
            pods,
        })
    });
    let spots = spots.collect();
    // Pods of nodes that are no more are for pod garbage collection, unless they never got there.
    strays.extend(
        by_node
            .into_values()
            .flatten()
            .filter(|pod| pods::node_name(pod).is_none()),
    );
    let work = Work {
        observed,
        spec,
        owner,
        spots,
        strays,
        revision: newest.name,
    };
    if !is_going {
        work.act(&mut plan);
    }
    let status = work.status(was.clone().unwrap_or_default());
    plan.status = work.owner.status(&set.metadata, was.as_ref(), &status);
    work.wait(&mut plan);
    plan
}

impl<'a> Work<'a> {
    fn min_ready(&self) -> i32 {
        self.spec.min_ready_seconds.unwrap_or(0)
    }

    fn is_available(&self, pod: &Pod) -> bool {
        pods::is_active(pod) && readiness::is_available(pod, self.min_ready(), self.observed.now)
    }

    fn is_new(&self, pod: &Pod) -> bool {
        let labels = pod.metadata.labels.as_ref();
        labels.and_then(|labels| labels.get(REVISION)) == Some(&self.revision)
    }

    fn act(&self, plan: &mut Plan) {
        let mut doomed: Vec<&Arc<Pod>> = self
            .strays
            .iter()
            .copied()
            .filter(|pod| pods::is_active(pod))
            .collect();
        let mut bare: Vec<&str> = Vec::new();
        let is_rolling = self.strategy() != Some("OnDelete");
        for spot in &self.spots {
            let alive = || spot.pods.iter().copied().filter(|pod| pods::is_active(pod));
            if spot.place == Place::Unwanted {
                doomed.extend(alive());
                continue;
            }
            // What has ended is removed, so that another can be made.
            let ended =
                spot.pods.iter().copied().filter(|pod| {
                    pods::is_terminal(pod) && pod.metadata.deletion_timestamp.is_none()
                });
            let ended: Vec<_> = ended.collect();
            for pod in &ended {
                let name = pod.metadata.name.as_deref().unwrap_or_default();
                let message = format!(
                    "Found failed daemon pod {}/{name} on node {}, will try to kill it",
                    self.owner.key.namespace.as_deref().unwrap_or_default(),
                    spot.node
                );
                plan.notes.push(
                    self.owner
                        .note(Severity::Warning, "FailedDaemonPod", message),
                );
            }
            doomed.extend(&ended);
            let mut alive: Vec<&Arc<Pod>> = alive().collect();
            if alive.is_empty() {
                let is_over = spot.pods.iter().all(|pod| pods::is_terminal(pod));
                if spot.place == Place::Wanted && is_over && ended.is_empty() {
                    bare.push(&spot.node);
                }
                continue;
            }
            // One is enough, and while a new one starts beside it the old one too.
            alive.sort_by_cached_key(|pod| self.worth(pod));
            let surplus = self.surplus(&alive, is_rolling);
            doomed.extend(surplus);
        }
        let (replaced, surged) = if is_rolling {
            self.roll()
        } else {
            (Vec::new(), Vec::new())
        };
        doomed.extend(replaced);
        bare.extend(surged);
        doomed.truncate(BURST);
        let deletions = doomed.iter().map(|pod| delete_pod(&self.owner, pod));
        plan.actions.extend(deletions);
        for node in bare.into_iter().take(BURST - doomed.len()) {
            self.create(node, plan);
        }
        self.clean_up(plan);
    }

    fn strategy(&self) -> Option<&str> {
        self.spec.update_strategy.as_ref()?.type_.as_deref()
    }

    /// The order in which pods on one node are kept, the dearest first.
    fn worth(&self, pod: &Pod) -> (bool, bool, Timestamp, String) {
        let made = pod.metadata.creation_timestamp.as_ref().map(|time| time.0);
        (
            pods::node_name(pod).is_none(),
            !pods::is_ready(pod),
            made.unwrap_or(Timestamp::MAX),
            pod.metadata.uid.clone().unwrap_or_default(),
        )
    }

    /// The pods of a node that are too many, of those alive.
    fn surplus(&self, alive: &[&'a Arc<Pod>], is_rolling: bool) -> Vec<&'a Arc<Pod>> {
        let newer = alive.iter().position(|pod| self.is_new(pod));
        let older = alive.iter().position(|pod| !self.is_new(pod));
        let (surge, _) = self.bounds();
        let all = alive.iter().copied().enumerate();
        match (newer, older) {
            (Some(newer), Some(older)) if is_rolling && surge > 0 => {
                let is_done = alive.get(newer).is_some_and(|pod| self.is_available(pod));
                let goes = |at: usize| at != newer && (at != older || is_done);
                all.filter(|(at, _)| goes(*at))
                    .map(|(_, pod)| pod)
                    .collect()
            }
            _ => all.skip(1).map(|(_, pod)| pod).collect(),
        }
    }

    /// How many nodes may have a pod more, and how many may be without one.
    fn bounds(&self) -> (usize, usize) {
        let strategy = self.spec.update_strategy.as_ref();
        let rolling = strategy.and_then(|strategy| strategy.rolling_update.as_ref());
        let wanted = self
            .spots
            .iter()
            .filter(|spot| spot.place == Place::Wanted)
            .count();
        let surge = rolling.and_then(|rolling| rolling.max_surge.as_ref());
        let surge = surge.map_or(0, |of| part(of, wanted));
        let unavailable = rolling.and_then(|rolling| rolling.max_unavailable.as_ref());
        let unavailable = unavailable.map_or(1, |of| part(of, wanted));
        match (surge, unavailable) {
            (0, 0) => (0, 1),
            bounds => bounds,
        }
    }

    /// Old pods to end, and nodes on which new ones start beside them.
    fn roll(&self) -> (Vec<&'a Arc<Pod>>, Vec<&str>) {
        let (surge, unavailable) = self.bounds();
        let wanted = || self.spots.iter().filter(|spot| spot.place == Place::Wanted);
        let has_available = |spot: &&Spot<'_>| spot.pods.iter().any(|pod| self.is_available(pod));
        // Nodes that are the only thing between old and new: one old pod alive and no new one.
        let alone = |spot: &Spot<'a>| {
            let alive: Vec<&'a Arc<Pod>> = spot
                .pods
                .iter()
                .copied()
                .filter(|pod| pods::is_active(pod))
                .collect();
            match alive.as_slice() {
                [one] if !self.is_new(one) => Some(*one),
                _ => None,
            }
        };
        let (mut ended, mut surged) = (Vec::new(), Vec::new());
        if surge > 0 {
            let doubled = wanted()
                .filter(|spot| spot.pods.iter().filter(|pod| pods::is_active(pod)).count() > 1);
            let mut room = surge.saturating_sub(doubled.count());
            for spot in wanted() {
                let Some(old) = alone(spot) else { continue };
                if !self.is_available(old) {
                    // It does not serve anyway.
                    ended.push(old);
                } else if room > 0 {
                    room -= 1;
                    surged.push(spot.node.as_str());
                }
            }
            return (ended, surged);
        }
        let without = wanted().filter(|spot| !has_available(spot)).count();
        let mut room = unavailable.saturating_sub(without);
        for spot in wanted() {
            let Some(old) = alone(spot) else { continue };
            if self.is_available(old) {
                if room == 0 {
                    continue;
                }
                room -= 1;
            }
            ended.push(old);
        }
        (ended, surged)
    }

    fn create(&self, node: &str, plan: &mut Plan) {
        let mut of = self.spec.template.clone();
        let labels = of
            .metadata
            .get_or_insert_default()
            .labels
            .get_or_insert_default();
        labels.insert(REVISION.to_owned(), self.revision.clone());
        if let Some(spec) = &mut of.spec {
            eligible::pin(spec, node);
        }
        let version = self.observed.set.metadata.resource_version.as_deref();
        let seed = [self.owner.uid.as_str(), version.unwrap_or_default(), node];
        let mut namer = Namer::new(&format!("{}-", self.owner.key.name), &seed);
        let name = namer.next(self.observed.taken);
        let pod = template::pod(&of, &self.owner, namer.base(), &name);
        plan.actions.push(create_pod(&self.owner, pod, &name));
    }

    fn clean_up(&self, plan: &mut Plan) {
        let all = || {
            let of_spots = self.spots.iter().flat_map(|spot| spot.pods.iter().copied());
            of_spots.chain(self.strays.iter().copied())
        };
        let in_use = |name: &str| {
            name == self.revision
                || all().any(|pod| {
                    let labels = pod.metadata.labels.as_ref();
                    labels
                        .and_then(|labels| labels.get(REVISION))
                        .map(String::as_str)
                        == Some(name)
                })
        };
        let limit = self.spec.revision_history_limit;
        for action in revisions::forget(&self.observed.revisions, in_use, limit) {
            plan.act(action);
        }
    }

    fn status(&self, was: DaemonSetStatus) -> DaemonSetStatus {
        let wanted = || self.spots.iter().filter(|spot| spot.place == Place::Wanted);
        // The pod that counts for a node is the oldest that is alive.
        let of = |spot: &Spot<'a>| -> Option<&'a Arc<Pod>> {
            let alive = spot.pods.iter().copied().filter(|pod| pods::is_active(pod));
            alive.min_by_key(|pod| self.worth(pod))
        };
        let count = |is: &dyn Fn(&Spot<'a>) -> bool| n(wanted().filter(|spot| is(spot)).count());
        let desired = count(&|_| true);
        let available = count(&|spot| spot.pods.iter().any(|pod| self.is_available(pod)));
        let misplaced = self
            .spots
            .iter()
            .filter(|spot| spot.place == Place::Unwanted && of(spot).is_some());
        DaemonSetStatus {
            current_number_scheduled: count(&|spot| of(spot).is_some()),
            desired_number_scheduled: desired,
            number_ready: count(&|spot| of(spot).is_some_and(|pod| pods::is_ready(pod))),
            number_available: some(available),
            number_unavailable: some(desired - available),
            number_misscheduled: n(misplaced.count()),
            updated_number_scheduled: some(count(&|spot| {
                spot.pods
                    .iter()
                    .any(|pod| pods::is_active(pod) && self.is_new(pod))
            })),
            observed_generation: self.observed.set.metadata.generation,
            ..was
        }
    }

    /// Looks again when a pod becomes available by waiting.
    fn wait(&self, plan: &mut Plan) {
        let all = self.spots.iter().flat_map(|spot| &spot.pods);
        let times = all.filter_map(|pod| readiness::available_at(pod, self.min_ready()));
        if let Some(at) = times.filter(|at| *at > self.observed.now).min() {
            plan.wake(at);
        }
    }
}

/// A number, or that many hundredths of `whole`, rounded up.
fn part(of: &IntOrString, whole: usize) -> usize {
    match of {
        IntOrString::Int(number) => usize::try_from(*number).unwrap_or(0),
        IntOrString::String(text) => {
            let percent = text
                .strip_suffix('%')
                .and_then(|text| text.parse::<usize>().ok());
            percent.unwrap_or(0).saturating_mul(whole).div_ceil(100)
        }
    }
}
