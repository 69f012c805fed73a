//! Whose place is taken, and whose never is.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::scene::{node, pod};

fn of(uid: &str, priority: i32, cpu: &str, more: Value) -> Arc<Pod> {
    let mut all = json!({"spec": {"priority": priority}});
    crate::scene::merge(&mut all, &more);
    pod(uid, uid, cpu, all)
}

/// Nodes of one core with pods `uid:priority:cpu`.
fn world(nodes: &[(&str, &str)]) -> Snapshot {
    let mut snapshot = Snapshot::default();
    for (name, pods) in nodes {
        snapshot.put_node(node(name, "1", json!({})));
        for one in pods.split_whitespace() {
            let parts: Vec<&str> = one.split(':').collect();
            snapshot.put_pod(
                name,
                of(parts[0], parts[1].parse().unwrap(), parts[2], json!({})),
            );
        }
    }
    snapshot
}

fn tried(
    pod: &Arc<Pod>,
    snapshot: &mut Snapshot,
    budgets: &[Budget],
) -> Result<(String, Vec<String>), String> {
    let request = snapshot.prepare(Arc::clone(pod));
    let refused = crate::assign(&request, snapshot, 0).unwrap_err();
    let preemption = preempt(&request, &refused, snapshot, budgets, 0)?;
    let mut victims: Vec<String> = preemption
        .victims
        .iter()
        .map(|one| one.uid.clone())
        .collect();
    victims.sort();
    Ok((preemption.node, victims))
}

#[track_caller]
fn takes(snapshot: &mut Snapshot, priority: i32, cpu: &str, node: &str, victims: &[&str]) {
    let (place, who) = tried(&of("new", priority, cpu, json!({})), snapshot, &[]).unwrap();
    assert_eq!(
        (
            place.as_str(),
            who.iter().map(String::as_str).collect::<Vec<_>>()
        ),
        (node, victims.to_vec())
    );
}

#[test]
fn no_more_pods_end_than_have_to() {
    takes(
        &mut world(&[("n", "a:1:300m b:2:300m c:3:300m")]),
        10,
        "300m",
        "n",
        &["a"],
    );
    takes(
        &mut world(&[("n", "a:1:300m b:2:300m c:3:300m")]),
        10,
        "500m",
        "n",
        &["a", "b"],
    );
    takes(
        &mut world(&[("n", "a:1:100m b:2:800m")]),
        10,
        "500m",
        "n",
        &["b"],
    );
}

#[test]
fn the_node_whose_pods_matter_least_is_chosen() {
    takes(
        &mut world(&[("m", "a:5:1"), ("n", "b:2:1")]),
        10,
        "1",
        "n",
        &["b"],
    );
    takes(
        &mut world(&[("m", "a:2:500m b:2:500m"), ("n", "c:2:1")]),
        10,
        "1",
        "n",
        &["c"],
    );
    // The highest priority decides before the number does.
    takes(
        &mut world(&[("m", "a:1:500m b:1:500m"), ("n", "c:2:1")]),
        10,
        "1",
        "m",
        &["a", "b"],
    );
}

#[test]
fn who_started_last_goes_first() {
    let mut snapshot = Snapshot::default();
    for (name, time) in [("m", "2020-01-01T00:00:00Z"), ("n", "2024-01-01T00:00:00Z")] {
        snapshot.put_node(node(name, "1", json!({})));
        snapshot.put_pod(
            name,
            of(
                &format!("on-{name}"),
                1,
                "1",
                json!({"status": {"startTime": time}}),
            ),
        );
    }
    takes(&mut snapshot, 10, "1", "n", &["on-n"]);
}

#[test]
fn budgets_are_kept_where_that_is_possible() {
    let budget = |allowed| Budget {
        namespace: "a".to_owned(),
        selector: LabelSelector::parse("app in (a,b)").unwrap(),
        allowed,
    };
    let mut snapshot = world(&[("m", "a:1:1"), ("n", "c:2:1")]);
    let new = of("new", 10, "1", json!({}));
    assert_eq!(tried(&new, &mut snapshot, &[budget(0)]).unwrap().0, "n");
    assert_eq!(tried(&new, &mut snapshot, &[budget(1)]).unwrap().0, "m");
    let mut only = world(&[("m", "a:1:1")]);
    assert_eq!(
        tried(&new, &mut only, &[budget(0)]).unwrap().0,
        "m",
        "as best it can"
    );
    // Of one node, the unprotected go first.
    let mut both = world(&[("m", "a:1:500m c:2:500m")]);
    let half = of("new", 10, "500m", json!({}));
    assert_eq!(tried(&half, &mut both, &[budget(0)]).unwrap().1, ["c"]);
}

