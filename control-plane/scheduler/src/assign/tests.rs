//! What decisions come out as, and what they never do.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::scene::{in_zone, node, pod, with};

fn three() -> Snapshot {
    let mut snapshot = Snapshot::default();
    snapshot.put_node(node(
        "cordoned",
        "8",
        json!({"spec": {"unschedulable": true}}),
    ));
    snapshot.put_node(node("small", "1", json!({})));
    let taints =
        json!({"spec": {"taints": [{"key": "gpu", "value": "yes", "effect": "NoSchedule"}]}});
    snapshot.put_node(node("tainted", "8", taints));
    snapshot
}

/// Four nodes in two zones: a1, a2, b1, b2.
fn zones() -> Snapshot {
    let mut snapshot = Snapshot::default();
    for (name, zone) in [("a1", "a"), ("a2", "a"), ("b1", "b"), ("b2", "b")] {
        snapshot.put_node(in_zone(name, zone));
    }
    snapshot
}

fn told(pod: &Arc<Pod>, snapshot: &mut Snapshot) -> String {
    snapshot.decide(pod, 0).unwrap_err().to_string()
}

/// Where a pod may go, by whatever chance.
fn places(pod: &Arc<Pod>, snapshot: &mut Snapshot) -> Vec<String> {
    let mut places: Vec<String> = (0..16)
        .filter_map(|chance| snapshot.decide(pod, chance).ok())
        .collect();
    places.sort();
    places.dedup();
    places
}

/// The nodes that can take a pod, whichever is best.
fn able(pod: &Arc<Pod>, snapshot: &mut Snapshot) -> Vec<String> {
    let request = snapshot.request(pod);
    let decision = Decision::new(&request, snapshot);
    let all = snapshot
        .nodes()
        .filter(|(_, state)| decision.refusal(state).is_none());
    let mut able: Vec<String> = all.map(|(name, _)| name.to_owned()).collect();
    able.sort();
    able
}

const ZONE: &str = "topology.kubernetes.io/zone";
const HOST: &str = "kubernetes.io/hostname";

fn of(app: &str) -> Value {
    json!({"matchLabels": {"app": app}})
}

fn near(term: Value) -> Value {
    json!({"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}})
}

fn far(term: Value) -> Value {
    json!({"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}})
}

fn liked(of: &str, term: Value) -> Value {
    json!({"affinity": {of: {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100, "podAffinityTerm": term}]}}})
}

fn spread(key: &str, more: Value) -> Value {
    let mut constraint = json!({"maxSkew": 1, "topologyKey": key, "whenUnsatisfiable": "DoNotSchedule", "labelSelector": of("web")});
    crate::scene::merge(&mut constraint, &more);
    json!({"topologySpreadConstraints": [constraint]})
}

#[test]
fn nobody_fits_and_everybody_says_why() {
    let big = pod("p", "web", "2", json!({}));
    assert_eq!(
        told(&big, &mut three()),
        "0/3 nodes are available: 1 Insufficient cpu, 1 node(s) had untolerated taint {gpu: yes}, 1 node(s) were unschedulable."
    );
    assert_eq!(
        told(&big, &mut Snapshot::default()),
        "no nodes available to schedule pods"
    );
}

#[test]
fn tolerations_selectors_and_names_lead_to_their_nodes() {
    let tolerant = json!({"spec": {"tolerations": [{"key": "gpu", "operator": "Exists"}]}});
    assert_eq!(
        three().decide(&pod("p", "web", "2", tolerant), 0).unwrap(),
        "tainted"
    );
    let selects = |host: &str| with("p", "web", json!({"nodeSelector": {HOST: host}}));
    assert_eq!(three().decide(&selects("small"), 0).unwrap(), "small");
    assert!(
        told(&selects("moon"), &mut three())
            .contains("2 node(s) didn't match Pod's node affinity/selector")
            || told(&selects("moon"), &mut three())
                .contains("1 node(s) didn't match Pod's node affinity/selector")
    );
}

#[test]
fn pods_that_name_their_node_look_at_no_other() {
    let terms = |name: &str| json!([{"matchFields": [{"key": "metadata.name", "operator": "In", "values": [name]}]}]);
    let daemon = |name: &str| {
        with(
            "p",
            "web",
            json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms(name)}}}}),
        )
    };
    assert_eq!(able(&daemon("b1"), &mut zones()), ["b1"]);
    assert_eq!(
        told(&daemon("moon"), &mut zones()),
        "0/4 nodes are available: 4 node(s) didn't match Pod's node affinity/selector."
    );
}

