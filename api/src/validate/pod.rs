//! Pods and pod templates.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{
    At,
    container::{container, ephemeral},
    volume::volumes,
};
use crate::{
    fields::{FieldError, FieldPath, Problems},
    names,
};

/// A Pod.
#[must_use]
pub fn pod(object: &Value) -> Problems {
    let mut problems = Problems::new();
    pod_spec(&At::root(object).field("spec"), &mut problems);
    problems
}

/// The pod template at a path.
pub(super) fn template(template: &At<'_>, problems: &mut Problems) {
    super::metadata::labels(&template.field("metadata").field("labels"), problems);
    let spec = template.field("spec");
    pod_spec(&spec, problems);
    let ephemeral = spec.field("ephemeralContainers");
    if !ephemeral.is_empty() {
        let detail = "ephemeral containers not allowed in pod template";
        problems.push(FieldError::forbidden(&ephemeral.path, detail));
    }
}

fn pod_spec(spec: &At<'_>, problems: &mut Problems) {
    let volumes = volumes(spec, problems);
    let mut names_seen = BTreeSet::new();
    for (field, init) in [("containers", false), ("initContainers", true)] {
        let list = spec.field(field);
        if !init {
            list.require(problems);
        }
        for one in list.items() {
            container(&one, &volumes, init, problems);
            let name = one.field("name");
            if !names_seen.insert(name.text()) && !name.is_empty() {
                problems.push(FieldError::duplicate(&name.path, name.value.clone()));
            }
        }
    }
    for one in spec.field("ephemeralContainers").items() {
        ephemeral(&one, &volumes, problems);
        let name = one.field("name");
        if !names_seen.insert(name.text()) && !name.is_empty() {
            problems.push(FieldError::duplicate(&name.path, name.value.clone()));
        }
    }
    spec.field("restartPolicy")
        .one_of(&["Always", "Never", "OnFailure"], problems);
    spec.field("dnsPolicy").one_of(
        &["ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"],
        problems,
    );
    spec.field("terminationGracePeriodSeconds")
        .not_negative(problems);
    spec.field("activeDeadlineSeconds").positive(problems);
    super::metadata::labels(&spec.field("nodeSelector"), problems);
    for toleration in spec.field("tolerations").items() {
        tolerate(&toleration, problems);
    }
    if !spec.field("hostname").is_empty() {
        spec.field("hostname").named(names::dns1123_label, problems);
    }
    if !spec.field("subdomain").is_empty() {
        spec.field("subdomain")
            .named(names::dns1123_label, problems);
    }
    for (field, why) in [
        (
            "hostNetwork",
            "a module never reaches the host's network; use a Service of type NodePort",
        ),
        ("hostPID", "modules are not processes of the host"),
        ("hostIPC", "modules are not processes of the host"),
        ("shareProcessNamespace", "modules are not processes"),
    ] {
        if spec.field(field).flag() {
            problems.push(FieldError::forbidden(&spec.field(field).path, why));
        }
    }
    security_context(&spec.field("securityContext"), problems);
}

fn tolerate(toleration: &At<'_>, problems: &mut Problems) {
    let (key, operator) = (toleration.field("key"), toleration.field("operator"));
    if !key.is_empty() {
        key.named(names::qualified_name, problems);
    } else if operator.text() != "Exists" {
        let detail = "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
        problems.push(FieldError::invalid(
            &operator.path,
            operator.value.clone(),
            detail,
        ));
    }
    match operator.text() {
        "" | "Equal" => toleration
            .field("value")
            .named(names::label_value, problems),
        "Exists" if !toleration.field("value").is_empty() => {
            let value = toleration.field("value");
            problems.push(FieldError::invalid(
                &operator.path,
                value.value.clone(),
                "value must be empty when `operator` is 'Exists'",
            ));
        }
        "Exists" => {}
        _ => operator.one_of(&["Equal", "Exists"], problems),
    }
    let effect = toleration.field("effect");
    if !effect.is_empty() {
        effect.one_of(&["NoSchedule", "PreferNoSchedule", "NoExecute"], problems);
    }
    if toleration.field("tolerationSeconds").is_set() && effect.text() != "NoExecute" {
        problems.push(FieldError::invalid(
            &effect.path,
            effect.value.clone(),
            "effect must be 'NoExecute' when `tolerationSeconds` is set",
        ));
    }
}

/// What asks for a power that modules do not have is refused. What asks to go without one holds anyway and is accepted.
pub(super) fn security_context(context: &At<'_>, problems: &mut Problems) {
    let refused = [
        ("privileged", "a module has no privileges to raise"),
        (
            "allowPrivilegeEscalation",
            "a module has no privileges to raise",
        ),
    ];
    for (field, why) in refused {
        if context.field(field).flag() {
            problems.push(FieldError::forbidden(&context.field(field).path, why));
        }
    }
    for field in ["runAsUser", "runAsGroup", "fsGroup"] {
        if context.field(field).number() == Some(0) {
            problems.push(FieldError::forbidden(
                &context.field(field).path,
                "modules do not run as a user of the host, least of all as root",
            ));
        }
    }
    let added = context.field("capabilities").field("add");
    if !added.is_empty() {
        problems.push(FieldError::forbidden(
            &added.path,
            "a module has the capabilities that its mounts and network give it and no others",
        ));
    }
    let sysctls = context.field("sysctls");
    if !sysctls.is_empty() {
        problems.push(FieldError::forbidden(
            &sysctls.path,
            "modules have no kernel to set",
        ));
    }
}

