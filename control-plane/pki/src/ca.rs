//! The cluster's certificate authority: a self-signed certificate and its key in a folder. Signs certificates of servers, users and nodes; remembers
//! none of them, so what is signed is valid until it ends.

use std::{
    collections::BTreeSet,
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData as _, SanType, SerialNumber,
    date_time_ymd,
};
use ring::rand::{SecureRandom as _, SystemRandom};
use rustls_pki_types::CertificateDer;

use crate::{
    error::PkiError,
    files::{self, Audience},
    identity::{self, Identity},
    subject::Subject,
};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// How long the CA's certificate is valid: as long as a cluster lives, because changing it means touching every client.
pub const CA_LIFETIME: Duration = DAY.saturating_mul(3650);
/// How long other certificates are valid. Servers renew theirs at start; double would let a stolen one live longer, half would end the
/// kubeconfig of a cluster that is looked at twice a year.
pub const LEAF_LIFETIME: Duration = DAY.saturating_mul(365);
/// How far back a new certificate's validity begins, for clients whose clocks are behind.
const CLOCK_SKEW: Duration = Duration::from_secs(5 * 60);
/// What the CA calls itself.
const CA_NAME: &str = "coracle-ca";
/// What the group of all nodes is called.
pub const NODES: &str = "system:nodes";
/// What a node's user name begins with.
pub const NODE_PREFIX: &str = "system:node:";

/// The names a server is reached by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// Host names.
    pub dns: BTreeSet<String>,
    /// Addresses.
    pub addresses: BTreeSet<IpAddr>,
}

impl Names {
    /// Sorts host names and addresses apart.
    pub fn parse<N: AsRef<str>>(names: impl IntoIterator<Item = N>) -> Self {
        let mut parsed = Self::default();
        for name in names {
            match name.as_ref().parse::<IpAddr>() {
                Ok(address) => parsed.addresses.insert(address),
                Err(_) => parsed.dns.insert(name.as_ref().to_owned()),
            };
        }
        parsed
    }
}

/// The certificate authority.
pub struct Ca {
    cert_pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl std::fmt::Debug for Ca {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ca")
            .field("cert_pem", &self.cert_pem)
            .finish_non_exhaustive()
    }
}

impl Ca {
    /// The authority kept in `dir` (`ca.crt`, `ca.key`), made at `now` if there is none.
    ///
    /// # Errors
    /// See [`PkiError`]; a damaged or incomplete authority is never replaced by a new one.
    pub fn load_or_create(dir: &Path, now: Timestamp) -> Result<Self, PkiError> {
        files::private_dir(dir)?;
        let (cert_path, key_path) = (dir.join("ca.crt"), dir.join("ca.key"));
        let cert_pem = files::read(&cert_path, Audience::Everyone)?;
        let key_pem = files::read(&key_path, Audience::Owner)?;
        let key = match (cert_pem, key_pem) {
            (Some(cert_pem), Some(key_pem)) => {
                return Self::load(cert_pem, &key_pem, &cert_path, key_path);
            }
            (Some(_), None) => {
                return Err(PkiError::Incomplete {
                    found: cert_path,
                    missing: key_path,
                });
            }
            // What a crash during the first start leaves. A new certificate with the same name and key is as good as the old: whoever trusts
            // the one verifies what the other signed.
            (None, Some(key_pem)) => KeyPair::from_pem(&key_pem)
                .map_err(|error| PkiError::unusable(key_path.display().to_string(), error))?,
            (None, None) => {
                let key = new_key()?;
                files::write(&key_path, key.serialize_pem().as_bytes(), Audience::Owner)?;
                key
            }
        };
        let mut params = CertificateParams::default();
        params.distinguished_name = common_name(CA_NAME);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![
            KeyUsagePurpose::DigitalSignature,
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::CrlSign,
        ];
        valid(&mut params, now, CA_LIFETIME)?;
        let certificate = params.self_signed(&key).map_err(|source| PkiError::Make {
            what: "the CA's certificate",
            source,
        })?;
        files::write(&cert_path, certificate.pem().as_bytes(), Audience::Everyone)?;
        Ok(Self {
            cert_pem: certificate.pem(),
            issuer: Issuer::new(params, key),
        })
    }

    fn load(
        cert_pem: String,
        key_pem: &str,
        cert_path: &Path,
        key_path: PathBuf,
    ) -> Result<Self, PkiError> {
        let unusable = |path: &Path, error: &dyn std::fmt::Display| {
            PkiError::unusable(path.display().to_string(), error)
        };
        let key = KeyPair::from_pem(key_pem).map_err(|error| unusable(&key_path, &error))?;
        let der = identity::certificate(&cert_pem).map_err(|error| unusable(cert_path, &error))?;
        let parsed = identity::parse(&der).map_err(|error| unusable(cert_path, &error))?;
        if !parsed.is_ca() {
            return Err(unusable(cert_path, &"it is not the certificate of a CA"));
        }
        if parsed.public_key().raw != key.subject_public_key_info() {
            return Err(PkiError::Mismatch {
                certificate: cert_path.to_owned(),
                key: key_path,
            });
        }
        let issuer =
            Issuer::from_ca_cert_der(&der, key).map_err(|error| unusable(cert_path, &error))?;
        Ok(Self { cert_pem, issuer })
    }

    /// The CA's certificate: what clients and servers trust.
    #[must_use]
    pub fn cert_pem(&self) -> &str {
        &self.cert_pem
    }

