//! Probes against listeners on a real switch.

use coracle_network::{PodIdentity, PodStack, SwitchConfig};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

const LIMIT: Duration = Duration::from_secs(5);

fn world() -> (Target, Arc<PodStack>) {
    let switch = Switch::new(SwitchConfig::default());
    let ip: IpAddr = "10.1.0.2".parse().unwrap();
    let identity = PodIdentity {
        namespace: "n".to_owned(),
        name: "p".to_owned(),
        uid: "u".to_owned(),
        ip,
        hostname: "p".to_owned(),
        subdomain: None,
    };
    let stack = switch.attach(identity).unwrap();
    (Target { switch, ip }, stack)
}

fn container() -> Container {
    serde_json::from_value(
        json!({ "name": "c", "ports": [{ "name": "web", "containerPort": 8080 }] }),
    )
    .unwrap()
}

fn probe(spec: Value) -> Probe {
    serde_json::from_value(spec).unwrap()
}

/// Answers one request with `answer` and says what it was.
async fn serve(stack: &Arc<PodStack>, answer: &'static str) -> tokio::task::JoinHandle<String> {
    let listener = stack
        .tcp_listen("0.0.0.0:8080".parse().unwrap(), 8)
        .unwrap();
    tokio::spawn(async move {
        let mut stream = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).await.unwrap();
            request.extend_from_slice(&byte);
        }
        stream.write_all(answer.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        String::from_utf8(request).unwrap()
    })
}

#[tokio::test]
async fn answers_between_200_and_399_are_good() {
    let cases = [
        ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", Ok(())),
        (
            "HTTP/1.1 302 Found\r\nlocation: /x\r\ncontent-length: 0\r\n\r\n",
            Ok(()),
        ),
        (
            "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n",
            Err("HTTP probe failed with statuscode: 503".to_owned()),
        ),
    ];
    for (answer, expected) in cases {
        let (target, stack) = world();
        let served = serve(&stack, answer).await;
        let spec = probe(
            json!({ "httpGet": { "port": "web", "path": "healthz?x=1", "httpHeaders": [{ "name": "X-A", "value": "b" }, { "name": "Host", "value": "me" }] } }),
        );
        assert_eq!(target.probe(&container(), &spec, LIMIT).await, expected);
        let request = served.await.unwrap();
        assert!(
            request.starts_with("GET /healthz?x=1 HTTP/1.1\r\n"),
            "{request}"
        );
        assert!(
            request.contains("x-a: b\r\n")
                && request.contains("host: me\r\n")
                && request.contains("user-agent: kube-probe/"),
            "{request}"
        );
    }
}

#[tokio::test]
async fn what_does_not_answer_is_told_as_upstream_tells_it() {
    let (target, stack) = world();
    let tcp = |port: Value| probe(json!({ "tcpSocket": { "port": port } }));
    let refused = target
        .probe(&container(), &tcp(json!(8080)), LIMIT)
        .await
        .unwrap_err();
    assert_eq!(
        refused,
        "dial tcp 10.1.0.2:8080: connect: connection refused"
    );
    let unknown = target
        .probe(&container(), &tcp(json!("db")), LIMIT)
        .await
        .unwrap_err();
    assert_eq!(unknown, "couldn't find port \"db\" in container c");
    let http = probe(json!({ "httpGet": { "port": 8080 } }));
    let refused = target.probe(&container(), &http, LIMIT).await.unwrap_err();
    assert_eq!(
        refused,
        "Get \"http://10.1.0.2:8080/\": dial tcp 10.1.0.2:8080: connect: connection refused"
    );
    let _silent = stack
        .tcp_listen("0.0.0.0:8080".parse().unwrap(), 8)
        .unwrap();
    assert_eq!(
        target.probe(&container(), &tcp(json!("web")), LIMIT).await,
        Ok(())
    );
    let slow = target
        .probe(&container(), &http, Duration::from_millis(20))
        .await
        .unwrap_err();
    assert!(slow.contains("context deadline exceeded"), "{slow}");
}

#[tokio::test]
async fn what_is_not_http_is_a_failure_and_not_the_end() {
    let (target, stack) = world();
    let served = serve(&stack, "SSH-2.0-x\r\n").await;
    let http = probe(json!({ "httpGet": { "port": 8080 } }));
    assert!(target.probe(&container(), &http, LIMIT).await.is_err());
    served.await.unwrap();
}

#[tokio::test]
async fn an_endless_answer_is_read_only_in_part() {
    let (target, stack) = world();
    let listener = stack
        .tcp_listen("0.0.0.0:8080".parse().unwrap(), 8)
        .unwrap();
    let served = tokio::spawn(async move {
        let mut stream = listener.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        while stream.write_all(&[b'x'; 4096]).await.is_ok() {}
    });
    let http = probe(json!({ "httpGet": { "port": 8080 } }));
    assert_eq!(target.probe(&container(), &http, LIMIT).await, Ok(()));
    tokio::time::timeout(LIMIT, served).await.unwrap().unwrap();
}

#[tokio::test]
async fn hooks_take_any_answer() {
    let (target, stack) = world();
    let served = serve(&stack, "HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n").await;
    let hook: LifecycleHandler =
        serde_json::from_value(json!({ "httpGet": { "port": 8080 } })).unwrap();
    assert_eq!(target.hook(&container(), &hook, LIMIT).await, Ok(()));
    served.await.unwrap();
    let sleep: LifecycleHandler =
        serde_json::from_value(json!({ "sleep": { "seconds": 60 } })).unwrap();
    assert_eq!(
        target
            .hook(&container(), &sleep, Duration::from_millis(1))
            .await,
        Ok(()),
        "no longer than it may"
    );
}
