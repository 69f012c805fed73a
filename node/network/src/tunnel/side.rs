//! What a node does on a link for the other one: connects to its pods, takes its datagrams, tells of its pods.

use std::{net::SocketAddr, sync::Arc};

use bytes::Bytes;
use h2::{RecvStream, client::SendRequest, server::SendResponse};
use http::{Method, Request, StatusCode};
use tokio::sync::{Semaphore, mpsc};

use super::{
    Tunnels,
    begin::{ANSWER, Code, ERROR, SOURCE, accept, begin, code_of, get, put, refuse, request},
    frames::{Decoder, Frame},
    link::{PODS, Pods, Waiting},
    relay::relay,
};
use crate::policy::PodFacts;

/// This side of a link: what it does for the other.
pub(super) struct Side {
    pub(super) tunnels: Arc<Tunnels>,
    pub(super) node: String,
    pub(super) pods: Arc<Pods>,
    /// Weak, so that the queue ends with the link.
    pub(super) frames: mpsc::WeakSender<Bytes>,
    /// Begins the streams that the other side asks for, so many at a time.
    pub(super) asked: Option<(SendRequest<Bytes>, Arc<Semaphore>)>,
}

impl Side {
    /// Takes a stream that the other side began.
    pub(super) fn take(
        &self,
        waiting: &Arc<Waiting>,
        request: Request<RecvStream>,
        mut respond: SendResponse<Bytes>,
    ) {
        let (head, recv) = request.into_parts();
        let target = head
            .uri
            .authority()
            .and_then(|text| text.as_str().parse().ok());
        let (Method::CONNECT, Some(target)) = (head.method, target) else {
            refuse(&mut respond, StatusCode::BAD_REQUEST, None);
            return;
        };
        if let Some(number) = get::<u64>(&head.headers, ANSWER) {
            let Some(tell) = waiting.streams.lock().remove(&number) else {
                refuse(&mut respond, StatusCode::GONE, None);
                return;
            };
            let answer = match get::<Code>(&head.headers, ERROR) {
                Some(code) => Err(code.0),
                None => accept(&mut respond).map(|send| (send, recv)),
            };
            // Nobody there: the streams are reset by letting go of them.
            drop(tell.send(answer));
            return;
        }
        let Some(source) = get(&head.headers, SOURCE) else {
            refuse(&mut respond, StatusCode::BAD_REQUEST, None);
            return;
        };
        let (tunnels, node) = (Arc::clone(&self.tunnels), self.node.clone());
        self.tunnels.spawn(async move {
            let connecting = tunnels.connect_here(&node, source, target);
            let connected = tokio::select! {
                connected = connecting => connected,
                // The other side gave up.
                _ = std::future::poll_fn(|context| respond.poll_reset(context)) => return,
            };
            match connected {
                Ok(inside) => {
                    if let Ok(send) = accept(&mut respond) {
                        relay(inside, send, recv).await;
                    }
                }
                Err(error) => refuse(&mut respond, StatusCode::BAD_GATEWAY, Some(error)),
            }
        });
    }

    pub(super) async fn receive_frames(&self, mut recv: RecvStream) {
        let mut decoder = Decoder::default();
        while let Some(Ok(bytes)) = recv.data().await {
            decoder.push(&bytes);
            loop {
                match decoder.next_frame() {
                    Ok(Some(frame)) => self.receive(frame),
                    Ok(None) => break,
                    Err(error) => {
                        tracing::warn!(node = self.node, %error, "a node sends nonsense");
                        return;
                    }
                }
            }
            if recv.flow_control().release_capacity(bytes.len()).is_err() {
                return;
            }
        }
    }

    fn receive(&self, frame: Frame) {
        match frame {
            Frame::Datagram {
                source,
                target,
                data,
            } => self.tunnels.deliver(&self.node, source, target, data),
            Frame::Who { ip } => {
                self.pods.told.lock().insert(ip);
                let pod = self.tunnels.local_facts(ip);
                let is = Frame::Is {
                    ip,
                    pod: pod.map(|pod| PodFacts::clone(&pod)),
                };
                // Whoever asks and is not answered asks again.
                if let Some(frames) = self.frames.upgrade()
                    && frames.try_send(is.encode()).is_err()
                {
                    tracing::trace!("an answer was lost: the link is busy");
                }
            }
            Frame::Is { ip, pod } => {
                if self.tunnels.routes.read().node(ip).as_ref() != Some(&self.node) {
                    tracing::warn!(node = self.node, %ip, "a node speaks for others' pods");
                    return;
                }
                let mut known = self.pods.known.lock();
                if known.len() >= PODS {
                    known.clear();
                }
                known.insert(ip, pod.map(Arc::new));
                drop(known);
                self.pods.learnt.send_modify(|learnt| *learnt += 1);
            }
            Frame::Dial {
                number,
                source,
                target,
            } => {
                let Some((sender, room)) = &self.asked else {
                    tracing::warn!(node = self.node, "a node asks for what it can do itself");
                    return;
                };
                let Ok(permit) = Arc::clone(room).try_acquire_owned() else {
                    tracing::debug!(node = self.node, "too many connections at a time");
                    return;
                };
                let (tunnels, node) = (Arc::clone(&self.tunnels), self.node.clone());
                let sender = sender.clone();
                self.tunnels.spawn(async move {
                    answer(&tunnels, &node, sender, number, source, target).await;
                    drop(permit);
                });
            }
        }
    }
}

/// Does what the other side asks for: connects to a pod of this node, and begins the stream for it.
async fn answer(
    tunnels: &Arc<Tunnels>,
    node: &str,
    sender: SendRequest<Bytes>,
    number: u64,
    source: SocketAddr,
    target: SocketAddr,
) {
    let connected = tunnels.connect_here(node, source, target).await;
    let Ok(mut request) = request(target) else {
        return;
    };
    put(request.headers_mut(), ANSWER, &number.to_string());
    match connected {
        Ok(inside) => {
            if let Ok((send, recv)) = begin(sender, request).await {
                relay(inside, send, recv).await;
            }
        }
        Err(error) => {
            put(request.headers_mut(), ERROR, code_of(error));
            // How the other side answers that does not matter.
            drop(begin(sender, request).await);
        }
    }
}