#[test]
fn ports_of_a_node_are_given_once() {
    let mut snapshot = Snapshot::default();
    snapshot.put_node(node("n", "8", json!({})));
    let port = |uid: &str, port: Value| {
        with(
            uid,
            "web",
            json!({"containers": [{"name": "c", "ports": [port]}]}),
        )
    };
    snapshot.put_pod(
        "n",
        port(
            "a",
            json!({"containerPort": 80, "hostPort": 8080, "hostIP": "10.0.0.1"}),
        ),
    );
    let taken = "node(s) didn't have free ports";
    assert!(
        told(
            &port("b", json!({"containerPort": 80, "hostPort": 8080})),
            &mut snapshot
        )
        .contains(taken)
    );
    for free in [
        json!({"containerPort": 80, "hostPort": 8081}),
        json!({"containerPort": 80, "hostPort": 8080, "protocol": "UDP"}),
        json!({"containerPort": 80, "hostPort": 8080, "hostIP": "10.0.0.2"}),
    ] {
        assert!(snapshot.decide(&port("c", free), 0).is_ok());
    }
}

#[test]
fn what_a_pod_had_is_free_when_it_is_gone() {
    let mut snapshot = Snapshot::default();
    snapshot.put_node(node("n", "1", json!({})));
    snapshot.put_pod("n", pod("a", "web", "800m", json!({})));
    let other = pod("b", "web", "800m", json!({}));
    assert!(snapshot.decide(&other, 0).is_err());
    assert!(snapshot.remove_pod("a").is_some());
    assert!(snapshot.remove_pod("a").is_none());
    assert_eq!(snapshot.decide(&other, 0).unwrap(), "n");
}

#[test]
fn extended_resources_are_counted_like_others() {
    let mut snapshot = zones();
    snapshot.put_node(node(
        "g",
        "8",
        json!({"status": {"allocatable": {"example.com/gpu": "1"}}}),
    ));
    let gpu = |uid: &str| {
        with(
            uid,
            "web",
            json!({"containers": [{"name": "c", "resources": {"requests": {"example.com/gpu": "1"}}}]}),
        )
    };
    assert_eq!(snapshot.settle(&gpu("a"), 3).unwrap(), "g");
    assert_eq!(
        told(&gpu("b"), &mut snapshot),
        "0/5 nodes are available: 5 Insufficient example.com/gpu."
    );
}

#[test]
fn pods_that_must_be_near_others_go_where_those_are() {
    let mut snapshot = zones();
    let web = with(
        "w",
        "web",
        near(json!({"labelSelector": of("db"), "topologyKey": ZONE})),
    );
    assert_eq!(
        told(&web, &mut snapshot),
        "0/4 nodes are available: 4 node(s) didn't match pod affinity rules."
    );
    snapshot.put_pod("b1", pod("db", "db", "1m", json!({})));
    assert_eq!(able(&web, &mut snapshot), ["b1", "b2"]);
    let host = with(
        "w",
        "web",
        near(json!({"labelSelector": of("db"), "topologyKey": HOST})),
    );
    assert_eq!(able(&host, &mut snapshot), ["b1"]);
    let rack = with(
        "w",
        "web",
        near(json!({"labelSelector": of("db"), "topologyKey": "rack"})),
    );
    assert!(snapshot.decide(&rack, 0).is_err(), "no node has the label");
    snapshot.remove_pod("db");
    assert!(snapshot.decide(&web, 0).is_err());
}

#[test]
fn the_first_of_those_that_must_be_near_each_other_goes_anywhere() {
    let mut snapshot = zones();
    let itself = |uid: &str| {
        with(
            uid,
            "web",
            near(json!({"labelSelector": of("web"), "topologyKey": ZONE})),
        )
    };
    assert_eq!(able(&itself("1"), &mut snapshot).len(), 4);
    snapshot.put_pod("a2", itself("1"));
    assert_eq!(able(&itself("2"), &mut snapshot), ["a1", "a2"]);
}

