//! What users do all day with kubectl, on pods that run: logs, watches, descriptions, usage, scaling by load.

use coracle_tests::{request::http, up::Up, wait::eventually};

/// A server that scales with its load.
const WEB: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 1
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: web
        image: hello-http:1
        ports: [{name: http, containerPort: 8080}]
        resources: {requests: {cpu: 20m}, limits: {cpu: 500m, memory: 64Mi}}
        readinessProbe: {httpGet: {path: /, port: http}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  type: NodePort
  selector: {app: web}
  ports: [{name: http, port: 80, targetPort: http, nodePort: 30180}]
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: web}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}
  minReplicas: 1
  maxReplicas: 3
  metrics:
  - type: Resource
    resource: {name: cpu, target: {type: Utilization, averageUtilization: 50}}
"#;

#[test]
fn usage_is_shown_and_load_scales_up() {
    let up = Up::start();
    let kubectl = up.kubectl();
    up.push("hello-http:1", "hello-http");
    let _ = kubectl.apply(WEB);
    let _ = kubectl.run(&["rollout", "status", "deploy/web", "--timeout=60s"]);
    let address = up.node_port(30180);
    let answered = || http(&address, "GET", "/", "").is_some_and(|answer| answer.contains("200"));
    eventually("it answers", || answered().then_some(()));
    let top = eventually("kubectl top knows the pod", || {
        let said = kubectl.try_run(&["top", "pod"]);
        (said.ok && said.out.contains("web-")).then_some(said.out)
    });
    assert!(top.contains("CPU(cores)") && top.contains("Mi"), "{top}");
    let top = kubectl.run(&["top", "node"]);
    assert!(top.contains("edge"), "{top}");
    // The load goes on until the autoscaler has seen it.
    eventually("the autoscaler scales up", || {
        for _ in 0..200 {
            assert!(answered(), "a request failed under load");
        }
        let replicas = kubectl.run(&["get", "deploy", "web", "-o=jsonpath={.spec.replicas}"]);
        (replicas == "2" || replicas == "3").then_some(())
    });
    let said = kubectl.run(&["describe", "hpa", "web"]);
    assert!(said.contains("SuccessfulRescale"), "{said}");
}

#[test]
fn logs_watches_and_descriptions_show_what_happens() {
    let up = Up::start();
    let kubectl = up.kubectl();
    for guest in ["echoes", "traps", "floods-output"] {
        up.push(&format!("{guest}:1"), guest);
    }
    let pod = |name: &str, image: &str| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, labels: {{run: {name}}}}}\nspec:\n  terminationGracePeriodSeconds: 1\n  containers:\n  - {{name: c, image: '{image}:1'}}\n"
        )
    };
    let watch = kubectl.follow(&["get", "pod", "-w"]);
    let _ = kubectl.apply(&pod("server", "echoes"));
    watch.until("server   1/1     Running");
    let follow = kubectl.follow(&["logs", "-f", "server"]);
    follow.until("listening");
    let _ = kubectl.apply(&pod("broken", "traps"));
    watch.until("CrashLoopBackOff");
    let before = kubectl.run(&["logs", "broken", "--previous"]);
    assert!(before.contains("before"), "{before}");
    let described = kubectl.run(&["describe", "pod", "broken"]);
    for part in [
        "Back-off restarting failed container",
        "Exit Code:",
        "Node:",
        "Last State:",
    ] {
        assert!(described.contains(part), "{part} is not in\n{described}");
    }
    let wide = kubectl.run(&["get", "pod", "-o", "wide", "-l", "run=server"]);
    assert!(wide.contains("edge") && wide.contains("10.244."), "{wide}");
    let yaml = kubectl.run(&["get", "pod", "server", "-o", "yaml"]);
    assert!(yaml.contains("qosClass: BestEffort"), "{yaml}");
    let _ = kubectl.apply(&pod("flood", "floods-output"));
    let last = eventually("the flood is logged", || {
        let said = kubectl.try_run(&["logs", "flood", "--tail=2"]);
        (said.ok && !said.out.is_empty()).then_some(said.out)
    });
    assert!(last.lines().count() <= 2, "{last}");
    let limited = kubectl.run(&["logs", "flood", "--limit-bytes=100"]);
    assert_eq!(limited.len(), 100);
    let timed = kubectl.run(&["logs", "server", "--timestamps"]);
    assert!(timed.contains("Z listening"), "{timed}");
    let unknown = kubectl.try_run(&["logs", "server", "-c", "nobody"]);
    assert!(
        unknown
            .err
            .contains("container nobody is not valid for pod server"),
        "{}",
        unknown.err
    );
    let _ = kubectl.run(&["delete", "pod", "--all", "--timeout=60s"]);
    follow.ends();
    let node = kubectl.run(&["describe", "node", "edge"]);
    for part in [
        "Capacity:",
        "AgentReady",
        "NodeReady",
        "Non-terminated Pods:",
    ] {
        assert!(node.contains(part), "{part} is not in\n{node}");
    }
}
