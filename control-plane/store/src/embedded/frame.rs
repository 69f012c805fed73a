//! The envelope of what is appended to the log in one go: marker, length, checksum. A group of transactions is one frame, so that a power cut
//! tears all of it or nothing. The checksum covers where the frame lies and a number nobody outside knows: bytes that look like a frame, left
//! over from before or put into a value on purpose, are none anywhere else.

/// Begins each frame. Lets a scan find the next frame behind a damaged one.
const MARK: [u8; 4] = *b"cfr2";
/// Marker, payload length, checksum.
pub(super) const HEAD: usize = 12;
/// A payload is never longer: see [`crate::state::TXN_LIMIT`] and the writer's bound on a group.
const PAYLOAD_LIMIT: usize = 32 << 20;

/// Where a frame lies: part of its checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The segment's own random number.
    pub(super) salt: u64,
    /// The frame's first byte in the file.
    pub(super) offset: u64,
}

impl Place {
    fn checksum(self, payload: &[u8]) -> u32 {
        let mut checksum = crc32fast::Hasher::new();
        checksum.update(&self.salt.to_le_bytes());
        checksum.update(&self.offset.to_le_bytes());
        checksum.update(&(payload.len() as u64).to_le_bytes());
        checksum.update(payload);
        checksum.finalize()
    }
}

/// Puts `payload` into a frame that lies at `place`.
pub(super) fn seal(payload: &[u8], place: Place) -> Vec<u8> {
    let mut frame = Vec::with_capacity(HEAD + payload.len());
    frame.extend_from_slice(&MARK);
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    frame.extend_from_slice(&length.to_le_bytes());
    frame.extend_from_slice(&place.checksum(payload).to_le_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// The payload of the frame at the start of `bytes`, which lie at `place`. `None`: there is no whole, undamaged frame here.
pub(super) fn unseal(bytes: &[u8], place: Place) -> Option<&[u8]> {
    let (mark, rest) = bytes.split_first_chunk::<4>()?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let (checksum, rest) = rest.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    if *mark != MARK || length > PAYLOAD_LIMIT {
        return None;
    }
    let payload = rest.get(..length)?;
    (place.checksum(payload) == u32::from_le_bytes(*checksum)).then_some(payload)
}

/// Where the first whole frame in `bytes` is, from `from` on; `place` is that of the first byte.
pub(super) fn find(bytes: &[u8], from: usize, place: Place) -> Option<usize> {
    let mut at = from;
    loop {
        let rest = bytes.get(at..)?;
        at += rest.windows(MARK.len()).position(|window| window == MARK)?;
        let here = Place {
            offset: place.offset + at as u64,
            ..place
        };
        if unseal(bytes.get(at..)?, here).is_some() {
            return Some(at);
        }
        at += 1;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HERE: Place = Place {
        salt: 7,
        offset: 4096,
    };

    proptest! {
        #[test]
        fn what_is_sealed_is_unsealed(
            payload in proptest::collection::vec(any::<u8>(), 0..200),
            trailing in proptest::collection::vec(any::<u8>(), 0..16),
        ) {
            let mut frame = seal(&payload, HERE);
            frame.extend(trailing);
            prop_assert_eq!(unseal(&frame, HERE), Some(&payload[..]));
        }

        #[test]
        fn a_cut_changed_or_moved_frame_is_no_frame(
            payload in proptest::collection::vec(any::<u8>(), 0..200),
            at in any::<prop::sample::Index>(),
            bit in 0_u8..8,
        ) {
            let mut frame = seal(&payload, HERE);
            prop_assert_eq!(unseal(&frame, Place { offset: 4097, ..HERE }), None);
            prop_assert_eq!(unseal(&frame, Place { salt: 8, ..HERE }), None);
            let at = at.index(frame.len());
            prop_assert_eq!(unseal(&frame[..at], HERE), None);
            frame[at] ^= 1 << bit;
            prop_assert_eq!(unseal(&frame, HERE), None);
        }
    }

    #[test]
    fn a_frame_behind_a_damaged_one_is_found() {
        let first = seal(b"first", HERE);
        let second = Place {
            offset: HERE.offset + first.len() as u64,
            ..HERE
        };
        let mut bytes = [first.clone(), seal(b"second", second)].concat();
        bytes[HEAD] ^= 1;
        assert_eq!(find(&bytes, 1, HERE), Some(first.len()));
        bytes[first.len() + HEAD] ^= 1;
        assert_eq!(find(&bytes, 1, HERE), None);
    }
}
