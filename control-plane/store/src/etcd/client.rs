//! Calls to etcd: several members, of which the next is asked when one fails, with TLS and credentials. Knows nothing of what is stored.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use futures::{StreamExt as _, stream};
use http::uri::PathAndQuery;
use parking_lot::RwLock;
use prost::Message;
use tonic::{
    Code, Status, Streaming,
    client::Grpc,
    metadata::MetadataValue,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity},
};
use tonic_prost::ProstCodec;

use super::{
    EtcdOptions,
    wire::{
        AuthenticateRequest, AuthenticateResponse, WatchCreateRequest, WatchRequest, WatchResponse,
    },
};
use crate::error::StoreError;

/// How long one member may take to answer before another is asked. etcd's own elections take a second or two.
const CALL_TIME: Duration = Duration::from_secs(5);
/// How long connecting may take.
const CONNECT_TIME: Duration = Duration::from_secs(2);
/// How often an idle connection is tried, and how long its answer may take: a member that was cut off is noticed after their sum.
const KEEP_ALIVE: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(2));
/// How often a call is tried in all, over all members.
const TRIES: usize = 8;
/// How long to wait when all members have been tried.
const PAUSE: Duration = Duration::from_millis(200);
/// A list of everything is as large as it is.
const ANSWER_LIMIT: usize = 1 << 30;

/// See the module.
pub(super) struct Client {
    members: Vec<Channel>,
    /// The one that answered last.
    current: AtomicUsize,
    credentials: Option<(String, String)>,
    token: RwLock<Option<MetadataValue<tonic::metadata::Ascii>>>,
}

impl Client {
    /// A client; connects when first asked.
    pub(super) fn new(options: &EtcdOptions) -> Result<Self, StoreError> {
        let invalid = |what: &str| StoreError::Invalid {
            reason: what.to_owned(),
        };
        let mut members = Vec::new();
        for address in &options.endpoints {
            let wrong = |error: tonic::transport::Error| {
                invalid(&format!("etcd endpoint {address}: {error}"))
            };
            let mut endpoint = Endpoint::from_shared(address.clone())
                .map_err(wrong)?
                .connect_timeout(CONNECT_TIME)
                .http2_keep_alive_interval(KEEP_ALIVE.0)
                .keep_alive_timeout(KEEP_ALIVE.1)
                .keep_alive_while_idle(true)
                .tcp_nodelay(true);
            if address.starts_with("https://") {
                endpoint = endpoint.tls_config(tls(options)).map_err(wrong)?;
            }
            members.push(endpoint.connect_lazy());
        }
        if members.is_empty() {
            return Err(invalid("no etcd endpoint is given"));
        }
        Ok(Self {
            members,
            current: AtomicUsize::new(0),
            credentials: options.credentials.clone(),
            token: RwLock::new(None),
        })
    }

