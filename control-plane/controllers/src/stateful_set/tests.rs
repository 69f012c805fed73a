//! What StatefulSets do about their pods, one after the other.

use std::collections::BTreeSet;

use coracle_api::names::ObjectKey;
use serde_json::{Value, json};

use super::{StatefulSets, identity};
use crate::{
    kind::Kind,
    model::{
        Place, World, ago,
        reconcile::Loop,
        scene::{pod, with},
    },
};

fn set(replicas: i64, more: Value) -> Value {
    let set = json!({"metadata": {"name": "db", "uid": "uid-db"}, "spec": {"replicas": replicas, "serviceName": "db", "selector": {"matchLabels": {"app": "db"}},
        "template": {"metadata": {"labels": {"app": "db"}}, "spec": {"containers": [{"name": "main", "image": "v1"}]}}}});
    with(set, json!({ "spec": more }))
}

fn claim_template() -> Value {
    json!([{"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}])
}

struct Scene {
    world: World,
    one: Loop,
}

impl Scene {
    fn new(set: Value) -> Self {
        let mut world = World::default();
        world.put(&Kind::STATEFUL_SET, set);
        let one = Loop::new(Box::new(StatefulSets));
        Self { world, one }
    }

    /// Lets the controller work; gives the pods, `name:image` and what they are.
    fn run(&mut self) -> Vec<String> {
        let mut n = 0;
        while self.one.step(&mut self.world, &mut |_, _| {}) {
            n += 1;
            assert!(n < 200, "it never ends");
        }
        self.pods()
    }

    fn pods(&self) -> Vec<String> {
        let words = |pod: &Value| {
            let name = pod["metadata"]["name"].as_str().unwrap();
            let image = pod["spec"]["containers"][0]["image"].as_str().unwrap();
            let state = if pod["metadata"]["deletionTimestamp"].is_string() {
                "ending"
            } else if pod["status"]["conditions"][0]["status"] == "True" {
                "ready"
            } else {
                "waiting"
            };
            format!("{name}:{image}:{state}")
        };
        self.world.all(&Kind::POD).map(words).collect()
    }

    /// What the nodes do: start what waits, end what is to end.
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
            } else {
                self.is_ready(&place.1.name, true);
            }
        }
    }

    fn is_ready(&mut self, name: &str, ready: bool) {
        let place = (Kind::POD, ObjectKey::namespaced("a", name));
        let ready = if ready { "True" } else { "False" };
        self.world.edit(&place, &json!({"spec": {"nodeName": "n1"}, "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": ready, "lastTransitionTime": ago(100)}]}}));
    }

    fn edit(&mut self, spec: Value) {
        let place = (Kind::STATEFUL_SET, ObjectKey::namespaced("a", "db"));
        self.world.edit(&place, &json!({ "spec": spec }));
    }

    /// Lets all work until nothing changes; gives the most pods that were unavailable at once, of so many.
    fn settle(&mut self, of: usize) -> usize {
        let mut most = 0;
        for _ in 0..50 {
            let before = self.run();
            let ready = before.iter().filter(|pod| pod.ends_with(":ready")).count();
            most = most.max(of.saturating_sub(ready));
            self.nodes();
            if self.run() == before {
                return most;
            }
        }
        panic!("it never settles: {:?}", self.pods());
    }

    fn status(&self, field: &str) -> Value {
        self.world.all(&Kind::STATEFUL_SET).next().unwrap()["status"][field].clone()
    }

    fn claims(&self) -> Vec<&str> {
        let claims = self.world.all(&Kind::CLAIM);
        claims
            .filter_map(|one| one["metadata"]["name"].as_str())
            .collect()
    }
}

fn image(image: &str) -> Value {
    json!({"template": {"spec": {"containers": [{"name": "main", "image": image}]}}})
}

#[test]
fn pods_are_made_one_after_the_other() {
    let mut scene = Scene::new(set(3, json!({})));
    assert_eq!(scene.run(), ["db-0:v1:waiting"]);
    scene.is_ready("db-0", true);
    assert_eq!(scene.run(), ["db-0:v1:ready", "db-1:v1:waiting"]);
    scene.is_ready("db-0", false);
    scene.is_ready("db-1", true);
    assert_eq!(scene.run().len(), 2, "one before is not ready");
    scene.is_ready("db-0", true);
    assert_eq!(scene.run().len(), 3);
    let pod = scene.world.all(&Kind::POD).next().unwrap();
    assert_eq!(
        (&pod["spec"]["hostname"], &pod["spec"]["subdomain"]),
        (&json!("db-0"), &json!("db"))
    );
    assert_eq!(
        pod["metadata"]["labels"]["apps.kubernetes.io/pod-index"],
        "0"
    );
}

