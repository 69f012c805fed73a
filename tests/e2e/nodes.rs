//! Nodes of their own beside the control plane's: joined with a certificate, lost, back again.

use coracle_tests::{up::Up, wait::eventually};

const POD: &str = "apiVersion: v1\nkind: Pod\nmetadata: {name: far}\nspec:\n  nodeSelector: {kubernetes.io/hostname: far-1}\n  terminationGracePeriodSeconds: 1\n  containers:\n  - {name: c, image: 'echoes:1'}\n";

#[test]
fn a_node_joins_runs_pods_and_comes_back_after_a_kill() {
    let up = Up::start();
    let kubectl = up.kubectl();
    up.push("echoes:1", "echoes");
    let mut node = up.join("far-1", "10.244.1.0/24");
    let _ = kubectl.run(&[
        "wait",
        "--for=condition=Ready",
        "node/far-1",
        "--timeout=60s",
    ]);
    let _ = kubectl.apply(POD);
    let ready = ["wait", "--for=condition=Ready", "pod/far", "--timeout=60s"];
    let _ = kubectl.run(&ready);
    assert!(
        kubectl
            .run(&["get", "pod", "far", "-o", "wide"])
            .contains("10.244.1.")
    );
    assert_eq!(kubectl.run(&["logs", "far"]), "listening\n");
    eventually("its usage is known", || {
        kubectl
            .run(&["top", "node"])
            .contains("far-1")
            .then_some(())
    });

    node.kill_and_start();
    eventually("its pods run again", || {
        let restarts = "-o=jsonpath={.status.containerStatuses[0].restartCount}{.status.containerStatuses[0].ready}";
        (kubectl.run(&["get", "pod", "far", restarts]) == "1true").then_some(())
    });
    eventually("its log is read again", || {
        let said = kubectl.try_run(&["logs", "far"]);
        (said.out == "listening\n").then_some(())
    });
    let _ = kubectl.run(&["delete", "pod", "far", "--timeout=60s"]);
    assert!(node.interrupt(), "it drains and exits with 0");
    eventually("it says that it is away", || {
        let ready = "-o=jsonpath={.status.conditions[?(@.type=='Ready')].status}";
        (kubectl.run(&["get", "node", "far-1", ready]) == "False").then_some(())
    });
}
