//! SPDY/3 header blocks: names and values, compressed over the whole connection with a dictionary. What comes in is hostile: what a block unpacks to
//! is bounded before it is looked at.

use bytes::{BufMut, Bytes, BytesMut};
use zlib_rs::{Inflate, InflateError, InflateFlush, Status};

use super::{SpdyError, dictionary::DICTIONARY};

/// The most a block may unpack to. Requests for streams have a handful of short headers.
const BLOCK_BYTES: usize = 32 << 10;
/// The most headers of a block.
const HEADERS: u32 = 64;
/// zlib's largest window: compressors may use all of it.
const WINDOW_BITS: u8 = 15;
/// The largest piece that deflate takes uncompressed.
const STORED_BYTES: usize = 0xffff;
/// How much is unpacked at a time.
const STEP: usize = 4096;

/// The headers of a stream, names in lower case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers(pub Vec<(String, String)>);

impl Headers {
    /// The first value of a header.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(one, _)| one == name);
        found.map(|(_, value)| value.as_str())
    }

    fn to_block(&self) -> Bytes {
        let mut block = BytesMut::new();
        block.put_u32(count(self.0.len()));
        for (name, value) in &self.0 {
            for text in [name, value] {
                block.put_u32(count(text.len()));
                block.put_slice(text.as_bytes());
            }
        }
        block.freeze()
    }

    fn of_block(mut block: &[u8]) -> Result<Self, SpdyError> {
        let mut headers = Vec::new();
        let number = take_u32(&mut block)?;
        if number > HEADERS {
            return Err(SpdyError::Headers("too many"));
        }
        for _ in 0..number {
            let name = take_text(&mut block)?.to_ascii_lowercase();
            let value = take_text(&mut block)?;
            headers.push((name, value));
        }
        if !block.is_empty() {
            return Err(SpdyError::Headers("more bytes than headers"));
        }
        Ok(Self(headers))
    }
}

fn count(of: usize) -> u32 {
    u32::try_from(of).unwrap_or(u32::MAX)
}

fn take<'a>(block: &mut &'a [u8], length: usize) -> Result<&'a [u8], SpdyError> {
    let (taken, rest) = block
        .split_at_checked(length)
        .ok_or(SpdyError::Headers("cut short"))?;
    *block = rest;
    Ok(taken)
}

fn take_u32(block: &mut &[u8]) -> Result<u32, SpdyError> {
    let bytes = take(block, 4)?.try_into();
    Ok(u32::from_be_bytes(
        bytes.map_err(|_| SpdyError::Headers("cut short"))?,
    ))
}

fn take_text(block: &mut &[u8]) -> Result<String, SpdyError> {
    let length = usize::try_from(take_u32(block)?).unwrap_or(usize::MAX);
    let bytes = take(block, length)?;
    String::from_utf8(bytes.to_vec()).map_err(|_| SpdyError::Headers("not UTF-8"))
}

/// Unpacks the blocks of a connection, in order: what one says may depend on those before it.
pub(super) struct Unpacker(Inflate);

impl Unpacker {
    pub(super) fn new() -> Self {
        Self(Inflate::new(true, WINDOW_BITS))
    }

    pub(super) fn unpack(&mut self, mut packed: &[u8]) -> Result<Headers, SpdyError> {
        let mut block = Vec::new();
        let mut piece = [0; STEP];
        loop {
            let (taken, made) = (self.0.total_in(), self.0.total_out());
            let outcome = self
                .0
                .decompress(packed, &mut piece, InflateFlush::SyncFlush);
            let taken = usize::try_from(self.0.total_in() - taken).unwrap_or(usize::MAX);
            let made = usize::try_from(self.0.total_out() - made).unwrap_or(usize::MAX);
            packed = packed.get(taken..).unwrap_or_default();
            block.extend_from_slice(piece.get(..made).unwrap_or_default());
            if block.len() > BLOCK_BYTES {
                return Err(SpdyError::Headers("too large"));
            }
            match outcome {
                Ok(Status::Ok | Status::BufError) => {}
                Ok(Status::StreamEnd) => return Err(SpdyError::Headers("an end of compression")),
                Err(InflateError::NeedDict { .. }) => {
                    let known = self.0.set_dictionary(DICTIONARY);
                    known.map_err(|_| SpdyError::Headers("an unknown dictionary"))?;
                    continue;
                }
                Err(_) => return Err(SpdyError::Headers("not compressed by zlib")),
            }
            // A full piece may have left more behind in the decompressor.
            if packed.is_empty() && made < piece.len() {
                return Headers::of_block(&block);
            }
            if taken == 0 && made == 0 {
                return Err(SpdyError::Headers("not compressed by zlib"));
            }
        }
    }
}

