//! Modules that cannot run or misbehave: each with a clear reason, the others unharmed.

use coracle_tests::{kubectl::Kubectl, up::Up, wait::eventually};

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
    up.try_push("admin", "truncated:1", &truncated).unwrap();

    let _ = kubectl.apply(&pod("good", "good:1", "Always"));
    for (name, image, policy) in [
        ("missing", "nowhere:1", "Always"),
        ("truncated", "truncated:1", "Always"),
        ("traps", "traps:1", "Always"),
        ("grows", "grows-memory:1", "Never"),
        ("spins", "spins:1", "Always"),
        ("floods", "floods-output:1", "Always"),
    ] {
        let _ = kubectl.apply(&pod(name, image, policy));
    }
    state(&kubectl, "missing", "ImagePull");
    state(&kubectl, "truncated", "Image");
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
