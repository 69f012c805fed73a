//! How many replicas each ReplicaSet of a Deployment gets in the next step. Numbers only; rules of upstream `deployment/{rolling,recreate,sync}.go`.

use std::{cmp::Reverse, sync::Arc};

use k8s_openapi::api::apps::v1::ReplicaSet;

use super::{
    bounds::Bounds,
    revision::{DESIRED, MOST, age, annotation},
};

/// A ReplicaSet and the size it is to have.
#[derive(Clone, Debug)]
pub struct Sizing<'a> {
    /// The set as observed.
    pub set: &'a Arc<ReplicaSet>,
    /// The replicas it is to have.
    pub replicas: i32,
}

impl<'a> Sizing<'a> {
    /// A set that stays as it is.
    #[must_use]
    pub fn as_is(set: &'a Arc<ReplicaSet>) -> Self {
        Self {
            set,
            replicas: wanted(set),
        }
    }

    /// Its available pods, without those that it is about to end: a status may be older than the spec.
    fn available(&self) -> i32 {
        let status = self.set.status.as_ref();
        let told = status.and_then(|status| status.available_replicas);
        told.unwrap_or(0).min(wanted(self.set))
    }

    /// Whether its status is about its spec. A set that shrank and grew again may still tell of pods that it has ended since.
    fn is_observed(&self) -> bool {
        let status = self.set.status.as_ref();
        let observed = status.and_then(|status| status.observed_generation);
        observed >= self.set.metadata.generation
    }

    fn is_active(&self) -> bool {
        self.replicas > 0
    }
}

/// The replicas a set has in its spec.
#[must_use]
pub fn wanted(set: &ReplicaSet) -> i32 {
    set.spec.replicas.unwrap_or(1)
}

fn sum<'a>(sets: impl IntoIterator<Item = &'a Sizing<'a>>) -> i32 {
    sets.into_iter()
        .fold(0, |sum, set| i32::saturating_add(sum, set.replicas))
}

/// The size of the current set, existing or about to be made, when pods are replaced little by little.
#[must_use]
pub fn grown(bounds: Bounds, current: i32, all: i32) -> i32 {
    if current >= bounds.replicas {
        return bounds.replicas;
    }
    let room = bounds.most().saturating_sub(all).max(0);
    current + room.min(bounds.replicas - current)
}

/// One step of a rolling update: the current set grows as far as the surge allows, or else the old ones shrink as far as availability allows.
pub fn roll(bounds: Bounds, current: &mut Sizing<'_>, old: &mut [Sizing<'_>]) {
    let all = current.replicas.saturating_add(sum(&*old));
    let next = grown(bounds, current.replicas, all);
    if next != current.replicas {
        current.replicas = next;
        return;
    }
    if !current.is_observed() || !old.iter().all(Sizing::is_observed) {
        // How many are available will be known in a moment.
        return;
    }
    let unavailable = current.replicas - current.available();
    let most_less = all - bounds.least_available() - unavailable;
    if sum(&*old) == 0 || most_less <= 0 {
        return;
    }
    old.sort_by_key(|one| age(one.set));
    drop_unhealthy(old, most_less);
    shrink(bounds, current, old);
}

/// Pods that don't serve anyway go first: nothing waits for them.
fn drop_unhealthy(old: &mut [Sizing<'_>], most: i32) {
    let mut dropped = 0;
    for one in old {
        let useless = (one.replicas - one.available()).max(0);
        let less = useless.min(most - dropped).max(0);
        one.replicas -= less;
        dropped += less;
    }
}

fn shrink(bounds: Bounds, current: &Sizing<'_>, old: &mut [Sizing<'_>]) {
    let available = old.iter().fold(current.available(), |sum, one| {
        sum.saturating_add(one.available())
    });
    let mut spare = (available - bounds.least_available()).max(0);
    for one in old {
        let less = one.replicas.min(spare);
        one.replicas -= less;
        spare -= less;
    }
}

