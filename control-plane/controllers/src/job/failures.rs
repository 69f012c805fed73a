//! What a failed pod means for its Job: a failure like others, none at all, the end of its index or the end of the Job. Rules: upstream
//! `job/pod_failure_policy.go` and, for limits by index, KEP-3850.

use k8s_openapi::api::{
    batch::v1::{JobSpec, PodFailurePolicyOnExitCodesRequirement, PodFailurePolicyRule},
    core::v1::{ContainerStatus, Pod, PodStatus},
};

/// The annotation in which a pod of an index says how many before it failed.
pub const FAILURES: &str = "batch.kubernetes.io/job-index-failure-count";
/// The annotation in which it says how many before it failed and did not count.
pub const IGNORED: &str = "batch.kubernetes.io/job-index-ignored-failure-count";

/// What a failure means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It counts.
    Counts,
    /// It does not count.
    Ignored,
    /// The pod's index has failed.
    FailsIndex,
    /// The Job has failed; why.
    FailsJob(String),
}

/// What the policy says of a failed pod: the first rule that is about it.
#[must_use]
pub fn judge(spec: &JobSpec, pod: &Pod) -> Verdict {
    let rules = spec.pod_failure_policy.as_ref().map(|policy| &policy.rules);
    for (index, rule) in rules.into_iter().flatten().enumerate() {
        let Some(what) = applies(rule, pod) else {
            continue;
        };
        match rule.action.as_str() {
            "Ignore" => return Verdict::Ignored,
            "Count" => return Verdict::Counts,
            "FailIndex" if spec.backoff_limit_per_index.is_some() => return Verdict::FailsIndex,
            "FailJob" => {
                return Verdict::FailsJob(format!("{what} matching FailJob rule at index {index}"));
            }
            _ => {}
        }
    }
    Verdict::Counts
}

/// What of the pod a rule is about.
fn applies(rule: &PodFailurePolicyRule, pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?;
    let meta = &pod.metadata;
    let namespace = meta.namespace.as_deref().unwrap_or_default();
    let name = meta.name.as_deref().unwrap_or_default();
    if let Some(wanted) = &rule.on_exit_codes {
        let (container, code) = exited(status, wanted)?;
        return Some(format!(
            "Container {} for pod {namespace}/{name} failed with exit code {code}",
            container.name
        ));
    }
    let patterns = rule.on_pod_conditions.as_ref()?;
    let of_pod = status.conditions.iter().flatten();
    let mut found = of_pod.filter(|condition| {
        patterns.iter().any(|pattern| {
            let is = pattern.status.as_deref().unwrap_or("True");
            pattern.type_ == condition.type_ && is == condition.status
        })
    });
    let condition = found.next()?;
    Some(format!(
        "Pod {namespace}/{name} has condition {}",
        condition.type_
    ))
}

/// The first container that ended with a code that is meant. Success never is.
fn exited<'a>(
    status: &'a PodStatus,
    wanted: &PodFailurePolicyOnExitCodesRequirement,
) -> Option<(&'a ContainerStatus, i32)> {
    let main = status.container_statuses.iter().flatten();
    let init = status.init_container_statuses.iter().flatten();
    main.chain(init).find_map(|container| {
        let code = container.state.as_ref()?.terminated.as_ref()?.exit_code;
        let named = wanted.container_name.as_ref();
        let is_meant = match wanted.operator.as_str() {
            "In" => wanted.values.contains(&code),
            "NotIn" => !wanted.values.contains(&code),
            _ => false,
        };
        let is = code != 0 && is_meant && named.is_none_or(|name| *name == container.name);
        is.then_some((container, code))
    })
}

/// How many pods of this one's index failed before it.
#[must_use]
pub fn before(pod: &Pod, which: &str) -> i32 {
    let annotations = pod.metadata.annotations.as_ref();
    let text = annotations.and_then(|annotations| annotations.get(which));
    text.and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// Whether a failed pod is the end of its index, in Jobs that limit failures by index.
#[must_use]
pub fn ends_index(spec: &JobSpec, pod: &Pod) -> bool {
    let Some(limit) = spec.backoff_limit_per_index else {
        return false;
    };
    match judge(spec, pod) {
        Verdict::FailsIndex => true,
        Verdict::Ignored => false,
        Verdict::Counts | Verdict::FailsJob(_) => before(pod, FAILURES) >= limit,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn judged(rules: Value, status: Value) -> Verdict {
        let spec = json!({"template": {}, "backoffLimitPerIndex": 1, "podFailurePolicy": {"rules": rules}});
        let pod = json!({"metadata": {"name": "p", "namespace": "a"}, "status": status});
        let spec: JobSpec = serde_json::from_value(spec).unwrap();
        judge(&spec, &serde_json::from_value(pod).unwrap())
    }

    fn ended(name: &str, code: i32) -> Value {
        json!({"name": name, "state": {"terminated": {"exitCode": code}}, "ready": false, "restartCount": 0, "image": "", "imageID": ""})
    }

    #[test]
    fn the_first_rule_that_applies_decides() {
        let rules = json!([
            {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
            {"action": "FailJob", "onExitCodes": {"containerName": "main", "operator": "In", "values": [3, 42]}},
            {"action": "FailIndex", "onExitCodes": {"operator": "NotIn", "values": [1]}},
        ]);
        let exits = |name: &str, code| json!({"containerStatuses": [ended(name, code)]});
        let disrupted = json!({"conditions": [{"type": "DisruptionTarget", "status": "True"}], "containerStatuses": [ended("main", 42)]});
        assert_eq!(judged(rules.clone(), disrupted), Verdict::Ignored);
        let why =
            "Container main for pod a/p failed with exit code 42 matching FailJob rule at index 1";
        let fails = Verdict::FailsJob(why.to_owned());
        assert_eq!(judged(rules.clone(), exits("main", 42)), fails);
        assert_eq!(
            judged(rules.clone(), exits("other", 42)),
            Verdict::FailsIndex
        );
        assert_eq!(judged(rules.clone(), exits("other", 1)), Verdict::Counts);
        assert_eq!(judged(rules.clone(), exits("main", 0)), Verdict::Counts);
        assert_eq!(judged(rules, json!({"phase": "Failed"})), Verdict::Counts);
    }
}
