//! What clients are told about the server.

use axum::body::Body;
use coracle_api::registry::Registry;
use http::Method;
use serde_json::{Value, json};

use crate::cluster::Cluster;

const V2: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
const V2BETA1: &str = "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList";

/// `group/version plural` of everything in an aggregated document.
fn listed(document: &Value) -> Vec<String> {
    let mut all = Vec::new();
    for group in document["items"].as_array().unwrap() {
        for version in group["versions"].as_array().unwrap() {
            for resource in version["resources"].as_array().unwrap() {
                let text = |value: &Value| value.as_str().unwrap().to_owned();
                all.push(format!(
                    "{}/{} {}",
                    text(&group["metadata"]["name"]),
                    text(&version["version"]),
                    text(&resource["resource"])
                ));
            }
        }
    }
    all.sort();
    all
}

fn served() -> Vec<String> {
    let registry = Registry::builtin();
    let mut all: Vec<_> = registry
        .iter()
        .map(|r| format!("{}/{} {}", r.group, r.version, r.plural))
        .collect();
    all.sort();
    all
}

#[tokio::test]
async fn aggregated_discovery_lists_every_kind_in_both_versions() {
    let cluster = Cluster::new().await;
    for (accept, version) in [
        (V2, "apidiscovery.k8s.io/v2"),
        (V2BETA1, "apidiscovery.k8s.io/v2beta1"),
    ] {
        let asked = format!("{accept},application/json");
        let core = cluster.get_as("/api", &asked).await;
        assert_eq!(core.header("content-type"), Some(accept));
        let groups = cluster.get_as("/apis", &asked).await.expect(200);
        assert_eq!(
            (&groups["kind"], &groups["apiVersion"]),
            (&json!("APIGroupDiscoveryList"), &json!(version))
        );
        let mut all = listed(&core.expect(200));
        all.extend(listed(&groups));
        all.sort();
        assert_eq!(all, served());
    }
    let both = format!("{V2},{V2BETA1},application/json");
    assert_eq!(
        cluster.get_as("/apis", &both).await.header("content-type"),
        Some(V2)
    );
}

#[tokio::test]
async fn legacy_discovery_lists_every_kind_too() {
    let cluster = Cluster::new().await;
    assert_eq!(
        cluster.get("/api").await.expect(200)["versions"],
        json!(["v1"])
    );
    let groups = cluster.get("/apis").await.expect(200);
    let mut all = Vec::new();
    let mut versions = vec!["/api/v1".to_owned()];
    for group in groups["groups"].as_array().unwrap() {
        let one = cluster
            .get(&format!("/apis/{}", group["name"].as_str().unwrap()))
            .await
            .expect(200);
        assert_eq!(
            (&one["kind"], &one["versions"]),
            (&json!("APIGroup"), &group["versions"])
        );
        for version in group["versions"].as_array().unwrap() {
            versions.push(format!(
                "/apis/{}",
                version["groupVersion"].as_str().unwrap()
            ));
        }
    }
    for path in versions {
        let list = cluster.get(&path).await.expect(200);
        let version = list["groupVersion"].as_str().unwrap();
        for resource in list["resources"].as_array().unwrap() {
            let name = resource["name"].as_str().unwrap();
            assert!(
                resource["verbs"]
                    .as_array()
                    .is_some_and(|verbs| !verbs.is_empty()),
                "{name}"
            );
            assert!(resource["singularName"].is_string(), "{name}");
            if !name.contains('/') {
                let slash = if version.contains('/') { "" } else { "/" };
                all.push(format!("{slash}{version} {name}"));
            }
        }
    }
    all.sort();
    assert_eq!(all, served());
    let core = cluster.get("/api/v1/").await.expect(200);
    let eviction = core["resources"]
        .as_array()
        .unwrap()
        .iter()
        .find(|r| r["name"] == "pods/eviction")
        .unwrap();
    assert_eq!(
        (&eviction["kind"], &eviction["group"], &eviction["version"]),
        (&json!("Eviction"), &json!("policy"), &json!("v1"))
    );
}

