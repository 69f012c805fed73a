//! Kinds that make pods from a template: Deployment, ReplicaSet, Job.

use serde_json::Value;

use super::{At, label_selector, number_or_percent, pod, unchanged};
use crate::{
    fields::{FieldError, Problems},
    selector::LabelSelector,
};

/// A Deployment.
#[must_use]
pub fn deployment(object: &Value) -> Problems {
    let mut problems = Problems::new();
    let spec = At::root(object).field("spec");
    replicated(&spec, &mut problems);
    for field in ["minReadySeconds", "revisionHistoryLimit"] {
        spec.field(field).not_negative(&mut problems);
    }
    let deadline = spec.field("progressDeadlineSeconds");
    deadline.not_negative(&mut problems);
    if deadline
        .number()
        .is_some_and(|seconds| seconds <= spec.field("minReadySeconds").number().unwrap_or(0))
    {
        problems.push(FieldError::invalid(
            &deadline.path,
            deadline.value.clone(),
            "must be greater than minReadySeconds",
        ));
    }
    let strategy = spec.field("strategy");
    let rolling = strategy.field("rollingUpdate");
    strategy
        .field("type")
        .one_of(&["Recreate", "RollingUpdate"], &mut problems);
    if strategy.field("type").text() == "Recreate" && rolling.is_set() {
        problems.push(FieldError::forbidden(
            &rolling.path,
            "may not be specified when strategy `type` is 'Recreate'",
        ));
    } else if rolling.is_set() {
        let (surge, unavailable) = (rolling.field("maxSurge"), rolling.field("maxUnavailable"));
        number_or_percent(&surge, &mut problems);
        number_or_percent(&unavailable, &mut problems);
        let nothing = |at: &At<'_>| at.number() == Some(0) || at.text() == "0%";
        if nothing(&surge) && nothing(&unavailable) {
            problems.push(FieldError::invalid(
                &unavailable.path,
                unavailable.value.clone(),
                "may not be 0 when `maxSurge` is 0",
            ));
        }
    }
    problems
}

/// A ReplicaSet.
#[must_use]
pub fn replica_set(object: &Value) -> Problems {
    let mut problems = Problems::new();
    let spec = At::root(object).field("spec");
    replicated(&spec, &mut problems);
    spec.field("minReadySeconds").not_negative(&mut problems);
    problems
}

/// Replicas of a template whose pods are restarted for ever.
fn replicated(spec: &At<'_>, problems: &mut Problems) {
    spec.field("replicas").not_negative(problems);
    let selector = spec.field("selector");
    if !selector.is_set() {
        problems.push(FieldError::required(&selector.path, ""));
    } else {
        label_selector(&selector, problems);
        if selector.field("matchLabels").is_empty() && selector.field("matchExpressions").is_empty()
        {
            problems.push(FieldError::invalid(
                &selector.path,
                selector.value.clone(),
                "empty selector is invalid for deployment",
            ));
        }
    }
    let template = spec.field("template");
    let labels = template.field("metadata").field("labels");
    let parsed = serde_json::from_value(selector.value.clone()).ok();
    let selects = parsed
        .and_then(|meta| LabelSelector::from_meta(&meta).ok())
        .is_some_and(|selector| selector.matches_object(template.value));
    if selector.is_set() && !selects {
        problems.push(FieldError::invalid(
            &labels.path,
            labels.value.clone(),
            "`selector` does not match template `labels`",
        ));
    }
    pod::template(&template, problems);
    let policy = template.field("spec").field("restartPolicy");
    if policy.text() != "Always" {
        problems.push(FieldError::not_supported(
            &policy.path,
            policy.value.clone(),
            &["Always"],
        ));
    }
    let deadline = template.field("spec").field("activeDeadlineSeconds");
    if deadline.is_set() {
        problems.push(FieldError::forbidden(
            &deadline.path,
            "activeDeadlineSeconds in ReplicaSet is not Supported",
        ));
    }
}

/// A changed Deployment or ReplicaSet: what it selects stays.
#[must_use]
pub fn selector_update(new: &Value, old: &Value) -> Problems {
    let mut problems = Problems::new();
    unchanged(
        &At::root(new).field("spec").field("selector"),
        &At::root(old).field("spec").field("selector"),
        &mut problems,
    );
    problems
}

/// A Job.
#[must_use]
pub fn job(object: &Value) -> Problems {
    let mut problems = Problems::new();
    let spec = At::root(object).field("spec");
    for field in [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
    ] {
        spec.field(field).not_negative(&mut problems);
    }
    let mode = spec.field("completionMode");
    mode.one_of(&["Indexed", "NonIndexed"], &mut problems);
    if mode.text() == "Indexed" && spec.field("completions").number().is_none() {
        problems.push(FieldError::required(
            &spec.field("completions").path,
            "when completion mode is Indexed",
        ));
    }
    let unavailable = [
        "podFailurePolicy",
        "successPolicy",
        "backoffLimitPerIndex",
        "managedBy",
    ];
    for field in unavailable
        .iter()
        .map(|field| spec.field(field))
        .filter(At::is_set)
    {
        problems.push(FieldError::forbidden(&field.path, "not available yet"));
    }
    let template = spec.field("template");
    pod::template(&template, &mut problems);
    let policy = template.field("spec").field("restartPolicy");
    if !matches!(policy.text(), "Never" | "OnFailure") {
        let detail = "valid values: \"OnFailure\", \"Never\"";
        problems.push(FieldError::required(&policy.path, detail));
    }
    problems
}

/// A changed Job.
#[must_use]
pub fn job_update(new: &Value, old: &Value) -> Problems {
    let mut problems = Problems::new();
    let (new, old) = (At::root(new).field("spec"), At::root(old).field("spec"));
    for field in ["selector", "completionMode", "template"] {
        unchanged(&new.field(field), &old.field(field), &mut problems);
    }
    if new.field("completionMode").text() != "Indexed"
        || new.field("completions").number() != new.field("parallelism").number()
    {
        unchanged(
            &new.field("completions"),
            &old.field("completions"),
            &mut problems,
        );
    }
    problems
}

/// Settings of the template that have no effect on modules.
#[must_use]
pub fn template_warnings(object: &Value) -> Vec<String> {
    let mut found = Vec::new();
    pod::spec_warnings(
        &At::root(object)
            .field("spec")
            .field("template")
            .field("spec"),
        &mut found,
    );
    found
}