    /// Calls `path`, and again with the next member where one has trouble. An attempt that failed may have been carried out all the same.
    pub(super) async fn call<Q, A>(&self, path: &'static str, message: &Q) -> Result<A, Status>
    where
        Q: Message + Clone + 'static,
        A: Message + Default + 'static,
    {
        let mut tries = 0;
        loop {
            tries += 1;
            let member = self.current.load(Ordering::Relaxed);
            let status = match self.attempt(member, path, message).await {
                Ok(answer) => return Ok(answer),
                Err(status) => status,
            };
            if status.code() == Code::Unauthenticated && self.credentials.is_some() && tries < TRIES
            {
                *self.token.write() = None;
                continue;
            }
            if !is_trouble(&status) || tries == TRIES {
                return Err(status);
            }
            tracing::debug!(path, %status, "asking another member of etcd");
            self.skip(member);
            if tries % self.members.len() == 0 {
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    /// Asks another member from now on, unless somebody has turned to another already.
    pub(super) fn skip(&self, member: usize) {
        let next = (member + 1) % self.members.len();
        let _ = self
            .current
            .compare_exchange(member, next, Ordering::Relaxed, Ordering::Relaxed);
    }

    async fn attempt<Q, A>(
        &self,
        member: usize,
        path: &'static str,
        message: &Q,
    ) -> Result<A, Status>
    where
        Q: Message + Clone + 'static,
        A: Message + Default + 'static,
    {
        let work = async {
            let mut request = tonic::Request::new(message.clone());
            if let Some(token) = self.token(member).await? {
                request.metadata_mut().insert("token", token);
            }
            let mut grpc = self.grpc(member).await?;
            let codec = ProstCodec::<Q, A>::default();
            grpc.unary(request, PathAndQuery::from_static(path), codec)
                .await
        };
        match tokio::time::timeout(CALL_TIME, work).await {
            Ok(answer) => answer.map(tonic::Response::into_inner),
            Err(_) => Err(Status::deadline_exceeded("no answer in time")),
        }
    }

    /// Begins a watch with the current member; gives that member's number too, to skip when it fails.
    pub(super) async fn watch(
        &self,
        create: WatchCreateRequest,
    ) -> (usize, Result<Streaming<WatchResponse>, Status>) {
        let member = self.current.load(Ordering::Relaxed);
        let work = async {
            let first = WatchRequest {
                create: Some(create),
            };
            // The stream of requests must stay open.
            let requests = stream::once(async { first }).chain(stream::pending());
            let mut request = tonic::Request::new(requests);
            if let Some(token) = self.token(member).await? {
                request.metadata_mut().insert("token", token);
            }
            let mut grpc = self.grpc(member).await?;
            let path = PathAndQuery::from_static("/etcdserverpb.Watch/Watch");
            grpc.streaming(request, path, ProstCodec::default()).await
        };
        let begun = match tokio::time::timeout(CALL_TIME, work).await {
            Ok(answer) => answer.map(tonic::Response::into_inner),
            Err(_) => Err(Status::deadline_exceeded("no answer in time")),
        };
        if matches!(&begun, Err(status) if status.code() == Code::Unauthenticated) {
            *self.token.write() = None;
        }
        (member, begun)
    }

    async fn grpc(&self, member: usize) -> Result<Grpc<Channel>, Status> {
        let channel = self.members.get(member).or(self.members.first());
        let channel = channel.ok_or_else(|| Status::internal("no member"))?;
        let mut grpc = Grpc::new(channel.clone()).max_decoding_message_size(ANSWER_LIMIT);
        grpc.ready().await.map_err(unreachable)?;
        Ok(grpc)
    }

    /// What proves who we are, asked for when there is none.
    async fn token(
        &self,
        member: usize,
    ) -> Result<Option<MetadataValue<tonic::metadata::Ascii>>, Status> {
        let Some((name, password)) = &self.credentials else {
            return Ok(None);
        };
        if let Some(token) = self.token.read().clone() {
            return Ok(Some(token));
        }
        let mut grpc = self.grpc(member).await?;
        let ask = AuthenticateRequest {
            name: name.clone(),
            password: password.clone(),
        };
        let path = PathAndQuery::from_static("/etcdserverpb.Auth/Authenticate");
        let codec = ProstCodec::<AuthenticateRequest, AuthenticateResponse>::default();
        let answer = grpc.unary(tonic::Request::new(ask), path, codec).await?;
        let token = MetadataValue::try_from(answer.into_inner().token)
            .map_err(|_| Status::internal("etcd's token is no text"))?;
        *self.token.write() = Some(token.clone());
        Ok(Some(token))
    }
}

fn tls(options: &EtcdOptions) -> ClientTlsConfig {
    let mut tls = ClientTlsConfig::new();
    if let Some(ca) = &options.ca {
        tls = tls.ca_certificate(Certificate::from_pem(ca));
    }
    if let Some((certificate, key)) = &options.identity {
        tls = tls.identity(Identity::from_pem(certificate, key));
    }
    tls
}

fn unreachable(error: tonic::transport::Error) -> Status {
    let mut status = Status::unavailable("not connected");
    status.set_source(std::sync::Arc::new(error));
    status
}

/// Whether another member, or the same one later, may do what this one did not.
fn is_trouble(status: &Status) -> bool {
    match status.code() {
        Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Aborted => true,
        // A connection that breaks is told as this.
        Code::Unknown | Code::Internal => std::error::Error::source(status).is_some(),
        _ => false,
    }
}

/// What a failed call means to whoever uses the store.
pub(super) fn unavailable(status: &Status) -> StoreError {
    let mut reason = format!("etcd: {}", status.message());
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        let said = error.to_string();
        if !reason.contains(&said) {
            reason = format!("{reason}: {said}");
        }
        cause = error.source();
    }
    StoreError::Unavailable { reason }
}
