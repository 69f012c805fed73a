//! What goes through a link beside connections: datagrams, requests to dial, and what policies need to know of pods. Frames with a length in front, bounded. Pure.

use std::net::{IpAddr, SocketAddr};

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::{policy::PodFacts, service::Protocol};

/// The largest frame: a datagram and two addresses, or a pod with many labels.
const LARGEST: usize = 256 << 10;

/// A frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Frame {
    /// A datagram from a pod, or for one.
    Datagram {
        source: SocketAddr,
        target: SocketAddr,
        data: Bytes,
    },
    /// "Open a stream to me for a connection from `source` to your pod `target`, and call it by this number."
    Dial {
        number: u64,
        source: SocketAddr,
        target: SocketAddr,
    },
    /// "Which pod of yours has this address?"
    Who { ip: IpAddr },
    /// The pod of this side that has an address, if any.
    Is { ip: IpAddr, pod: Option<PodFacts> },
}

/// The other side does not keep to the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a frame is malformed")]
pub(super) struct Malformed;

const DATAGRAM: u8 = 1;
const DIAL: u8 = 2;
const WHO: u8 = 3;
const IS: u8 = 4;

impl Frame {
    /// The frame as it goes over the wire.
    pub(super) fn encode(&self) -> Bytes {
        let mut body = BytesMut::new();
        match self {
            Self::Datagram {
                source,
                target,
                data,
            } => {
                body.put_u8(DATAGRAM);
                put_address(&mut body, *source);
                put_address(&mut body, *target);
                body.put_slice(data);
            }
            Self::Dial {
                number,
                source,
                target,
            } => {
                body.put_u8(DIAL);
                body.put_u64(*number);
                put_address(&mut body, *source);
                put_address(&mut body, *target);
            }
            Self::Who { ip } => {
                body.put_u8(WHO);
                put_address(&mut body, SocketAddr::new(*ip, 0));
            }
            Self::Is { ip, pod } => {
                body.put_u8(IS);
                put_address(&mut body, SocketAddr::new(*ip, 0));
                if let Some(pod) = pod {
                    put_pod(&mut body, pod);
                }
            }
        }
        let mut frame = BytesMut::with_capacity(4 + body.len());
        // Datagrams are bounded by their sockets, far below this.
        frame.put_u32(u32::try_from(body.len()).unwrap_or(u32::MAX));
        frame.put_slice(&body);
        frame.freeze()
    }

    fn decode(mut body: Bytes) -> Result<Self, Malformed> {
        match body.try_get_u8().map_err(|_| Malformed)? {
            DATAGRAM => Ok(Self::Datagram {
                source: get_address(&mut body)?,
                target: get_address(&mut body)?,
                data: body,
            }),
            DIAL => {
                let number = body.try_get_u64().map_err(|_| Malformed)?;
                let (source, target) = (get_address(&mut body)?, get_address(&mut body)?);
                if !body.is_empty() {
                    return Err(Malformed);
                }
                Ok(Self::Dial {
                    number,
                    source,
                    target,
                })
            }
            WHO => {
                let ip = get_address(&mut body)?.ip();
                if !body.is_empty() {
                    return Err(Malformed);
                }
                Ok(Self::Who { ip })
            }
            IS => {
                let ip = get_address(&mut body)?.ip();
                let pod = if body.is_empty() {
                    None
                } else {
                    Some(get_pod(&mut body)?)
                };
                Ok(Self::Is { ip, pod })
            }
            _ => Err(Malformed),
        }
    }
}

fn put_pod(out: &mut BytesMut, pod: &PodFacts) {
    put_text(out, &pod.namespace);
    put_text(out, &pod.name);
    out.put_u32(u32::try_from(pod.labels.len()).unwrap_or(u32::MAX));
    for (key, value) in &pod.labels {
        put_text(out, key);
        put_text(out, value);
    }
    for (name, protocol, number) in &pod.ports {
        put_text(out, name);
        out.put_u8(match protocol {
            Protocol::Tcp => 6,
            Protocol::Udp => 17,
        });
        out.put_u16(*number);
    }
}

fn get_pod(from: &mut Bytes) -> Result<PodFacts, Malformed> {
    let mut pod = PodFacts {
        namespace: get_text(from)?,
        name: get_text(from)?,
        ..PodFacts::default()
    };
    for _ in 0..from.try_get_u32().map_err(|_| Malformed)? {
        pod.labels.insert(get_text(from)?, get_text(from)?);
    }
    while !from.is_empty() {
        let name = get_text(from)?;
        let protocol = match from.try_get_u8().map_err(|_| Malformed)? {
            6 => Protocol::Tcp,
            17 => Protocol::Udp,
            _ => return Err(Malformed),
        };
        let number = from.try_get_u16().map_err(|_| Malformed)?;
        pod.ports.push((name, protocol, number));
    }
    Ok(pod)
}

/// Kubernetes' names and labels are far shorter than what a length of 16 bits has.
fn put_text(out: &mut BytesMut, text: &str) {
    let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
    out.put_u16(length);
    out.put_slice(text.as_bytes().get(..length.into()).unwrap_or_default());
}

