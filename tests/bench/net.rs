//! The virtual network itself, without guests: looking up Services, following an endpoint, round trips and bytes through a Service, beside the kernel's
//! loopback in the same run. What guests add is in the other benches.

use std::{
    hint::black_box,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use coracle_network::{
    Endpoint, EndpointSlice, Place, PodIdentity, PodStack, Protocol, Service, ServicePort,
    SlicePort, Switch, SwitchConfig, TcpStream, VipKey, VipTable, vip,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::figures::{ROUNDS, median, percentile};

/// Looks at a time, as one is faster than a clock can tell.
const BATCH: u32 = 100;
const BATCHES: usize = 2000;
/// Questions and answers per round.
const TRIPS: u32 = 50_000;
/// Bytes sent per round.
const BULK: usize = 512 << 20;

/// Measures and prints.
pub(crate) fn run() {
    println!(
        "net: median of {ROUNDS} rounds; in one thread, client and server in one process; no guests, no limits, no policies"
    );
    for services in [10, 1000, 100_000] {
        lookups(services);
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(connections());
}

fn service(number: u32) -> (Service, EndpointSlice) {
    let name = format!("s{number}");
    let [_, high, middle, low] = number.to_be_bytes();
    let service = Service {
        namespace: "default".into(),
        name: name.clone(),
        addresses: vec![[10, 100 + high, middle, low].into()],
        ports: vec![ServicePort {
            name: "main".into(),
            protocol: Protocol::Tcp,
            port: 80,
            node_port: None,
        }],
        ..Service::default()
    };
    let slice = EndpointSlice {
        namespace: "default".into(),
        service: name,
        ports: vec![SlicePort {
            name: "main".into(),
            protocol: Protocol::Tcp,
            port: 8080,
        }],
        endpoints: vec![Endpoint {
            addresses: vec!["10.1.0.2".parse().expect("an address")],
            ..Endpoint::default()
        }],
    };
    (service, slice)
}

fn lookups(count: u32) {
    let (services, mut slices): (Vec<_>, Vec<_>) = (0..count).map(service).unzip();
    let place = Place::default();
    let table = vip::build(&services, &slices, &place);
    let (mut middles, mut highs, mut changes) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let mut times = sample(&table, &services);
        middles.push(percentile(&mut times, 0.5) / BATCH);
        highs.push(percentile(&mut times, 0.99) / BATCH);
        // One endpoint is another: from the objects to the switch.
        let switch = Switch::new(SwitchConfig::default());
        switch.apply(vip::diff(&VipTable::default(), &table));
        let endpoint = slices
            .first_mut()
            .and_then(|slice| slice.endpoints.first_mut());
        endpoint.expect("an endpoint").ready ^= true;
        let began = Instant::now();
        let new = vip::build(&services, &slices, &place);
        let ops = switch.with_table(|old| vip::diff(old, &new));
        switch.apply(ops);
        changes.push(began.elapsed());
    }
    println!(
        "  {count:>6} Services: lookup p50 {:?}, p99 {:?}; an endpoint's change takes {:.2?}",
        median(&middles),
        median(&highs),
        median(&changes)
    );
}

fn sample(table: &VipTable, services: &[Service]) -> Vec<Duration> {
    let keys: Vec<VipKey> = services
        .iter()
        .step_by((services.len() / 1009).max(1))
        .flat_map(|service| &service.addresses)
        .map(|ip| VipKey {
            ip: *ip,
            port: 80,
            protocol: Protocol::Tcp,
        })
        .collect();
    let mut next = keys.iter().cycle();
    let batch = |_| {
        let began = Instant::now();
        for _ in 0..BATCH {
            black_box(next.next().and_then(|key| table.get(key)));
        }
        began.elapsed()
    };
    (0..BATCHES).map(batch).collect()
}

fn pod(switch: &Switch, last: u8) -> Arc<PodStack> {
    let identity = PodIdentity {
        namespace: "default".into(),
        name: format!("p{last}"),
        uid: format!("u{last}"),
        ip: [10, 1, 0, last].into(),
        hostname: format!("p{last}"),
        subdomain: None,
    };
    switch.attach(identity).expect("a free address")
}

async fn connections() {
    let switch = Switch::new(SwitchConfig::default());
    let (client, server) = (pod(&switch, 1), pod(&switch, 2));
    let (service, slice) = service(0);
    let table = vip::build(&[service], &[slice], &Place::default());
    switch.apply(vip::diff(&VipTable::default(), &table));
    let any = SocketAddr::from(([0, 0, 0, 0], 8080));
    let listener = server.tcp_listen(any, 128).expect("a free port");
    let kernel = tokio::net::TcpListener::bind(("127.0.0.1", 0))
        .await
        .expect("a port");
    let at = kernel.local_addr().expect("its address");
    let through = SocketAddr::from(([10, 100, 0, 0], 80));
    let virtual_pair = async || -> (TcpStream, TcpStream) {
        let near = client.tcp_connect(through).await.expect("a connection");
        (near, listener.accept().await.expect("its other end"))
    };
    let kernel_pair = async || {
        let connecting = tokio::net::TcpStream::connect(at);
        let (near, far) = tokio::join!(connecting, kernel.accept());
        let (near, (far, _)) = (near.expect("a connection"), far.expect("its other end"));
        near.set_nodelay(true).expect("no delay");
        far.set_nodelay(true).expect("no delay");
        (near, far)
    };
    let (mut trips, mut bytes, mut connects) = (Pair::default(), Pair::default(), Pair::default());
    for _ in 0..ROUNDS {
        let (near, far) = virtual_pair().await;
        trips.ours.push(round_trips(near, far).await);
        let (near, far) = kernel_pair().await;
        trips.kernel.push(round_trips(near, far).await);
        let (near, far) = virtual_pair().await;
        bytes.ours.push(bulk(near, far).await);
        let (near, far) = kernel_pair().await;
        bytes.kernel.push(bulk(near, far).await);
        let began = Instant::now();
        for _ in 0..10_000 {
            drop(virtual_pair().await);
        }
        connects.ours.push(10_000.0 / began.elapsed().as_secs_f64());
        let began = Instant::now();
        for _ in 0..2000 {
            drop(kernel_pair().await);
        }
        connects.kernel.push(2000.0 / began.elapsed().as_secs_f64());
    }
    trips.tell("64 B round trips a second");
    bytes.tell("MB a second");
    connects.tell("connections a second");
}

/// Figures of both.
#[derive(Default)]
struct Pair {
    ours: Vec<f64>,
    kernel: Vec<f64>,
}

impl Pair {
    fn tell(&self, what: &str) {
        let (ours, kernel) = (median(&self.ours), median(&self.kernel));
        let times = ours / kernel;
        println!(
            "  {what}: {ours:.0} through a Service, {kernel:.0} on kernel loopback without one ({times:.1} times)"
        );
    }
}

async fn round_trips<S: AsyncRead + AsyncWrite + Unpin>(mut near: S, mut far: S) -> f64 {
    let asks = async {
        let mut heard = [0; 64];
        for _ in 0..TRIPS {
            near.write_all(&[1; 64]).await.expect("a question");
            near.read_exact(&mut heard).await.expect("an answer");
        }
        drop(near);
    };
    let answers = async {
        let mut heard = [0; 64];
        while far.read_exact(&mut heard).await.is_ok() {
            far.write_all(&heard).await.expect("an answer");
        }
    };
    let began = Instant::now();
    tokio::join!(asks, answers);
    f64::from(TRIPS) / began.elapsed().as_secs_f64()
}

async fn bulk<S: AsyncRead + AsyncWrite + Unpin>(mut near: S, mut far: S) -> f64 {
    let sends = async {
        let chunk = vec![7; 64 << 10];
        for _ in 0..BULK / chunk.len() {
            near.write_all(&chunk).await.expect("room");
        }
        near.shutdown().await.expect("an end");
    };
    let takes = async {
        let mut chunk = vec![0; 64 << 10];
        while far.read(&mut chunk).await.expect("bytes") > 0 {}
    };
    let began = Instant::now();
    tokio::join!(sends, takes);
    #[allow(clippy::cast_precision_loss, reason = "half a gigabyte")]
    let megabytes = BULK as f64 / 1e6;
    megabytes / began.elapsed().as_secs_f64()
}
