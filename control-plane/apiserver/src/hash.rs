//! Content hashes for caches: ETags and the addresses of OpenAPI documents. Not for secrets.

use sha2::{Digest as _, Sha256};

/// The SHA-256 of `bytes` in upper-case hexadecimal.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02X}"))
        .collect()
}