#[test]
fn pods_are_made_and_ended_at_once_where_the_set_says_so() {
    let mut scene = Scene::new(set(3, json!({"podManagementPolicy": "Parallel"})));
    assert_eq!(scene.run().len(), 3);
    scene.edit(json!({"replicas": 1}));
    let ending: Vec<String> = scene.run();
    assert_eq!(
        ending,
        ["db-0:v1:waiting"],
        "none of them was bound to a node"
    );
}

#[test]
fn the_highest_ends_first_and_one_at_a_time() {
    let mut scene = Scene::new(set(3, json!({})));
    scene.settle(3);
    scene.edit(json!({"replicas": 1}));
    assert_eq!(
        scene.run(),
        ["db-0:v1:ready", "db-1:v1:ready", "db-2:v1:ending"]
    );
    scene.nodes();
    assert_eq!(scene.run(), ["db-0:v1:ready", "db-1:v1:ending"]);
    scene.settle(1);
    assert_eq!(scene.pods(), ["db-0:v1:ready"]);
}

#[test]
fn ordinals_may_start_elsewhere() {
    let mut scene = Scene::new(set(2, json!({"ordinals": {"start": 5}})));
    scene.settle(2);
    assert_eq!(scene.pods(), ["db-5:v1:ready", "db-6:v1:ready"]);
}

#[test]
fn an_update_goes_from_the_highest_down_and_waits_for_each() {
    let mut scene = Scene::new(set(3, json!({})));
    scene.settle(3);
    let first = scene.status("currentRevision");
    scene.edit(image("v2"));
    assert_eq!(
        scene.run(),
        ["db-0:v1:ready", "db-1:v1:ready", "db-2:v1:ending"]
    );
    scene.nodes();
    assert_eq!(
        scene.run(),
        ["db-0:v1:ready", "db-1:v1:ready", "db-2:v2:waiting"]
    );
    assert_eq!(scene.status("currentRevision"), first);
    assert_eq!(scene.settle(3), 1);
    assert_eq!(
        scene.pods(),
        ["db-0:v2:ready", "db-1:v2:ready", "db-2:v2:ready"]
    );
    assert_eq!(
        scene.status("currentRevision"),
        scene.status("updateRevision")
    );
    assert_ne!(scene.status("currentRevision"), first);
    assert_eq!(scene.status("updatedReplicas"), 3);
}

