//! Decides what a DELETE does to an object: removes it, marks it as being deleted, or nothing more than before. Pure; the rules are upstream's
//! (finalizers, propagation policies, graceful deletion, namespaces).

use coracle_api::status::ApiError;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::{ambient, meta};

/// What becomes of the dependents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    /// The garbage collector deletes them after the object is gone.
    Background,
    /// The object stays until they are gone.
    Foreground,
    /// They stay and lose their owner reference.
    Orphan,
}

/// A client's wishes about a deletion (metav1.DeleteOptions).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeleteOptions {
    /// Seconds until the object must be gone; `None` for the kind's own.
    pub grace: Option<i64>,
    /// The object must have this uid.
    pub uid: Option<String>,
    /// The object must have this resourceVersion.
    pub resource_version: Option<String>,
    /// What becomes of the dependents; `None` for the kind's default, which is background.
    pub propagation: Option<Propagation>,
    /// Decide and answer, change nothing.
    pub dry_run: bool,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// The object goes now.
    Remove,
    /// The object stays for a while, changed like this.
    Mark(Value),
    /// The object is being deleted already and nothing changes.
    Unchanged,
}

/// The finalizer that keeps an object until its dependents are gone.
pub const FOREGROUND: &str = "foregroundDeletion";
/// The finalizer that keeps an object until its dependents are orphans.
pub const ORPHAN: &str = "orphan";

/// Decides. `graceful` is how long the kind wants to be given to stop (`None`: it need not be asked).
#[must_use]
pub fn decide(
    current: &Value,
    options: &DeleteOptions,
    graceful: Option<i64>,
    now: Timestamp,
) -> Decision {
    let terminating = meta::is_terminating(current);
    let finalizers = finalizers_after(current, options.propagation);
    let held = !finalizers.is_empty() || has_spec_finalizers(current);
    let grace = match graceful {
        // Nothing runs that could be given time.
        None | Some(0) => 0,
        Some(own) => match options.grace {
            // Upstream: what is negative means as soon as possible, yet gracefully.
            Some(asked) if asked < 0 => 1,
            Some(asked) => asked,
            None => own,
        },
    };
    if grace == 0 && !held {
        return Decision::Remove;
    }
    let mut marked = current.clone();
    meta::set_finalizers(&mut marked, finalizers);
    if terminating {
        // A second deletion may only shorten what the first one gave.
        let given = meta::deletion_grace(current).unwrap_or(0);
        let asked = if options.grace.is_some() {
            grace
        } else {
            given
        };
        if asked < given {
            meta::set(&mut marked, "deletionGracePeriodSeconds", asked);
            set_deadline(&mut marked, now, asked);
        }
    } else {
        set_deadline(&mut marked, now, grace);
        meta::set(&mut marked, "deletionGracePeriodSeconds", grace);
        let generation = meta::generation(current);
        if generation > 0 {
            meta::set(&mut marked, "generation", generation + 1);
        }
    }
    if is_namespace(&marked) {
        meta::child_mut(&mut marked, "status").insert("phase".to_owned(), json!("Terminating"));
    }
    if marked == *current {
        Decision::Unchanged
    } else {
        Decision::Mark(marked)
    }
}

/// Whether an update has taken away the last thing that kept an object being deleted.
#[must_use]
pub fn is_finished(object: &Value) -> bool {
    meta::is_terminating(object)
        && meta::finalizers(object).next().is_none()
        && meta::deletion_grace(object).unwrap_or(0) == 0
        && !has_spec_finalizers(object)
}

/// Checks the client's preconditions.
///
/// # Errors
/// `Conflict`.
pub fn check_preconditions(
    current: &Value,
    options: &DeleteOptions,
    conflict: impl Fn(String) -> ApiError,
) -> Result<(), ApiError> {
    let wrong = |what: &str, asked: &str, is: Option<&str>| {
        let is = is.unwrap_or_default();
        conflict(format!(
            "Precondition failed: {what} in precondition: {asked}, {what} in object meta: {is}"
        ))
    };
    if let Some(uid) = &options.uid
        && meta::uid(current) != Some(uid)
    {
        return Err(wrong("UID", uid, meta::uid(current)));
    }
    if let Some(version) = &options.resource_version
        && meta::resource_version(current) != Some(version)
    {
        let is = meta::resource_version(current);
        return Err(wrong("ResourceVersion", version, is));
    }
    Ok(())
}

/// The deletion timestamp is when the object is to be gone at the latest.
fn set_deadline(object: &mut Value, now: Timestamp, grace: i64) {
    let deadline = now
        .checked_add(SignedDuration::from_secs(grace))
        .unwrap_or(Timestamp::MAX);
    meta::set(object, "deletionTimestamp", ambient::timestamp(deadline));
}

/// The object's finalizers with the one of the propagation policy, and without that of the other policy.
fn finalizers_after(current: &Value, propagation: Option<Propagation>) -> Vec<String> {
    let wanted = match propagation {
        Some(Propagation::Foreground) => Some(FOREGROUND),
        Some(Propagation::Orphan) => Some(ORPHAN),
        Some(Propagation::Background) | None => None,
    };
    let mut after: Vec<String> = meta::finalizers(current)
        // Without a wish of the client the policies an earlier deletion asked for stay.
        .filter(|name| propagation.is_none() || ![FOREGROUND, ORPHAN].contains(name))
        .map(str::to_owned)
        .collect();
    after.extend(
        wanted
            .filter(|wanted| !after.iter().any(|name| name == wanted))
            .map(str::to_owned),
    );
    after
}

