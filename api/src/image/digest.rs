//! The digest of content: SHA-256, written `sha256:` and 64 hexadecimal digits. OCI knows other algorithms; nobody uses them.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

use super::ImageError;

const PREFIX: &str = "sha256:";

/// What content is known by.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of `content`.
    #[must_use]
    pub fn of(content: &[u8]) -> Self {
        Self(Sha256::digest(content).into())
    }

    /// A digest that was computed elsewhere.
    #[must_use]
    pub fn from_sha256(hash: [u8; 32]) -> Self {
        Self(hash)
    }

    /// The hexadecimal digits alone: safe as the name of a file.
    #[must_use]
    pub fn hex(&self) -> String {
        use fmt::Write as _;
        self.0
            .iter()
            .fold(String::with_capacity(64), |mut hex, byte| {
                // Writing to a String cannot fail.
                let _ = write!(hex, "{byte:02x}");
                hex
            })
    }

    /// The digest with these hexadecimal digits.
    ///
    /// # Errors
    /// [`ImageError::Digest`] unless there are exactly 64 in lower case.
    pub fn from_hex(hex: &str) -> Result<Self, ImageError> {
        let wrong = || ImageError::Digest(hex.chars().take(100).collect());
        let mut hash = [0_u8; 32];
        if hex.len() != 2 * hash.len() {
            return Err(wrong());
        }
        for (byte, digits) in hash.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
            *byte = digits.iter().try_fold(0_u8, |byte, digit| {
                let value = match digit {
                    b'0'..=b'9' => digit - b'0',
                    b'a'..=b'f' => digit - b'a' + 10,
                    _ => return Err(wrong()),
                };
                Ok(byte << 4 | value)
            })?;
        }
        Ok(Self(hash))
    }
}

impl FromStr for Digest {
    type Err = ImageError;

    fn from_str(text: &str) -> Result<Self, ImageError> {
        let wrong = || ImageError::Digest(text.chars().take(100).collect());
        let hex = text.strip_prefix(PREFIX).ok_or_else(wrong)?;
        Self::from_hex(hex).map_err(|_| wrong())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}
