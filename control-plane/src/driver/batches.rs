//! In what portions the steps of a plan are carried out: one by one, but neighbours that only create, or only delete, objects of one kind go together, in
//! batches that double. What fails for all then fails once and not five hundred times. Pure. Rule: upstream's `slowStartBatch`.

use std::ops::Range;

use coracle_controllers::action::{Action, Step};

/// How many requests a batch has at most: enough to fill the disk's group commit, few enough that one key does not take all of the server's places.
const LARGEST: usize = 64;

/// The portions of `steps`, in order, each to be begun when all before have gone well.
pub fn batches(steps: &[Step]) -> impl Iterator<Item = Range<usize>> + use<'_> {
    let mut start = 0;
    let mut size = 1;
    std::iter::from_fn(move || {
        let first = &steps.get(start)?.action;
        let rest = steps.get(start..)?;
        let alike = rest
            .iter()
            .take_while(|step| goes_with(first, &step.action))
            .count();
        let end = start + alike.clamp(1, size);
        // Doubles within what goes together and begins anew behind it.
        size = if alike > size {
            (size * 2).min(LARGEST)
        } else {
            1
        };
        let batch = start..end;
        start = end;
        Some(batch)
    })
}

fn goes_with(first: &Action, other: &Action) -> bool {
    match (first, other) {
        (Action::Create { kind, .. }, Action::Create { kind: other, .. }) => kind == other,
        (Action::Delete { target, .. }, Action::Delete { target: other, .. }) => {
            target.kind == other.kind
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use coracle_api::names::ObjectKey;
    use coracle_controllers::{
        action::{Propagation, Target},
        kind::Kind,
    };
    use serde_json::json;

    use super::*;

    fn step(letter: char) -> Step {
        let delete = |kind| Action::Delete {
            target: Target {
                kind,
                key: ObjectKey::namespaced("d", "a"),
                uid: "u".to_owned(),
            },
            seen: None,
            propagation: Propagation::Background,
            grace: None,
        };
        let action = match letter {
            'c' => Action::Create {
                kind: Kind::POD,
                object: json!({}),
            },
            'd' => delete(Kind::POD),
            'e' => delete(Kind::JOB),
            _ => Action::DeleteAll {
                kind: Kind::POD,
                namespace: "d".to_owned(),
            },
        };
        action.into()
    }

    fn sizes(steps: &str) -> Vec<usize> {
        let steps: Vec<Step> = steps.chars().map(step).collect();
        let batches: Vec<_> = batches(&steps).collect();
        let mut next = 0;
        for batch in &batches {
            assert_eq!(batch.start, next);
            next = batch.end;
        }
        assert_eq!(next, steps.len());
        batches.into_iter().map(|batch| batch.len()).collect()
    }

    #[test]
    fn what_goes_together_doubles() {
        assert_eq!(sizes(""), [0; 0]);
        assert_eq!(sizes("c"), [1]);
        assert_eq!(sizes("cc"), [1, 1]);
        assert_eq!(sizes("cccccccccc"), [1, 2, 4, 3]);
        assert_eq!(sizes("cccddddx"), [1, 2, 1, 2, 1, 1]);
        assert_eq!(sizes("dedexx"), [1, 1, 1, 1, 1, 1]);
        assert_eq!(
            sizes(&"c".repeat(300)),
            [1, 2, 4, 8, 16, 32, 64, 64, 64, 45]
        );
    }
}
