//! Decides the next step of a Deployment: which of its ReplicaSets to make, size, annotate or remove. Rules: upstream `pkg/controller/deployment`.

use std::{collections::BTreeMap, sync::Arc};

use coracle_api::selector::LabelSelector;
use jiff::Timestamp;
use k8s_openapi::api::{
    apps::v1::{Deployment, ReplicaSet},
    core::v1::Pod,
};
use serde_json::{Map, Value, json};

use super::{
    bounds::{Bounds, is_rolling},
    revision,
    sizes::{self, Sizing, wanted},
    status::{self, Facts},
};
use crate::{
    action::{Action, Part, Plan, Propagation, Severity, Step, Target, seen},
    kind::Kind,
    ownership::claim,
};

/// What is known of a Deployment.
pub struct Observed<'a> {
    /// The Deployment.
    pub deployment: &'a Deployment,
    /// The sets it controls.
    pub controlled: Vec<&'a Arc<ReplicaSet>>,
    /// The sets of its namespace that nobody controls.
    pub orphans: Vec<&'a Arc<ReplicaSet>>,
    /// The set of a name in the namespace.
    pub named: &'a dyn Fn(&str) -> Option<&'a Arc<ReplicaSet>>,
    /// The pods that a set with this uid controls.
    pub pods_of: &'a dyn Fn(&str) -> Vec<&'a Arc<Pod>>,
    /// The time.
    pub now: Timestamp,
}

/// What the steps of a plan are decided from.
struct Rollout<'a> {
    observed: &'a Observed<'a>,
    owner: Target,
    bounds: Bounds,
    sets: Vec<&'a Arc<ReplicaSet>>,
    current: Option<&'a Arc<ReplicaSet>>,
    old: Vec<&'a Arc<ReplicaSet>>,
}

/// Decides.
///
/// # Guarantees
/// If ReplicaSets keep to their sizes, there are never more pods than replicas and surge, and rolling updates make no more unavailable than allowed.
#[must_use]
pub fn plan<'a>(observed: &'a Observed<'a>) -> Plan {
    let deployment = observed.deployment;
    let owner = Target::of(&Kind::DEPLOYMENT, &deployment.metadata);
    let mut plan = Plan::default();
    let selector = LabelSelector::from_meta(&deployment.spec.selector);
    let Ok(selector) = selector else { return plan };
    let claimed = claim(
        &owner,
        &deployment.metadata,
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
    let sets = claimed.own;
    let current = revision::current(deployment, &sets);
    let is_current = |set: &Arc<ReplicaSet>| current.is_some_and(|one| Arc::ptr_eq(one, set));
    let rollout = Rollout {
        observed,
        owner,
        bounds: Bounds::of(&deployment.spec),
        old: sets
            .iter()
            .copied()
            .filter(|set| !is_current(set))
            .collect(),
        sets,
        current,
    };
    rollout.plan()
}

