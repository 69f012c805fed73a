//! Addresses and node ports of Services.

use std::collections::BTreeSet;

use coracle_apiserver::admission::addresses::ServiceRange;
use coracle_store::List;
use futures::future::join_all;
use serde_json::{Value, json};

use crate::cluster::{Cluster, SERVICES, service};

async fn small() -> Cluster {
    Cluster::with(|options| {
        options.service_range = "10.5.0.0/29".parse::<ServiceRange>().unwrap();
        options.node_ports = 30000..=30002;
    })
    .await
}

fn node_port(name: &str) -> Value {
    let mut object = service(name);
    object["spec"]["type"] = json!("NodePort");
    object
}

async fn claims(cluster: &Cluster) -> Vec<String> {
    let list = List {
        prefix: "/claims/".to_owned(),
        ..List::default()
    };
    let page = cluster.store.list(list).await.unwrap();
    page.records
        .iter()
        .map(|record| record.key.trim_start_matches("/claims/").to_owned())
        .collect()
}

#[tokio::test]
async fn the_kubernetes_service_has_the_first_address() {
    let cluster = small().await;
    let found = cluster
        .get(&format!("{SERVICES}/kubernetes"))
        .await
        .expect(200);
    assert_eq!(found["spec"]["clusterIP"], "10.5.0.1");
    assert_eq!(claims(&cluster).await, ["ip/10.5.0.1"]);
}

#[tokio::test]
async fn every_service_gets_its_own_address_until_there_is_none() {
    let cluster = small().await;
    let tries = (0..8).map(|n| {
        let cluster = &cluster;
        async move { cluster.post(SERVICES, &service(&format!("s{n}"))).await }
    });
    let answers = join_all(tries).await;
    let given: Vec<Value> = answers
        .iter()
        .filter(|a| a.code == 201)
        .map(|a| a.json())
        .collect();
    let addresses: BTreeSet<&str> = given
        .iter()
        .map(|s| s["spec"]["clusterIP"].as_str().unwrap())
        .collect();
    assert_eq!(
        (given.len(), addresses.len()),
        (5, 5),
        "six in the range, one is taken"
    );
    assert!(
        answers
            .iter()
            .filter(|a| a.code != 201)
            .all(|a| a.code == 500)
    );
    let one = &given[0];
    assert_eq!(one["spec"]["clusterIPs"], json!([one["spec"]["clusterIP"]]));
    assert_eq!(
        (&one["spec"]["ipFamilies"], &one["spec"]["ipFamilyPolicy"]),
        (&json!(["IPv4"]), &json!("SingleStack"))
    );
    let name = one["metadata"]["name"].as_str().unwrap();
    cluster
        .delete(&format!("{SERVICES}/{name}"))
        .await
        .expect(200);
    let next = cluster.post(SERVICES, &service("late")).await.expect(201);
    assert_eq!(
        next["spec"]["clusterIP"], one["spec"]["clusterIP"],
        "released and given again"
    );
}