#[test]
fn pods_that_must_not_be_near_others_keep_away_both_ways() {
    let mut snapshot = zones();
    let alone = |uid: &str, app: &str| {
        with(
            uid,
            app,
            far(json!({"labelSelector": of("web"), "topologyKey": ZONE})),
        )
    };
    snapshot.put_pod("a1", pod("w", "web", "1m", json!({})));
    assert_eq!(able(&alone("x", "db"), &mut snapshot), ["b1", "b2"]);
    // The one that is there says it: who comes later keeps away though it says nothing.
    snapshot.put_pod("b1", alone("x", "db"));
    let plain = with("y", "web", json!({}));
    assert_eq!(able(&plain, &mut snapshot), ["a1", "a2"]);
    snapshot.put_node(in_zone("a1", "b"));
    assert_eq!(
        able(&plain, &mut snapshot),
        ["a2"],
        "a node that moves takes its pods along"
    );
    let rules = told(
        &with(
            "z",
            "other",
            json!({"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"labelSelector": {}, "topologyKey": "kubernetes.io/hostname"}, {"labelSelector": {}, "topologyKey": ZONE}]}}, "nodeSelector": {ZONE: "b"}}),
        ),
        &mut snapshot,
    );
    assert_eq!(
        rules,
        "0/4 nodes are available: 1 node(s) didn't match Pod's node affinity/selector, 3 node(s) didn't match pod anti-affinity rules."
    );
}

#[test]
fn terms_are_about_the_pods_own_namespace_unless_they_say_otherwise() {
    let mut snapshot = zones();
    snapshot.put_namespace("b", Some([("team".to_owned(), "x".to_owned())].into()));
    snapshot.put_pod(
        "b2",
        pod("db", "db", "1m", json!({"metadata": {"namespace": "b"}})),
    );
    let term = |more: Value| {
        let mut term = json!({"labelSelector": of("db"), "topologyKey": HOST});
        crate::scene::merge(&mut term, &more);
        with("w", "web", near(term))
    };
    let team = json!({"namespaceSelector": {"matchLabels": {"team": "x"}}});
    assert!(snapshot.decide(&term(json!({})), 0).is_err());
    assert_eq!(
        able(&term(json!({"namespaces": ["b"]})), &mut snapshot),
        ["b2"]
    );
    assert_eq!(
        able(&term(json!({"namespaceSelector": {}})), &mut snapshot),
        ["b2"]
    );
    assert_eq!(able(&term(team.clone()), &mut snapshot), ["b2"]);
    snapshot.put_namespace("b", Some([("team".to_owned(), "y".to_owned())].into()));
    assert!(
        snapshot.decide(&term(team), 0).is_err(),
        "the namespace has changed"
    );
}

#[test]
fn label_keys_stand_for_the_pods_own_values() {
    let mut snapshot = zones();
    let version = |v: &str| json!({"metadata": {"labels": {"v": v}}});
    snapshot.put_pod("a1", pod("old", "web", "1m", version("1")));
    let mut newer = version("2");
    crate::scene::merge(
        &mut newer,
        &json!({"spec": far(json!({"labelSelector": of("web"), "topologyKey": ZONE, "matchLabelKeys": ["v"]}))}),
    );
    assert_eq!(
        able(&pod("new", "web", "1m", newer), &mut snapshot).len(),
        4
    );
    let mut other = version("2");
    crate::scene::merge(
        &mut other,
        &json!({"spec": far(json!({"labelSelector": of("web"), "topologyKey": ZONE, "mismatchLabelKeys": ["v"]}))}),
    );
    assert_eq!(
        able(&pod("new", "web", "1m", other), &mut snapshot),
        ["b1", "b2"]
    );
}

#[test]
fn preferences_lead_where_they_can() {
    let mut snapshot = zones();
    snapshot.put_pod("b1", pod("db", "db", "1m", json!({})));
    let term = || json!({"labelSelector": of("db"), "topologyKey": HOST});
    assert_eq!(
        places(
            &with("w", "web", liked("podAffinity", term())),
            &mut snapshot
        ),
        ["b1"]
    );
    assert!(
        !places(
            &with("w", "web", liked("podAntiAffinity", term())),
            &mut snapshot
        )
        .contains(&"b1".to_owned())
    );
    // Those that are there have preferences too.
    let mut fans = zones();
    fans.put_pod(
        "a2",
        with(
            "fan",
            "x",
            liked(
                "podAffinity",
                json!({"labelSelector": of("web"), "topologyKey": HOST}),
            ),
        ),
    );
    assert_eq!(places(&with("w", "web", json!({})), &mut fans), ["a2"]);
    let affinity = json!({"affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 5, "preference": {"matchExpressions": [{"key": ZONE, "operator": "In", "values": ["b"]}]}}]}}});
    assert_eq!(
        places(&with("w", "web", affinity), &mut zones()),
        ["b1", "b2"]
    );
}

#[test]
fn constraints_spread_pods_over_zones() {
    let mut snapshot = zones();
    let web = |uid: &str| with(uid, "web", spread(ZONE, json!({})));
    let mut in_a = 0_usize;
    for n in 0..8 {
        let place = snapshot.settle(&web(&format!("p{n}")), n).unwrap();
        in_a += usize::from(place.starts_with('a'));
        assert!(in_a.abs_diff(n + 1 - in_a) <= 1, "{in_a} of {}", n + 1);
    }
    // One that ends makes its zone the emptier one.
    snapshot.remove_pod("p0");
    let emptier = if snapshot
        .nodes()
        .filter(|(name, _)| name.starts_with('a'))
        .map(|(_, state)| state.pods.len())
        .sum::<usize>()
        == 3
    {
        "a"
    } else {
        "b"
    };
    assert!(
        places(&web("q"), &mut snapshot)
            .iter()
            .all(|place| place.starts_with(emptier))
    );
    for name in ["a1", "a2"] {
        snapshot.put_node(node(
            name,
            "8",
            json!({"spec": {"unschedulable": true}, "metadata": {"labels": {ZONE: "a"}}}),
        ));
    }
    snapshot.settle(&web("r"), 0).ok();
    let refused = told(&web("s"), &mut snapshot);
    assert!(
        refused.contains("node(s) didn't match pod topology spread constraints"),
        "{refused}"
    );
}

#[test]
fn nodes_without_the_label_take_no_spread_pods() {
    let mut snapshot = zones();
    snapshot.put_node(node("homeless", "8", json!({})));
    assert_eq!(
        able(&with("p", "web", spread(ZONE, json!({}))), &mut snapshot),
        ["a1", "a2", "b1", "b2"]
    );
    let rack = told(&with("p", "web", spread("rack", json!({}))), &mut snapshot);
    assert_eq!(
        rack,
        "0/5 nodes are available: 5 node(s) didn't match pod topology spread constraints (missing required label)."
    );
}

#[test]
fn too_few_domains_count_as_an_empty_one() {
    let mut snapshot = zones();
    let web = |uid: &str| with(uid, "web", spread(ZONE, json!({"minDomains": 3})));
    snapshot.settle(&web("1"), 0).unwrap();
    snapshot.settle(&web("2"), 0).unwrap();
    assert!(snapshot.decide(&web("3"), 0).is_err());
    assert!(
        snapshot
            .decide(&with("3", "web", spread(ZONE, json!({"minDomains": 2}))), 0)
            .is_ok()
    );
}

#[test]
fn policies_say_which_nodes_count() {
    let mut snapshot = zones();
    snapshot.put_pod("a1", pod("w", "web", "1m", json!({})));
    let mut in_a = spread(ZONE, json!({}));
    crate::scene::merge(&mut in_a, &json!({"nodeSelector": {ZONE: "a"}}));
    assert_eq!(
        able(&with("p", "web", in_a.clone()), &mut snapshot),
        ["a1", "a2"],
        "b is no choice and does not count"
    );
    crate::scene::merge(
        &mut in_a,
        &json!({"topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": ZONE, "whenUnsatisfiable": "DoNotSchedule", "labelSelector": of("web"), "nodeAffinityPolicy": "Ignore"}]}),
    );
    assert!(snapshot.decide(&with("p", "web", in_a), 0).is_err());
    for name in ["b1", "b2"] {
        snapshot.put_node(node(name, "8", json!({"metadata": {"labels": {ZONE: "b"}}, "spec": {"taints": [{"key": "x", "effect": "NoSchedule"}]}})));
    }
    assert!(
        snapshot
            .decide(&with("p", "web", spread(ZONE, json!({}))), 0)
            .is_err()
    );
    assert!(
        snapshot
            .decide(
                &with(
                    "p",
                    "web",
                    spread(ZONE, json!({"nodeTaintsPolicy": "Honor"}))
                ),
                0
            )
            .is_ok()
    );
}

#[test]
fn soft_constraints_spread_and_refuse_nothing() {
    let mut snapshot = zones();
    let soft = |uid: &str| {
        with(
            uid,
            "web",
            spread(ZONE, json!({"whenUnsatisfiable": "ScheduleAnyway"})),
        )
    };
    snapshot.put_pod("a1", pod("w", "web", "1m", json!({})));
    assert_eq!(places(&soft("p"), &mut snapshot), ["b1", "b2"]);
    for name in ["b1", "b2"] {
        snapshot.remove_node(name);
    }
    assert!(snapshot.decide(&soft("p"), 0).is_ok());
}

#[test]
fn pods_of_one_owner_spread_unasked() {
    let mut snapshot = zones();
    let owned = |uid: &str| {
        pod(
            uid,
            "web",
            "1m",
            json!({"metadata": {"ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": "r", "controller": true}]}}),
        )
    };
    let mut used: Vec<String> = (0..4)
        .map(|n| snapshot.settle(&owned(&format!("p{n}")), n).unwrap())
        .collect();
    assert_ne!(used[0][..1], used[1][..1], "another zone first");
    used.sort();
    assert_eq!(used, ["a1", "a2", "b1", "b2"]);
}

