//! SPDY/3.1 frames from and to bytes. Decoding holds at most one control frame; data is handed on as it comes in.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::{
    SpdyError,
    headers::{Headers, Packer, Unpacker},
};

/// The version in control frames.
const VERSION: u16 = 3;
/// The longest control frame taken: more than any header block that is.
const CONTROL_BYTES: usize = 64 << 10;
/// The longest piece of data handed on at a time.
const PIECE_BYTES: usize = 64 << 10;
/// The head of every frame.
const HEAD: usize = 8;

const FLAG_FIN: u8 = 0x01;

const SYN_STREAM: u16 = 1;
const SYN_REPLY: u16 = 2;
const RST_STREAM: u16 = 3;
const PING: u16 = 6;
const GOAWAY: u16 = 7;
const HEADERS: u16 = 8;

/// A frame, or a piece of a data frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Frame {
    SynStream {
        id: u32,
        headers: Headers,
        fin: bool,
    },
    SynReply {
        id: u32,
        headers: Headers,
        fin: bool,
    },
    Reset {
        id: u32,
        status: u32,
    },
    Ping {
        id: u32,
    },
    GoAway {
        last: u32,
        status: u32,
    },
    Headers {
        id: u32,
        headers: Headers,
        fin: bool,
    },
    Data {
        id: u32,
        bytes: Bytes,
        fin: bool,
    },
    /// SETTINGS, WINDOW_UPDATE and what later versions may have: means nothing here.
    Other,
}

/// Makes frames of bytes.
pub(super) struct Decoder {
    buffer: BytesMut,
    unpacker: Unpacker,
    /// The data frame that is coming in: stream, bytes to come, whether it is the last.
    data: Option<(u32, usize, bool)>,
}

impl Decoder {
    pub(super) fn new() -> Self {
        Self {
            buffer: BytesMut::new(),
            unpacker: Unpacker::new(),
            data: None,
        }
    }

    /// Where bytes that came in belong.
    pub(super) fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// The next frame, if all of it is there.
    pub(super) fn next_frame(&mut self) -> Result<Option<Frame>, SpdyError> {
        if let Some((id, left, fin)) = self.data {
            return Ok(self.piece(id, left, fin));
        }
        let Some(head) = self.buffer.first_chunk::<HEAD>() else {
            return Ok(None);
        };
        let [a, b, c, d, flags, length @ ..] = *head;
        let first = u32::from_be_bytes([a, b, c, d]);
        let [x, y, z] = length;
        // 24 bits fit.
        let length = usize::try_from(u32::from_be_bytes([0, x, y, z])).unwrap_or(usize::MAX);
        if first & 0x8000_0000 == 0 {
            self.buffer.advance(HEAD);
            if first == 0 {
                return Err(SpdyError::Frame("data for no stream"));
            }
            return Ok(self.piece(first, length, flags & FLAG_FIN != 0));
        }
        if length > CONTROL_BYTES {
            return Err(SpdyError::Frame("too long"));
        }
        if self.buffer.len() < HEAD + length {
            return Ok(None);
        }
        self.buffer.advance(HEAD);
        let payload = self.buffer.split_to(length).freeze();
        let [_, _, kind @ ..] = first.to_be_bytes();
        let version = u16::from_be_bytes([a & 0x7f, b]);
        if version != VERSION {
            return Err(SpdyError::Frame("of another version"));
        }
        self.control(u16::from_be_bytes(kind), flags, payload)
            .map(Some)
    }

    /// As much of a data frame as is there. An empty frame is one piece; an empty piece of a longer one is none.
    fn piece(&mut self, id: u32, left: usize, fin: bool) -> Option<Frame> {
        let size = left.min(self.buffer.len()).min(PIECE_BYTES);
        if size == 0 && left > 0 {
            self.data = Some((id, left, fin));
            return None;
        }
        let bytes = self.buffer.split_to(size).freeze();
        let left = left - size;
        self.data = (left > 0).then_some((id, left, fin));
        Some(Frame::Data {
            id,
            bytes,
            fin: fin && left == 0,
        })
    }

