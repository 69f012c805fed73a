//! A certificate with its key, as PEM, and what can be read from it. Does not decide whether it is to be believed.

use jiff::Timestamp;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use crate::{ca::Names, error::PkiError};

/// A certificate and its private key. The key is not shown by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    /// The certificate, signed by the cluster's CA.
    pub cert_pem: String,
    /// The private key in PKCS #8.
    pub key_pem: String,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity")
            .field("cert_pem", &self.cert_pem)
            .finish_non_exhaustive()
    }
}

impl Identity {
    /// The certificate for TLS.
    ///
    /// # Errors
    /// [`PkiError::Unusable`].
    pub fn certificate(&self) -> Result<CertificateDer<'static>, PkiError> {
        certificate(&self.cert_pem)
    }

    /// The key for TLS.
    ///
    /// # Errors
    /// [`PkiError::Unusable`].
    pub fn key(&self) -> Result<PrivateKeyDer<'static>, PkiError> {
        PrivateKeyDer::from_pem_slice(self.key_pem.as_bytes())
            .map_err(|error| PkiError::unusable("the private key", error))
    }

    /// When the certificate begins and ends to be valid.
    ///
    /// # Errors
    /// [`PkiError::Unusable`].
    pub fn validity(&self) -> Result<(Timestamp, Timestamp), PkiError> {
        let der = self.certificate()?;
        let parsed = parse(&der)?;
        let validity = parsed.validity();
        let time = |seconds| {
            Timestamp::from_second(seconds)
                .map_err(|error| PkiError::unusable("the certificate's validity", error))
        };
        Ok((
            time(validity.not_before.timestamp())?,
            time(validity.not_after.timestamp())?,
        ))
    }

    /// The host names and addresses the certificate is for.
    ///
    /// # Errors
    /// [`PkiError::Unusable`].
    pub fn names(&self) -> Result<Names, PkiError> {
        let der = self.certificate()?;
        let parsed = parse(&der)?;
        let alternatives = parsed
            .subject_alternative_name()
            .map_err(|error| PkiError::unusable("the certificate's names", error))?;
        let mut names = Names::default();
        for name in alternatives
            .iter()
            .flat_map(|names| &names.value.general_names)
        {
            match name {
                GeneralName::DNSName(name) => {
                    names.dns.insert((*name).to_owned());
                }
                GeneralName::IPAddress(bytes) => {
                    let address = <[u8; 4]>::try_from(*bytes)
                        .map(Into::into)
                        .or_else(|_| <[u8; 16]>::try_from(*bytes).map(Into::into))
                        .map_err(|_| {
                            PkiError::unusable("the certificate's names", "an address is none")
                        })?;
                    names.addresses.insert(address);
                }
                _ => {}
            }
        }
        Ok(names)
    }
}

/// The first certificate of a PEM text.
pub(crate) fn certificate(pem: &str) -> Result<CertificateDer<'static>, PkiError> {
    CertificateDer::from_pem_slice(pem.as_bytes())
        .map_err(|error| PkiError::unusable("the certificate", error))
}

pub(crate) fn parse<'a>(der: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, PkiError> {
    match X509Certificate::from_der(der) {
        Ok((_, parsed)) => Ok(parsed),
        Err(error) => Err(PkiError::unusable("the certificate", error)),
    }
}
