//! Who may do what: nobody without credentials, users as roles say, nodes with what is theirs.

use coracle_tests::{
    kubectl::Kubectl,
    up::{Up, guest_file},
};

const SECRET: &str = "apiVersion: v1\nkind: Secret\nmetadata: {name: words}\nstringData: {a: b}\n";
const BINDING: &str = r"
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: readers}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: view}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: Group, name: readers}]
";
const DEPLOYMENT: &str = r"
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template: {metadata: {labels: {app: web}}, spec: {containers: [{name: c, image: 'hello-http:1'}]}}
";

/// Fails as forbidden.
fn forbidden(kubectl: &Kubectl, arguments: &[&str]) {
    let said = kubectl.try_run(arguments);
    assert!(
        !said.ok && said.err.contains("Forbidden"),
        "{arguments:?}: {}{}",
        said.out,
        said.err
    );
}

#[test]
fn who_is_not_known_gets_401_and_who_may_not_gets_403() {
    let up = Up::start();
    let admin = up.kubectl();
    up.push("hello-http:1", "hello-http");
    let _ = admin.apply(SECRET);

    let forged = up
        .kubectl_as("forged", &["--user", "jane"])
        .with_token("eyJhbGciOiJub25lIn0.e30.");
    let said = forged.try_run(&["get", "pod"]);
    assert!(
        said.err.contains("Unauthorized") || said.err.contains("logged in"),
        "{}",
        said.err
    );

    let jane = up.kubectl_as("jane", &["--user", "jane", "--group", "readers"]);
    forbidden(&jane, &["get", "pod"]);
    let _ = admin.apply(BINDING);
    assert!(
        jane.try_run(&["get", "pod"]).ok,
        "a role binding holds at once"
    );
    for arguments in [
        ["get", "secret", "words"].as_slice(),
        &["get", "pod", "-n", "kube-system"],
        &["delete", "deploy", "web"],
        &["get", "node"],
    ] {
        forbidden(&jane, arguments);
    }
    let said = jane.feed(&["create", "-f", "-"], DEPLOYMENT);
    assert!(said.err.contains("cannot create resource"), "{}", said.err);
    // The refusal may come while the module is still being sent, and then shows as a connection that broke.
    let pushed = up.try_push("jane", "hello-http:2", &guest_file("hello-http"));
    assert!(pushed.is_err(), "jane may not push");

    let node = up.kubectl_as("node", &["--node", "far-1"]);
    for arguments in [
        ["get", "secret", "words"].as_slice(),
        &["get", "secret", "-A"],
        &["delete", "node", "edge"],
        &["label", "node", "edge", "a=b"],
    ] {
        forbidden(&node, arguments);
    }
    let own = node.try_run(&["get", "node", "far-1"]);
    assert!(
        own.err.contains("NotFound"),
        "it may ask for itself: {}",
        own.err
    );
}
