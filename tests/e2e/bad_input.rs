//! Modules that cannot run or misbehave: each with a clear reason, the others unharmed.

use std::process::Command;

use coracle_tests::{kubectl::Kubectl, up::Up, wait::eventually};

/// `(module (import "env" "secret" (func)) (func (export "_start")))`
const IMPORTS_A_SECRET: &[u8] = b"\0asm\x01\0\0\0\x01\x04\x01\x60\0\0\x02\x0e\x01\x03env\x06secret\0\0\x03\x02\x01\0\x07\x0a\x01\x06_start\0\x01\x0a\x04\x01\x02\0\x0b";

/// A pod of one container.
fn pod(name: &str, image: &str, policy: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  restartPolicy: {policy}\n  terminationGracePeriodSeconds: 1\n  containers:\n  - name: c\n    image: {image}\n    ports: [{{containerPort: 8080}}]\n    resources: {{limits: {{memory: 64Mi, cpu: 200m}}}}\n"
    )
}

/// Waits until the container's state, its last one included, contains a text.
fn state(kubectl: &Kubectl, name: &str, wanted: &str) {
    let path =
        "-o=jsonpath={.status.containerStatuses[0].state}{.status.containerStatuses[0].lastState}";
    let _ = eventually(&format!("pod {name} says {wanted}"), || {
        let state = kubectl.run(&["get", "pod", name, path]);
        state.contains(wanted).then_some(state)
    });
}

#[test]
fn what_cannot_run_says_why_and_harms_nobody() {
    let up = Up::start();
    let kubectl = up.kubectl();
    up.push("good:1", "hello-http");
    for guest in ["traps", "grows-memory", "spins", "floods-output"] {
        up.push(&format!("{guest}:1"), guest);
    }
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("text.wasm");
    std::fs::write(&text, "not wasm at all").unwrap();
    let refused = up.try_push("admin", "text:1", &text).unwrap_err();
    assert!(refused.contains("is no WebAssembly module"), "{refused}");
    let truncated = folder.path().join("truncated.wasm");
    std::fs::write(&truncated, b"\0asm\x01\0\0\0\x01\x7f").unwrap();
    let stranger = folder.path().join("stranger.wasm");
    std::fs::write(&stranger, IMPORTS_A_SECRET).unwrap();
    for (image, file, why) in [
        ("truncated:1", &truncated, "malformed or cut short"),
        ("stranger:1", &stranger, "imports what no node offers"),
    ] {
        let refused = up.try_push("admin", image, file).unwrap_err();
        assert!(refused.contains(why), "{refused}");
        // Other tools push what they like.
        up.push_unchecked(image, file);
    }

    let _ = kubectl.apply(&pod("good", "good:1", "Always"));
    for (name, image, policy) in [
        ("missing", "nowhere:1", "Always"),
        ("truncated", "truncated:1", "Always"),
        ("stranger", "stranger:1", "Always"),
        ("traps", "traps:1", "Always"),
        ("grows", "grows-memory:1", "Never"),
        ("spins", "spins:1", "Always"),
        ("floods", "floods-output:1", "Always"),
    ] {
        let _ = kubectl.apply(&pod(name, image, policy));
    }
    state(&kubectl, "missing", "ImagePull");
    state(&kubectl, "truncated", "malformed or cut short");
    state(&kubectl, "stranger", "imports what no node offers");
    state(&kubectl, "traps", "\"exitCode\":134");
    state(&kubectl, "grows", "OOMKilled");
    state(&kubectl, "spins", "running");
    state(&kubectl, "floods", "running");
    state(&kubectl, "good", "running");
    let restarts = kubectl.run(&[
        "get",
        "pod",
        "good",
        "-o=jsonpath={.status.containerStatuses[0].restartCount}",
    ]);
    assert_eq!(restarts, "0");
    let _ = kubectl.run(&["logs", "traps", "--previous"]);
    assert!(kubectl.run(&["logs", "floods", "--tail=2"]).lines().count() <= 2);
    assert!(
        kubectl
            .run(&["describe", "pod", "missing"])
            .contains("coracle push")
    );
    let _ = kubectl.run(&["delete", "pod", "--all", "--timeout=60s"]);
}

#[test]
fn a_hundred_megabytes_are_refused_by_the_api_and_answered_by_a_service() {
    let up = Up::start();
    let kubectl = up.kubectl();
    let folder = tempfile::tempdir().unwrap();
    let huge = folder.path().join("huge.json");
    let value = "x".repeat(100_000_000);
    let object = format!(
        r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"huge"}},"data":{{"a":"{value}"}}}}"#
    );
    std::fs::write(&huge, object).unwrap();
    let refused = kubectl.try_run(&["create", "-f", huge.to_str().unwrap()]);
    assert!(
        !refused.ok && refused.err.contains("limit is 3145728"),
        "{}",
        refused.err
    );
    assert!(!kubectl.try_run(&["get", "configmap", "huge"]).ok);

    // A service that does not read what it is sent answers all the same, and goes on.
    up.push("hello-http:1", "hello-http");
    let labelled = pod("good", "hello-http:1", "Always")
        .replace("{name: good}", "{name: good, labels: {app: good}}");
    let _ = kubectl.apply(&labelled);
    let _ = kubectl.apply("apiVersion: v1\nkind: Service\nmetadata: {name: good}\nspec:\n  type: NodePort\n  selector: {app: good}\n  ports: [{port: 80, targetPort: 8080, nodePort: 30170}]\n");
    let url = format!("http://{}/", up.node_port(30170));
    let curl = |arguments: &[&str]| {
        let output = Command::new("curl")
            .args(["--silent", "--max-time", "60"])
            .args(arguments)
            .arg(&url)
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    eventually("it answers", || curl(&[]).contains("hello").then_some(()));
    let upload = format!("@{}", huge.display());
    assert!(curl(&["--data-binary", &upload]).contains("hello"));
    assert!(curl(&[]).contains("hello"));
    let restarts = kubectl.run(&[
        "get",
        "pod",
        "good",
        "-o=jsonpath={.status.containerStatuses[0].restartCount}",
    ]);
    assert_eq!(restarts, "0");
}
