//! Which nodes get a DaemonSet's pod, and how pods are replaced.

use coracle_api::names::ObjectKey;
use serde_json::{Value, json};

use super::{DaemonSets, eligible};
use crate::{
    kind::Kind,
    model::{Place, World, ago, reconcile::Loop, scene::with},
};

fn set(spec: Value) -> Value {
    let set = json!({"metadata": {"name": "agent", "uid": "uid-agent"}, "spec": {"selector": {"matchLabels": {"app": "agent"}},
        "template": {"metadata": {"labels": {"app": "agent"}}, "spec": {"containers": [{"name": "main", "image": "v1"}]}}}});
    with(set, json!({ "spec": spec }))
}

fn node(name: &str, more: Value) -> Value {
    with(
        json!({"metadata": {"name": name, "labels": {"os": "linux"}}, "spec": {}}),
        more,
    )
}

struct Scene {
    world: World,
    one: Loop,
}

impl Scene {
    fn new(set: Value, nodes: &[Value]) -> Self {
        let mut world = World::default();
        world.put(&Kind::DAEMON_SET, set);
        for node in nodes {
            world.put(&Kind::NODE, node.clone());
        }
        let one = Loop::new(Box::new(DaemonSets));
        Self { world, one }
    }

    fn of(n: usize, spec: Value) -> Self {
        let nodes: Vec<Value> = (0..n).map(|n| node(&format!("n{n}"), json!({}))).collect();
        Self::new(set(spec), &nodes)
    }

    /// Lets the controller work; gives the nodes that have a pod that stays, and its image.
    fn run(&mut self) -> Vec<String> {
        let mut n = 0;
        while self.one.step(&mut self.world, &mut |_, _| {}) {
            n += 1;
            assert!(n < 200, "it never ends");
        }
        self.places()
    }

    fn places(&self) -> Vec<String> {
        let staying = self
            .world
            .all(&Kind::POD)
            .filter(|pod| pod["metadata"]["deletionTimestamp"].is_null());
        let words = staying.map(|pod| {
            let read = serde_json::from_value(pod.clone()).unwrap();
            let image = pod["spec"]["containers"][0]["image"].as_str().unwrap();
            format!("{}:{image}", eligible::node_of(&read).unwrap())
        });
        let mut places: Vec<String> = words.collect();
        places.sort();
        places
    }

    /// Nodes start what is theirs and end what is to end.
    fn nodes(&mut self) {
        let pods: Vec<(Place, Value)> = self
            .world
            .objects()
            .filter(|((kind, _), _)| *kind == Kind::POD)
            .map(|(place, pod)| (place.clone(), pod.clone()))
            .collect();
        for (place, pod) in pods {
            if pod["metadata"]["deletionTimestamp"].is_string() {
                self.world.vanish(&place);
                continue;
            }
            let node = eligible::node_of(&serde_json::from_value(pod).unwrap());
            self.world.edit(&place, &json!({"spec": {"nodeName": node}, "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": ago(100)}]}}));
        }
    }

    /// Nodes with a ready pod that stays.
    fn served(&self) -> usize {
        let all = self.world.all(&Kind::POD);
        let ready = all.filter(|pod| {
            pod["metadata"]["deletionTimestamp"].is_null()
                && pod["status"]["conditions"][0]["status"] == "True"
        });
        let nodes: std::collections::BTreeSet<String> = ready
            .map(|pod| pod["spec"]["nodeName"].to_string())
            .collect();
        nodes.len()
    }

    /// Lets all work until nothing changes; gives the fewest nodes served and the most pods that stayed.
    fn settle(&mut self) -> (usize, usize) {
        let (mut least, mut most) = (usize::MAX, 0);
        for _ in 0..60 {
            let before = self.run();
            least = least.min(self.served());
            most = most.max(before.len());
            self.nodes();
            if self.run() == before && self.places() == before {
                return (least, most);
            }
        }
        panic!("it never settles: {:?}", self.places());
    }

    fn edit(&mut self, spec: Value) {
        let place = (Kind::DAEMON_SET, ObjectKey::namespaced("a", "agent"));
        self.world.edit(&place, &json!({ "spec": spec }));
    }

    fn status(&self, field: &str) -> Value {
        self.world.all(&Kind::DAEMON_SET).next().unwrap()["status"][field].clone()
    }
}

fn image(image: &str) -> Value {
    json!({"template": {"spec": {"containers": [{"name": "main", "image": image}]}}})
}

fn rolling(more: Value) -> Value {
    json!({"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": more}})
}