#[tokio::test]
async fn a_chosen_address_must_be_free_and_in_the_range() {
    let cluster = small().await;
    let with = |name: &str, ip: &str| {
        let mut object = service(name);
        object["spec"]["clusterIP"] = json!(ip);
        object
    };
    cluster
        .post(SERVICES, &with("a", "10.5.0.3"))
        .await
        .expect(201);
    let message = cluster
        .post(SERVICES, &with("b", "10.5.0.3"))
        .await
        .refused(422, "Invalid");
    assert!(message.contains(r#"spec.clusterIPs: Invalid value: ["10.5.0.3"]: failed to allocate IP 10.5.0.3: provided IP is already allocated"#), "{message}");
    let message = cluster
        .post(SERVICES, &with("b", "10.9.0.3"))
        .await
        .refused(422, "Invalid");
    assert!(
        message.contains("is not in the valid range. The range of valid IPs is 10.5.0.0/29"),
        "{message}"
    );
    let headless = cluster.post(SERVICES, &with("c", "None")).await.expect(201);
    assert_eq!(headless["spec"]["clusterIPs"], json!(["None"]));
    let moved = json!({"spec": {"clusterIP": "10.5.0.4", "clusterIPs": ["10.5.0.4"]}});
    let message = cluster
        .patch(&format!("{SERVICES}/a"), "merge", &moved)
        .await
        .refused(422, "Invalid");
    assert!(message.contains("field is immutable"), "{message}");
    assert_eq!(
        claims(&cluster).await,
        ["ip/10.5.0.1", "ip/10.5.0.3"],
        "refusals leave nothing behind"
    );
}

#[tokio::test]
async fn an_address_stays_through_replacement() {
    let cluster = small().await;
    let created = cluster.post(SERVICES, &service("a")).await.expect(201);
    let mut changed = service("a");
    changed["spec"]["ports"] = json!([{"port": 81}]);
    let replaced = cluster
        .put(&format!("{SERVICES}/a"), &changed)
        .await
        .expect(200);
    assert_eq!(replaced["spec"]["clusterIP"], created["spec"]["clusterIP"]);
    assert_eq!(claims(&cluster).await.len(), 2);
    let shown = cluster
        .post(&format!("{SERVICES}?dryRun=All"), &service("dry"))
        .await
        .expect(201);
    assert!(shown["spec"]["clusterIP"].is_string());
    assert_eq!(claims(&cluster).await.len(), 2, "a dry run claims nothing");
}

#[tokio::test]
async fn node_ports_are_given_kept_and_released() {
    let cluster = small().await;
    let a = cluster.post(SERVICES, &node_port("a")).await.expect(201);
    let port = a["spec"]["ports"][0]["nodePort"].as_u64().unwrap();
    assert!((30000..=30002).contains(&port));
    let kept = cluster
        .put(&format!("{SERVICES}/a"), &node_port("a"))
        .await
        .expect(200);
    assert_eq!(kept["spec"]["ports"][0]["nodePort"], port);
    let mut chosen = node_port("b");
    chosen["spec"]["ports"][0]["nodePort"] = json!(port);
    let message = cluster
        .post(SERVICES, &chosen)
        .await
        .refused(422, "Invalid");
    assert!(
        message.contains(&format!(
            "spec.ports[0].nodePort: Invalid value: {port}: provided port is already allocated"
        )),
        "{message}"
    );
    chosen["spec"]["ports"][0]["nodePort"] = json!(40000);
    let message = cluster
        .post(SERVICES, &chosen)
        .await
        .refused(422, "Invalid");
    assert!(
        message.contains(
            "provided port is not in the valid range. The range of valid ports is 30000-30002"
        ),
        "{message}"
    );

    let inside = cluster
        .patch(
            &format!("{SERVICES}/a"),
            "merge",
            &json!({"spec": {"type": "ClusterIP"}}),
        )
        .await
        .expect(200);
    assert!(inside["spec"]["ports"][0].get("nodePort").is_none());
    let expected = format!("ip/{}", a["spec"]["clusterIP"].as_str().unwrap());
    assert!(claims(&cluster).await.contains(&expected));
    assert!(
        !claims(&cluster)
            .await
            .iter()
            .any(|claim| claim.starts_with("nodeport/"))
    );
    cluster.delete(&format!("{SERVICES}/a")).await.expect(200);
    assert_eq!(claims(&cluster).await, ["ip/10.5.0.1"]);
}

#[tokio::test]
async fn one_port_over_two_protocols_gets_one_number() {
    let cluster = small().await;
    let mut object = node_port("dns");
    object["spec"]["ports"] = json!([{"name": "t", "port": 53, "protocol": "TCP"}, {"name": "u", "port": 53, "protocol": "UDP"}]);
    let created = cluster.post(SERVICES, &object).await.expect(201);
    let ports = &created["spec"]["ports"];
    assert_eq!(ports[0]["nodePort"], ports[1]["nodePort"]);
    assert_eq!(
        claims(&cluster)
            .await
            .iter()
            .filter(|claim| claim.starts_with("nodeport/"))
            .count(),
        2
    );
}

#[tokio::test]
async fn concurrent_services_never_share_a_port() {
    let cluster = small().await;
    let tries = (0..6).map(|n| {
        let cluster = &cluster;
        async move { cluster.post(SERVICES, &node_port(&format!("s{n}"))).await }
    });
    let answers = join_all(tries).await;
    let ports: Vec<u64> = answers
        .iter()
        .filter(|a| a.code == 201)
        .map(|a| a.json()["spec"]["ports"][0]["nodePort"].as_u64().unwrap())
        .collect();
    let distinct: BTreeSet<_> = ports.iter().collect();
    assert_eq!((ports.len(), distinct.len()), (3, 3), "{ports:?}");
    let stored = claims(&cluster).await;
    assert_eq!(
        stored
            .iter()
            .filter(|claim| claim.starts_with("nodeport/"))
            .count(),
        3,
        "{stored:?}"
    );
    assert_eq!(
        stored
            .iter()
            .filter(|claim| claim.starts_with("ip/"))
            .count(),
        4,
        "no address leaked: {stored:?}"
    );
}

#[tokio::test]
async fn an_external_name_has_no_address() {
    let cluster = small().await;
    let object = json!({"metadata": {"name": "ext"}, "spec": {"type": "ExternalName", "externalName": "example.com"}});
    let created = cluster.post(SERVICES, &object).await.expect(201);
    assert!(created["spec"].get("clusterIP").is_none());
    let back =
        json!({"spec": {"type": "ClusterIP", "externalName": null, "ports": [{"port": 80}]}});
    let changed = cluster
        .patch(&format!("{SERVICES}/ext"), "merge", &back)
        .await
        .expect(200);
    assert!(changed["spec"]["clusterIP"].is_string());
    let again =
        json!({"spec": {"type": "ExternalName", "externalName": "example.com", "ports": null}});
    cluster
        .patch(&format!("{SERVICES}/ext"), "merge", &again)
        .await
        .expect(200);
    assert_eq!(claims(&cluster).await, ["ip/10.5.0.1"]);
    let mut dual = service("dual");
    dual["spec"]["ipFamilyPolicy"] = json!("RequireDualStack");
    let message = cluster.post(SERVICES, &dual).await.refused(422, "Invalid");
    assert!(
        message.contains("this cluster is not configured for dual-stack services"),
        "{message}"
    );
}
