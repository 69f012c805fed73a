//! A node in a process of its own: one pod that returns what it gets on port 7, and does what it is told by lines on standard input.

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use coracle_network::{
    PodIdentity, PodStack, Switch, SwitchConfig,
    tunnel::{TunnelConfig, Tunnels, routes::Peer},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::mpsc,
};

use crate::authority::Papers;

/// What a node is told when it starts: its number, the folder with its papers, where it listens (or `-`), and where the other one does (or `-`).
pub(crate) fn run(arguments: &[String]) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(serve(arguments));
}

fn address(text: &str) -> Option<SocketAddr> {
    (text != "-").then(|| text.parse().unwrap())
}

async fn serve(arguments: &[String]) {
    let [number, folder, own, other] = arguments else {
        panic!("NUMBER FOLDER OWN OTHER");
    };
    let number: u8 = number.parse().unwrap();
    let read = |name: &str| std::fs::read(Path::new(folder).join(name)).unwrap();
    let papers = Papers {
        root: read("root"),
        certificate: read("certificate"),
        key: read("key"),
    };
    let switch = Switch::new(SwitchConfig {
        connect_timeout: Duration::from_secs(10),
        ..SwitchConfig::default()
    });
    let config = TunnelConfig {
        ping: Duration::from_millis(200),
        pong: Duration::from_millis(500),
        ..TunnelConfig::default()
    };
    let identity = papers.identity(&format!("node-{number}"));
    let tunnels = Tunnels::new(&switch, identity, config);
    if let Some(own) = address(own) {
        tunnels.listen(tokio::net::TcpListener::bind(own).await.unwrap());
    }
    let peer = |number: u8, dial: Option<SocketAddr>| Peer {
        node: format!("node-{number}"),
        ranges: vec![format!("10.{number}.0.0/24").parse().unwrap()],
        dial: dial.into_iter().collect(),
    };
    tunnels.set_peers(vec![
        peer(number, address(own)),
        peer(3 - number, address(other)),
    ]);
    let pod = switch
        .attach(PodIdentity {
            namespace: "default".into(),
            name: "echo".into(),
            uid: "echo".into(),
            ip: [10, number, 0, 2].into(),
            hostname: "echo".into(),
            subdomain: None,
        })
        .unwrap();
    echo(&pod);
    println!("ready");
    let (tell, mut lines) = mpsc::channel(16);
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            if tell.blocking_send(line).is_err() {
                return;
            }
        }
    });
    while let Some(line) = lines.recv().await {
        let (what, target) = line.split_once(' ').unwrap();
        let target: SocketAddr = target.parse().unwrap();
        let said = match what {
            "connect" => connect(&pod, target).await,
            "ask" => ask(&pod, target).await,
            "hold" => hold(&pod, target).await,
            _ => panic!("{line}"),
        };
        println!("{}", said.unwrap_or_else(|error| format!("error {error}")));
    }
}

fn echo(pod: &Arc<PodStack>) {
    let any = "0.0.0.0:7".parse().unwrap();
    let listener = pod.tcp_listen(any, 64).unwrap();
    tokio::spawn(async move {
        while let Ok(mut stream) = listener.accept().await {
            tokio::spawn(async move {
                let mut buffer = [0; 4096];
                while let Ok(size @ 1..) = stream.read(&mut buffer).await {
                    if stream.write_all(&buffer[..size]).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    let socket = pod.udp_bind(any).unwrap();
    tokio::spawn(async move {
        while let Ok(datagram) = socket.recv().await {
            // Whoever cannot be answered now asks again.
            let _lost = socket.send(datagram.data, Some(datagram.source));
        }
    });
}

async fn connect(pod: &PodStack, target: SocketAddr) -> std::io::Result<String> {
    let mut stream = pod.tcp_connect(target).await?;
    stream.write_all(b"hello").await?;
    let mut heard = [0; 5];
    stream.read_exact(&mut heard).await?;
    assert_eq!(&heard, b"hello");
    Ok("ok".into())
}

/// Asks by datagram until there is an answer.
async fn ask(pod: &PodStack, target: SocketAddr) -> std::io::Result<String> {
    let socket = pod.udp_bind("0.0.0.0:0".parse().unwrap())?;
    socket.connect(Some(target))?;
    for _ in 0..100 {
        socket.send(Bytes::from_static(b"hello"), None)?;
        let answer = tokio::time::timeout(Duration::from_millis(100), socket.recv()).await;
        if let Ok(answer) = answer {
            assert_eq!(answer?.data, "hello");
            return Ok("ok".into());
        }
    }
    Ok("error no answer".into())
}

/// Connects, and tells when the connection breaks.
async fn hold(pod: &PodStack, target: SocketAddr) -> std::io::Result<String> {
    let mut stream = pod.tcp_connect(target).await?;
    stream.write_all(b"x").await?;
    stream.read_exact(&mut [0; 1]).await?;
    tokio::spawn(async move {
        let ended = stream.read(&mut [0; 1]).await;
        match ended {
            Err(error) => println!("broken {:?}", error.kind()),
            Ok(size) => println!("ended with {size} bytes"),
        }
    });
    Ok("held".into())
}
