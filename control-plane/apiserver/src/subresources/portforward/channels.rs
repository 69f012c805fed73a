//! Port-forwarding over a WebSocket's channels, as the clients for Rust and Python have it: two channels for each port that the request names, one for
//! data and one on which the client is told what went wrong. Each begins with the number of its port.

use std::collections::HashMap;

use axum::BoxError;
use bytes::Bytes;
use coracle_api::status::ApiError;
use futures::StreamExt as _;
use tokio::{sync::mpsc, task::JoinSet};

use super::Target;
use crate::{
    query::Query,
    upgrades::{
        Io,
        channels::{Writer, split, websocket},
    },
};

/// Ports of a request: their channels' numbers fit into a byte.
const PORTS: usize = 64;
/// Pieces from pods that wait for the client.
const WAITING: usize = 8;
/// Messages that wait for a port that is being connected to. When full, the client waits.
const ARRIVING: usize = 8;

/// The ports that a request names, in the order of their channels.
pub(super) fn ports(query: &Query) -> Result<Vec<u16>, ApiError> {
    let named = query.all("ports").flat_map(|list| list.split(','));
    let mut ports = Vec::new();
    for text in named.filter(|text| !text.is_empty()) {
        match text.parse() {
            Ok(port) if port > 0 => ports.push(port),
            _ => {
                return Err(ApiError::bad_request(format!(
                    "query parameter ports: {text:?} is not a port"
                )));
            }
        }
    }
    match ports.len() {
        0 => Err(ApiError::bad_request(
            "query parameter \"ports\" is required",
        )),
        1..=PORTS => Ok(ports),
        _ => Err(ApiError::bad_request(format!("more than {PORTS} ports"))),
    }
}

/// What goes to the client: a channel and bytes.
type Out = (u8, Bytes);

pub(super) async fn forward(io: Io, target: Target, ports: Vec<u16>) -> Result<(), BoxError> {
    let (mut reader, mut writer) = split(websocket(io).await);
    let (out, mut waiting) = mpsc::channel::<Out>(WAITING);
    let mut arriving = HashMap::new();
    let mut carried = JoinSet::new();
    for (index, port) in ports.into_iter().enumerate() {
        let data = u8::try_from(index * 2)?;
        for channel in [data, data + 1] {
            writer.send(channel, &port.to_le_bytes()).await?;
        }
        let (sender, receiver) = mpsc::channel(ARRIVING);
        arriving.insert(data, sender);
        carried.spawn(carry(target.clone(), port, data, receiver, out.clone()));
    }
    drop(out);
    let reading = async {
        while let Some((channel, bytes)) = reader.next().await? {
            // Whose port has closed takes no more; channels of errors take nothing.
            if let Some(port) = arriving.get(&channel)
                && port.send(bytes).await.is_err()
            {
                arriving.remove(&channel);
            }
        }
        Ok::<_, BoxError>(())
    };
    let writing = async {
        while let Some((channel, bytes)) = waiting.recv().await {
            writer.send(channel, &bytes).await?;
        }
        close(&mut writer).await
    };
    // Ends with the client, or when all ports have.
    tokio::select! {
        read = reading => read,
        written = writing => written,
    }
}

async fn close(writer: &mut Writer<Io>) -> Result<(), BoxError> {
    Ok(writer.close().await?)
}

/// Connects a port and carries its bytes.
async fn carry(
    target: Target,
    port: u16,
    channel: u8,
    mut arriving: mpsc::Receiver<Bytes>,
    out: mpsc::Sender<Out>,
) {
    let streams = match target.connect(port).await {
        Ok(streams) => streams,
        Err(message) => {
            // A client that has gone is not told.
            let _ = out.send((channel + 1, message.into())).await;
            return;
        }
    };
    let (up, mut down) = (streams.up, streams.down);
    let to_pod = async {
        while let Some(bytes) = arriving.recv().await {
            if up.send(bytes).await.is_err() {
                break;
            }
        }
        // The protocol has no half-closed connections: while the client is there, more may come.
        std::future::pending::<()>().await;
    };
    let from_pod = async {
        while let Some(bytes) = down.next().await {
            let (channel, bytes) = match bytes {
                Ok(bytes) => (channel, bytes),
                Err(error) => (channel + 1, error.to_string().into()),
            };
            if out.send((channel, bytes)).await.is_err() {
                break;
            }
        }
    };
    tokio::select! {
        () = to_pod => {}
        () = from_pod => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_read_in_order_and_checked() {
        let told = |query: &str| ports(&Query::parse(Some(query))).map_err(|error| error.message);
        assert_eq!(told("ports=80,8080&ports=443"), Ok(vec![80, 8080, 443]));
        assert_eq!(
            told(""),
            Err("query parameter \"ports\" is required".to_owned())
        );
        for refused in ["ports=0", "ports=x", "ports=65536", "ports=-1"] {
            assert!(told(refused).is_err(), "{refused}");
        }
        let many = format!("ports={}", vec!["1"; PORTS + 1].join(","));
        assert!(told(&many).is_err());
    }
}
