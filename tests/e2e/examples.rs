//! The examples, deployed as their READMEs say.

use coracle_tests::{request::http, up::Up, wait::eventually};

fn example(name: &str) -> String {
    let path = format!(
        "{}/../examples/{name}/{name}.yaml",
        env!("CARGO_MANIFEST_DIR")
    );
    std::fs::read_to_string(path).unwrap()
}

fn answers(up: &Up, port: u16, method: &str, body: &str, wanted: &str) {
    let address = up.node_port(port);
    let _ = eventually(&format!("{address} answers {wanted:?}"), || {
        http(&address, method, "/", body).filter(|answer| answer.contains(wanted))
    });
}

#[test]
fn services_run_find_each_other_and_answer_also_after_a_kill() {
    let mut up = Up::start();
    let kubectl = up.kubectl();
    for name in [
        "hello-http",
        "guestbook-web",
        "guestbook-api",
        "guestbook-store",
        "two-in-a-pod-front",
        "two-in-a-pod-keeper",
        "crunch",
    ] {
        up.push(&format!("{name}:1.0"), name);
    }
    for name in ["hello-http", "guestbook", "two-in-a-pod", "crunch"] {
        let _ = kubectl.apply(&example(name));
    }
    let rolled = kubectl.run(&["rollout", "status", "deploy/hello-http", "--timeout=60s"]);
    assert!(rolled.contains("successfully rolled out"), "{rolled}");
    answers(&up, 30080, "GET", "", "hello");
    answers(&up, 30082, "POST", "remember the milk", "HTTP/1.1 2");
    answers(&up, 30082, "GET", "", "remember the milk");
    answers(&up, 30081, "GET", "", "Guestbook");
    let _ = kubectl.run(&[
        "wait",
        "--for=condition=complete",
        "job/crunch",
        "--timeout=60s",
    ]);
    assert!(
        kubectl
            .run(&["logs", "job/crunch"])
            .contains("primes below")
    );

    // A new version rolls out and back.
    let _ = kubectl.run(&["set", "env", "deploy/hello-http", "GREETING=good day"]);
    let _ = kubectl.run(&["rollout", "status", "deploy/hello-http", "--timeout=60s"]);
    answers(&up, 30080, "GET", "", "good day");
    let _ = kubectl.run(&["rollout", "undo", "deploy/hello-http"]);
    let _ = kubectl.run(&["rollout", "status", "deploy/hello-http", "--timeout=60s"]);
    answers(&up, 30080, "GET", "", "hello");

    up.process().kill_and_start();
    let kubectl = up.kubectl();
    answers(&up, 30080, "GET", "", "hello");
    answers(&up, 30081, "GET", "", "Guestbook");
    assert!(
        kubectl
            .run(&["get", "pod", "-l", "app=hello-http"])
            .contains("Running")
    );
    let job = kubectl.run(&[
        "get",
        "pod",
        "-l",
        "job-name=crunch",
        "-o=jsonpath={.items[*].status.phase}",
    ]);
    assert_eq!(job, "Succeeded", "what was done is not done again");

    let _ = kubectl.run(&["delete", "deploy", "hello-http", "--wait=false"]);
    eventually("its pods go", || {
        kubectl
            .run(&["get", "pod", "-l", "app=hello-http", "-o", "name"])
            .is_empty()
            .then_some(())
    });
    assert!(up.process().interrupt(), "it drains and exits with 0");
}
