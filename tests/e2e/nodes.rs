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

/// A server in a pod of its own on a node, behind a Service of its name; and a pod on another that talks to it and ends.
fn talk(kubectl: &coracle_tests::kubectl::Kubectl, case: &Case<'_>) {
    let Case {
        name,
        server,
        client,
        protocol,
        on,
        from,
    } = case;
    let _ = kubectl.apply(&format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, labels: {{app: {name}}}}}\nspec:\n  nodeSelector: {{kubernetes.io/hostname: {on}}}\n  terminationGracePeriodSeconds: 1\n  containers:\n  - {{name: c, image: '{server}:1', ports: [{{containerPort: 7, protocol: {protocol}}}]}}\n---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec:\n  selector: {{app: {name}}}\n  ports: [{{port: 70, targetPort: 7, protocol: {protocol}}}]\n"
    ));
    let pod = format!("pod/{name}");
    let _ = kubectl.run(&["wait", "--for=condition=Ready", &pod, "--timeout=60s"]);
    let caller = format!("{name}-caller");
    let _ = kubectl.apply(&format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {caller}}}\nspec:\n  restartPolicy: OnFailure\n  nodeSelector: {{kubernetes.io/hostname: {from}}}\n  containers:\n  - {{name: c, image: '{client}:1', args: ['{name}:70']}}\n"
    ));
    let phase = "-o=jsonpath={.status.phase}";
    eventually("the caller has talked", || {
        (kubectl.run(&["get", "pod", &caller, phase]) == "Succeeded").then_some(())
    });
}

struct Case<'a> {
    name: &'a str,
    server: &'a str,
    client: &'a str,
    protocol: &'a str,
    on: &'a str,
    from: &'a str,
}

#[test]
fn pods_of_different_nodes_reach_each_other_through_services() {
    let up = Up::start();
    let kubectl = up.kubectl();
    for (image, guest) in [
        ("echoes:1", "echoes"),
        ("talks:1", "talks"),
        ("echoes-datagrams:1", "echoes-datagrams"),
        ("asks-by-datagram:1", "asks-by-datagram"),
    ] {
        up.push(image, guest);
    }
    let _far = up.join("far-1", "10.244.1.0/24");
    let ready = [
        "wait",
        "--for=condition=Ready",
        "node/far-1",
        "--timeout=60s",
    ];
    let _ = kubectl.run(&ready);
    let nodes = kubectl.run(&["get", "nodes", "-o=jsonpath={.items[*].metadata.name}"]);
    let near = nodes.split(' ').find(|name| *name != "far-1");
    let near = near.expect("the control plane's own node");
    for (number, (on, from)) in [("far-1", near), (near, "far-1")].into_iter().enumerate() {
        for (protocol, server, client) in [
            ("TCP", "echoes", "talks"),
            ("UDP", "echoes-datagrams", "asks-by-datagram"),
        ] {
            let name = format!("{}-{number}", protocol.to_lowercase());
            talk(
                &kubectl,
                &Case {
                    name: &name,
                    server,
                    client,
                    protocol,
                    on,
                    from,
                },
            );
        }
    }
}
