//! Users and groups in certificates: the common name is the user, every organization a group (Kubernetes' x509 authentication). Writes
//! and reads subjects; verifies nothing.

use rcgen::{Certificate, KeyPair, SigningKey as _};
use x509_parser::prelude::{FromDer as _, X509Certificate};
use yasna::models::ObjectIdentifier;

use crate::error::PkiError;

/// X.520's common name.
const COMMON_NAME: [u64; 4] = [2, 5, 4, 3];
/// X.520's organization name.
const ORGANIZATION: [u64; 4] = [2, 5, 4, 10];
/// The longest name, in characters: `system:serviceaccount:NAMESPACE:NAME` takes up to 340. X.520 says 64, which neither Kubernetes nor the verifiers
/// of TLS libraries hold to, and which node names of cloud providers go beyond.
const LONGEST: usize = 512;
/// Where the subject is in a version 3 certificate's `TBSCertificate`: after version, serial, signature, issuer and validity (RFC 5280, 4.1).
const SUBJECT: usize = 5;

/// A user with groups.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subject {
    /// The user's name.
    pub user: String,
    /// The user's groups.
    pub groups: Vec<String>,
}

impl Subject {
    /// A subject.
    ///
    /// # Errors
    /// [`PkiError::Name`] when a name is empty, over 512 characters, or has control characters.
    pub fn new<G: Into<String>>(
        user: impl Into<String>,
        groups: impl IntoIterator<Item = G>,
    ) -> Result<Self, PkiError> {
        let subject = Self {
            user: user.into(),
            groups: groups.into_iter().map(Into::into).collect(),
        };
        check(&subject.user, "common name")?;
        for group in &subject.groups {
            check(group, "organization")?;
        }
        Ok(subject)
    }

    /// The user and groups a certificate names.
    ///
    /// # Errors
    /// [`PkiError::Unusable`] when it is no certificate, or has not exactly one common name.
    pub fn of_certificate(der: &[u8]) -> Result<Self, PkiError> {
        let unusable = |reason: &str| PkiError::unusable("the certificate", reason);
        let (_, certificate) = X509Certificate::from_der(der)
            .map_err(|_| unusable("it is not an X.509 certificate in DER"))?;
        let name = certificate.subject();
        let texts =
            |attribute: &mut dyn Iterator<Item = &x509_parser::x509::AttributeTypeAndValue<'_>>| {
                attribute
                    .map(|value| value.as_str().map(str::to_owned))
                    .collect::<Result<Vec<_>, _>>()
                    .map_err(|_| unusable("its subject is not text"))
            };
        let users = texts(&mut name.iter_common_name())?;
        let groups = texts(&mut name.iter_organization())?;
        match <[String; 1]>::try_from(users) {
            Ok([user]) if !user.is_empty() => Ok(Self { user, groups }),
            _ => Err(unusable("its subject has not one common name")),
        }
    }

    /// The certificate with this subject instead of its own, signed anew. rcgen keeps one value per attribute, but groups are many
    /// organizations, so the name is written here and everything else is left to rcgen.
    ///
    /// # Errors
    /// [`PkiError::Make`] when the key does not sign.
    pub(crate) fn put_into(
        &self,
        certificate: &Certificate,
        issuer_key: &KeyPair,
    ) -> Result<Vec<u8>, PkiError> {
        let parts = elements(certificate.der())?;
        let (Some(tbs), Some(algorithm)) = (parts.first(), parts.get(1)) else {
            return Err(PkiError::unusable(
                "the certificate",
                "it has too few parts",
            ));
        };
        let mut fields = elements(tbs)?;
        match fields.get_mut(SUBJECT) {
            Some(subject) => *subject = self.to_der(),
            None => return Err(PkiError::unusable("the certificate", "it has no subject")),
        }
        let tbs = sequence(&fields);
        let signature = issuer_key.sign(&tbs).map_err(|source| PkiError::Make {
            what: "the signature of a certificate",
            source,
        })?;
        let signature = yasna::construct_der(|writer| {
            writer.write_bitvec_bytes(&signature, signature.len() * 8)
        });
        Ok(sequence(&[tbs, algorithm.clone(), signature]))
    }

    /// The subject as an X.501 name: the organizations, then the common name.
    fn to_der(&self) -> Vec<u8> {
        let groups = self.groups.iter().map(|group| (ORGANIZATION, group));
        let names = groups.chain([(COMMON_NAME, &self.user)]);
        yasna::construct_der(|writer| {
            writer.write_sequence(|writer| {
                for (kind, text) in names {
                    writer.next().write_set(|writer| {
                        writer.next().write_sequence(|writer| {
                            writer
                                .next()
                                .write_oid(&ObjectIdentifier::from_slice(&kind));
                            writer.next().write_utf8_string(text);
                        });
                    });
                }
            });
        })
    }
}

fn check(text: &str, field: &'static str) -> Result<(), PkiError> {
    let length = text.chars().count();
    if length == 0 || length > LONGEST || text.chars().any(char::is_control) {
        return Err(PkiError::Name {
            value: text.to_owned(),
            field,
        });
    }
    Ok(())
}

/// The encoded elements of an encoded sequence.
fn elements(der: &[u8]) -> Result<Vec<Vec<u8>>, PkiError> {
    yasna::parse_der(der, |reader| {
        reader.collect_sequence_of(|element| element.read_der())
    })
    .map_err(|error| PkiError::unusable("the certificate", error))
}

/// An encoded sequence of encoded elements.
fn sequence(elements: &[Vec<u8>]) -> Vec<u8> {
    yasna::construct_der(|writer| {
        writer.write_sequence(|writer| {
            for element in elements {
                writer.next().write_der(element);
            }
        });
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_do_not_fit_are_refused() {
        assert!(Subject::new("jane", ["dev"]).is_ok());
        for (user, group) in [
            ("", "dev"),
            ("jane", ""),
            ("a\0b", "dev"),
            ("jane", &*"x".repeat(513)),
        ] {
            assert!(Subject::new(user, [group]).is_err(), "{user:?} {group:?}");
        }
    }

    #[test]
    fn what_is_no_certificate_has_no_subject() {
        assert!(Subject::of_certificate(b"").is_err());
        assert!(Subject::of_certificate(&[0x30, 0x03, 0x02, 0x01, 0x00]).is_err());
    }
}
