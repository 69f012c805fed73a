//! What reaches into pods through the API server: proxied requests, and containers added for debugging, with every kubectl at hand.

use coracle_tests::{kubectl, up::Up};

/// A server behind a Service.
const WEB: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec:
  containers:
  - name: web
    image: hello-http:1
    ports: [{name: http, containerPort: 8080}]
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: web}
  ports: [{name: http, port: 80, targetPort: http}]
"#;

#[test]
fn servers_are_reached_through_the_api_server() {
    let up = Up::start();
    let kubectl = up.kubectl();
    up.push("hello-http:1", "hello-http");
    let _ = kubectl.apply(WEB);
    let _ = kubectl.run(&["wait", "--for=condition=Ready", "pod/web", "--timeout=60s"]);
    for path in [
        "/api/v1/namespaces/default/pods/web/proxy/",
        "/api/v1/namespaces/default/pods/web:8080/proxy/",
        "/api/v1/namespaces/default/services/web/proxy/",
        "/api/v1/namespaces/default/services/http:web:http/proxy/",
    ] {
        let said = coracle_tests::wait::eventually(path, || {
            let said = kubectl.try_run(&["get", "--raw", path]);
            said.ok.then_some(said)
        });
        assert!(!said.out.is_empty(), "{path}");
    }
    let node = "/api/v1/nodes/edge/proxy/healthz";
    assert_eq!(kubectl.run(&["get", "--raw", node]), "ok");
    let none = "/api/v1/namespaces/default/services/none/proxy/";
    assert!(!kubectl.try_run(&["get", "--raw", none]).ok);
}

#[test]
fn a_running_pod_is_debugged() {
    let up = Up::start();
    up.push("hello-http:1", "hello-http");
    let kubectl = up.kubectl();
    let _ = kubectl.apply(WEB);
    let _ = kubectl.run(&["wait", "--for=condition=Ready", "pod/web", "--timeout=60s"]);
    for (round, program) in kubectl::all().into_iter().enumerate() {
        let kubectl = up.kubectl_at(&program);
        let name = format!("look{round}");
        let container = format!("--container={name}");
        let image = "--image=coracle.dev/toolbox";
        let script = "wget -qO- http://127.0.0.1:8080/ && exit 4";
        let debug = ["debug", "web", image, &container, "--", "sh", "-c", script];
        let said = kubectl.try_run(&debug);
        assert!(said.ok, "{program:?}: {}{}", said.out, said.err);
        let path = format!(
            "-o=jsonpath={{.status.ephemeralContainerStatuses[?(@.name==\"{name}\")].state.terminated.exitCode}}"
        );
        let code = coracle_tests::wait::eventually("it ends", || {
            let code = kubectl.run(&["get", "pod", "web", &path]);
            (!code.is_empty()).then_some(code)
        });
        assert_eq!(code, "4", "{program:?}");
        let log = kubectl.run(&["logs", "web", "-c", &name]);
        assert!(log.contains("hello from web"), "{program:?}: {log}");
    }
    // The pod itself has not noticed.
    let phase = kubectl.run(&[
        "get",
        "pod",
        "web",
        "-o=jsonpath={.status.phase} {.status.containerStatuses[0].restartCount}",
    ]);
    assert_eq!(phase, "Running 0");
}