#[tokio::test]
async fn what_a_client_has_is_not_sent_again() {
    let cluster = Cluster::new().await;
    for uri in ["/apis", "/openapi/v3", "/openapi/v3/api/v1"] {
        let first = cluster.get(uri).await;
        let etag = first.header("etag").unwrap();
        let again = cluster
            .request(Method::GET, uri, &[("if-none-match", etag)], Body::empty())
            .await;
        assert_eq!((again.code, again.bytes.len()), (304, 0), "{uri}");
    }
}

#[tokio::test]
async fn openapi_documents_are_found_through_the_index() {
    let cluster = Cluster::new().await;
    let index = cluster.get("/openapi/v3").await.expect(200);
    let paths = index["paths"].as_object().unwrap();
    assert!(paths.contains_key("api/v1") && paths.contains_key("apis/apps/v1"));
    for (path, entry) in paths {
        let url = entry["serverRelativeURL"].as_str().unwrap();
        let document = cluster.get(url).await;
        assert!(
            document
                .header("cache-control")
                .unwrap()
                .contains("immutable"),
            "{path}"
        );
        assert!(
            document.expect(200)["components"]["schemas"].is_object(),
            "{path}"
        );
    }
    let old = cluster.get("/openapi/v3/api/v1?hash=OLD").await;
    assert_eq!(old.code, 301);
    assert_eq!(
        old.header("location"),
        paths["api/v1"]["serverRelativeURL"].as_str()
    );
    cluster
        .get_as(
            "/openapi/v3/api/v1",
            "application/com.github.proto-openapi.spec.v3.v1.0+protobuf",
        )
        .await
        .refused(406, "NotAcceptable");
    let document = cluster.get("/openapi/v3/apis/apps/v1").await.expect(200);
    let patch =
        &document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"];
    assert_eq!(
        patch["x-kubernetes-group-version-kind"],
        json!({"group": "apps", "version": "v1", "kind": "Deployment"})
    );
    let parameters = patch["parameters"].as_array().unwrap();
    assert!(
        parameters
            .iter()
            .any(|parameter| parameter["name"] == "fieldValidation")
    );
}

#[tokio::test]
async fn old_clients_get_all_in_one_document() {
    let cluster = Cluster::new().await;
    let json = cluster.get("/openapi/v2").await.expect(200);
    let document = json.to_string();
    assert!(
        !document.contains("#/components/schemas/"),
        "no reference to elsewhere"
    );
    for reference in document.split("\"#/definitions/").skip(1) {
        let name = reference.split('"').next().unwrap();
        assert!(
            json["definitions"].get(name).is_some(),
            "{name} is referred to and missing"
        );
    }
    let protobuf = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
    let binary = cluster.get_as("/openapi/v2", protobuf).await;
    // Go's parser of media types refuses the `@` that old clients ask for.
    let answered = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
    assert_eq!(
        (binary.code, binary.header("content-type")),
        (200, Some(answered))
    );
    assert!(binary.bytes.starts_with(b"\x0a\x032.0"));
    cluster
        .get_as("/openapi/v2", "text/html")
        .await
        .refused(406, "NotAcceptable");
}

#[tokio::test]
async fn health_is_told_shortly_and_at_length() {
    let cluster = Cluster::new().await;
    for uri in ["/healthz", "/livez", "/readyz", "/readyz/ping"] {
        let answer = cluster.get(uri).await;
        assert_eq!((answer.code, &answer.bytes[..]), (200, &b"ok"[..]), "{uri}");
    }
    let verbose = cluster.get("/readyz?verbose").await;
    assert_eq!(
        verbose.bytes,
        "[+]ping ok\n[+]store ok\nreadyz check passed\n"
    );
    let version = cluster.get("/version").await.expect(200);
    assert_eq!(
        (&version["major"], &version["minor"]),
        (&json!("1"), &json!("37"))
    );
}
