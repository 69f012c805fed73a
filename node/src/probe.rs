//! Carries out probes and life-cycle hooks that are connections to the pod: through the virtual switch, never through the host's network. Commands are run by
//! [`crate::commands`].

mod grpc;
mod https;

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use coracle_network::{NetError, Switch};
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use k8s_openapi::{
    api::core::v1::{Container, HTTPGetAction, LifecycleHandler, Probe},
    apimachinery::pkg::util::intstr::IntOrString,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::timeout,
};

/// What is read of an answer before it is closed: enough for one that is short to end in order. Upstream's value.
const ANSWER_LIMIT: usize = 10 << 10;

/// Where a pod is probed.
#[derive(Clone, Debug)]
pub struct Target {
    /// The node's switch.
    pub switch: Arc<Switch>,
    /// The pod's address.
    pub ip: IpAddr,
}

impl Target {
    /// Probes a container.
    ///
    /// # Errors
    /// What was wrong, as events tell it.
    pub async fn probe(
        &self,
        container: &Container,
        probe: &Probe,
        limit: Duration,
    ) -> Result<(), String> {
        if let Some(http) = &probe.http_get {
            let status = self.get(container, http, limit).await?;
            // Redirections count as success: the module answers.
            if status.is_success() || status.is_redirection() {
                return Ok(());
            }
            return Err(format!(
                "HTTP probe failed with statuscode: {}",
                status.as_u16()
            ));
        }
        if let Some(tcp) = &probe.tcp_socket {
            let address = SocketAddr::new(self.ip, port(container, &tcp.port)?);
            return self.dial(address, limit).await.map(drop);
        }
        if let Some(grpc) = &probe.grpc {
            let number = port(container, &IntOrString::Int(grpc.port))?;
            let address = SocketAddr::new(self.ip, number);
            let service = grpc.service.as_deref().unwrap_or_default();
            let checked = async {
                let stream = self.dial(address, limit).await?;
                grpc::check(stream, address, service).await
            };
            let failed = |_| format!("timeout: health rpc did not complete within {limit:?}");
            return timeout(limit, checked).await.map_err(failed)?;
        }
        Err("the probe has no handler that this node knows".to_owned())
    }

    /// Runs a hook of a container.
    ///
    /// # Errors
    /// What was wrong, as events tell it.
    pub async fn hook(
        &self,
        container: &Container,
        hook: &LifecycleHandler,
        limit: Duration,
    ) -> Result<(), String> {
        if let Some(http) = &hook.http_get {
            // As upstream: an answer is an answer, whatever it says.
            return self.get(container, http, limit).await.map(drop);
        }
        if let Some(tcp) = &hook.tcp_socket {
            let address = SocketAddr::new(self.ip, port(container, &tcp.port)?);
            return self.dial(address, limit).await.map(drop);
        }
        if let Some(sleep) = &hook.sleep {
            let wanted = Duration::from_secs(u64::try_from(sleep.seconds).unwrap_or(0));
            tokio::time::sleep(wanted.min(limit)).await;
            return Ok(());
        }
        Err("the hook has no handler that this node knows".to_owned())
    }

    async fn dial(
        &self,
        address: SocketAddr,
        limit: Duration,
    ) -> Result<coracle_network::TcpStream, String> {
        match timeout(limit, self.switch.connect_from_host(address)).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(format!("dial tcp {address}: {}", dialled(error))),
            Err(_) => Err(format!("dial tcp {address}: i/o timeout")),
        }
    }

    async fn get(
        &self,
        container: &Container,
        http: &HTTPGetAction,
        limit: Duration,
    ) -> Result<StatusCode, String> {
        let scheme = http.scheme.as_deref().unwrap_or("HTTP").to_lowercase();
        let address = SocketAddr::new(self.ip, port(container, &http.port)?);
        let path = http
            .path
            .as_deref()
            .filter(|path| !path.is_empty())
            .unwrap_or("/");
        let slash = if path.starts_with('/') { "" } else { "/" };
        let url = format!("{scheme}://{address}{slash}{path}");
        let failed = |why: String| format!("Get \"{url}\": {why}");
        let request = request(http, address, &format!("{slash}{path}"))
            .map_err(|error| failed(error.to_string()))?;
        let asking = async {
            let stream = match self.switch.connect_from_host(address).await {
                Ok(stream) => stream,
                Err(error) => {
                    return Err(failed(format!("dial tcp {address}: {}", dialled(error))));
                }
            };
            if scheme == "https" {
                let stream = https::connect(stream, self.ip)
                    .await
                    .map_err(|error| failed(error.to_string()))?;
                ask(stream, request)
                    .await
                    .map_err(|error| failed(error.to_string()))
            } else {
                ask(stream, request)
                    .await
                    .map_err(|error| failed(error.to_string()))
            }
        };
        match timeout(limit, asking).await {
            Ok(answer) => answer,
            Err(_) => Err(failed(
                "context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
                    .to_owned(),
            )),
        }
    }
}