    /// The CA's certificate for TLS.
    ///
    /// # Errors
    /// [`PkiError::Unusable`].
    pub fn certificate(&self) -> Result<CertificateDer<'static>, PkiError> {
        identity::certificate(&self.cert_pem)
    }

    /// A certificate for a server that is reached by `names`, valid for a year from `now`.
    ///
    /// # Errors
    /// [`PkiError::Name`] for names that are none.
    pub fn server(&self, names: &Names, now: Timestamp) -> Result<Identity, PkiError> {
        let mut params = leaf(ExtendedKeyUsagePurpose::ServerAuth, now, LEAF_LIFETIME)?;
        params.distinguished_name = common_name("coracle-server");
        for name in &names.dns {
            let text = name.as_str().try_into().map_err(|_| PkiError::Name {
                value: name.clone(),
                field: "host name",
            })?;
            params.subject_alt_names.push(SanType::DnsName(text));
        }
        let addresses = names.addresses.iter().copied();
        params
            .subject_alt_names
            .extend(addresses.map(SanType::IpAddress));
        let key = new_key()?;
        let certificate = self.sign(&params, &key)?;
        Ok(Identity {
            cert_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
        })
    }

    /// A certificate for a user in `groups`, valid for `ttl` from `now` (at most [`LEAF_LIFETIME`]).
    ///
    /// # Errors
    /// [`PkiError::Name`] for users and groups that do not fit into a certificate.
    pub fn client<G: Into<String>>(
        &self,
        user: &str,
        groups: impl IntoIterator<Item = G>,
        ttl: Duration,
        now: Timestamp,
    ) -> Result<Identity, PkiError> {
        let subject = Subject::new(user, groups)?;
        let params = leaf(
            ExtendedKeyUsagePurpose::ClientAuth,
            now,
            ttl.min(LEAF_LIFETIME),
        )?;
        let key = new_key()?;
        let certificate = self.sign(&params, &key)?;
        let der = subject.put_into(&certificate, self.issuer.key())?;
        Ok(Identity {
            cert_pem: pem("CERTIFICATE", &der),
            key_pem: key.serialize_pem(),
        })
    }

    /// A certificate for node `name`: user `system:node:NAME` in group `system:nodes`.
    ///
    /// # Errors
    /// As [`Ca::client`]; [`PkiError::Name`] for the empty name too.
    pub fn node(&self, name: &str, now: Timestamp) -> Result<Identity, PkiError> {
        if name.is_empty() {
            return Err(PkiError::Name {
                value: String::new(),
                field: "node name",
            });
        }
        self.client(&format!("{NODE_PREFIX}{name}"), [NODES], LEAF_LIFETIME, now)
    }

    fn sign(
        &self,
        params: &CertificateParams,
        key: &KeyPair,
    ) -> Result<rcgen::Certificate, PkiError> {
        params
            .signed_by(key, &self.issuer)
            .map_err(|source| PkiError::Make {
                what: "a certificate",
                source,
            })
    }
}

/// A new P-256 key.
pub(crate) fn new_key() -> Result<KeyPair, PkiError> {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(|source| PkiError::Make {
        what: "a key",
        source,
    })
}

/// What all certificates but the CA's have in common.
fn leaf(
    usage: ExtendedKeyUsagePurpose,
    now: Timestamp,
    lifetime: Duration,
) -> Result<CertificateParams, PkiError> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![usage];
    params.use_authority_key_identifier_extension = true;
    let mut serial = [0_u8; 16];
    SystemRandom::new()
        .fill(&mut serial)
        .map_err(|_| PkiError::Random)?;
    // RFC 5280, 4.1.2.2: serial numbers are positive.
    serial[0] = serial[0] & 0x7f | 0x40;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    valid(&mut params, now, lifetime)?;
    Ok(params)
}

fn common_name(name: &str) -> rcgen::DistinguishedName {
    let mut names = rcgen::DistinguishedName::new();
    names.push(DnType::CommonName, name);
    names
}

/// Sets the validity to `lifetime` from `now`, beginning a little earlier.
fn valid(
    params: &mut CertificateParams,
    now: Timestamp,
    lifetime: Duration,
) -> Result<(), PkiError> {
    let impossible = || PkiError::Name {
        value: format!("{now} + {} s", lifetime.as_secs()),
        field: "validity",
    };
    // RFC 5280 knows years 0 to 9999; the furthest date that is asked for is ten years away.
    let since_epoch = u64::try_from(now.as_second()).map_err(|_| impossible())?;
    let end = since_epoch
        .checked_add(lifetime.as_secs())
        .ok_or_else(impossible)?;
    if end > LAST_SECOND {
        return Err(impossible());
    }
    let epoch = date_time_ymd(1970, 1, 1);
    params.not_before = epoch + Duration::from_secs(since_epoch).saturating_sub(CLOCK_SKEW);
    params.not_after = epoch + Duration::from_secs(end);
    Ok(())
}

/// The last second of the year 9999, the end of X.509's time.
const LAST_SECOND: u64 = 253_402_300_799;

/// DER as PEM.
pub(crate) fn pem(label: &str, der: &[u8]) -> String {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let text = STANDARD.encode(der);
    let mut pem = format!("-----BEGIN {label}-----\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(64));
        pem.push_str(line);
        pem.push('\n');
        rest = after;
    }
    pem.push_str(&format!("-----END {label}-----\n"));
    pem
}

#[cfg(test)]
mod tests;
