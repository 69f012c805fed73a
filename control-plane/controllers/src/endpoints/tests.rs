//! What EndpointSlices Services get.

use coracle_api::names::ObjectKey;
use serde_json::{Value, json};

use super::Endpoints;
use crate::{
    kind::Kind,
    model::{
        World,
        reconcile::Loop,
        scene::{self, pod, with},
    },
};

fn service(more: Value) -> Value {
    let service = json!({"metadata": {"name": "web", "uid": "uid-web"}, "spec": {"selector": {"app": "web"}, "clusterIP": "10.96.0.1", "ipFamilies": ["IPv4"],
        "ports": [{"name": "http", "port": 80, "protocol": "TCP", "targetPort": "web"}]}});
    with(service, json!({ "spec": more }))
}

fn served(name: &str, state: &str, ip: &str) -> Value {
    let pod = pod(name, state, json!({"app": "web"}), json!([]));
    with(
        pod,
        json!({"status": {"podIP": ip, "podIPs": [{"ip": ip}]}}),
    )
}

fn world(service: Value, pods: Vec<Value>) -> World {
    let mut world = World::default();
    world.put(&Kind::SERVICE, service);
    for pod in pods {
        world.put(&Kind::POD, pod);
    }
    world
}

/// What the slices are once the controller has nothing to do: a line for each, `family ports: address+state ..`.
fn settled(world: &mut World) -> Vec<String> {
    let mut one = Loop::new(Box::new(Endpoints));
    let mut n = 0;
    while one.step(world, &mut |_, _| {}) {
        n += 1;
        assert!(n < 100, "it never ends");
    }
    let slices = world.all(&Kind::ENDPOINT_SLICE).map(|slice| {
        let ports: Vec<String> = slice["ports"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|port| format!("{}={}", port["name"].as_str().unwrap(), port["port"]))
            .collect();
        let mut endpoints: Vec<String> = slice["endpoints"]
            .as_array()
            .into_iter()
            .flatten()
            .map(endpoint)
            .collect();
        endpoints.sort();
        format!(
            "{} {}: {}",
            slice["addressType"].as_str().unwrap(),
            ports.join(","),
            endpoints.join(" ")
        )
    });
    let mut slices: Vec<String> = slices.collect();
    slices.sort();
    slices
}

/// The address and `r`eady, `s`erving, `t`erminating.
fn endpoint(endpoint: &Value) -> String {
    let address = endpoint["addresses"][0].as_str().unwrap();
    let state: String = ["ready", "serving", "terminating"]
        .iter()
        .filter(|of| endpoint["conditions"][of] == true)
        .map(|of| &of[..1])
        .collect();
    format!("{address}/{state}")
}

#[test]
fn pods_show_whether_they_are_ready_serving_and_terminating() {
    let pods = vec![
        served("a", "ready", "10.0.0.1"),
        served("b", "running", "10.0.0.2"),
        served("c", "ready-ending", "10.0.0.3"),
        served("d", "running-ending", "10.0.0.4"),
        served("e", "succeeded", "10.0.0.5"),
        served("f", "failed", "10.0.0.6"),
        pod("g", "bound", json!({"app": "web"}), json!([])),
        with(
            served("h", "ready", "10.0.0.8"),
            json!({"metadata": {"labels": {"app": "db"}}}),
        ),
    ];
    assert_eq!(
        settled(&mut world(service(json!({})), pods.clone())),
        ["IPv4 http=8080: 10.0.0.1/rs 10.0.0.2/ 10.0.0.3/st 10.0.0.4/t"]
    );
    let all = service(json!({"publishNotReadyAddresses": true}));
    assert_eq!(
        settled(&mut world(all, pods)),
        ["IPv4 http=8080: 10.0.0.1/rs 10.0.0.2/r 10.0.0.3/rst 10.0.0.4/rt"]
    );
}

#[test]
fn named_ports_are_found_in_each_pod() {
    let other = json!({"spec": {"containers": [{"name": "main", "ports": [{"name": "web", "containerPort": 9090}]}]}});
    let without = json!({"spec": {"containers": [{"name": "main"}]}});
    let sidecar = json!({"spec": {"containers": [{"name": "main"}], "initContainers": [{"name": "side", "restartPolicy": "Always", "ports": [{"name": "web", "containerPort": 7070}]}]}});
    let pods = vec![
        served("a", "ready", "10.0.0.1"),
        with(served("b", "ready", "10.0.0.2"), other),
        with(served("c", "ready", "10.0.0.3"), without),
        with(served("d", "ready", "10.0.0.4"), sidecar),
    ];
    assert_eq!(
        settled(&mut world(service(json!({})), pods)),
        [
            "IPv4 : 10.0.0.3/rs",
            "IPv4 http=7070: 10.0.0.4/rs",
            "IPv4 http=8080: 10.0.0.1/rs",
            "IPv4 http=9090: 10.0.0.2/rs"
        ]
    );
}

