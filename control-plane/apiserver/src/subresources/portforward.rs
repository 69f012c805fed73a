//! `kubectl port-forward`: connections of a client to ports of a pod, over SPDY, SPDY in a WebSocket, or a WebSocket's channels. Each connection is a
//! stream to the pod's node ([`crate::links::duplex`]), which connects inside the pod.

mod channels;
mod streams;

use axum::response::Response;
use coracle_api::status::ApiError;
use serde_json::Value;

use super::host_of;
use crate::{
    links::{
        NodeLinks,
        duplex::{OpenError, Streams},
    },
    meta,
    resources::Call,
    upgrades::{Offer, Session},
};

/// SPDY streams, on a connection of their own.
const STREAMS: &str = "portforward.k8s.io";
/// The same in a WebSocket.
const TUNNELED: &str = "SPDY/3.1+portforward.k8s.io";
/// A pair of channels for each port.
const CHANNELS: &str = "v4.channel.k8s.io";

pub(super) async fn open(call: &Call<'_>, name: &str) -> Result<Response, ApiError> {
    let pod = call.read(name).await?.value()?;
    let target = Target::of(call, &pod)?;
    let offer = Offer::of(call.headers())?;
    let about = format!("port-forward to {}/{name}", target.namespace);
    match &offer {
        Offer::Spdy { .. } => {
            let protocol = offer.choose(&[STREAMS])?;
            let session = Session::of(call)?;
            session.spawn(about, |io| streams::forward(io, target));
            offer.accept(protocol)
        }
        Offer::WebSocket { .. } => {
            let protocol = offer.choose(&[TUNNELED, CHANNELS])?;
            let session = Session::of(call)?;
            if protocol == TUNNELED {
                session.spawn(about, |io| streams::forward_tunneled(io, target));
            } else {
                let ports = channels::ports(call.query)?;
                session.spawn(about, |io| channels::forward(io, target, ports));
            }
            offer.accept(protocol)
        }
    }
}

/// The pod that connections go to.
#[derive(Clone, Debug)]
struct Target {
    nodes: NodeLinks,
    node: String,
    namespace: String,
    name: String,
    uid: String,
}

impl Target {
    fn of(call: &Call<'_>, pod: &Value) -> Result<Self, ApiError> {
        Ok(Self {
            nodes: call.server.nodes.clone(),
            node: host_of(pod)?.to_owned(),
            namespace: call.namespace().unwrap_or_default().to_owned(),
            name: meta::name(pod).unwrap_or_default().to_owned(),
            uid: meta::uid(pod).unwrap_or_default().to_owned(),
        })
    }

    /// Connects to a port; says for people why it could not.
    async fn connect(&self, port: u16) -> Result<Streams, String> {
        let Self {
            node,
            namespace,
            name,
            uid,
            ..
        } = self;
        // Names in paths are DNS labels and subdomains, uids are UUIDs: nothing to escape.
        let uri = format!("/portForward/{namespace}/{name}/{port}?uid={uid}");
        let opened = self.nodes.open(node, &uri).await;
        opened.map_err(|error: OpenError| {
            format!("error forwarding port {port} to pod {name}, uid {uid}: {error}")
        })
    }
}

#[cfg(test)]
mod tests;