#[test]
fn nobody_is_ended_in_vain() {
    let words = |priority, more: Value| {
        tried(
            &of("new", priority, "2", more),
            &mut world(&[("n", "a:1:500m")]),
            &[],
        )
        .unwrap_err()
    };
    assert_eq!(
        words(10, json!({})),
        "0/1 nodes are available: 1 Preemption is not helpful for scheduling."
    );
    let equal = tried(
        &of("new", 1, "1", json!({})),
        &mut world(&[("m", "a:1:1"), ("n", "b:3:1")]),
        &[],
    )
    .unwrap_err();
    assert_eq!(
        equal,
        "0/2 nodes are available: 2 No preemption victims found for incoming pod."
    );
    let never = of(
        "new",
        10,
        "1",
        json!({"spec": {"preemptionPolicy": "Never"}}),
    );
    assert_eq!(
        tried(&never, &mut world(&[("n", "a:1:1")]), &[]).unwrap_err(),
        "not eligible due to preemptionPolicy=Never."
    );
}

#[test]
fn who_waits_for_the_end_of_others_ends_no_more() {
    let mut snapshot = world(&[("n", "")]);
    snapshot.put_pod(
        "n",
        of(
            "a",
            1,
            "1",
            json!({"metadata": {"deletionTimestamp": "2020-01-01T00:00:00Z"}}),
        ),
    );
    let waiting = of(
        "new",
        10,
        "1",
        json!({"status": {"nominatedNodeName": "n"}}),
    );
    assert_eq!(
        tried(&waiting, &mut snapshot, &[]).unwrap_err(),
        "not eligible due to a terminating pod on the nominated node."
    );
}

#[test]
fn pods_that_repel_can_be_ended_too() {
    let mut snapshot = world(&[("n", "")]);
    let repels = json!({"spec": {"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"labelSelector": {"matchLabels": {"app": "new"}}, "topologyKey": "kubernetes.io/hostname"}]}}}});
    snapshot.put_pod("n", of("a", 1, "1m", repels));
    snapshot.put_pod("n", of("b", 1, "1m", json!({})));
    takes(&mut snapshot, 10, "1m", "n", &["a"]);
}

proptest! {
    #[test]
    fn equals_and_betters_are_safe_and_the_pod_fits_afterwards(
        pods in prop::collection::vec((0_usize..3, -3_i32..5, 50_u32..500), 0..25), priority in -3_i32..6, cpu in 100_u32..1000, chance in any::<usize>(),
    ) {
        let mut snapshot = world(&[("k", ""), ("m", ""), ("n", "")]);
        for (at, (node, priority, cpu)) in pods.iter().enumerate() {
            let name = ["k", "m", "n"][*node];
            let state = snapshot.node(name).unwrap();
            if state.requested.get("cpu") + i64::from(*cpu) <= 1000 && state.pods.len() < 10 {
                snapshot.put_pod(name, of(&format!("p{at}"), *priority, &format!("{cpu}m"), json!({})));
            }
        }
        let request = snapshot.request(&of("new", priority, &format!("{cpu}m"), json!({})));
        let Err(refused) = crate::assign(&request, &snapshot, chance) else { return Ok(()) };
        let before: Vec<(String, Resources)> = snapshot.nodes().map(|(name, state)| (name.to_owned(), state.requested.clone())).collect();
        let found = preempt(&request, &refused, &mut snapshot, &[], chance);
        let after: Vec<(String, Resources)> = snapshot.nodes().map(|(name, state)| (name.to_owned(), state.requested.clone())).collect();
        prop_assert_eq!(before, after, "the snapshot is as it was");
        let Ok(preemption) = found else { return Ok(()) };
        prop_assert!(!preemption.victims.is_empty());
        for victim in &preemption.victims {
            prop_assert!(victim.priority < priority);
            prop_assert_eq!(snapshot.place_of(&victim.uid), Some(preemption.node.as_str()));
        }
        // With all of them gone it fits, with all but one it does not.
        let cpu_of = |all: &[Arc<Request>]| all.iter().map(|one| one.resources.get("cpu")).sum::<i64>();
        let state = snapshot.node(&preemption.node).unwrap();
        let left = state.requested.get("cpu") - cpu_of(&preemption.victims);
        prop_assert!(left + i64::from(cpu) <= 1000);
        for victim in &preemption.victims {
            let too_full = left + victim.resources.get("cpu") + i64::from(cpu) > 1000;
            let too_many = state.pods.len() - preemption.victims.len() + 1 >= 10;
            prop_assert!(too_full || too_many, "{} could have stayed", victim.uid);
        }
    }
}

use crate::Resources;
