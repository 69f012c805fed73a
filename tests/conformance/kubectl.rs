//! What users type, against a control plane without nodes.

use std::collections::BTreeSet;

use coracle_tests::{cluster::Cluster, kubectl};

const DEPLOYMENT: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers: [{name: web, image: 'web:1.0', ports: [{containerPort: 8080}]}]
";

#[test]
fn every_kubectl_applies_gets_changes_and_deletes() {
    let cluster = Cluster::start();
    let mut versions = BTreeSet::new();
    for program in kubectl::all() {
        let kubectl = cluster.kubectl_at(&program);
        versions.insert(kubectl.version());
        assert_eq!(kubectl.apply(DEPLOYMENT), "deployment.apps/web created\n");
        assert_eq!(kubectl.apply(DEPLOYMENT), "deployment.apps/web unchanged\n");
        let table = kubectl.run(&["get", "deploy", "-o", "wide"]);
        let heads: Vec<_> = table.lines().next().unwrap().split_whitespace().collect();
        assert_eq!(
            heads,
            [
                "NAME",
                "READY",
                "UP-TO-DATE",
                "AVAILABLE",
                "AGE",
                "CONTAINERS",
                "IMAGES",
                "SELECTOR"
            ]
        );
        assert!(
            table.lines().nth(1).unwrap().starts_with("web    0/2"),
            "{table}"
        );
        assert_eq!(
            kubectl.run(&["scale", "deploy/web", "--replicas=5"]),
            "deployment.apps/web scaled\n"
        );
        assert_eq!(
            kubectl.run(&["set", "image", "deploy/web", "web=web:2.0"]),
            "deployment.apps/web image updated\n"
        );
        let image = "-o=jsonpath={.spec.replicas} {.spec.template.spec.containers[0].image}";
        assert_eq!(kubectl.run(&["get", "deploy", "web", image]), "5 web:2.0");
        assert_eq!(
            kubectl.run(&["label", "deploy/web", "tier=front"]),
            "deployment.apps/web labeled\n"
        );
        assert!(
            kubectl
                .run(&["get", "deploy", "-l", "tier=front", "-o", "name"])
                .contains("deployment.apps/web")
        );
        assert!(kubectl.run(&["describe", "deploy/web"]).contains("web:2.0"));
        assert!(kubectl.run(&["get", "all"]).contains("service/kubernetes"));
        assert_eq!(
            kubectl.run(&["delete", "deploy", "web", "--wait=false"]),
            "deployment.apps \"web\" deleted\n"
        );
    }
    assert!(!versions.is_empty());
}

#[test]
fn the_cluster_tells_about_itself() {
    let cluster = Cluster::start();
    let kubectl = cluster.kubectl();
    assert!(kubectl.run(&["cluster-info"]).contains("is running at"));
    let resources = kubectl.run(&["api-resources"]);
    for kind in [
        "Pod",
        "Deployment",
        "Service",
        "ConfigMap",
        "Lease",
        "ClusterRole",
        "EndpointSlice",
        "HorizontalPodAutoscaler",
    ] {
        assert!(
            resources
                .lines()
                .any(|line| line.split_whitespace().last() == Some(kind)),
            "{kind} in {resources}"
        );
    }
    assert!(
        kubectl
            .run(&["explain", "pod.spec.containers.image"])
            .contains("image")
    );
    let namespaces = kubectl.run(&["get", "ns", "-o", "name"]);
    for name in ["default", "kube-system", "kube-public", "kube-node-lease"] {
        assert!(
            namespaces.contains(&format!("namespace/{name}\n")),
            "{namespaces}"
        );
    }
}

#[test]
fn bad_input_is_refused_in_upstreams_words() {
    let cluster = Cluster::start();
    let kubectl = cluster.kubectl();
    let refused = |manifest: &str| {
        let said = kubectl.feed(&["apply", "-f", "-"], manifest);
        assert!(!said.ok, "{}", said.out);
        said.err
    };
    let typo = refused(&DEPLOYMENT.replace("replicas: 2", "replcas: 2"));
    assert!(typo.contains("unknown field \"spec.replcas\""), "{typo}");
    let mistyped = refused(&DEPLOYMENT.replace("replicas: 2", "replicas: two"));
    assert!(mistyped.contains("spec.replicas"), "{mistyped}");
    let unselected = refused(&DEPLOYMENT.replace(
        "metadata: {labels: {app: web}}\n    spec",
        "metadata: {labels: {app: other}}\n    spec",
    ));
    assert!(
        unselected.contains("`selector` does not match template `labels`"),
        "{unselected}"
    );
    let named = refused(&DEPLOYMENT.replace("name: web, labels", "name: Web_1, labels"));
    assert!(
        named.contains("metadata.name: Invalid value: \"Web_1\""),
        "{named}"
    );
    let created = kubectl.feed(&["create", "-f", "-"], DEPLOYMENT);
    assert!(created.ok, "{}", created.err);
    let again = kubectl.feed(&["create", "-f", "-"], DEPLOYMENT);
    assert!(
        again
            .err
            .contains("deployments.apps \"web\" already exists"),
        "{}",
        again.err
    );
    let moved = refused(
        &DEPLOYMENT
            .replace(
                "{matchLabels: {app: web}}",
                "{matchLabels: {app: web, x: z}}",
            )
            .replace(
                "labels: {app: web}}\n    spec",
                "labels: {app: web, x: z}}\n    spec",
            ),
    );
    assert!(moved.contains("field is immutable"), "{moved}");
    let missing = kubectl.try_run(&["get", "pod", "nobody"]);
    assert!(
        missing.err.contains("pods \"nobody\" not found"),
        "{}",
        missing.err
    );
}

#[test]
fn what_was_acknowledged_is_there_after_a_restart() {
    let mut cluster = Cluster::start();
    let kubectl = cluster.kubectl();
    let _ =
        kubectl.apply("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: kept}\ndata: {a: '1'}\n");
    let version = kubectl.run(&[
        "get",
        "cm",
        "kept",
        "-o=jsonpath={.metadata.resourceVersion}",
    ]);
    cluster.restart();
    let kubectl = cluster.kubectl();
    assert_eq!(
        kubectl.run(&[
            "get",
            "cm",
            "kept",
            "-o=jsonpath={.data.a} {.metadata.resourceVersion}"
        ]),
        format!("1 {version}")
    );
}

#[test]
fn every_kind_is_explained_down_to_its_last_field() {
    let cluster = Cluster::start();
    let programs = kubectl::all();
    // The one on PATH, and the oldest: they read different documents.
    for program in programs.iter().take(2) {
        let kubectl = cluster.kubectl_at(program);
        let resources = kubectl.run(&["api-resources", "--no-headers"]);
        assert!(resources.lines().count() > 20, "{resources}");
        for line in resources.lines() {
            let words: Vec<_> = line.split_whitespace().collect();
            // NAME, perhaps SHORTNAMES, APIVERSION, NAMESPACED, KIND.
            let version = format!("--api-version={}", words[words.len() - 3]);
            let said = kubectl.run(&["explain", words[0], &version, "--recursive"]);
            assert!(said.contains("metadata"), "{line}: {said}");
        }
    }
}