/// Whether the Deployment's number of replicas changed since its sets were sized: then sizes follow before a rollout goes on.
#[must_use]
pub fn is_scaled(bounds: Bounds, sets: &[&Arc<ReplicaSet>]) -> bool {
    sets.iter().filter(|set| wanted(set) > 0).any(|set| {
        let desired = annotation(set.metadata.annotations.as_ref(), DESIRED)
            .and_then(|text| text.parse::<i32>().ok());
        desired.is_some_and(|desired| desired != bounds.replicas)
    })
}

/// Scales what is there: the one active set, or, in the middle of a rollout, all active sets in proportion.
pub fn scale<'a>(
    bounds: Bounds,
    rolling: bool,
    current: Option<&mut Sizing<'a>>,
    old: &mut [Sizing<'a>],
) {
    let n_active = old.iter().filter(|one| one.is_active()).count()
        + usize::from(current.as_ref().is_some_and(|one| one.is_active()));
    match (n_active, current) {
        (0, Some(current)) => current.replicas = bounds.replicas,
        (0, None) => {
            // The newest that there was.
            if let Some(newest) = old.iter_mut().max_by_key(|one| age(one.set)) {
                newest.replicas = bounds.replicas;
            }
        }
        (1, current) => {
            if let Some(only) = old.iter_mut().chain(current).find(|one| one.is_active()) {
                only.replicas = bounds.replicas;
            }
        }
        (_, current) => {
            if current
                .as_ref()
                .is_some_and(|current| is_saturated(bounds, current))
            {
                for one in old {
                    one.replicas = 0;
                }
            } else if rolling {
                let active = old.iter_mut().chain(current);
                proportionally(bounds, active.filter(|one| one.is_active()).collect());
            }
        }
    }
}

/// Whether the current set alone is what the Deployment wants.
fn is_saturated(bounds: Bounds, current: &Sizing<'_>) -> bool {
    let annotations = current.set.metadata.annotations.as_ref();
    let desired = annotation(annotations, DESIRED).and_then(|text| text.parse().ok());
    current.replicas == bounds.replicas
        && current.is_observed()
        && desired == Some(bounds.replicas)
        && current.available() == bounds.replicas
}

/// Spreads what is to be added or taken over the sets by their sizes; the largest gets what rounding leaves.
fn proportionally(bounds: Bounds, mut active: Vec<&mut Sizing<'_>>) {
    let all = active
        .iter()
        .fold(0_i32, |all, one| all.saturating_add(one.replicas));
    let allowed = if bounds.replicas > 0 {
        bounds.most()
    } else {
        0
    };
    let to_add = allowed - all;
    if to_add == 0 {
        return;
    }
    active.sort_by_key(|one| {
        let (created, name) = age(one.set);
        let created = created.as_nanosecond();
        // Growing favours the newer of equals, shrinking the older.
        let by_age = if to_add > 0 { -created } else { created };
        (Reverse(one.replicas), by_age, name)
    });
    let mut added = 0;
    for one in &mut active {
        let fraction = fraction(bounds, one);
        let left = to_add - added;
        let part = if to_add > 0 {
            fraction.min(left)
        } else {
            fraction.max(left)
        };
        one.replicas += part;
        added += part;
    }
    if let Some(largest) = active.first_mut() {
        largest.replicas = (largest.replicas + to_add - added).max(0);
    }
}