/// Asks over an open connection and reads the beginning of the answer.
async fn ask<S>(stream: S, request: Request<Empty<Bytes>>) -> Result<StatusCode, hyper::Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let mut connection = std::pin::pin!(connection);
    let answering = async {
        let answer = sender.send_request(request).await?;
        let status = answer.status();
        let mut body = answer.into_body();
        let mut seen = 0;
        while seen < ANSWER_LIMIT {
            match body.frame().await {
                Some(frame) => seen += frame?.data_ref().map_or(0, Bytes::len),
                None => break,
            }
        }
        Ok(status)
    };
    let mut answering = std::pin::pin!(answering);
    tokio::select! {
        biased;
        answer = answering.as_mut() => answer,
        // It may end before the answer was looked at.
        ended = connection.as_mut() => match ended {
            Ok(()) => answering.await,
            Err(error) => Err(error),
        },
    }
}

fn request(
    http: &HTTPGetAction,
    address: SocketAddr,
    path: &str,
) -> Result<Request<Empty<Bytes>>, http::Error> {
    let host = http.host.as_deref().filter(|host| !host.is_empty());
    let mut builder = Request::get(path);
    let mut given = Vec::new();
    for one in http.http_headers.iter().flatten() {
        given.push(one.name.to_lowercase());
        builder = builder.header(&one.name, &one.value);
    }
    let or = |builder: http::request::Builder, name: header::HeaderName, value: String| {
        if given.iter().any(|one| one == name.as_str()) {
            builder
        } else {
            builder.header(name, value)
        }
    };
    builder = or(
        builder,
        header::HOST,
        host.map_or_else(|| address.to_string(), str::to_owned),
    );
    builder = or(
        builder,
        header::USER_AGENT,
        format!("kube-probe/{}", crate::machine::version()),
    );
    builder = or(builder, header::ACCEPT, "*/*".to_owned());
    builder = or(builder, header::CONNECTION, "close".to_owned());
    builder.body(Empty::new())
}

/// The number of a port that a container may have named.
fn port(container: &Container, port: &IntOrString) -> Result<u16, String> {
    let number = match port {
        IntOrString::Int(number) => Some(*number),
        IntOrString::String(name) => {
            let named = container
                .ports
                .iter()
                .flatten()
                .find(|one| one.name.as_deref() == Some(name));
            named
                .map(|one| one.container_port)
                .or_else(|| name.parse().ok())
        }
    };
    let number = number
        .and_then(|number| u16::try_from(number).ok())
        .filter(|number| *number > 0);
    number.ok_or_else(|| match port {
        IntOrString::Int(number) => format!("invalid port number: {number}"),
        IntOrString::String(name) => format!(
            "couldn't find port {name:?} in container {}",
            container.name
        ),
    })
}

/// As Go's dialer says it.
fn dialled(error: NetError) -> String {
    match error {
        NetError::ConnectionRefused => "connect: connection refused".to_owned(),
        NetError::Timeout => "i/o timeout".to_owned(),
        NetError::RemoteUnreachable => "connect: no route to host".to_owned(),
        other => format!("connect: {other}"),
    }
}

#[cfg(test)]
mod tests;