#[test]
fn a_partition_keeps_the_lower_ones_and_makes_them_as_they_were() {
    let partition =
        json!({"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 2}}});
    let mut scene = Scene::new(set(3, partition));
    scene.settle(3);
    scene.edit(image("v2"));
    scene.settle(3);
    assert_eq!(
        scene.pods(),
        ["db-0:v1:ready", "db-1:v1:ready", "db-2:v2:ready"]
    );
    scene
        .world
        .vanish(&(Kind::POD, ObjectKey::namespaced("a", "db-0")));
    scene.settle(3);
    assert_eq!(scene.pods()[0], "db-0:v1:ready");
}

#[test]
fn more_may_be_replaced_at_once_where_the_set_says_so() {
    let two = json!({"podManagementPolicy": "Parallel", "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 2}}});
    let mut scene = Scene::new(set(5, two));
    scene.settle(5);
    scene.edit(image("v2"));
    assert_eq!(scene.settle(5), 2);
    assert!(scene.pods().iter().all(|pod| pod.contains(":v2:")));
}

#[test]
fn pods_are_replaced_by_hand_where_the_set_says_so() {
    let mut scene = Scene::new(set(2, json!({"updateStrategy": {"type": "OnDelete"}})));
    scene.settle(2);
    scene.edit(image("v2"));
    scene.settle(2);
    assert_eq!(scene.pods(), ["db-0:v1:ready", "db-1:v1:ready"]);
    scene
        .world
        .vanish(&(Kind::POD, ObjectKey::namespaced("a", "db-0")));
    scene.settle(2);
    assert_eq!(scene.pods(), ["db-0:v2:ready", "db-1:v1:ready"]);
}

#[test]
fn a_pod_that_has_ended_is_made_anew() {
    let mut scene = Scene::new(set(1, json!({})));
    scene.settle(1);
    let place = (Kind::POD, ObjectKey::namespaced("a", "db-0"));
    scene.world.edit(&place, &json!({"status": {"phase": "Failed", "conditions": [{"type": "Ready", "status": "False"}]}}));
    assert_eq!(scene.settle(1), 1);
    assert_eq!(scene.pods(), ["db-0:v1:ready"]);
}

#[test]
fn a_name_that_is_taken_is_waited_for() {
    let mut scene = Scene::new(set(1, json!({})));
    scene.world.put(
        &Kind::POD,
        pod("db-0", "ready", json!({"app": "other"}), json!([])),
    );
    assert_eq!(scene.run().len(), 1);
    scene
        .world
        .vanish(&(Kind::POD, ObjectKey::namespaced("a", "db-0")));
    assert_eq!(scene.run(), ["db-0:v1:waiting"]);
}

#[test]
fn every_pod_has_its_claims_and_they_stay() {
    let mut scene = Scene::new(set(2, json!({"volumeClaimTemplates": claim_template()})));
    scene.settle(2);
    assert_eq!(scene.claims(), ["data-db-0", "data-db-1"]);
    let pod = scene.world.all(&Kind::POD).next().unwrap();
    assert_eq!(
        pod["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"],
        "data-db-0"
    );
    scene.edit(json!({"replicas": 0}));
    scene.settle(0);
    let owners: BTreeSet<String> = scene
        .world
        .all(&Kind::CLAIM)
        .map(|one| one["metadata"]["ownerReferences"].to_string())
        .collect();
    assert_eq!(
        (scene.claims().len(), owners),
        (2, BTreeSet::from(["null".to_owned()]))
    );
}

#[test]
fn claims_go_with_pod_or_set_where_the_set_says_so() {
    let policy = json!({"volumeClaimTemplates": claim_template(), "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Delete", "whenScaled": "Delete"}});
    let mut scene = Scene::new(set(2, policy));
    scene.settle(2);
    let owners = |scene: &Scene, name: &str| {
        let claim = scene
            .world
            .get(&Kind::CLAIM, &ObjectKey::namespaced("a", name))
            .unwrap();
        let owners = claim["metadata"]["ownerReferences"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        owners
            .iter()
            .map(|one| one["name"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(owners(&scene, "data-db-1"), ["db"]);
    scene.edit(json!({"replicas": 1}));
    scene.run();
    assert_eq!(owners(&scene, "data-db-1"), ["db", "db-1"]);
    assert_eq!(owners(&scene, "data-db-0"), ["db"]);
    scene.edit(json!({"persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Retain"}}));
    scene.run();
    assert_eq!(owners(&scene, "data-db-0"), [""; 0]);
}

#[test]
fn going_back_uses_the_old_revision_again_and_history_is_bounded() {
    let mut scene = Scene::new(set(1, json!({"revisionHistoryLimit": 1})));
    scene.settle(1);
    let first = scene.status("updateRevision");
    for one in ["v2", "v3", "v4"] {
        scene.edit(image(one));
        scene.settle(1);
    }
    assert_eq!(scene.world.all(&Kind::CONTROLLER_REVISION).count(), 2);
    scene.edit(image("v3"));
    scene.settle(1);
    assert_eq!(scene.pods(), ["db-0:v3:ready"]);
    let newest = scene
        .world
        .all(&Kind::CONTROLLER_REVISION)
        .map(|one| one["revision"].as_i64().unwrap())
        .max();
    assert_eq!(newest, Some(5));
    assert_ne!(scene.status("updateRevision"), first);
}

#[test]
fn names_are_read_as_they_are_written() {
    assert_eq!(identity::parse("db-12"), Some(("db", 12)));
    assert_eq!(identity::parse("my-db-0"), Some(("my-db", 0)));
    for other in ["db", "db-", "db-01", "db-x", "-1", "db-+1"] {
        assert_eq!(identity::parse(other), None, "{other}");
    }
}
