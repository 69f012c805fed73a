//! What can go wrong with keys and certificates, one variant per step. None is worth a retry: a human has to look.

use std::{io, path::PathBuf};

/// Why there is no key, certificate or TLS configuration.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// A file could not be read.
    #[error("read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A file or folder could not be written.
    #[error("write {}", path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A private key may be read by others than its owner.
    #[error("{} may be read by others (mode {mode:03o}); make sure nobody did, then: chmod 600 {}", path.display(), path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The certificate is there and its key is not, or the other way round.
    #[error("{} exists without {}: restore the missing file, or move this one away to start anew", found.display(), missing.display())]
    Incomplete {
        /// What is there.
        found: PathBuf,
        /// What is not.
        missing: PathBuf,
    },
    /// A certificate and a key do not belong together.
    #[error("the key {} does not belong to the certificate {}", key.display(), certificate.display())]
    Mismatch {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
    /// A file or text holds no certificate or key that can be used.
    #[error("{what} is not usable: {reason}")]
    Unusable {
        /// Which one.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Something asked for cannot be written into a certificate.
    #[error("{value:?} cannot be put into a certificate as {field}")]
    Name {
        /// The user, group, host name or time.
        value: String,
        /// Where it was to go.
        field: &'static str,
    },
    /// A key or certificate could not be made.
    #[error("make {what}")]
    Make {
        /// Which one.
        what: &'static str,
        /// What the library said.
        #[source]
        source: rcgen::Error,
    },
    /// The system gave no random numbers.
    #[error("the system's random number generator failed")]
    Random,
    /// rustls refused a configuration.
    #[error("configure TLS")]
    Tls(#[source] rustls::Error),
    /// The verifier of client certificates could not be made.
    #[error("configure the verification of client certificates")]
    Verifier(#[source] rustls::server::VerifierBuilderError),
}

impl PkiError {
    /// An [`PkiError::Unusable`].
    pub(crate) fn unusable(what: impl Into<String>, reason: impl ToString) -> Self {
        Self::Unusable {
            what: what.into(),
            reason: reason.to_string(),
        }
    }
}