impl<'a> Rollout<'a> {
    fn deployment(&self) -> &'a Deployment {
        self.observed.deployment
    }

    fn plan(&self) -> Plan {
        let spec = &self.deployment().spec;
        let mut plan = Plan::default();
        if self.deployment().metadata.deletion_timestamp.is_some() {
            let status = status::standing(&self.facts(false, false));
            plan.status = self.status(&status);
            return plan;
        }
        let revision = self.revision();
        let begins = self.begins(revision);
        if spec.paused == Some(true) || sizes::is_scaled(self.bounds, &self.sets) {
            self.scale(revision, &mut plan);
            let status = status::standing(&self.facts(begins, false));
            if spec.paused == Some(true) {
                self.clean_up(&mut plan);
                self.conclude(&status, begins, &mut plan);
            } else {
                plan.status = self.status(&status);
            }
            return plan;
        }
        let collided = if is_rolling(spec) {
            self.roll(revision, &mut plan)
        } else {
            self.recreate(revision, &mut plan)
        };
        let facts = self.facts(begins, collided);
        let (status, again) = status::rolling(&facts);
        plan.requeue = plan.requeue.or(again);
        if status::is_complete(&facts, &status) {
            self.clean_up(&mut plan);
        }
        self.conclude(&status, begins, &mut plan);
        plan
    }

    fn facts(&self, begins: bool, collided: bool) -> Facts<'_> {
        Facts {
            deployment: self.deployment(),
            sets: &self.sets,
            current: self.current,
            bounds: self.bounds,
            begins,
            collided,
            now: self.observed.now,
        }
    }

    fn status(
        &self,
        status: &k8s_openapi::api::apps::v1::DeploymentStatus,
    ) -> Option<crate::action::StatusPatch> {
        let deployment = self.deployment();
        self.owner
            .status(&deployment.metadata, deployment.status.as_ref(), status)
    }

    /// Writes the status, and then, where it changed, the revision: what comes second is only done when the first was, so that a rollout does not begin
    /// without its condition.
    fn conclude(
        &self,
        status: &k8s_openapi::api::apps::v1::DeploymentStatus,
        begins: bool,
        plan: &mut Plan,
    ) {
        let patch = self.status(status);
        let Some(current) = self.current.filter(|_| begins) else {
            plan.status = patch;
            return;
        };
        if let Some(patch) = patch {
            plan.act(patch.into());
        }
        let revision = revision::revision(current.metadata.annotations.as_ref()).to_string();
        plan.act(Action::Patch {
            target: self.owner.clone(),
            seen: seen(&self.deployment().metadata),
            part: Part::Main,
            patch: json!({"metadata": {"annotations": {revision::REVISION: revision}}}),
        });
    }

    /// The revision of the template: that of its set, or one more than any other set has.
    fn revision(&self) -> i64 {
        let of = |set: &Arc<ReplicaSet>| revision::revision(set.metadata.annotations.as_ref());
        self.old.iter().map(|set| of(set)).max().unwrap_or(0) + 1
    }

    /// Whether the Deployment has not yet taken note of its current set's revision, and that is the newest.
    fn begins(&self, newest: i64) -> bool {
        self.current.is_some_and(|set| {
            let own = revision::revision(set.metadata.annotations.as_ref());
            let noted = revision::revision(self.deployment().metadata.annotations.as_ref());
            own >= newest && own != noted
        })
    }

    /// One step of replacing pods little by little. Gives whether the new set's name is taken.
    fn roll(&self, revision: i64, plan: &mut Plan) -> bool {
        let all = self
            .sets
            .iter()
            .fold(0, |all, set| i32::saturating_add(all, wanted(set)));
        let Some(current) = self.current else {
            let replicas = sizes::grown(self.bounds, 0, all);
            return self.create(revision, replicas, plan);
        };
        let mut current = Sizing::as_is(current);
        let mut old: Vec<Sizing<'_>> = self.old.iter().map(|set| Sizing::as_is(set)).collect();
        sizes::roll(self.bounds, &mut current, &mut old);
        self.resize(revision, Some(&current), &old, plan);
        false
    }

    /// One step of replacing all pods at once: the old ones end before the first new one starts.
    fn recreate(&self, revision: i64, plan: &mut Plan) -> bool {
        let mut old: Vec<Sizing<'_>> = self.old.iter().map(|set| Sizing::as_is(set)).collect();
        let active = old.iter().any(|one| one.replicas > 0);
        for one in &mut old {
            one.replicas = 0;
        }
        if active || self.old_pods_run() {
            let current = self.current.map(Sizing::as_is);
            self.resize(revision, current.as_ref(), &old, plan);
            return false;
        }
        let Some(current) = self.current else {
            return self.create(revision, self.bounds.replicas, plan);
        };
        let current = Sizing {
            replicas: self.bounds.replicas,
            ..Sizing::as_is(current)
        };
        self.resize(revision, Some(&current), &old, plan);
        false
    }

    fn old_pods_run(&self) -> bool {
        let claims = |set: &Arc<ReplicaSet>| {
            let status = set.status.as_ref();
            status.is_some_and(|status| status.replicas > 0)
        };
        let runs = |set: &Arc<ReplicaSet>| {
            let uid = set.metadata.uid.as_deref().unwrap_or_default();
            let pods = (self.observed.pods_of)(uid);
            pods.iter().any(|pod| !coracle_api::pods::is_terminal(pod))
        };
        self.old.iter().any(|set| claims(set) || runs(set))
    }

    /// Follows a changed number of replicas without rolling anything out.
    fn scale(&self, revision: i64, plan: &mut Plan) {
        let mut current = self.current.map(Sizing::as_is);
        let mut old: Vec<Sizing<'_>> = self.old.iter().map(|set| Sizing::as_is(set)).collect();
        let rolling = is_rolling(&self.deployment().spec);
        sizes::scale(self.bounds, rolling, current.as_mut(), &mut old);
        self.resize(revision, current.as_ref(), &old, plan);
    }

    /// Makes the set of the template. Gives whether its name is taken by something else, so that another hash is needed.
    fn create(&self, revision: i64, replicas: i32, plan: &mut Plan) -> bool {
        let deployment = self.deployment();
        let (name, _) = revision::set_name(deployment);
        if (self.observed.named)(&name).is_some() {
            return true;
        }
        let create = Action::Create {
            kind: Kind::REPLICA_SET,
            object: revision::new_set(deployment, &self.owner, revision, replicas, self.bounds),
        };
        let message = format!("Scaled up replica set {name} from 0 to {replicas}");
        let success = self
            .owner
            .note(Severity::Normal, "ScalingReplicaSet", message);
        let message = format!("Failed to create new replica set {name:?}");
        let failure = self
            .owner
            .note(Severity::Warning, "ReplicaSetCreateError", message);
        plan.actions.push(Step {
            success: (replicas > 0).then_some(success),
            ..create.telling(failure.clone(), failure)
        });
        false
    }

    /// Writes the sizes that changed, and what else is due on the sets. What shrinks comes first: then there is never more than before or after.
    fn resize(
        &self,
        revision: i64,
        current: Option<&Sizing<'_>>,
        old: &[Sizing<'_>],
        plan: &mut Plan,
    ) {
        let mut changes: Vec<(i32, Step)> = Vec::new();
        for one in old {
            changes.extend(self.change(one, BTreeMap::new(), None));
        }
        if let Some(current) = current {
            let due = revision::annotations_due(self.deployment(), current.set, revision);
            let min_ready = self.deployment().spec.min_ready_seconds.unwrap_or(0);
            let has = current.set.spec.min_ready_seconds.unwrap_or(0);
            let min_ready = (min_ready != has).then_some(min_ready);
            changes.extend(self.change(current, due, min_ready));
        }
        changes.sort_by_key(|(grows, _)| *grows);
        plan.actions
            .extend(changes.into_iter().map(|(_, step)| step));
    }

    /// The patch of one set, and by how much it grows.
    fn change(
        &self,
        one: &Sizing<'_>,
        mut annotations: BTreeMap<String, String>,
        min_ready: Option<i32>,
    ) -> Option<(i32, Step)> {
        let set = one.set;
        let was = wanted(set);
        let has = set.metadata.annotations.as_ref();
        // Only active sets are parts of the whole.
        if one.replicas > 0 || was > 0 {
            annotations.extend(revision::sizes(self.bounds));
        }
        annotations.retain(|name, value| revision::annotation(has, name) != Some(value));
        let mut spec = Map::new();
        if one.replicas != was {
            spec.insert("replicas".to_owned(), json!(one.replicas));
        }
        if let Some(seconds) = min_ready {
            spec.insert("minReadySeconds".to_owned(), json!(seconds));
        }
        let mut patch = Map::new();
        if !annotations.is_empty() {
            let metadata = json!({ "annotations": annotations });
            patch.insert("metadata".to_owned(), metadata);
        }
        if !spec.is_empty() {
            patch.insert("spec".to_owned(), Value::Object(spec));
        }
        if patch.is_empty() {
            return None;
        }
        let name = set.metadata.name.as_deref().unwrap_or_default();
        let direction = if one.replicas > was { "up" } else { "down" };
        let message = format!(
            "Scaled {direction} replica set {name} from {was} to {}",
            one.replicas
        );
        let scaled = self
            .owner
            .note(Severity::Normal, "ScalingReplicaSet", message);
        let step = Step {
            action: Action::Patch {
                target: Target::of(&Kind::REPLICA_SET, &set.metadata),
                seen: seen(&set.metadata),
                part: Part::Main,
                patch: Value::Object(patch),
            },
            success: (one.replicas != was).then_some(scaled),
            failure: None,
        };
        Some((one.replicas - was, step))
    }

    /// Removes the oldest of the sets that are only history.
    fn clean_up(&self, plan: &mut Plan) {
        let Some(limit) = self.deployment().spec.revision_history_limit else {
            return;
        };
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let mut history: Vec<&Arc<ReplicaSet>> = self
            .old
            .iter()
            .copied()
            .filter(|set| set.metadata.deletion_timestamp.is_none())
            .collect();
        let surplus = history.len().saturating_sub(limit);
        history.sort_by_key(|set| {
            let of = revision::revision(set.metadata.annotations.as_ref());
            (of, revision::age(set))
        });
        for set in history.into_iter().take(surplus).filter(|set| is_idle(set)) {
            plan.act(Action::Delete {
                target: Target::of(&Kind::REPLICA_SET, &set.metadata),
                seen: Some(seen(&set.metadata)),
                propagation: Propagation::Background,
                grace: None,
            });
        }
    }
}

/// Whether a set has no pods and wants none, and says so of its newest spec.
fn is_idle(set: &ReplicaSet) -> bool {
    let status = set.status.as_ref();
    let observed = status.and_then(|status| status.observed_generation);
    wanted(set) == 0
        && status.is_none_or(|status| status.replicas == 0)
        && observed >= set.metadata.generation
}