    fn control(&mut self, kind: u16, flags: u8, mut payload: Bytes) -> Result<Frame, SpdyError> {
        let short = |_| SpdyError::Frame("cut short");
        let fin = flags & FLAG_FIN != 0;
        let stream = |payload: &mut Bytes| -> Result<u32, SpdyError> {
            let id = payload.try_get_u32().map_err(short)? & 0x7fff_ffff;
            if id == 0 {
                return Err(SpdyError::Frame("about no stream"));
            }
            Ok(id)
        };
        Ok(match kind {
            SYN_STREAM => {
                let id = stream(&mut payload)?;
                // The stream it belongs to, priority and slot.
                payload.try_get_u32().map_err(short)?;
                payload.try_get_u16().map_err(short)?;
                let headers = self.unpacker.unpack(&payload)?;
                Frame::SynStream { id, headers, fin }
            }
            SYN_REPLY => {
                let id = stream(&mut payload)?;
                let headers = self.unpacker.unpack(&payload)?;
                Frame::SynReply { id, headers, fin }
            }
            HEADERS => {
                let id = stream(&mut payload)?;
                let headers = self.unpacker.unpack(&payload)?;
                Frame::Headers { id, headers, fin }
            }
            RST_STREAM => Frame::Reset {
                id: stream(&mut payload)?,
                status: payload.try_get_u32().map_err(short)?,
            },
            PING => Frame::Ping {
                id: payload.try_get_u32().map_err(short)?,
            },
            GOAWAY => Frame::GoAway {
                last: payload.try_get_u32().map_err(short)?,
                status: payload.try_get_u32().map_err(short)?,
            },
            _ => Frame::Other,
        })
    }
}

/// Makes bytes of frames.
#[derive(Default)]
pub(super) struct Encoder {
    packer: Packer,
}

impl Encoder {
    /// Writes a frame. Data must not be longer than a frame can be (16 MiB), which pieces never are.
    pub(super) fn write(&mut self, frame: &Frame, to: &mut BytesMut) {
        let flag = |fin: bool| if fin { FLAG_FIN } else { 0 };
        match frame {
            Frame::Data { id, bytes, fin } => {
                to.put_u32(*id & 0x7fff_ffff);
                put_length(to, flag(*fin), bytes.len());
                to.put_slice(bytes);
            }
            Frame::SynStream { id, headers, fin } => {
                let packed = self.packer.pack(headers);
                put_head(to, SYN_STREAM, flag(*fin), 10 + packed.len());
                to.put_u32(*id);
                to.put_u32(0);
                to.put_u16(0);
                to.put_slice(&packed);
            }
            Frame::SynReply { id, headers, fin } => {
                let packed = self.packer.pack(headers);
                put_head(to, SYN_REPLY, flag(*fin), 4 + packed.len());
                to.put_u32(*id);
                to.put_slice(&packed);
            }
            Frame::Headers { id, headers, fin } => {
                let packed = self.packer.pack(headers);
                put_head(to, HEADERS, flag(*fin), 4 + packed.len());
                to.put_u32(*id);
                to.put_slice(&packed);
            }
            Frame::Reset { id, status } => put_two(to, RST_STREAM, *id, *status),
            Frame::GoAway { last, status } => put_two(to, GOAWAY, *last, *status),
            Frame::Ping { id } => {
                put_head(to, PING, 0, 4);
                to.put_u32(*id);
            }
            Frame::Other => {}
        }
    }
}

fn put_head(to: &mut BytesMut, kind: u16, flags: u8, length: usize) {
    to.put_u16(0x8000 | VERSION);
    to.put_u16(kind);
    put_length(to, flags, length);
}

fn put_two(to: &mut BytesMut, kind: u16, first: u32, second: u32) {
    put_head(to, kind, 0, 8);
    to.put_u32(first);
    to.put_u32(second);
}

