//! What is said between the API server and a node while a command runs (`kubectl exec`) or somebody watches a container (`kubectl attach`): frames of
//! a channel's number, a length and bytes, both ways. The channels are those of Kubernetes' WebSocket protocol `v5.channel.k8s.io`. Bytes from the
//! other side are hostile; carrying them is others' business.

use serde_json::{Value, json};

/// Standard input, to the container.
pub const STDIN: u8 = 0;
/// Standard output, from the container.
pub const STDOUT: u8 = 1;
/// Standard error, from the container.
pub const STDERR: u8 = 2;
/// How it ended, from the container: a Status, the last that is said.
pub const ERROR: u8 = 3;
/// The terminal's size, to the container: `{"Width": 80, "Height": 24}`.
pub const RESIZE: u8 = 4;
/// The channel whose number follows is closed, to the container.
pub const CLOSE: u8 = 255;

/// The most bytes of a frame. Whoever has more to say says it in several.
pub const FRAME_BYTES: usize = 64 << 10;
/// What a frame begins with: channel and length.
const HEAD: usize = 5;

/// Why bytes are not frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a frame of {length} bytes, more than the {FRAME_BYTES} allowed")]
pub struct TooLong {
    length: usize,
}

/// Bytes on a channel as frames, one after another. No bytes make one empty frame.
#[must_use]
pub fn encode(channel: u8, bytes: &[u8]) -> Vec<u8> {
    let frames = bytes.len().div_ceil(FRAME_BYTES).max(1);
    let mut encoded = Vec::with_capacity(bytes.len() + frames * HEAD);
    let mut rest = bytes;
    loop {
        let (piece, more) = rest.split_at(rest.len().min(FRAME_BYTES));
        encoded.push(channel);
        // Bounded just above.
        let length = u32::try_from(piece.len()).unwrap_or(u32::MAX);
        encoded.extend_from_slice(&length.to_be_bytes());
        encoded.extend_from_slice(piece);
        rest = more;
        if rest.is_empty() {
            return encoded;
        }
    }
}

/// Reads frames out of bytes that come in pieces.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
    /// What of the buffer is read already.
    read: usize,
}

impl Decoder {
    /// Takes bytes that came in.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.read);
        self.read = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// The next frame, if all of it is there: its channel and bytes.
    ///
    /// # Errors
    /// [`TooLong`]; nothing further can be read.
    pub fn next_frame(&mut self) -> Result<Option<(u8, &[u8])>, TooLong> {
        let unread = self.buffer.get(self.read..).unwrap_or_default();
        let Some(&[channel, a, b, c, d]) = unread.first_chunk::<HEAD>() else {
            return Ok(None);
        };
        let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
        if length > FRAME_BYTES {
            return Err(TooLong { length });
        }
        if unread.len() < HEAD + length {
            return Ok(None);
        }
        let begin = self.read + HEAD;
        self.read = begin + length;
        let bytes = self.buffer.get(begin..self.read).unwrap_or_default();
        Ok(Some((channel, bytes)))
    }
}

/// The Status that tells a client how a command ended.
#[must_use]
pub fn ended(code: i32) -> Value {
    if code == 0 {
        return json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"});
    }
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": format!("command terminated with non-zero exit code: exit code {code}"),
        "reason": "NonZeroExitCode",
        "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]},
    })
}

/// The Status that tells a client why a command could not be run, or a container not be watched.
#[must_use]
pub fn failed(message: &str) -> Value {
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": "InternalError", "code": 500,
        "details": {"causes": [{"message": message}]},
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_encoded_is_read_however_it_is_cut(
            frames in proptest::collection::vec((any::<u8>(), proptest::collection::vec(any::<u8>(), 0..300)), 0..9),
            cuts in proptest::collection::vec(1..50_usize, 1..100),
        ) {
            let bytes: Vec<u8> = frames.iter().flat_map(|(channel, bytes)| encode(*channel, bytes)).collect();
            let (mut decoder, mut read, mut rest) = (Decoder::default(), Vec::new(), &bytes[..]);
            let mut cuts = cuts.into_iter().cycle();
            while !rest.is_empty() {
                let (piece, more) = rest.split_at(cuts.next().unwrap().min(rest.len()));
                rest = more;
                decoder.feed(piece);
                while let Some((channel, bytes)) = decoder.next_frame().unwrap() {
                    read.push((channel, bytes.to_vec()));
                }
            }
            prop_assert_eq!(read, frames);
        }

        #[test]
        fn any_bytes_are_frames_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..500)) {
            let mut decoder = Decoder::default();
            decoder.feed(&bytes);
            while let Ok(Some(_)) = decoder.next_frame() {}
        }
    }

    #[test]
    fn long_bytes_are_cut_and_too_long_frames_refused() {
        let long = vec![7; FRAME_BYTES * 2 + 1];
        let mut decoder = Decoder::default();
        decoder.feed(&encode(STDOUT, &long));
        let mut lengths = Vec::new();
        while let Some((_, bytes)) = decoder.next_frame().unwrap() {
            lengths.push(bytes.len());
        }
        assert_eq!(lengths, [FRAME_BYTES, FRAME_BYTES, 1]);
        decoder.feed(&[STDIN, 0, 2, 0, 0]);
        assert_eq!(decoder.next_frame(), Err(TooLong { length: 2 << 16 }));
    }

    #[test]
    fn exit_codes_are_told_as_clients_read_them() {
        assert_eq!(ended(0)["status"], "Success");
        let status = ended(3);
        assert_eq!(status["reason"], "NonZeroExitCode");
        assert_eq!(status["details"]["causes"][0]["reason"], "ExitCode");
        assert_eq!(status["details"]["causes"][0]["message"], "3");
    }
}