#[test]
fn images_that_are_there_count() {
    let mut snapshot = zones();
    let images = json!({"status": {"images": [{"names": ["big:v1"], "sizeBytes": 900 << 20}]}});
    let mut more = json!({"metadata": {"labels": {ZONE: "a"}}});
    crate::scene::merge(&mut more, &images);
    snapshot.put_node(node("a2", "8", more));
    let big = with(
        "p",
        "web",
        json!({"containers": [{"name": "c", "image": "big:v1"}]}),
    );
    assert_eq!(places(&big, &mut snapshot), ["a2"]);
}

#[test]
fn what_was_promised_is_kept_from_those_of_no_higher_priority() {
    let mut snapshot = Snapshot::default();
    snapshot.put_node(node("n", "1", json!({})));
    let of =
        |uid: &str, priority: i32| pod(uid, "web", "600m", json!({"spec": {"priority": priority}}));
    let promised = snapshot.request(&of("vip", 10));
    snapshot.promise("n", promised);
    assert!(snapshot.decide(&of("low", 5), 0).is_err());
    assert!(snapshot.decide(&of("equal", 10), 0).is_err());
    assert!(snapshot.decide(&of("higher", 11), 0).is_ok());
    assert!(snapshot.decide(&of("vip", 10), 0).is_ok());
    snapshot.withdraw("vip");
    assert!(snapshot.decide(&of("low", 5), 0).is_ok());
}