fn put_length(to: &mut BytesMut, flags: u8, length: usize) {
    let length = u32::try_from(length).unwrap_or(u32::MAX) & 0x00ff_ffff;
    to.put_u32(u32::from(flags) << 24 | length);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(decoder: &mut Decoder) -> Result<Vec<Frame>, SpdyError> {
        let mut frames = Vec::new();
        while let Some(frame) = decoder.next_frame()? {
            frames.push(frame);
        }
        Ok(frames)
    }

    fn frame() -> impl Strategy<Value = Frame> {
        let id = 1..0x7fff_ffff_u32;
        let headers =
            proptest::collection::vec(("[a-z]{1,9}", "[ -~]{0,40}"), 0..6).prop_map(Headers);
        let bytes = proptest::collection::vec(any::<u8>(), 0..300).prop_map(Bytes::from);
        prop_oneof![
            (id.clone(), headers.clone(), any::<bool>())
                .prop_map(|(id, headers, fin)| Frame::SynStream { id, headers, fin }),
            (id.clone(), headers.clone(), any::<bool>())
                .prop_map(|(id, headers, fin)| Frame::SynReply { id, headers, fin }),
            (id.clone(), headers, any::<bool>()).prop_map(|(id, headers, fin)| Frame::Headers {
                id,
                headers,
                fin
            }),
            (id.clone(), any::<u32>()).prop_map(|(id, status)| Frame::Reset { id, status }),
            any::<u32>().prop_map(|id| Frame::Ping { id }),
            (any::<u32>(), any::<u32>()).prop_map(|(last, status)| Frame::GoAway { last, status }),
            (id, bytes, any::<bool>()).prop_map(|(id, bytes, fin)| Frame::Data { id, bytes, fin }),
        ]
    }

    /// Data frames may come in pieces: puts them together again.
    fn joined(frames: Vec<Frame>) -> Vec<Frame> {
        let mut joined: Vec<Frame> = Vec::new();
        for frame in frames {
            match (joined.last_mut(), frame) {
                (
                    Some(Frame::Data { id, bytes, fin }),
                    Frame::Data {
                        id: other,
                        bytes: more,
                        fin: last,
                    },
                ) if *id == other && !*fin => {
                    *bytes = [bytes.clone(), more].concat().into();
                    *fin = last;
                }
                (_, frame) => joined.push(frame),
            }
        }
        joined
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_however_it_is_cut(
            frames in proptest::collection::vec(frame(), 0..12),
            cuts in proptest::collection::vec(1..40_usize, 1..200),
        ) {
            let (mut encoder, mut bytes) = (Encoder::default(), BytesMut::new());
            for frame in &frames {
                encoder.write(frame, &mut bytes);
            }
            let mut decoder = Decoder::new();
            let mut read = Vec::new();
            let mut cuts = cuts.into_iter().cycle();
            while !bytes.is_empty() {
                let piece = bytes.split_to(cuts.next().unwrap().min(bytes.len()));
                decoder.buffer().extend_from_slice(&piece);
                read.extend(all(&mut decoder).unwrap());
            }
            // Two data frames of a stream in a row look like one: compare what they say.
            prop_assert_eq!(joined(read), joined(frames));
        }

        #[test]
        fn any_bytes_are_frames_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..4000)) {
            let mut decoder = Decoder::new();
            decoder.buffer().extend_from_slice(&bytes);
            let _ = all(&mut decoder);
        }

        #[test]
        fn any_control_frame_is_taken_or_refused(kind in 0..12_u16, flags: u8, payload in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut bytes = BytesMut::new();
            put_head(&mut bytes, kind, flags, payload.len());
            bytes.extend_from_slice(&payload);
            let mut decoder = Decoder::new();
            decoder.buffer().extend_from_slice(&bytes);
            let _ = all(&mut decoder);
        }
    }

    #[test]
    fn a_control_frame_that_would_have_to_be_held_too_long_is_refused() {
        let mut bytes = BytesMut::new();
        put_head(&mut bytes, SYN_STREAM, 0, CONTROL_BYTES + 1);
        let mut decoder = Decoder::new();
        decoder.buffer().extend_from_slice(&bytes);
        assert_eq!(
            decoder.next_frame().unwrap_err().to_string(),
            "SPDY frame: too long"
        );
    }

    #[test]
    fn a_long_data_frame_is_handed_on_as_it_comes() {
        let mut bytes = BytesMut::new();
        bytes.put_u32(5);
        put_length(&mut bytes, FLAG_FIN, 10 << 20);
        let mut decoder = Decoder::new();
        decoder.buffer().extend_from_slice(&bytes);
        assert_eq!(decoder.next_frame().unwrap(), None);
        decoder.buffer().extend_from_slice(b"abc");
        let first = Frame::Data {
            id: 5,
            bytes: Bytes::from_static(b"abc"),
            fin: false,
        };
        assert_eq!(decoder.next_frame().unwrap(), Some(first));
        assert_eq!(decoder.next_frame().unwrap(), None);
    }
}