/// What a user should know about an accepted pod.
#[must_use]
pub fn warnings(object: &Value) -> Vec<String> {
    let mut found = Vec::new();
    spec_warnings(&At::root(object).field("spec"), &mut found);
    found
}

/// Settings of a pod spec that have no effect on modules.
pub(super) fn spec_warnings(spec: &At<'_>, found: &mut Vec<String>) {
    let mut without_effect =
        |at: &At<'_>| found.push(format!("{}: has no effect on WebAssembly modules", at.path));
    let mut contexts = vec![spec.field("securityContext")];
    for field in ["initContainers", "containers"] {
        for one in spec.field(field).items() {
            contexts.push(one.field("securityContext"));
        }
    }
    for context in contexts {
        for field in [
            "runAsUser",
            "runAsGroup",
            "fsGroup",
            "supplementalGroups",
            "seLinuxOptions",
            "appArmorProfile",
            "procMount",
        ] {
            if context.field(field).is_set() {
                without_effect(&context.field(field));
            }
        }
    }
    for field in [
        "runtimeClassName",
        "hostAliases",
        "dnsConfig",
        "setHostnameAsFQDN",
    ] {
        let at = spec.field(field);
        if !at.is_empty() && !(at.value == &Value::Bool(false)) {
            without_effect(&at);
        }
    }
}

/// A changed Pod: images, the deadline and additional tolerations may change, nothing else of the spec.
#[must_use]
pub fn update(new: &Value, old: &Value) -> Problems {
    let mut problems = Problems::new();
    let (spec, before) = (At::root(new).field("spec"), At::root(old).field("spec"));
    for field in ["containers", "initContainers"] {
        if spec.field(field).items().count() != before.field(field).items().count() {
            let path = spec.field(field).path;
            problems.push(FieldError::forbidden(
                &path,
                "pod updates may not add or remove containers",
            ));
            return problems;
        }
    }
    if before.field("ephemeralContainers").value != spec.field("ephemeralContainers").value {
        added_ephemeral(&spec, &before, &mut problems);
    }
    let deadline = (
        spec.field("activeDeadlineSeconds").number(),
        before.field("activeDeadlineSeconds").number(),
    );
    match deadline {
        (Some(new), Some(old)) if new > old => {
            let path = spec.field("activeDeadlineSeconds").path;
            problems.push(FieldError::invalid(
                &path,
                new,
                format!("must be less than or equal to previous value ({old})"),
            ));
        }
        (None, Some(_)) => {
            let path = spec.field("activeDeadlineSeconds").path;
            problems.push(FieldError::invalid(
                &path,
                Value::Null,
                "must not update from a positive integer to nil value",
            ));
        }
        _ => {}
    }
    let added_only = before.field("tolerations").items().all(|one| {
        spec.field("tolerations")
            .items()
            .any(|new| new.value == one.value)
    });
    if !added_only || mutable_removed(&spec) != mutable_removed(&before) {
        let detail = "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,\
             `spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it \
             to be set to 1 if it was previously negative)";
        problems.push(FieldError::forbidden(&FieldPath::new("spec"), detail));
    }
    problems
}

/// Ephemeral containers are added to a pod that runs; those it has stay as they are.
fn added_ephemeral(spec: &At<'_>, before: &At<'_>, problems: &mut Problems) {
    let new = spec.field("ephemeralContainers");
    for old in before.field("ephemeralContainers").items() {
        let name = old.field("name");
        let same = new
            .items()
            .find(|one| one.field("name").text() == name.text());
        let complaint = match same {
            None => "may not be removed",
            Some(one) if one.value != old.value => "may not be changed",
            Some(_) => continue,
        };
        let detail = format!(
            "existing ephemeral containers {:?} {complaint}",
            name.text()
        );
        problems.push(FieldError::forbidden(&new.path, detail));
    }
    // Not checked as all of the pod is where one part is written.
    let volumes = volumes(spec, &mut Problems::new());
    let mut names: BTreeSet<&str> = BTreeSet::new();
    for list in ["containers", "initContainers"] {
        names.extend(spec.field(list).items().map(|one| one.field("name").text()));
    }
    for one in new.items() {
        ephemeral(&one, &volumes, problems);
        let name = one.field("name");
        if !names.insert(name.text()) && !name.is_empty() {
            problems.push(FieldError::duplicate(&name.path, name.value.clone()));
        }
    }
}

/// The spec without what may change.
fn mutable_removed(spec: &At<'_>) -> Value {
    let mut kept = spec.value.clone();
    if let Some(kept) = kept.as_object_mut() {
        for field in [
            "activeDeadlineSeconds",
            "tolerations",
            "nodeName",
            "ephemeralContainers",
        ] {
            kept.remove(field);
        }
        for field in ["containers", "initContainers"] {
            for one in kept
                .get_mut(field)
                .and_then(Value::as_array_mut)
                .into_iter()
                .flatten()
            {
                if let Some(one) = one.as_object_mut() {
                    one.insert("image".to_owned(), json!(""));
                }
            }
        }
    }
    kept
}