#[test]
fn large_clusters_are_sampled_and_small_ones_are_not() {
    assert_eq!(
        [10, 99, 100, 250, 1000, 5000, 20_000].map(enough),
        [10, 99, 100, 120, 420, 500, 1000]
    );
    let mut snapshot = Snapshot::default();
    for n in 0..300 {
        snapshot.put_node(node(&format!("n{n}"), "8", json!({})));
    }
    // The one node that can take it is found wherever the search begins.
    snapshot.put_node(node("the-one", "64", json!({})));
    let big = pod("p", "web", "32", json!({}));
    for chance in [0, 7, 150, 299, 5000] {
        assert_eq!(snapshot.decide(&big, chance).unwrap(), "the-one");
    }
}

/// A pod by a few choices.
fn any_pod() -> impl Strategy<Value = (u32, usize, usize)> {
    (1_u32..400, 0_usize..3, 0_usize..6)
}

fn made(n: usize, (cpu, app, what): (u32, usize, usize)) -> Arc<Pod> {
    let app = ["web", "db", "x"][app];
    let spec = match what {
        1 => near(json!({"labelSelector": of("web"), "topologyKey": ZONE})),
        2 => far(json!({"labelSelector": of("web"), "topologyKey": HOST})),
        3 => spread(ZONE, json!({})),
        4 => liked(
            "podAffinity",
            json!({"labelSelector": of("db"), "topologyKey": ZONE}),
        ),
        _ => json!({}),
    };
    pod(
        &format!("p{n}"),
        app,
        &format!("{cpu}m"),
        json!({ "spec": spec }),
    )
}