/// What a set's part of the change is, by the size that the Deployment had when it was sized.
fn fraction(bounds: Bounds, one: &Sizing<'_>) -> i32 {
    if bounds.replicas == 0 {
        return -one.replicas;
    }
    let before = annotation(one.set.metadata.annotations.as_ref(), MOST)
        .and_then(|text| text.parse::<i64>().ok())
        .filter(|most| *most > 0);
    let Some(before) = before else {
        return 0;
    };
    let scaled = i64::from(one.replicas) * i64::from(bounds.most());
    // Rounded to the nearest.
    let size = (2 * scaled + before) / (2 * before);
    i32::try_from(size - i64::from(one.replicas)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const FIVE: Bounds = Bounds {
        replicas: 5,
        surge: 2,
        unavailable: 1,
    };

    fn set(name: &str, age: i64, replicas: i32, available: i32, most: i32) -> Arc<ReplicaSet> {
        let created = jiff::Timestamp::from_second(1000 - age)
            .unwrap()
            .to_string();
        let set = json!({
            "metadata": {"name": name, "creationTimestamp": created,
                "annotations": {DESIRED: "5", MOST: most.to_string()}},
            "spec": {"replicas": replicas, "selector": {}},
            "status": {"replicas": replicas, "availableReplicas": available},
        });
        Arc::new(serde_json::from_value(set).unwrap())
    }

    fn rolled(bounds: Bounds, new: (i32, i32), old: &[(i32, i32)]) -> (i32, Vec<i32>) {
        let new = set("new", 0, new.0, new.1, 7);
        let old: Vec<_> = old
            .iter()
            .enumerate()
            .map(|(i, (replicas, available))| set("old", 100 - i as i64, *replicas, *available, 7))
            .collect();
        let mut current = Sizing::as_is(&new);
        let mut sized: Vec<_> = old.iter().map(Sizing::as_is).collect();
        roll(bounds, &mut current, &mut sized);
        (
            current.replicas,
            sized.iter().map(|one| one.replicas).collect(),
        )
    }

    #[test]
    fn a_rolling_update_goes_step_by_step() {
        assert_eq!(rolled(FIVE, (0, 0), &[(5, 5)]), (2, vec![5]), "surge first");
        assert_eq!(
            rolled(FIVE, (2, 0), &[(5, 5)]),
            (2, vec![4]),
            "one may be missing"
        );
        assert_eq!(rolled(FIVE, (2, 0), &[(4, 5)]), (3, vec![4]), "room again");
        assert_eq!(
            rolled(FIVE, (3, 3), &[(4, 4)]),
            (3, vec![1]),
            "what is available counts"
        );
        assert_eq!(
            rolled(FIVE, (2, 0), &[(5, 2)]),
            (2, vec![4]),
            "what does not serve goes"
        );
        assert_eq!(
            rolled(FIVE, (3, 0), &[(2, 2), (2, 2)]),
            (3, vec![2, 2]),
            "nothing to spare"
        );
        assert_eq!(rolled(FIVE, (5, 5), &[(1, 1), (1, 0)]), (5, vec![0, 0]));
        assert_eq!(rolled(FIVE, (7, 5), &[]), (5, vec![]), "too many");
    }

    #[test]
    fn scaling_in_a_rollout_is_proportional() {
        let (a, b) = (set("a", 9, 4, 4, 7), set("b", 1, 3, 3, 7));
        let sized = |bounds: Bounds| {
            let mut current = Sizing::as_is(&b);
            let mut old = vec![Sizing::as_is(&a)];
            scale(bounds, true, Some(&mut current), &mut old);
            (old[0].replicas, current.replicas)
        };
        let ten = Bounds {
            replicas: 10,
            surge: 4,
            unavailable: 1,
        };
        assert_eq!(sized(ten), (8, 6));
        let three = Bounds {
            replicas: 3,
            surge: 1,
            unavailable: 1,
        };
        assert_eq!(sized(three), (2, 2));
        let none = Bounds {
            replicas: 0,
            surge: 0,
            unavailable: 0,
        };
        assert_eq!(sized(none), (0, 0));
    }

    #[test]
    fn the_only_active_set_gets_all() {
        let (a, b) = (set("a", 9, 0, 0, 7), set("b", 1, 3, 3, 7));
        let mut current = Sizing::as_is(&b);
        let mut old = vec![Sizing::as_is(&a)];
        scale(FIVE, true, Some(&mut current), &mut old);
        assert_eq!((old[0].replicas, current.replicas), (0, 5));
        let mut old = vec![Sizing::as_is(&a)];
        scale(FIVE, false, None, &mut old);
        assert_eq!(old[0].replicas, 5);
    }

    #[test]
    fn a_saturated_set_ends_the_others() {
        let (a, b) = (set("a", 9, 2, 2, 7), set("b", 1, 5, 5, 7));
        let mut current = Sizing::as_is(&b);
        let mut old = vec![Sizing::as_is(&a)];
        scale(FIVE, true, Some(&mut current), &mut old);
        assert_eq!((old[0].replicas, current.replicas), (0, 5));
        assert!(!is_scaled(FIVE, &[&a, &b]));
        let six = Bounds {
            replicas: 6,
            ..FIVE
        };
        assert!(is_scaled(six, &[&a]));
    }
}