#[test]
fn ports_without_a_target_are_the_services_own() {
    let plain = json!({"ports": [{"port": 80, "protocol": "TCP"}, {"name": "b", "port": 81, "targetPort": 8181}]});
    assert_eq!(
        settled(&mut world(
            service(plain),
            vec![served("a", "ready", "10.0.0.1")]
        )),
        ["IPv4 =80,b=8181: 10.0.0.1/rs"]
    );
}

#[test]
fn every_family_has_its_slices() {
    let both = json!({"status": {"podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}]}});
    let pods = vec![
        with(served("a", "ready", "10.0.0.1"), both),
        served("b", "ready", "10.0.0.2"),
    ];
    let dual = service(json!({"ipFamilies": ["IPv4", "IPv6"]}));
    assert_eq!(
        settled(&mut world(dual, pods)),
        [
            "IPv4 http=8080: 10.0.0.1/rs 10.0.0.2/rs",
            "IPv6 http=8080: fd00::1/rs"
        ]
    );
    let six = service(json!({"ipFamilies": ["IPv6"]}));
    assert_eq!(settled(&mut world(six, vec![])), ["IPv6 : "]);
}

#[test]
fn a_service_without_pods_has_an_empty_slice_that_is_filled_later() {
    let mut world = world(service(json!({})), vec![]);
    assert_eq!(settled(&mut world), ["IPv4 : "]);
    world.put(&Kind::POD, served("a", "ready", "10.0.0.1"));
    assert_eq!(settled(&mut world), ["IPv4 http=8080: 10.0.0.1/rs"]);
}

#[test]
fn headless_services_say_so_and_name_their_pods() {
    let named = json!({"spec": {"hostname": "one", "subdomain": "web"}});
    let mut world = world(
        service(json!({"clusterIP": "None"})),
        vec![with(served("a", "ready", "10.0.0.1"), named)],
    );
    settled(&mut world);
    let slice = world.all(&Kind::ENDPOINT_SLICE).next().unwrap();
    assert_eq!(
        slice["metadata"]["labels"]["service.kubernetes.io/headless"],
        ""
    );
    assert_eq!(slice["endpoints"][0]["hostname"], "one");
    assert_eq!(slice["endpoints"][0]["targetRef"]["name"], "a");
}

#[test]
fn a_slice_has_a_hundred_endpoints_at_most_and_few_slices_change() {
    let many = |n: usize| {
        (0..n)
            .map(|n| {
                served(
                    &format!("p{n:03}"),
                    "ready",
                    &format!("10.0.{}.{}", n / 200, n % 200),
                )
            })
            .collect()
    };
    let mut world = world(service(json!({})), many(250));
    let sizes = |world: &World| {
        let mut sizes: Vec<usize> = world
            .all(&Kind::ENDPOINT_SLICE)
            .map(|slice| slice["endpoints"].as_array().map_or(0, Vec::len))
            .collect();
        sizes.sort_unstable();
        sizes
    };
    settled(&mut world);
    assert_eq!(sizes(&world), [50, 100, 100]);
    world.take_changes();
    // One goes and one comes: one slice changes.
    world.vanish(&(Kind::POD, ObjectKey::namespaced("a", "p003")));
    world.put(&Kind::POD, served("new", "ready", "10.0.9.1"));
    let mut one = Loop::new(Box::new(Endpoints));
    let mut n = 0;
    while one.step(&mut world, &mut |_, _| n += 1) {}
    assert_eq!((n, sizes(&world)), (1, vec![50, 100, 100]));
    for n in 0..200 {
        world.vanish(&(Kind::POD, ObjectKey::namespaced("a", format!("p{n:03}"))));
    }
    while one.step(&mut world, &mut |_, _| {}) {}
    assert_eq!(sizes(&world).iter().sum::<usize>(), 51);
}

#[test]
fn slices_of_others_and_services_without_selectors_are_left_alone() {
    let foreign = json!({"metadata": {"name": "mine", "labels": {"kubernetes.io/service-name": "web", "endpointslice.kubernetes.io/managed-by": "me"}}, "addressType": "IPv4", "endpoints": []});
    let mut world = world(
        service(json!({"selector": null})),
        vec![served("a", "ready", "10.0.0.1")],
    );
    world.put(&Kind::ENDPOINT_SLICE, foreign);
    scene::check(Endpoints, "a/web", &world, "");
    let mut external = self::world(service(json!({"type": "ExternalName"})), vec![]);
    assert_eq!(settled(&mut external).len(), 0);
}

#[test]
fn labels_of_the_service_are_its_slices_too() {
    let mut world = world(service(json!({})), vec![]);
    settled(&mut world);
    world.edit(
        &(Kind::SERVICE, ObjectKey::namespaced("a", "web")),
        &json!({"metadata": {"labels": {"team": "x"}}}),
    );
    settled(&mut world);
    assert_eq!(
        world.all(&Kind::ENDPOINT_SLICE).next().unwrap()["metadata"]["labels"]["team"],
        "x"
    );
}
