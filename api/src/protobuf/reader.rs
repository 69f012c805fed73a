//! Protobuf's wire format, read: fields with their numbers. Knows no message.

use std::{borrow::Cow, fmt};

/// What is wrong with bytes that should be protobuf, in the words of upstream's generated code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WireError(Cow<'static, str>);

impl WireError {
    pub(super) fn new(message: impl Into<Cow<'static, str>>) -> Self {
        Self(message.into())
    }

    fn cut_off() -> Self {
        Self::new("unexpected EOF")
    }
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for WireError {}

/// The value of a field as it stands on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wire<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
    Fixed32(u32),
}

impl<'a> Wire<'a> {
    fn kind(self) -> u8 {
        match self {
            Self::Varint(_) => 0,
            Self::Fixed64(_) => 1,
            Self::Bytes(_) => 2,
            Self::Fixed32(_) => 5,
        }
    }

    pub(super) fn wrong(self, field: &str) -> WireError {
        WireError::new(format!(
            "proto: wrong wireType = {} for field {field}",
            self.kind()
        ))
    }

    pub(super) fn bytes(self, field: &str) -> Result<&'a [u8], WireError> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            other => Err(other.wrong(field)),
        }
    }

    pub(super) fn text(self, field: &str) -> Result<&'a str, WireError> {
        std::str::from_utf8(self.bytes(field)?)
            .map_err(|_| WireError::new(format!("proto: field {field} contains invalid UTF-8")))
    }

    pub(super) fn varint(self, field: &str) -> Result<u64, WireError> {
        match self {
            Self::Varint(number) => Ok(number),
            other => Err(other.wrong(field)),
        }
    }

    pub(super) fn double(self, field: &str) -> Result<f64, WireError> {
        match self {
            Self::Fixed64(bits) => Ok(f64::from_bits(bits)),
            other => Err(other.wrong(field)),
        }
    }
}

/// Reads the fields of a message.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The next field; `message` is for the error.
    pub(super) fn next(&mut self, message: &str) -> Result<Option<(u32, Wire<'a>)>, WireError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let kind = tag & 7;
        let number = u32::try_from(tag >> 3).unwrap_or(0);
        if number == 0 || number > 0x1fff_ffff {
            return Err(WireError::new(format!(
                "proto: {message}: illegal tag {} (wire type {kind})",
                (tag >> 3).cast_signed()
            )));
        }
        let wire = match kind {
            0 => Wire::Varint(self.varint()?),
            1 => Wire::Fixed64(u64::from_le_bytes(self.array()?)),
            2 => {
                let len = self.varint()?;
                let len = usize::try_from(len).map_err(|_| WireError::cut_off())?;
                Wire::Bytes(self.take(len)?)
            }
            5 => Wire::Fixed32(u32::from_le_bytes(self.array()?)),
            4 => {
                return Err(WireError::new(format!(
                    "proto: {message}: wiretype end group for non-group"
                )));
            }
            other => return Err(WireError::new(format!("proto: illegal wireType {other}"))),
        };
        Ok(Some((number, wire)))
    }

    /// The next of numbers that stand one behind the other (a packed list).
    pub(super) fn packed(&mut self) -> Result<Option<u64>, WireError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        self.varint().map(Some)
    }

    fn varint(&mut self) -> Result<u64, WireError> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let [byte] = self.array::<1>()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(WireError::new("proto: integer overflow"))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let (head, rest) = self
            .rest
            .split_first_chunk::<N>()
            .ok_or_else(WireError::cut_off)?;
        self.rest = rest;
        Ok(*head)
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], WireError> {
        let (head, rest) = self
            .rest
            .split_at_checked(len)
            .ok_or_else(WireError::cut_off)?;
        self.rest = rest;
        Ok(head)
    }
}