/// Packs the blocks of a connection: stored, not compressed, which every decompressor takes. This side sends a few short ones.
#[derive(Default)]
pub(super) struct Packer {
    has_begun: bool,
}

impl Packer {
    pub(super) fn pack(&mut self, headers: &Headers) -> Bytes {
        let block = headers.to_block();
        let mut packed = BytesMut::new();
        if !self.has_begun {
            // zlib's head: deflate with the largest window, no dictionary.
            packed.put_slice(&[0x78, 0x01]);
            self.has_begun = true;
        }
        for piece in block.chunks(STORED_BYTES) {
            let length = u16::try_from(piece.len()).unwrap_or(u16::MAX);
            packed.put_u8(0);
            packed.put_u16_le(length);
            packed.put_u16_le(!length);
            packed.put_slice(piece);
        }
        packed.freeze()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use zlib_rs::{Deflate, DeflateFlush};

    use super::*;

    /// As the clients compress: with the dictionary, flushed at the end of each block.
    pub(crate) struct Client(Deflate);

    impl Client {
        pub(crate) fn new() -> Self {
            let mut deflate = Deflate::new(9, true, 15);
            deflate.set_dictionary(DICTIONARY).unwrap();
            Self(deflate)
        }

        pub(crate) fn pack(&mut self, headers: &Headers) -> Vec<u8> {
            self.pack_raw(&headers.to_block())
        }

        fn pack_raw(&mut self, block: &[u8]) -> Vec<u8> {
            let mut packed = vec![0; block.len() * 2 + 256];
            let before = self.0.total_out();
            self.0
                .compress(block, &mut packed, DeflateFlush::SyncFlush)
                .unwrap();
            packed.truncate((self.0.total_out() - before) as usize);
            packed
        }
    }

    fn headers(of: &[(&str, &str)]) -> Headers {
        let owned = of
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Headers(owned.collect())
    }

    #[test]
    fn the_dictionary_is_the_one_of_the_protocol() {
        assert_eq!(DICTIONARY.len(), 1423);
        assert_eq!(zlib_rs::adler32::adler32(1, DICTIONARY), 0xe3c6_a7c2);
    }

    #[test]
    fn blocks_are_unpacked_in_order_and_names_are_lower_case() {
        let mut client = Client::new();
        let mut unpacker = Unpacker::new();
        for id in 0..50 {
            let id = id.to_string();
            let sent = headers(&[("StreamType", "data"), ("port", "8080"), ("requestid", &id)]);
            let unpacked = unpacker.unpack(&client.pack(&sent)).unwrap();
            assert_eq!(unpacked.get("streamtype"), Some("data"));
            assert_eq!(unpacked.get("requestid"), Some(id.as_str()));
        }
    }

    #[test]
    fn a_block_that_unpacks_to_too_much_is_refused() {
        let mut client = Client::new();
        let bomb = vec![0; BLOCK_BYTES * 8];
        let packed = client.pack_raw(&bomb);
        assert!(packed.len() < 2048);
        let refused = Unpacker::new().unpack(&packed).unwrap_err();
        assert_eq!(refused.to_string(), "SPDY header block: too large");
    }

    proptest! {
        #[test]
        fn what_is_packed_is_unpacked(
            blocks in proptest::collection::vec(
                proptest::collection::vec(("[a-z-]{0,20}", ".{0,200}"), 0..20), 1..6)
        ) {
            let (mut packer, mut client) = (Packer::default(), Client::new());
            let (mut of_server, mut of_client) = (Unpacker::new(), Unpacker::new());
            for block in blocks {
                let headers = Headers(block);
                prop_assert_eq!(&of_server.unpack(&packer.pack(&headers)).unwrap(), &headers);
                prop_assert_eq!(&of_client.unpack(&client.pack(&headers)).unwrap(), &headers);
            }
        }

        #[test]
        fn any_bytes_are_unpacked_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
            let mut unpacker = Unpacker::new();
            let _ = unpacker.unpack(&bytes);
            // After a good beginning as well.
            let mut unpacker = Unpacker::new();
            unpacker.unpack(&Client::new().pack(&Headers::default())).unwrap();
            let _ = unpacker.unpack(&bytes);
            let _ = Headers::of_block(&bytes);
        }
    }
}