/// Whether `pod` on `place` breaks nothing, found the long way: by looking at all pods.
fn holds(pod: &Pod, place: &str, snapshot: &Snapshot) -> Result<(), String> {
    let zone = |node: &str| node.chars().next();
    let app = |pod: &Pod| pod.metadata.labels.as_ref().unwrap()["app"].clone();
    let affinity = |pod: &Pod| {
        pod.spec
            .as_ref()
            .unwrap()
            .affinity
            .clone()
            .unwrap_or_default()
    };
    let all = || {
        snapshot
            .nodes()
            .flat_map(|(name, state)| state.pods.values().map(move |one| (name, &one.pod)))
    };
    let others = || all().filter(|(_, one)| one.metadata.uid != pod.metadata.uid);
    if affinity(pod).pod_affinity.is_some_and(|one| {
        one.required_during_scheduling_ignored_during_execution
            .is_some()
    }) {
        let is_first = app(pod) == "web" && !others().any(|(_, one)| app(one) == "web");
        if !is_first && !others().any(|(name, one)| app(one) == "web" && zone(name) == zone(place))
        {
            return Err("not near".to_owned());
        }
    }
    for (name, one) in others().filter(|(name, _)| *name == place) {
        let repels = |a: &Pod, b: &Pod| affinity(a).pod_anti_affinity.is_some() && app(b) == "web";
        if repels(pod, one) || repels(one, pod) {
            return Err(format!("too near on {name}"));
        }
    }
    if pod
        .spec
        .as_ref()
        .unwrap()
        .topology_spread_constraints
        .is_some()
        && app(pod) == "web"
    {
        let n = |zone_: char| {
            all()
                .filter(|(name, one)| app(one) == "web" && zone(name) == Some(zone_))
                .count()
        };
        let (a, b) = (n('a'), n('b'));
        let here = if zone(place) == Some('a') { a } else { b };
        if here > a.min(b) + 1 {
            return Err(format!("skewed: {a} and {b}"));
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn a_chosen_node_passes_all_filters_and_none_is_over_committed(
        pods in prop::collection::vec((any_pod(), any::<usize>(), prop::bool::weighted(0.2)), 1..40),
    ) {
        let mut snapshot = Snapshot::default();
        for (name, zone) in [("a1", "a"), ("a2", "a"), ("b1", "b"), ("b2", "b")] {
            snapshot.put_node(node(name, "1", json!({"metadata": {"labels": {ZONE: zone}}})));
        }
        for (n, (made_of, chance, goes)) in pods.into_iter().enumerate() {
            let pod = made(n, made_of);
            if let Ok(place) = snapshot.settle(&pod, chance) {
                let holds = holds(&pod, &place, &snapshot);
                prop_assert!(holds.is_ok(), "{place}: {holds:?}");
            }
            if goes {
                snapshot.remove_pod(&format!("p{}", chance % (n + 1)));
            }
        }
        for (_, state) in snapshot.nodes() {
            prop_assert!(state.requested.get("cpu") <= 1000);
            prop_assert!(state.pods.len() <= 10);
        }
    }

    #[test]
    fn counts_are_what_counting_anew_gives(
        pods in prop::collection::vec((any_pod(), 0_usize..4, 0_usize..4), 1..30), chance in any::<usize>(),
    ) {
        const NODES: [&str; 4] = ["a1", "a2", "b1", "b2"];
        let mut kept = zones();
        let mut last = Vec::new();
        for (n, (made_of, place, what)) in pods.into_iter().enumerate() {
            let pod = made(n, made_of);
            kept.prepare(Arc::clone(&pod));
            match what {
                0 => drop(last.pop().and_then(|(uid, _): (String, _)| kept.remove_pod(&uid))),
                1 => drop(kept.put_node(in_zone(NODES[place], ["a", "b"][n % 2]))),
                _ => {}
            }
            kept.put_pod(NODES[place], Arc::clone(&pod));
            last.push((format!("p{n}"), (NODES[place], pod)));
        }
        let mut fresh = Snapshot::default();
        for (_, state) in kept.clone().nodes() {
            fresh.put_node(state.node.clone().unwrap());
        }
        for (_, (place, pod)) in &last {
            fresh.put_pod(place, Arc::clone(pod));
        }
        for what in 0..5 {
            let probe = made(999, (1, what % 3, what));
            let outcomes: Vec<_> = [&mut kept, &mut fresh].into_iter().map(|snapshot| {
                let request = snapshot.prepare(Arc::clone(&probe));
                let decision = Decision::new(&request, snapshot);
                let mut refusals: Vec<_> = snapshot.slots().iter().map(|state| (state.name.clone(), decision.refusal(state).map(|one| one.reasons()), decision.measure(0, state).pod_affinity)).collect();
                refusals.sort();
                refusals
            }).collect();
            prop_assert_eq!(&outcomes[0], &outcomes[1], "{} {}", what, chance);
        }
    }
}
