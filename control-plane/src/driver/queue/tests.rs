//! The queue's promises: nothing is lost, nothing is worked on twice at a time, failures wait.

use proptest::prelude::*;

use super::*;

fn key(n: u8) -> ObjectKey {
    ObjectKey::cluster(format!("k{n}"))
}

#[test]
fn a_key_is_given_out_once_however_often_it_changes() {
    let now = Instant::now();
    let mut queue = Queue::default();
    for n in [1, 2, 1, 1, 2] {
        queue.add(key(n), now);
    }
    assert_eq!(queue.take(now), Some(key(1)));
    queue.add(key(1), now);
    assert_eq!(queue.take(now), Some(key(2)));
    assert_eq!(queue.take(now), None);
    queue.finish(key(2), Next::Wait(None), now);
    assert_eq!(queue.take(now), None);
    queue.finish(key(1), Next::Wait(None), now);
    assert_eq!(
        queue.take(now),
        Some(key(1)),
        "it changed while it was worked on"
    );
    queue.finish(key(1), Next::Wait(None), now);
    assert_eq!(queue.take(now), None);
    assert!(
        queue.entries.is_empty(),
        "what needs nothing costs nothing: {queue:?}"
    );
}

#[test]
fn times_are_kept_and_forgotten_by_changes() {
    let now = Instant::now();
    let later = now + Duration::from_secs(10);
    let mut queue = Queue::default();
    queue.add(key(1), now);
    queue.take(now).unwrap();
    queue.finish(key(1), Next::Wait(Some(later)), now);
    assert_eq!(
        (queue.take(now), queue.due(), queue.take(later)),
        (None, Some(later), Some(key(1)))
    );
    queue.finish(key(1), Next::Wait(Some(later)), now);
    queue.add(key(1), now);
    assert_eq!((queue.take(now), queue.due()), (Some(key(1)), None));
}

#[test]
fn failures_wait_longer_and_longer_and_changes_shorten_the_wait() {
    let mut now = Instant::now();
    let mut queue = Queue::default();
    queue.add(key(1), now);
    let mut waits = Vec::new();
    for _ in 0..10 {
        queue.take(now).unwrap();
        queue.finish(key(1), Next::Retry(None), now);
        let due = queue.due().unwrap();
        waits.push((due - now).as_millis());
        now = due;
    }
    assert_eq!(waits, [5, 10, 20, 40, 80, 160, 320, 640, 1280, 2560]);
    queue.take(now).unwrap();
    queue.finish(key(1), Next::Retry(None), now);
    assert_eq!(queue.due(), Some(now + Duration::from_millis(5120)));
    queue.add(key(1), now);
    assert_eq!(queue.due(), Some(now + IMPATIENCE));
    now += IMPATIENCE;
    queue.take(now).unwrap();
    queue.finish(key(1), Next::Wait(None), now);
    assert_eq!(queue.failures(&key(1)), 0);
}

/// What happens to a queue.
#[derive(Clone, Copy, Debug)]
enum Step {
    Add(u8),
    Take,
    /// Finishes one of those that were given out.
    Finish(u8, u8),
    Pass(u16),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0_u8..5).prop_map(Step::Add),
        Just(Step::Take),
        (any::<u8>(), 0_u8..4).prop_map(|(which, how)| Step::Finish(which, how)),
        (0_u16..2000).prop_map(Step::Pass),
    ]
}

proptest! {
    #[test]
    fn nothing_is_lost_and_nothing_is_given_out_twice(steps in prop::collection::vec(step(), 0..200)) {
        let mut now = Instant::now();
        let mut queue = Queue::default();
        let mut out: Vec<ObjectKey> = Vec::new();
        // Keys that have to be given out again.
        let mut owed = BTreeSet::new();
        for step in steps {
            match step {
                Step::Add(n) => {
                    queue.add(key(n), now);
                    owed.insert(key(n));
                }
                Step::Take => {
                    if let Some(key) = queue.take(now) {
                        prop_assert!(!out.contains(&key), "{key} is worked on already");
                        owed.remove(&key);
                        out.push(key);
                    }
                }
                Step::Finish(which, how) if !out.is_empty() => {
                    let key = out.swap_remove(usize::from(which) % out.len());
                    let at = now + Duration::from_millis(300);
                    let next = match how {
                        0 => Next::Wait(None),
                        1 => Next::Wait(Some(at)),
                        2 => Next::Again,
                        _ => Next::Retry(None),
                    };
                    if next != Next::Wait(None) {
                        owed.insert(key.clone());
                    }
                    queue.finish(key, next, now);
                }
                Step::Finish(..) => {}
                Step::Pass(millis) => now += Duration::from_millis(millis.into()),
            }
            let mut ready: Vec<_> = queue.ready.iter().collect();
            ready.sort();
            ready.dedup();
            prop_assert_eq!(ready.len(), queue.ready.len());
            prop_assert!(queue.entries.len() <= 5);
        }
        for key in out {
            queue.finish(key, Next::Wait(None), now);
        }
        while let Some(due) = queue.due().map(|due| due.max(now)).or((queue.n_ready() > 0).then_some(now)) {
            now = due;
            while let Some(key) = queue.take(now) {
                owed.remove(&key);
                queue.finish(key, Next::Wait(None), now);
            }
        }
        prop_assert!(owed.is_empty(), "lost: {owed:?}");
        prop_assert!(queue.entries.is_empty() && queue.timers.is_empty());
    }
}
