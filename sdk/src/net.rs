//! TCP over the pod's virtual network: listen, accept, connect, and look services up by name. No kernel sockets are involved.

use std::{
    cell::Cell,
    future::Future,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    rc::Rc,
};

use wasip2::sockets::{
    instance_network::instance_network,
    ip_name_lookup::resolve_addresses,
    network::{ErrorCode, IpAddress},
};
pub use wstd::io::{AsyncRead, AsyncWrite};
use wstd::net::TcpListener;
pub use wstd::net::TcpStream;
use wstd::{iter::AsyncIterator, runtime::AsyncPollable};

/// The addresses a name stands for: a Service (`store`, `store.shop`, `store.shop.svc.cluster.local`), a pod's host name, `localhost`.
///
/// # Errors
/// `NotFound` when nobody has that name, `InvalidInput` when it is not a name.
///
/// ```no_run
/// # async fn example() -> std::io::Result<()> {
/// let addresses = coracle_sdk::net::lookup("store").await?;
/// # Ok(())
/// # }
/// ```
pub async fn lookup(name: &str) -> io::Result<Vec<IpAddr>> {
    let network = instance_network();
    let stream = resolve_addresses(&network, name).map_err(|code| failed(name, code))?;
    let ready = AsyncPollable::new(stream.subscribe());
    let mut found = Vec::new();
    loop {
        match stream.resolve_next_address() {
            Ok(Some(IpAddress::Ipv4((a, b, c, d)))) => found.push(Ipv4Addr::new(a, b, c, d).into()),
            Ok(Some(IpAddress::Ipv6((a, b, c, d, e, f, g, h)))) => {
                found.push(Ipv6Addr::new(a, b, c, d, e, f, g, h).into());
            }
            Ok(None) => return Ok(found),
            Err(ErrorCode::WouldBlock) => ready.wait_for().await,
            Err(code) => return Err(failed(name, code)),
        }
    }
}

fn failed(name: &str, code: ErrorCode) -> io::Error {
    let kind = match code {
        ErrorCode::NameUnresolvable
        | ErrorCode::TemporaryResolverFailure
        | ErrorCode::PermanentResolverFailure => io::ErrorKind::NotFound,
        ErrorCode::InvalidArgument => io::ErrorKind::InvalidInput,
        ErrorCode::AccessDenied => io::ErrorKind::PermissionDenied,
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, format!("look up {name}: {code}"))
}

/// Connects to `host:port`, where host is a name for [`lookup`] or an address. Tries the addresses in turn.
///
/// # Errors
/// The lookup's, or that of the last address tried.
///
/// ```no_run
/// # async fn example() -> std::io::Result<()> {
/// use coracle_sdk::net::{AsyncWrite as _, connect};
/// let mut stream = connect("store:6380").await?;
/// stream.write_all(b"GET greeting\n").await?;
/// # Ok(())
/// # }
/// ```
pub async fn connect(address: &str) -> io::Result<TcpStream> {
    if let Ok(address) = address.parse::<SocketAddr>() {
        return connect_to(address).await;
    }
    let (host, port) = address
        .rsplit_once(':')
        .and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?)))
        .ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{address} is not host:port"),
            )
        })?;
    let mut last = io::Error::new(io::ErrorKind::NotFound, format!("{host} has no addresses"));
    for ip in lookup(host).await? {
        match connect_to(SocketAddr::new(ip, port)).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

async fn connect_to(address: SocketAddr) -> io::Result<TcpStream> {
    if address.is_ipv6() {
        // wstd 0.6 panics on IPv6 addresses.
        return Err(io::Error::new(
            io::ErrorKind::Unsupported,
            format!("connect to {address}: IPv6 is not supported yet"),
        ));
    }
    TcpStream::connect_addr(address).await
}

/// How many connections [`serve`] holds at once. More wait in the listener's backlog, so that a flood costs the flooder.
pub const CONNECTION_LIMIT: usize = 1024;

/// Listens on `port` of the pod and runs `handle` for each connection, concurrently, until the pod is told to stop: then the node closes the
/// listener, and this returns when the connections under way are finished.
///
/// An error of one connection is logged and ends that connection only.
///
/// # Errors
/// When the port cannot be listened on.
///
/// ```no_run
/// use coracle_sdk::net::{self, AsyncRead as _, AsyncWrite as _, TcpStream};
///
/// coracle_sdk::run!(echo);
///
/// async fn echo() -> std::io::Result<()> {
///     net::serve(7, |mut stream: TcpStream| async move {
///         let mut buffer = [0; 4096];
///         loop {
///             match stream.read(&mut buffer).await? {
///                 0 => return Ok(()),
///                 n => stream.write_all(&buffer[..n]).await?,
///             }
///         }
///     })
///     .await
/// }
/// ```
pub async fn serve<F, R>(port: u16, handle: F) -> io::Result<()>
where
    F: Fn(TcpStream) -> R,
    R: Future<Output = io::Result<()>> + 'static,
{
    serve_on(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port), handle).await
}

/// As [`serve`], on one address only: on `127.0.0.1` the other containers of the pod reach it and nobody else does.
///
/// # Errors
/// When the address cannot be listened on.
///
/// ```no_run
/// # async fn example() -> std::io::Result<()> {
/// let loopback = std::net::SocketAddr::from(([127, 0, 0, 1], 9000));
/// coracle_sdk::net::serve_on(loopback, |_stream| async { Ok(()) }).await
/// # }
/// ```
pub async fn serve_on<F, R>(address: SocketAddr, handle: F) -> io::Result<()>
where
    F: Fn(TcpStream) -> R,
    R: Future<Output = io::Result<()>> + 'static,
{
    let listener = TcpListener::bind(&address.to_string()).await?;
    let open = Rc::new(Cell::new(0_usize));
    let mut incoming = listener.incoming();
    let mut tasks = Vec::new();
    while let Some(Ok(stream)) = incoming.next().await {
        tasks.retain(|task: &wstd::runtime::Task<()>| !task.is_finished());
        open.set(open.get() + 1);
        let (connection, count) = (handle(stream), Rc::clone(&open));
        tasks.push(wstd::runtime::spawn(async move {
            if let Err(error) = connection.await {
                crate::log::warn(&format!("connection ended: {error}"));
            }
            count.set(count.get() - 1);
        }));
        while open.get() >= CONNECTION_LIMIT {
            wstd::task::sleep(wstd::time::Duration::from_millis(1)).await;
        }
    }
    crate::log::info("no more connections: finishing those under way");
    for task in tasks {
        task.await;
    }
    Ok(())
}
