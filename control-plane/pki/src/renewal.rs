//! Certificates that are kept in a folder and made anew when they are about to end, or when the names they are for have changed.

use std::{path::Path, time::Duration};

use jiff::Timestamp;

use crate::{
    ca::{Ca, Names},
    error::PkiError,
    files::{self, Audience},
    identity::Identity,
};

/// A stored certificate with less time left than this is made anew at start. A quarter of its life: a server that restarts every few months always has
/// a valid one.
pub const RENEW_BEFORE: Duration = Duration::from_secs(91 * 24 * 60 * 60);

/// Why a certificate is made anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// There is none.
    Missing,
    /// It has ended, or will soon.
    Ending,
    /// It begins later than now: the clock was set back.
    NotYetValid,
    /// It is for other names.
    Names,
    /// Another CA signed it.
    OtherCa,
    /// It cannot be read, or its key does not belong to it.
    Damaged,
}

impl Ca {
    /// The server certificate in `dir` (`STEM.crt`, `STEM.key`), made anew where [`needed`] says so. Says why it was.
    ///
    /// # Errors
    /// As [`Ca::server`], and what reading and writing say.
    pub fn stored_server(
        &self,
        dir: &Path,
        stem: &str,
        names: &Names,
        now: Timestamp,
    ) -> Result<(Identity, Option<Reason>), PkiError> {
        self.stored(dir, stem, now, Some(names), || self.server(names, now))
    }

    /// As [`Ca::stored_server`] for the certificate `make` makes, whose names do not matter: a user's or node's.
    ///
    /// # Errors
    /// What `make`, reading and writing say.
    pub fn stored_client(
        &self,
        dir: &Path,
        stem: &str,
        now: Timestamp,
        make: impl FnOnce() -> Result<Identity, PkiError>,
    ) -> Result<(Identity, Option<Reason>), PkiError> {
        self.stored(dir, stem, now, None, make)
    }

    fn stored(
        &self,
        dir: &Path,
        stem: &str,
        now: Timestamp,
        names: Option<&Names>,
        make: impl FnOnce() -> Result<Identity, PkiError>,
    ) -> Result<(Identity, Option<Reason>), PkiError> {
        files::private_dir(dir)?;
        let cert_path = dir.join(format!("{stem}.crt"));
        let key_path = dir.join(format!("{stem}.key"));
        // Half a pair is what a crash between the two writes leaves: as good as none.
        let stored = match files::read_pair(&cert_path, &key_path) {
            Ok(pair) => pair.map(|(cert_pem, key_pem)| Identity { cert_pem, key_pem }),
            Err(PkiError::Incomplete { .. }) => None,
            Err(error) => return Err(error),
        };
        let reason = match &stored {
            None => Some(Reason::Missing),
            Some(identity) => needed(self, identity, names, now),
        };
        match (stored, reason) {
            (Some(identity), None) => Ok((identity, None)),
            (_, reason) => {
                let identity = make()?;
                files::write(&key_path, identity.key_pem.as_bytes(), Audience::Owner)?;
                files::write(&cert_path, identity.cert_pem.as_bytes(), Audience::Everyone)?;
                Ok((identity, reason))
            }
        }
    }
}

/// Why `identity` should be made anew at `now`, if it should.
#[must_use]
pub fn needed(
    ca: &Ca,
    identity: &Identity,
    names: Option<&Names>,
    now: Timestamp,
) -> Option<Reason> {
    let Ok((begins, ends)) = identity.validity() else {
        return Some(Reason::Damaged);
    };
    if !signed_by(ca, identity) {
        return Some(Reason::OtherCa);
    }
    if !key_belongs(identity) {
        return Some(Reason::Damaged);
    }
    if begins > now {
        return Some(Reason::NotYetValid);
    }
    if ends.duration_since(now)
        < jiff::SignedDuration::from_secs(RENEW_BEFORE.as_secs().cast_signed())
    {
        return Some(Reason::Ending);
    }
    match names {
        Some(names) if identity.names().ok().as_ref() != Some(names) => Some(Reason::Names),
        _ => None,
    }
}

/// Whether the CA's key made the certificate's signature.
fn signed_by(ca: &Ca, identity: &Identity) -> bool {
    let (Ok(ca), Ok(leaf)) = (ca.certificate(), identity.certificate()) else {
        return false;
    };
    let (Ok(ca), Ok(leaf)) = (crate::identity::parse(&ca), crate::identity::parse(&leaf)) else {
        return false;
    };
    let point = &ca.public_key().subject_public_key.data;
    ring::signature::UnparsedPublicKey::new(&ring::signature::ECDSA_P256_SHA256_ASN1, point)
        .verify(leaf.tbs_certificate.as_ref(), &leaf.signature_value.data)
        .is_ok()
}

/// Whether certificate and key are a pair. A crash between the two writes of a renewal leaves a new key with an old certificate.
fn key_belongs(identity: &Identity) -> bool {
    use rcgen::PublicKeyData as _;
    let (Ok(der), Ok(key)) = (
        identity.certificate(),
        rcgen::KeyPair::from_pem(&identity.key_pem),
    ) else {
        return false;
    };
    crate::identity::parse(&der)
        .is_ok_and(|parsed| parsed.public_key().raw == key.subject_public_key_info())
}

#[cfg(test)]
mod tests;
