//! HTTP handlers.

use std::{sync::Arc, time::Duration};

use coracle_network::{Switch, SwitchConfig, TcpStream};
use coracle_runtime::{Exit, Reuse};
use http_body_util::{BodyExt, Empty, Full};
use hyper_util::rt::TokioIo;

use crate::harness::{Running, pod, start, start_in};

async fn connect(switch: &Arc<Switch>, target: &str) -> TcpStream {
    switch
        .connect_from_host(target.parse().unwrap())
        .await
        .unwrap()
}

async fn get(stream: TcpStream, path: &str) -> (u16, String) {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    let request = http::Request::get(path)
        .header("host", "pod")
        .body(Empty::<bytes::Bytes>::new())
        .unwrap();
    let response = sender.send_request(request).await.unwrap();
    let status = response.status().as_u16();
    (
        status,
        String::from_utf8(
            response
                .into_body()
                .collect()
                .await
                .unwrap()
                .to_bytes()
                .to_vec(),
        )
        .unwrap(),
    )
}

async fn hello(switch: &Arc<Switch>, reuse: Reuse) -> Running {
    start_in(&pod(switch, 1), "hello-http", |spec| {
        spec.http_reuse = reuse;
        spec.env = vec![("HOSTNAME".into(), "pod-1".into())];
    })
    .await
}

#[tokio::test]
async fn a_handler_answers_with_an_instance_each_or_one_for_many() {
    for reuse in [Reuse::PerRequest, Reuse::default()] {
        let switch = Switch::new(SwitchConfig::default());
        let running = hello(&switch, reuse).await;
        for _ in 0..20 {
            let answer = get(connect(&switch, "10.1.0.1:8080").await, "/").await;
            assert_eq!(
                answer,
                (200, "hello from pod-1\n".to_owned()),
                "{}",
                running.err.text()
            );
        }
        assert_eq!(
            running.container.stop(Duration::from_secs(30)).await,
            Exit::Completed(0)
        );
    }
}

#[tokio::test]
async fn many_requests_at_once_are_answered() {
    let switch = Switch::new(SwitchConfig::default());
    let running = hello(&switch, Reuse::default()).await;
    let requests =
        (0..100).map(|_| async { get(connect(&switch, "10.1.0.1:8080").await, "/").await.0 });
    let statuses = futures::future::join_all(requests).await;
    assert!(
        statuses.iter().all(|status| *status == 200),
        "{statuses:?} {}",
        running.err.text()
    );
}

#[tokio::test]
async fn handlers_call_programs_over_the_virtual_network() {
    let switch = Switch::new(SwitchConfig::default());
    let data = tempfile::tempdir().unwrap();
    let (store_pod, api_pod) = (pod(&switch, 1), pod(&switch, 2));
    let store = start_in(&store_pod, "guestbook-store", |spec| {
        spec.mounts = vec![coracle_runtime::Mount {
            host_path: data.path().into(),
            guest_path: "/data".into(),
            read_only: false,
        }];
    })
    .await;
    crate::harness::eventually("the store listens", || {
        if store_pod.listens_on(6380) {
            Ok(())
        } else {
            Err(store.err.text())
        }
    })
    .await;
    let api = start_in(&api_pod, "guestbook-api", |spec| {
        spec.env = vec![("STORE".into(), "10.1.0.1:6380".into())]
    })
    .await;
    let stream = connect(&switch, "10.1.0.2:8080").await;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    let post = http::Request::post("/entries")
        .header("host", "api")
        .body(Full::new(bytes::Bytes::from("hello there")))
        .unwrap();
    let response = sender.send_request(post).await.unwrap();
    assert_eq!(response.status(), 201, "{}", api.err.text());
    let listed = get(connect(&switch, "10.1.0.2:8080").await, "/entries").await;
    assert_eq!(
        listed,
        (200, "[{\"number\":1,\"text\":\"hello there\"}]".to_owned())
    );
}

#[tokio::test]
async fn a_handler_without_a_port_is_refused() {
    let switch = Switch::new(SwitchConfig::default());
    let stack = pod(&switch, 1);
    let running = start("exits-with", |_| {}).await;
    let spec = coracle_runtime::ContainerSpec {
        id: "x".into(),
        artifact: crate::harness::guest("hello-http").await,
        args: Vec::new(),
        env: Vec::new(),
        mounts: Vec::new(),
        cpu_limit_millis: None,
        cpu_weight_millis: 1,
        memory_limit: None,
        fuel_budget: None,
        stdin: None,
        is_terminal: false,
        stdout: running.out.clone(),
        stderr: running.err.clone(),
        stack,
        http_port: None,
        http_reuse: Reuse::default(),
    };
    let runtime = crate::harness::runtime();
    let refused = runtime.start(spec, &runtime.place()).unwrap_err();
    assert!(refused.to_string().contains("needs a port"), "{refused}");
}