fn get_text(from: &mut Bytes) -> Result<String, Malformed> {
    let length = usize::from(from.try_get_u16().map_err(|_| Malformed)?);
    if from.len() < length {
        return Err(Malformed);
    }
    String::from_utf8(from.split_to(length).to_vec()).map_err(|_| Malformed)
}

fn put_address(out: &mut BytesMut, address: SocketAddr) {
    match address.ip() {
        IpAddr::V4(ip) => {
            out.put_u8(4);
            out.put_slice(&ip.octets());
        }
        IpAddr::V6(ip) => {
            out.put_u8(6);
            out.put_slice(&ip.octets());
        }
    }
    out.put_u16(address.port());
}

fn get_address(from: &mut Bytes) -> Result<SocketAddr, Malformed> {
    let ip: IpAddr = match from.try_get_u8().map_err(|_| Malformed)? {
        4 => from
            .try_get_u32()
            .map(|ip| std::net::Ipv4Addr::from(ip).into()),
        6 => from
            .try_get_u128()
            .map(|ip| std::net::Ipv6Addr::from(ip).into()),
        _ => return Err(Malformed),
    }
    .map_err(|_| Malformed)?;
    let port = from.try_get_u16().map_err(|_| Malformed)?;
    Ok(SocketAddr::new(ip, port))
}

/// Takes frames out of bytes that come in pieces.
#[derive(Debug, Default)]
pub(super) struct Decoder(BytesMut);

impl Decoder {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// The next whole frame.
    ///
    /// # Errors
    /// [`Malformed`]; nothing that follows makes sense then.
    pub(super) fn next_frame(&mut self) -> Result<Option<Frame>, Malformed> {
        let Some(head) = self.0.first_chunk::<4>() else {
            return Ok(None);
        };
        let length = usize::try_from(u32::from_be_bytes(*head)).unwrap_or(usize::MAX);
        if length > LARGEST {
            return Err(Malformed);
        }
        if self.0.len() - 4 < length {
            return Ok(None);
        }
        self.0.advance(4);
        Frame::decode(self.0.split_to(length).freeze()).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frames() -> impl Strategy<Value = Frame> {
        let addresses = any::<(IpAddr, u16, IpAddr, u16)>()
            .prop_map(|(a, b, c, d)| (SocketAddr::new(a, b), SocketAddr::new(c, d)));
        let datagram = (
            addresses.clone(),
            proptest::collection::vec(any::<u8>(), 0..300),
        );
        let datagram = datagram.prop_map(|((source, target), data)| Frame::Datagram {
            source,
            target,
            data: data.into(),
        });
        let dial = (any::<u64>(), addresses).prop_map(|(number, (source, target))| Frame::Dial {
            number,
            source,
            target,
        });
        let labels = proptest::collection::btree_map("[a-z/.]{0,20}", "[a-z]{0,9}", 0..4);
        let ports = proptest::collection::vec(("[a-z]{0,9}", any::<bool>(), any::<u16>()), 0..3);
        let pod = ("[a-z]{1,9}", "[a-z]{1,9}", labels, ports);
        let pod = pod.prop_map(|(namespace, name, labels, ports)| PodFacts {
            namespace,
            name,
            labels,
            ports: ports
                .into_iter()
                .map(|(name, is_tcp, number)| {
                    let protocol = if is_tcp { Protocol::Tcp } else { Protocol::Udp };
                    (name, protocol, number)
                })
                .collect(),
        });
        let is = (any::<IpAddr>(), proptest::option::of(pod));
        let is = is.prop_map(|(ip, pod)| Frame::Is { ip, pod });
        let who = any::<IpAddr>().prop_map(|ip| Frame::Who { ip });
        prop_oneof![datagram, dial, who, is]
    }

    proptest! {
        #[test]
        fn frames_arrive_as_they_were_however_they_are_cut(frames in proptest::collection::vec(frames(), 0..8), step in 1_usize..50) {
            let wire: Vec<u8> = frames.iter().flat_map(|frame| frame.encode()).collect();
            let mut decoder = Decoder::default();
            let mut arrived = Vec::new();
            for piece in wire.chunks(step) {
                decoder.push(piece);
                while let Some(frame) = decoder.next_frame().unwrap() {
                    arrived.push(frame);
                }
            }
            prop_assert_eq!(arrived, frames);
        }

        #[test]
        fn nonsense_is_refused_or_waited_for(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut decoder = Decoder::default();
            decoder.push(&bytes);
            let mut before = bytes.len() + 1;
            while let Ok(Some(_)) = decoder.next_frame() {
                prop_assert!(decoder.0.len() < before, "progress");
                before = decoder.0.len();
            }
        }
    }

    #[test]
    fn a_frame_too_large_is_refused_before_it_is_there() {
        let mut decoder = Decoder::default();
        decoder.push(&u32::MAX.to_be_bytes());
        assert_eq!(decoder.next_frame(), Err(Malformed));
        let largest = Frame::Datagram {
            source: "[::1]:1".parse().unwrap(),
            target: "[::1]:2".parse().unwrap(),
            data: vec![0; 65_527].into(),
        };
        let mut decoder = Decoder::default();
        decoder.push(&largest.encode());
        assert_eq!(decoder.next_frame(), Ok(Some(largest)));
    }
}
