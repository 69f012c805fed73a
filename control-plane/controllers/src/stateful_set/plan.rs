//! Decides the next step of a StatefulSet: which pod to make, to end or to replace, one after the other or all at once. Rules: upstream
//! `pkg/controller/statefulset/stateful_set_control.go`.

use std::{cmp::Reverse, collections::BTreeMap, sync::Arc};

use coracle_api::{pods, selector::LabelSelector};
use jiff::Timestamp;
use k8s_openapi::{
    api::{
        apps::v1::{
            ControllerRevision, RollingUpdateStatefulSetStrategy, StatefulSet, StatefulSetSpec,
            StatefulSetStatus,
        },
        core::v1::{PersistentVolumeClaim, Pod, PodTemplateSpec},
    },
    apimachinery::pkg::util::intstr::IntOrString,
};

use super::{
    claims,
    identity::{self, Member, make},
};
use crate::{
    action::{BURST, Plan, Target},
    kind::Kind,
    ownership::claim,
    readiness,
    replica_set::plan::{create_pod, delete_pod, n, some},
    revisions,
};

/// What is known of a StatefulSet.
pub struct Observed<'a> {
    /// The set.
    pub set: &'a StatefulSet,
    /// The pods it controls.
    pub controlled: Vec<&'a Arc<Pod>>,
    /// The pods of its namespace that nobody controls.
    pub orphans: Vec<&'a Arc<Pod>>,
    /// The pod of a name.
    pub pod: &'a dyn Fn(&str) -> Option<&'a Arc<Pod>>,
    /// The claim of a name.
    pub claim: &'a dyn Fn(&str) -> Option<&'a Arc<PersistentVolumeClaim>>,
    /// Its revisions.
    pub revisions: Vec<&'a Arc<ControllerRevision>>,
    /// Whether there is a revision of this name in the namespace.
    pub revision_taken: &'a dyn Fn(&str) -> bool,
    /// The time.
    pub now: Timestamp,
}

/// A set with what follows from its pods.
struct Work<'a> {
    observed: &'a Observed<'a>,
    spec: &'a StatefulSetSpec,
    owner: Target,
    /// The pods it is to have, by ordinal.
    members: BTreeMap<i32, &'a Arc<Pod>>,
    /// Those that are too many, the highest first.
    condemned: Vec<Member<'a>>,
    first: i32,
    replicas: i32,
    /// The revision that was rolled out before.
    current: String,
    /// The revision to roll out.
    update: String,
}

/// Decides.
///
/// # Guarantees
/// Unless pods are managed in parallel, at most one is made, ended or replaced, and only when all before it are available. No more than `maxUnavailable`
/// are replaced at once.
#[must_use]
pub fn plan<'a>(observed: &'a Observed<'a>) -> Plan {
    let set = observed.set;
    let mut plan = Plan::default();
    let spec = &set.spec;
    let owner = Target::of(&Kind::STATEFUL_SET, &set.metadata);
    let Ok(selector) = LabelSelector::from_meta(&spec.selector) else {
        return plan;
    };
    let is_member = |pod: &&'a Arc<Pod>| identity::ordinal(set, pod).is_some();
    let claimed = claim(
        &owner,
        &set.metadata,
        &selector,
        observed.controlled.iter().copied(),
        observed.orphans.iter().copied().filter(is_member),
    );
    if !claimed.claims.is_empty() {
        for action in claimed.claims {
            plan.act(action);
        }
        return plan;
    }
    let pods: Vec<&'a Arc<Pod>> = claimed.own.into_iter().filter(is_member).collect();
    let was = set.status.clone().unwrap_or_default();
    let collisions = was.collision_count.unwrap_or(0);
    let is_going = set.metadata.deletion_timestamp.is_some();
    let newest = revisions::newest(
        &owner,
        &spec.template,
        &observed.revisions,
        collisions,
        observed.revision_taken,
    );
    let Some(newest) = newest else {
        let collided = StatefulSetStatus {
            collision_count: Some(collisions.saturating_add(1)),
            ..was.clone()
        };
        plan.status = owner.status(&set.metadata, Some(&was), &collided);
        return plan;
    };
    if let Some(due) = newest.due
        && !is_going
    {
        plan.act(due);
        return plan;
    }
    let known = |name: &String| {
        let mut all = observed.revisions.iter();
        all.any(|one| one.metadata.name.as_ref() == Some(name))
    };
    let replicas = spec.replicas.unwrap_or(1).max(0);
    let first = spec
        .ordinals
        .as_ref()
        .and_then(|one| one.start)
        .unwrap_or(0);
    let range = first..first.saturating_add(replicas);
    let (mut members, mut condemned) = (BTreeMap::new(), Vec::new());
    for pod in pods {
        match identity::ordinal(set, pod) {
            Some(ordinal) if range.contains(&ordinal) => drop(members.insert(ordinal, pod)),
            Some(ordinal) => condemned.push((ordinal, pod)),
            None => {}
        }
    }
    condemned.sort_by_key(|(ordinal, _)| Reverse(*ordinal));
    let current = was.current_revision.clone().filter(known);
    let work = Work {
        observed,
        spec,
        owner,
        members,
        condemned,
        first,
        replicas,
        current: current.unwrap_or_else(|| newest.name.clone()),
        update: newest.name,
    };
    if !is_going {
        work.act(&mut plan);
        work.clean_up(&mut plan);
    }
    let status = work.status(was.clone());
    plan.status = work
        .owner
        .status(&set.metadata, set.status.as_ref(), &status);
    work.wait(&mut plan);
    plan
}

