//! Removes Jobs that have been over for as long as `ttlSecondsAfterFinished` says. Rules: upstream `pkg/controller/ttlafterfinished`.

use coracle_api::names::ObjectKey;
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;

use super::plan::is_finished;
use crate::{
    action::{Action, Plan, Propagation, Target, key_of, seen},
    controller::{Controller, Seen, Watch},
    kind::Kind,
    readiness::after,
};

/// The controller.
#[derive(Clone, Copy, Debug, Default)]
pub struct JobExpiry;

impl Controller for JobExpiry {
    fn name(&self) -> &'static str {
        "ttl-after-finished-controller"
    }

    fn watches(&self) -> Vec<Watch> {
        vec![Watch::of(Kind::JOB, |change| {
            change
                .new
                .map(|one| key_of(one.meta()))
                .into_iter()
                .collect()
        })]
    }

    fn plan(&self, key: &ObjectKey, seen: &Seen<'_>) -> Option<Plan> {
        let job = seen.caches.jobs.get(key)?;
        Some(plan(job, seen.now))
    }
}

/// Decides.
#[must_use]
pub fn plan(job: &Job, now: Timestamp) -> Plan {
    let mut plan = Plan::default();
    let Some(expires) = expires(job) else {
        return plan;
    };
    if job.metadata.deletion_timestamp.is_some() {
        return plan;
    }
    if expires > now {
        plan.wake(expires);
        return plan;
    }
    plan.act(Action::Delete {
        target: Target::of(&Kind::JOB, &job.metadata),
        // The TTL may have been changed meanwhile.
        seen: Some(seen(&job.metadata)),
        propagation: Propagation::Foreground,
        grace: None,
    });
    plan
}

/// When the Job may go; `None` when it is not over or is to stay.
fn expires(job: &Job) -> Option<Timestamp> {
    let ttl = job.spec.as_ref()?.ttl_seconds_after_finished?;
    if !is_finished(job) {
        return None;
    }
    let conditions = job.status.as_ref()?.conditions.as_ref()?;
    let ended = conditions
        .iter()
        .filter(|one| matches!(one.type_.as_str(), "Complete" | "Failed") && one.status == "True")
        .filter_map(|one| one.last_transition_time.as_ref());
    let ended = ended.map(|time| time.0).max()?;
    Some(after(ended, i64::from(ttl)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn job(ttl: Option<i32>, status: &str) -> Job {
        let job = json!({"metadata": {"name": "j", "namespace": "d", "uid": "u", "resourceVersion": "7"},
            "spec": {"ttlSecondsAfterFinished": ttl, "template": {}},
            "status": {"conditions": [{"type": "Complete", "status": status, "lastTransitionTime": "1970-01-01T00:01:00Z"}]}});
        serde_json::from_value(job).unwrap()
    }

    #[test]
    fn jobs_expire_after_their_end() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let waits = plan(&job(Some(30), "True"), at(70));
        assert_eq!(waits.requeue, crate::action::Requeue::At(at(90)));
        assert!(waits.is_empty());
        let deletes = plan(&job(Some(30), "True"), at(90));
        assert!(matches!(
            &deletes.actions[0].action,
            Action::Delete { target, seen: Some(seen), propagation: Propagation::Foreground, .. } if target.uid == "u" && seen == "7"
        ));
        assert_eq!(plan(&job(None, "True"), at(90)), Plan::default());
        assert_eq!(plan(&job(Some(0), "False"), at(90)), Plan::default());
    }
}
