//! Conditions in statuses: one way to set them for all kinds. API conventions: `lastTransitionTime` moves only when the status does.

use jiff::Timestamp;
use k8s_openapi::{
    api::{
        apps::v1::{DeploymentCondition, ReplicaSetCondition},
        autoscaling::v2::HorizontalPodAutoscalerCondition,
        batch::v1::JobCondition,
        core::v1::{NamespaceCondition, NodeCondition, PodCondition},
    },
    apimachinery::pkg::apis::meta::v1::Time,
};

/// What all conditions have.
pub trait Condition: Clone {
    /// A new condition as of `now`.
    fn new(of: &str, status: &str, reason: &str, message: &str, now: Timestamp) -> Self;
    /// Its type.
    fn of(&self) -> &str;
    /// `True`, `False` or `Unknown`.
    fn status(&self) -> &str;
    /// The machine's word for why.
    fn reason(&self) -> &str;
    /// The words for people.
    fn message(&self) -> &str;
    /// When the status last changed.
    fn since(&self) -> Option<Timestamp>;
    /// Says when the status last changed.
    fn set_since(&mut self, since: Option<Timestamp>);
}

macro_rules! conditions {
    ($($type:ident { $status:expr, $of:expr, $text:expr $(, $more:ident)* })*) => { $(
        #[allow(clippy::needless_update, reason = "not all kinds have more fields")]
        impl Condition for $type {
            fn new(of: &str, status: &str, reason: &str, message: &str, now: Timestamp) -> Self {
                let wrap_of = $of;
                let wrap_status = $status;
                Self {
                    type_: wrap_of(of.to_owned()),
                    status: wrap_status(status.to_owned()),
                    reason: Some(reason.to_owned()),
                    message: Some(message.to_owned()),
                    last_transition_time: Some(Time(now)),
                    $($more: Some(Time(now)),)*
                    ..Self::default()
                }
            }

            fn of(&self) -> &str {
                let text = $text;
                text(&self.type_)
            }

            fn status(&self) -> &str {
                let text = $text;
                text(&self.status)
            }

            fn reason(&self) -> &str {
                self.reason.as_deref().unwrap_or_default()
            }

            fn message(&self) -> &str {
                self.message.as_deref().unwrap_or_default()
            }

            fn since(&self) -> Option<Timestamp> {
                self.last_transition_time.as_ref().map(|time| time.0)
            }

            fn set_since(&mut self, since: Option<Timestamp>) {
                self.last_transition_time = since.map(Time);
            }
        }
    )* };
}

fn optional(text: &Option<String>) -> &str {
    text.as_deref().unwrap_or_default()
}

conditions! {
    DeploymentCondition { Some, Some, optional, last_update_time }
    ReplicaSetCondition { Some, Some, optional }
    JobCondition { std::convert::identity, std::convert::identity, String::as_str, last_probe_time }
    HorizontalPodAutoscalerCondition { std::convert::identity, std::convert::identity, String::as_str }
    NamespaceCondition { std::convert::identity, std::convert::identity, String::as_str }
    NodeCondition { std::convert::identity, std::convert::identity, String::as_str }
    PodCondition { std::convert::identity, std::convert::identity, String::as_str }
}

/// The condition of a type.
pub fn get<'a, C: Condition>(conditions: Option<&'a Vec<C>>, of: &str) -> Option<&'a C> {
    conditions?.iter().find(|condition| condition.of() == of)
}

/// Whether the condition of a type is `True`.
pub fn is_true<C: Condition>(conditions: Option<&Vec<C>>, of: &str) -> bool {
    get(conditions, of).is_some_and(|condition| condition.status() == "True")
}

/// Sets a condition. One that says the same already stays as it is, times included.
pub fn set<C: Condition>(conditions: &mut Option<Vec<C>>, mut new: C) {
    let list = conditions.get_or_insert_default();
    let Some(old) = list.iter_mut().find(|condition| condition.of() == new.of()) else {
        list.push(new);
        return;
    };
    let same_status = old.status() == new.status();
    if same_status && old.reason() == new.reason() && old.message() == new.message() {
        return;
    }
    if same_status {
        new.set_since(old.since());
    }
    *old = new;
}

/// Takes a condition away.
pub fn remove<C: Condition>(conditions: &mut Option<Vec<C>>, of: &str) {
    if let Some(list) = conditions {
        list.retain(|condition| condition.of() != of);
        if list.is_empty() {
            *conditions = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transition_times_move_with_the_status_only() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let mut conditions: Option<Vec<JobCondition>> = None;
        set(
            &mut conditions,
            JobCondition::new("A", "True", "r", "m", at(1)),
        );
        set(
            &mut conditions,
            JobCondition::new("A", "True", "r", "m", at(2)),
        );
        let one = get(conditions.as_ref(), "A").unwrap();
        assert_eq!(
            (one.since(), one.last_probe_time.clone()),
            (Some(at(1)), Some(Time(at(1))))
        );
        set(
            &mut conditions,
            JobCondition::new("A", "True", "s", "m", at(3)),
        );
        let one = get(conditions.as_ref(), "A").unwrap();
        assert_eq!((one.since(), one.reason()), (Some(at(1)), "s"));
        set(
            &mut conditions,
            JobCondition::new("A", "False", "s", "m", at(4)),
        );
        assert_eq!(get(conditions.as_ref(), "A").unwrap().since(), Some(at(4)));
        assert!(!is_true(conditions.as_ref(), "A"));
        remove(&mut conditions, "A");
        assert_eq!(conditions, None);
    }
}