impl<'a> Work<'a> {
    fn min_ready(&self) -> i32 {
        self.spec.min_ready_seconds.unwrap_or(0)
    }

    fn is_ordered(&self) -> bool {
        self.spec.pod_management_policy.as_deref() != Some("Parallel")
    }

    fn rolling(&self) -> Option<&RollingUpdateStatefulSetStrategy> {
        self.spec.update_strategy.as_ref()?.rolling_update.as_ref()
    }

    /// The lowest ordinal that is updated.
    fn partition(&self) -> i32 {
        let partition = self.rolling().and_then(|rolling| rolling.partition);
        partition.unwrap_or(0)
    }

    fn is_available(&self, pod: &Pod) -> bool {
        pods::is_active(pod)
            && pods::phase(pod) == "Running"
            && readiness::is_available(pod, self.min_ready(), self.observed.now)
    }

    fn act(&self, plan: &mut Plan) {
        let all_there = self.populate(plan);
        let is_settled = (all_there || !self.is_ordered()) && self.shrink(plan);
        if is_settled || !self.is_ordered() {
            self.roll(plan);
        }
        plan.actions.truncate(BURST);
    }

    /// Makes the pods that are missing, and ends those that have ended by themselves so that they are made anew. Gives whether all are there and available.
    fn populate(&self, plan: &mut Plan) -> bool {
        let mut all = true;
        for ordinal in self.first..self.first.saturating_add(self.replicas) {
            let is_well = match self.members.get(&ordinal) {
                None => {
                    self.create(ordinal, plan);
                    false
                }
                Some(pod) if pods::is_terminal(pod) => {
                    if pod.metadata.deletion_timestamp.is_none() {
                        plan.actions.push(delete_pod(&self.owner, pod));
                    }
                    false
                }
                Some(pod) => {
                    let due = self.claims(ordinal, None);
                    for action in due.actions {
                        plan.act(action);
                    }
                    self.is_available(pod)
                }
            };
            all &= is_well;
            if !is_well && self.is_ordered() {
                return false;
            }
        }
        all
    }

    fn claims(&self, ordinal: i32, condemned: Option<&Pod>) -> claims::Due {
        let set = self.observed.set;
        claims::due(set, &self.owner, ordinal, condemned, self.observed.claim)
    }

    /// Makes a pod and its claims, unless something of its name is in the way.
    fn create(&self, ordinal: i32, plan: &mut Plan) {
        let name = identity::name(self.observed.set, ordinal);
        if (self.observed.pod)(&name).is_some() {
            return;
        }
        let due = self.claims(ordinal, None);
        if due.is_ending {
            return;
        }
        for action in due.actions {
            plan.act(action);
        }
        let (template, revision) = self.revision_of(ordinal);
        let pod = make(self.observed.set, &self.owner, &template, revision, ordinal);
        plan.actions.push(create_pod(&self.owner, pod, &name));
    }

    /// The template of a pod that is made now: below the partition that of the revision before.
    fn revision_of(&self, ordinal: i32) -> (PodTemplateSpec, &str) {
        let newest = (self.spec.template.clone(), self.update.as_str());
        if ordinal >= self.first.saturating_add(self.partition()) {
            return newest;
        }
        let named =
            |one: &&&Arc<ControllerRevision>| one.metadata.name.as_ref() == Some(&self.current);
        let current = self.observed.revisions.iter().find(named);
        let template = current.and_then(|one| revisions::template(one));
        template.map_or(newest, |template| (template, self.current.as_str()))
    }