fn is_namespace(object: &Value) -> bool {
    meta::text_at(object, &["kind"]) == Some("Namespace")
        && meta::text_at(object, &["apiVersion"]) == Some("v1")
}

/// Namespaces have finalizers of their own in the spec, taken away through the finalize subresource.
fn has_spec_finalizers(object: &Value) -> bool {
    is_namespace(object)
        && meta::at(object, &["spec", "finalizers"])
            .and_then(Value::as_array)
            .is_some_and(|finalizers| !finalizers.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        Timestamp::from_second(1_000_000).unwrap()
    }

    fn pod(metadata: Value) -> Value {
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata})
    }

    /// The metadata after the decision, or what else was decided.
    fn told(current: &Value, options: &DeleteOptions, graceful: Option<i64>) -> Value {
        match decide(current, options, graceful, now()) {
            Decision::Remove => json!("remove"),
            Decision::Unchanged => json!("unchanged"),
            Decision::Mark(marked) => marked["metadata"].clone(),
        }
    }

    fn options(propagation: Option<Propagation>, grace: Option<i64>) -> DeleteOptions {
        DeleteOptions {
            grace,
            propagation,
            ..DeleteOptions::default()
        }
    }

    #[test]
    fn what_nothing_holds_goes_at_once() {
        let plain = pod(json!({"name": "a"}));
        assert_eq!(told(&plain, &options(None, None), None), json!("remove"));
        assert_eq!(
            told(&plain, &options(None, Some(30)), None),
            json!("remove")
        );
        assert_eq!(
            told(&plain, &options(None, Some(0)), Some(30)),
            json!("remove")
        );
        let background = options(Some(Propagation::Background), None);
        assert_eq!(told(&plain, &background, None), json!("remove"));
    }

    #[test]
    fn graceful_deletion_sets_a_deadline_that_can_only_be_shortened() {
        let plain = pod(json!({"name": "a", "generation": 1}));
        let marked = told(&plain, &options(None, None), Some(30));
        assert_eq!(
            marked,
            json!({"name": "a", "generation": 2, "deletionGracePeriodSeconds": 30, "deletionTimestamp": "1970-01-12T13:47:10Z"})
        );
        let marked = pod(marked);
        assert_eq!(
            told(&marked, &options(None, None), Some(30)),
            json!("unchanged")
        );
        assert_eq!(
            told(&marked, &options(None, Some(60)), Some(30)),
            json!("unchanged")
        );
        let shorter = told(&marked, &options(None, Some(5)), Some(30));
        assert_eq!(shorter["deletionGracePeriodSeconds"], 5);
        assert_eq!(shorter["deletionTimestamp"], "1970-01-12T13:46:45Z");
        assert_eq!(
            told(&marked, &options(None, Some(0)), Some(30)),
            json!("remove")
        );
        let unscheduled = told(&plain, &options(None, Some(5)), Some(0));
        assert_eq!(unscheduled, json!("remove"));
        let soon = told(&plain, &options(None, Some(-1)), Some(30));
        assert_eq!(soon["deletionGracePeriodSeconds"], 1);
    }

    #[test]
    fn finalizers_keep_an_object_and_policies_are_finalizers() {
        let held = pod(json!({"name": "a", "finalizers": ["x/y"]}));
        let marked = told(&held, &options(None, None), None);
        assert_eq!(marked["finalizers"], json!(["x/y"]));
        assert_eq!(marked["deletionGracePeriodSeconds"], 0);
        assert_eq!(marked["deletionTimestamp"], "1970-01-12T13:46:40Z");

        let foreground = told(&held, &options(Some(Propagation::Foreground), None), None);
        assert_eq!(foreground["finalizers"], json!(["x/y", FOREGROUND]));
        let changed = told(
            &pod(foreground.clone()),
            &options(Some(Propagation::Orphan), None),
            None,
        );
        assert_eq!(changed["finalizers"], json!(["x/y", ORPHAN]));
        let kept = told(&pod(foreground), &options(None, None), None);
        assert_eq!(kept, json!("unchanged"));
        let plain = pod(json!({"name": "a"}));
        let orphan = told(&plain, &options(Some(Propagation::Orphan), None), None);
        assert_eq!(orphan["finalizers"], json!([ORPHAN]));
    }

    #[test]
    fn a_namespace_waits_for_its_content() {
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a"}, "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}});
        let Decision::Mark(marked) = decide(&namespace, &options(None, None), None, now()) else {
            panic!("not marked");
        };
        assert_eq!(marked["status"]["phase"], "Terminating");
        assert!(!is_finished(&marked));
        assert_eq!(
            decide(&marked, &options(None, None), None, now()),
            Decision::Unchanged
        );
        let mut empty = marked;
        empty["spec"]["finalizers"] = json!([]);
        assert!(is_finished(&empty));
    }

    #[test]
    fn an_object_is_finished_when_nothing_holds_it_any_more() {
        let marked = |more: Value| {
            let mut metadata = json!({"name": "a", "deletionTimestamp": "1970-01-12T13:46:40Z"});
            metadata
                .as_object_mut()
                .unwrap()
                .extend(more.as_object().unwrap().clone());
            pod(metadata)
        };
        assert!(is_finished(&marked(json!({}))));
        assert!(is_finished(&marked(
            json!({"deletionGracePeriodSeconds": 0, "finalizers": []})
        )));
        assert!(!is_finished(&marked(
            json!({"deletionGracePeriodSeconds": 30})
        )));
        assert!(!is_finished(&marked(json!({"finalizers": ["x"]}))));
        assert!(!is_finished(&pod(json!({"name": "a"}))));
    }
}
