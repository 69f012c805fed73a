//! Streams into pods, with every kubectl at hand: what they say to the server differs by version (SPDY, SPDY in a WebSocket, a WebSocket's channels).

use coracle_tests::{followed::Followed, kubectl, request::http, up::Up};

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

/// The local address of a port-forward that has begun.
fn local(forwarding: &Followed) -> String {
    let said = forwarding.until("Forwarding from 127.0.0.1:");
    let line = said.lines().find(|line| line.contains("127.0.0.1:"));
    let words = line.and_then(|line| line.split_whitespace().nth(2));
    words.unwrap_or_default().to_owned()
}

#[test]
fn ports_of_pods_and_services_are_forwarded() {
    let up = Up::start();
    up.push("hello-http:1", "hello-http");
    let _ = up.kubectl().apply(WEB);
    let _ = up
        .kubectl()
        .run(&["wait", "--for=condition=Ready", "pod/web", "--timeout=60s"]);
    for program in kubectl::all() {
        let kubectl = up.kubectl_at(&program);
        for (target, port) in [
            ("pod/web", ":8080"),
            ("service/web", ":80"),
            ("pod/web", ":http"),
        ] {
            let forwarding = kubectl.follow(&["port-forward", target, port]);
            let address = local(&forwarding);
            // One after another and side by side, over one connection to the server.
            for _ in 0..3 {
                let asking: Vec<_> = (0..4)
                    .map(|_| {
                        let address = address.clone();
                        std::thread::spawn(move || http(&address, "GET", "/", ""))
                    })
                    .collect();
                let answers = asking.into_iter().map(|asked| asked.join().unwrap());
                for answer in answers.map(Option::unwrap_or_default) {
                    assert!(
                        answer.starts_with("HTTP/1.1 200"),
                        "{program:?} {target}: {answer:?}"
                    );
                }
            }
        }
        let forwarding = kubectl.follow(&["port-forward", "pod/web", ":9999"]);
        assert_eq!(
            http(&local(&forwarding), "GET", "/", ""),
            None,
            "{program:?}"
        );
    }
}

/// A pod with a volume, to run commands in.
const TOOLS: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: tools}
spec:
  containers:
  - name: main
    image: hello-http:1
    ports: [{name: http, containerPort: 8080}]
    env: [{name: GREETING, value: hello}]
    resources: {limits: {memory: 64Mi, cpu: 500m}}
    volumeMounts: [{name: data, mountPath: /data}]
    readinessProbe: {exec: {command: [test, -d, /data]}, periodSeconds: 1}
    lifecycle:
      postStart: {exec: {command: [sh, -c, "echo started >/data/started"]}}
  volumes: [{name: data, emptyDir: {}}]
"#;

#[test]
fn commands_run_in_containers() {
    let up = Up::start();
    up.push("hello-http:1", "hello-http");
    let _ = up.kubectl().apply(TOOLS);
    // Ready by a probe that is a command.
    let ready = [
        "wait",
        "--for=condition=Ready",
        "pod/tools",
        "--timeout=60s",
    ];
    let _ = up.kubectl().run(&ready);
    for program in kubectl::all() {
        let kubectl = up.kubectl_at(&program);
        let exec = |command: &[&str]| {
            let words = [&["exec", "tools", "--"], command].concat();
            kubectl.try_run(&words)
        };
        let said = exec(&["cat", "/data/started"]);
        assert_eq!(
            (said.ok, said.out.as_str()),
            (true, "started\n"),
            "{program:?}: {}",
            said.err
        );
        let said = exec(&["sh", "-c", "echo $GREETING; echo wrong >&2; exit 3"]);
        assert_eq!(said.out, "hello\n", "{program:?}: {}", said.err);
        assert!(said.err.contains("wrong\n"), "{program:?}: {}", said.err);
        assert!(
            said.err.contains("exit code 3"),
            "{program:?}: {}",
            said.err
        );
        let said = exec(&[
            "sh",
            "-c",
            "seq 5 | grep -v 3 | wc -l && wget -qO- http://127.0.0.1:8080/ | head -c 5",
        ]);
        assert!(
            said.ok && said.out.starts_with("4\n") && said.out.len() == 7,
            "{program:?}: {} {}",
            said.out,
            said.err
        );
        let said = exec(&["nonsense"]);
        assert!(
            said.err.contains("executable file not found"),
            "{program:?}: {}",
            said.err
        );
        // Input to its end, and more than any buffer on the way.
        let long = "0123456789abcdef\n".repeat(100_000);
        let said = kubectl.feed(&["exec", "-i", "tools", "--", "wc", "-c"], &long);
        assert_eq!(
            said.out.trim(),
            long.len().to_string(),
            "{program:?}: {}",
            said.err
        );
        let said = exec(&["sh", "-c", "yes | head -n 300000"]);
        assert_eq!(said.out.len(), 600_000, "{program:?}: {}", said.err);
    }
}

#[test]
fn files_are_copied_both_ways() {
    let up = Up::start();
    up.push("hello-http:1", "hello-http");
    let _ = up.kubectl().apply(TOOLS);
    let ready = [
        "wait",
        "--for=condition=Ready",
        "pod/tools",
        "--timeout=60s",
    ];
    let _ = up.kubectl().run(&ready);
    let folder = tempfile::tempdir().unwrap();
    let tree = folder.path().join("tree");
    let deep = tree.join("deep".repeat(20)).join("deeper".repeat(20));
    std::fs::create_dir_all(&deep).unwrap();
    let bytes: Vec<u8> = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
    std::fs::write(tree.join("numbers"), &bytes).unwrap();
    std::fs::write(deep.join("empty"), "").unwrap();
    for (round, program) in kubectl::all().into_iter().enumerate() {
        let kubectl = up.kubectl_at(&program);
        let there = format!("tools:/data/round{round}");
        let back = folder.path().join(format!("back{round}"));
        let copied = kubectl.try_run(&["cp", tree.to_str().unwrap(), &there]);
        assert!(copied.ok, "{program:?}: {}{}", copied.out, copied.err);
        let copied = kubectl.try_run(&["cp", &there, back.to_str().unwrap()]);
        assert!(copied.ok, "{program:?}: {}{}", copied.out, copied.err);
        assert_eq!(
            std::fs::read(back.join("numbers")).unwrap(),
            bytes,
            "{program:?}"
        );
        let deep = back.join(deep.strip_prefix(&tree).unwrap());
        assert!(deep.join("empty").exists(), "{program:?}");
    }
}

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
