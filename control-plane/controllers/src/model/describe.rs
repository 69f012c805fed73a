//! Plans in words, a line for each step: what tests of planners compare.

use serde_json::Value;

use crate::{
    action::{Action, Part, Plan, Propagation, Requeue, Severity},
    kind::Kind,
    model::World,
};

/// A plan in words. Names that were made up show as their base and `*`.
pub fn plan(plan: &Plan, world: &World) -> String {
    let mut lines: Vec<String> = Vec::new();
    for step in &plan.actions {
        lines.push(action(&step.action));
    }
    if let Some(status) = &plan.status {
        let words = format!("status {}", short(&status.patch["status"]));
        lines.push(words);
    }
    for lookup in &plan.lookups {
        lines.push(format!("look {lookup:?}"));
    }
    for note in &plan.notes {
        let severity = match note.severity {
            Severity::Normal => "say",
            Severity::Warning => "warn",
        };
        lines.push(format!("{severity} {}: {}", note.reason, note.message));
    }
    if let Requeue::At(at) = plan.requeue {
        let seconds = at.duration_since(world.now).as_secs();
        lines.push(format!("again in {seconds} s"));
    }
    lines.join("\n")
}

/// An action in words.
pub fn action(action: &Action) -> String {
    match action {
        Action::Create { kind, object } => {
            let meta = &object["metadata"];
            let name = match meta["generateName"].as_str() {
                Some(base) => format!("{base}*"),
                None => meta["name"].as_str().unwrap_or_default().to_owned(),
            };
            format!("create {} {name}", kind.kind)
        }
        Action::Delete {
            target,
            propagation,
            grace,
            ..
        } => {
            let how = match propagation {
                Propagation::Background => "",
                Propagation::Foreground => " foreground",
                Propagation::Orphan => " orphan",
            };
            let now = if *grace == Some(0) { " now" } else { "" };
            format!("delete {} {}{how}{now}", target.kind.kind, target.key.name)
        }
        Action::Patch {
            target,
            part,
            patch,
            ..
        } => {
            let verb = match part {
                Part::Main => "patch",
                Part::Status => "status of",
                Part::Scale => "scale",
                Part::Finalize => "finalize",
            };
            let patch = match part {
                Part::Status => &patch["status"],
                Part::Main | Part::Scale | Part::Finalize => patch,
            };
            let (kind, name) = (&target.kind.kind, &target.key.name);
            format!("{verb} {kind} {name} {}", short(patch))
        }
        Action::Adopt { target, owner, .. } => {
            let (kind, name) = (&target.kind.kind, &target.key.name);
            format!("adopt {kind} {name} for {}", owner.key.name)
        }
        Action::DeleteAll { kind, namespace } => {
            format!("delete all {} in {namespace}", plural(kind))
        }
    }
}

fn plural(kind: &Kind) -> &str {
    &kind.plural
}

/// JSON without the marks that say nothing. Conditions show as `Type=Status(Reason)`, owner references as the owner's name.
fn short(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let parts: Vec<String> = map
                .iter()
                .filter(|(key, _)| !key.ends_with("Time"))
                .map(|(key, value)| match (key.as_str(), value) {
                    ("conditions", Value::Array(all)) => {
                        let all: Vec<String> = all.iter().map(condition).collect();
                        all.join(" ")
                    }
                    ("ownerReferences", Value::Array(all)) => {
                        let names: Vec<&str> =
                            all.iter().filter_map(|one| one["name"].as_str()).collect();
                        format!("owners={}", names.join(","))
                    }
                    (key, value @ Value::Object(_)) => format!("{key}:({})", short(value)),
                    (key, value) => format!("{key}={}", short(value)),
                })
                .collect();
            parts.join(" ")
        }
        Value::Array(all) => {
            let all: Vec<String> = all
                .iter()
                .map(|one| match one {
                    Value::Object(_) => format!("({})", short(one)),
                    _ => short(one),
                })
                .collect();
            format!("[{}]", all.join(" "))
        }
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn condition(one: &Value) -> String {
    let text = |field: &str| one[field].as_str().unwrap_or_default();
    format!("{}={}({})", text("type"), text("status"), text("reason"))
}