#[test]
fn every_node_that_is_selected_gets_one_pod_tied_to_it() {
    let taint =
        |key: &str, effect: &str| json!({"spec": {"taints": [{"key": key, "effect": effect}]}});
    let nodes = [
        node("plain", json!({})),
        node(
            "windows",
            json!({"metadata": {"labels": {"os": "windows"}}}),
        ),
        node("tainted", taint("gpu", "NoSchedule")),
        node("evicting", taint("gpu", "NoExecute")),
        node(
            "cordoned",
            json!({"spec": {"unschedulable": true, "taints": [{"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}]}}),
        ),
        node(
            "silent",
            taint("node.kubernetes.io/unreachable", "NoExecute"),
        ),
        node(
            "no-network",
            taint("node.kubernetes.io/network-unavailable", "NoSchedule"),
        ),
    ];
    let linux = json!({"template": {"spec": {"nodeSelector": {"os": "linux"}}}});
    let mut scene = Scene::new(set(linux), &nodes);
    assert_eq!(scene.run(), ["cordoned:v1", "plain:v1", "silent:v1"]);
    let pod = scene.world.all(&Kind::POD).next().unwrap();
    let terms = &pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
        ["nodeSelectorTerms"];
    assert_eq!(terms[0]["matchFields"][0]["key"], "metadata.name");
    assert_eq!(
        pod["spec"]["nodeName"],
        json!(null),
        "the scheduler binds it"
    );
    scene.settle();
    assert_eq!(
        (
            scene.status("desiredNumberScheduled"),
            scene.status("numberAvailable")
        ),
        (json!(3), json!(3))
    );
}

#[test]
fn nodes_come_and_go_and_change() {
    let mut scene = Scene::of(
        2,
        json!({"template": {"spec": {"nodeSelector": {"os": "linux"}}}}),
    );
    scene.settle();
    scene.world.put(&Kind::NODE, node("n9", json!({})));
    assert_eq!(scene.run(), ["n0:v1", "n1:v1", "n9:v1"]);
    let n0 = (Kind::NODE, ObjectKey::cluster("n0"));
    scene
        .world
        .edit(&n0, &json!({"metadata": {"labels": {"os": "other"}}}));
    assert_eq!(scene.run(), ["n1:v1", "n9:v1"]);
    // A taint that does not evict keeps new pods away and lets those be that are there.
    let n1 = (Kind::NODE, ObjectKey::cluster("n1"));
    scene.world.edit(
        &n1,
        &json!({"spec": {"taints": [{"key": "x", "effect": "NoSchedule"}]}}),
    );
    assert_eq!(scene.run(), ["n1:v1", "n9:v1"]);
    scene.world.edit(
        &n1,
        &json!({"spec": {"taints": [{"key": "x", "effect": "NoExecute"}]}}),
    );
    assert_eq!(scene.run(), ["n9:v1"]);
}

#[test]
fn a_pod_that_has_ended_is_removed_and_made_anew() {
    let mut scene = Scene::of(1, json!({}));
    scene.settle();
    let name = scene.world.all(&Kind::POD).next().unwrap()["metadata"]["name"]
        .as_str()
        .unwrap()
        .to_owned();
    let place = (Kind::POD, ObjectKey::namespaced("a", &name));
    scene.world.edit(&place, &json!({"status": {"phase": "Failed", "conditions": [{"type": "Ready", "status": "False"}]}}));
    scene.settle();
    assert_eq!(scene.places(), ["n0:v1"]);
    assert_ne!(
        scene.world.all(&Kind::POD).next().unwrap()["metadata"]["name"],
        json!(name)
    );
}

#[test]
fn updates_leave_no_more_nodes_without_a_pod_than_allowed() {
    for (most, least) in [
        (json!(1), 4),
        (json!(2), 3),
        (json!("50%"), 2),
        (json!(null), 4),
    ] {
        let mut scene = Scene::of(5, rolling(json!({ "maxUnavailable": most })));
        scene.settle();
        scene.edit(image("v2"));
        assert_eq!(scene.settle().0, least, "{most}");
        assert!(scene.places().iter().all(|place| place.ends_with(":v2")));
        assert_eq!(scene.places().len(), 5);
        assert_eq!(scene.status("updatedNumberScheduled"), 5);
    }
}

#[test]
fn with_a_surge_new_pods_start_beside_the_old_ones() {
    let mut scene = Scene::of(4, rolling(json!({"maxSurge": 2, "maxUnavailable": 0})));
    scene.settle();
    scene.edit(image("v2"));
    let (least, most) = scene.settle();
    assert_eq!((least, most), (4, 6));
    assert_eq!(scene.places(), ["n0:v2", "n1:v2", "n2:v2", "n3:v2"]);
}

#[test]
fn pods_are_replaced_by_hand_where_the_set_says_so() {
    let mut scene = Scene::of(2, json!({"updateStrategy": {"type": "OnDelete"}}));
    scene.settle();
    scene.edit(image("v2"));
    scene.settle();
    assert_eq!(scene.places(), ["n0:v1", "n1:v1"]);
    let name = scene.world.all(&Kind::POD).next().unwrap()["metadata"]["name"]
        .as_str()
        .unwrap()
        .to_owned();
    scene
        .world
        .vanish(&(Kind::POD, ObjectKey::namespaced("a", name)));
    scene.settle();
    let mut images: Vec<String> = scene
        .places()
        .iter()
        .map(|place| place[3..].to_owned())
        .collect();
    images.sort();
    assert_eq!(images, ["v1", "v2"]);
}

#[test]
fn two_pods_on_a_node_are_one_too_many() {
    let mut scene = Scene::of(1, json!({}));
    scene.settle();
    let first = scene.world.all(&Kind::POD).next().unwrap().clone();
    let second = with(
        first,
        json!({"metadata": {"name": "second", "uid": "uid-second", "creationTimestamp": ago(1)}}),
    );
    scene.world.put(&Kind::POD, second);
    scene.run();
    let staying: Vec<&Value> = scene
        .world
        .all(&Kind::POD)
        .filter(|pod| pod["metadata"]["deletionTimestamp"].is_null())
        .map(|pod| &pod["metadata"]["name"])
        .collect();
    assert_eq!(staying.len(), 1);
}