    /// Ends pods that are too many, the highest first. Gives whether there are none.
    fn shrink(&self, plan: &mut Plan) -> bool {
        for (ordinal, pod) in &self.condemned {
            if pod.metadata.deletion_timestamp.is_none() {
                for action in self.claims(*ordinal, Some(pod)).actions {
                    plan.act(action);
                }
                plan.actions.push(delete_pod(&self.owner, pod));
            }
            if self.is_ordered() {
                return false;
            }
        }
        self.condemned.is_empty()
    }

    /// Replaces pods of another revision, the highest first, as many at once as may be unavailable.
    fn roll(&self, plan: &mut Plan) {
        let strategy = self.spec.update_strategy.as_ref();
        if strategy.and_then(|one| one.type_.as_deref()) == Some("OnDelete") {
            return;
        }
        let lowest = self.first.saturating_add(self.partition());
        let missing = usize::try_from(self.replicas).unwrap_or(0) - self.members.len();
        let ill = self.members.values().filter(|pod| !self.is_available(pod));
        let mut room = self
            .most_unavailable()
            .saturating_sub(missing + ill.count());
        for (ordinal, pod) in self.members.iter().rev() {
            if *ordinal < lowest {
                break;
            }
            let is_old = identity::revision(pod) != self.update;
            if !is_old || !pods::is_active(pod) {
                continue;
            }
            // One that does not serve anyway costs nothing.
            if self.is_available(pod) {
                if room == 0 {
                    break;
                }
                room -= 1;
            }
            plan.actions.push(delete_pod(&self.owner, pod));
            if self.is_ordered() && room == 0 {
                break;
            }
        }
    }

    fn most_unavailable(&self) -> usize {
        let most = self
            .rolling()
            .and_then(|rolling| rolling.max_unavailable.as_ref());
        let most = match most {
            Some(IntOrString::Int(number)) => i64::from(*number),
            Some(IntOrString::String(text)) => {
                let percent = text
                    .strip_suffix('%')
                    .and_then(|text| text.parse::<i64>().ok());
                // Rounded up: at least one must be allowed.
                (percent.unwrap_or(0) * i64::from(self.replicas) + 99) / 100
            }
            None => 1,
        };
        usize::try_from(most.max(1)).unwrap_or(1)
    }

    fn clean_up(&self, plan: &mut Plan) {
        let in_pods = |name: &str| {
            let all = self.members.values().copied();
            let mut all = all.chain(self.condemned.iter().map(|(_, pod)| *pod));
            all.any(|pod| identity::revision(pod) == name)
        };
        let in_use = |name: &str| name == self.update || name == self.current || in_pods(name);
        let limit = self.spec.revision_history_limit;
        for action in revisions::forget(&self.observed.revisions, in_use, limit) {
            plan.act(action);
        }
    }

    fn status(&self, was: StatefulSetStatus) -> StatefulSetStatus {
        let all = || {
            let members = self.members.values().copied();
            members.chain(self.condemned.iter().map(|(_, pod)| *pod))
        };
        let count = |of: &dyn Fn(&Pod) -> bool| n(all().filter(|pod| of(pod)).count());
        let is_ready = |pod: &Pod| pods::phase(pod) == "Running" && pods::is_ready(pod);
        let is_of = |pod: &Pod, name: &str| pods::is_active(pod) && identity::revision(pod) == name;
        let updated = count(&|pod| is_of(pod, &self.update));
        let ready = count(&is_ready);
        // Rolled out when every pod is of the newest revision and ready.
        let is_done = self.current != self.update
            && updated == self.replicas
            && ready == self.replicas
            && count(&|_| true) == self.replicas;
        let current = if is_done { &self.update } else { &self.current };
        StatefulSetStatus {
            observed_generation: self.observed.set.metadata.generation,
            replicas: count(&|_| true),
            ready_replicas: some(ready),
            available_replicas: Some(count(&|pod| self.is_available(pod))),
            current_replicas: some(count(&|pod| is_of(pod, current))),
            updated_replicas: some(updated),
            current_revision: Some(current.clone()),
            update_revision: Some(self.update.clone()),
            ..was
        }
    }

    /// Looks again when a pod becomes available by waiting.
    fn wait(&self, plan: &mut Plan) {
        let times = self
            .members
            .values()
            .filter_map(|pod| readiness::available_at(pod, self.min_ready()));
        if let Some(at) = times.filter(|at| *at > self.observed.now).min() {
            plan.wake(at);
        }
    }
}
