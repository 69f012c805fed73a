//! Reads method and path of a request (OCI distribution specification, "Endpoints"). Pure. Every name, tag and digest that leaves this file is valid, so
//! that no path made of them can leave the registry's folder.

use coracle_api::image::{
    Digest,
    reference::{is_repository, is_tag},
};
use http::Method;
use percent_encoding::percent_decode_str;
use uuid::Uuid;

use crate::error::RegistryError;

/// What a request is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// Is this a registry?
    Version,
    /// Which repositories are there?
    Catalog,
    /// Something in a repository.
    In(Repository, Place),
}

/// A repository's name, valid.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Repository(String);

impl Repository {
    /// The repository called `name`.
    ///
    /// # Errors
    /// [`RegistryError::Name`].
    pub fn new(name: &str) -> Result<Self, RegistryError> {
        if is_repository(name) {
            Ok(Self(name.to_owned()))
        } else {
            Err(RegistryError::Name)
        }
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A place in a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A blob.
    Blob(Digest),
    /// Where uploads begin.
    Uploads,
    /// An upload.
    Upload(Uuid),
    /// A manifest.
    Manifest(Reference),
    /// The tags.
    Tags,
    /// The manifests that are about a manifest.
    Referrers(Digest),
}

/// Which manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reference {
    /// The one that has this tag now.
    Tag(String),
    /// The one with this digest.
    Digest(Digest),
}

impl Reference {
    /// Reads a tag or a digest.
    ///
    /// # Errors
    /// [`RegistryError::Reference`].
    pub fn parse(text: &str) -> Result<Self, RegistryError> {
        if text.contains(':') {
            return digest(text).map(Self::Digest);
        }
        if is_tag(text) {
            return Ok(Self::Tag(text.to_owned()));
        }
        Err(RegistryError::Reference(text.chars().take(200).collect()))
    }
}

/// Reads a digest.
///
/// # Errors
/// [`RegistryError::Reference`].
pub fn digest(text: &str) -> Result<Digest, RegistryError> {
    text.parse()
        .map_err(|_| RegistryError::Reference(text.chars().take(200).collect()))
}

impl Endpoint {
    /// Reads a request's path.
    ///
    /// # Errors
    /// [`RegistryError::Endpoint`], [`RegistryError::Name`], [`RegistryError::Reference`], [`RegistryError::UploadUnknown`].
    pub fn parse(path: &str) -> Result<Self, RegistryError> {
        let decoded = percent_decode_str(path)
            .decode_utf8()
            .map_err(|_| RegistryError::Name)?;
        let rest = decoded.strip_prefix("/v2").ok_or(RegistryError::Endpoint)?;
        let rest = match rest.strip_prefix('/') {
            Some(rest) => rest,
            None if rest.is_empty() => rest,
            None => return Err(RegistryError::Endpoint),
        };
        match rest {
            "" => return Ok(Self::Version),
            "_catalog" => return Ok(Self::Catalog),
            _ => {}
        }
        // Names have slashes, so the path is read from its end.
        let segments: Vec<&str> = rest.split('/').collect();
        let (name, place) = match segments.as_slice() {
            [name @ .., "tags", "list"] => (name, Place::Tags),
            [name @ .., "manifests", reference] => {
                (name, Place::Manifest(Reference::parse(reference)?))
            }
            [name @ .., "referrers", subject] => (name, Place::Referrers(digest(subject)?)),
            [name @ .., "blobs", "uploads", ""] | [name @ .., "blobs", "uploads"] => {
                (name, Place::Uploads)
            }
            [name @ .., "blobs", "uploads", id] => {
                let id = Uuid::try_parse(id).map_err(|_| RegistryError::UploadUnknown)?;
                (name, Place::Upload(id))
            }
            [name @ .., "blobs", blob] => (name, Place::Blob(digest(blob)?)),
            _ => return Err(RegistryError::Endpoint),
        };
        Ok(Self::In(Repository::new(&name.join("/"))?, place))
    }

    /// Whether the endpoint takes the method.
    #[must_use]
    pub fn takes(&self, method: &Method) -> bool {
        let methods: &[Method] = match self {
            Self::Version | Self::Catalog => &[Method::GET, Method::HEAD],
            Self::In(_, place) => match place {
                Place::Blob(_) => &[Method::GET, Method::HEAD, Method::DELETE],
                Place::Uploads => &[Method::POST],
                Place::Upload(_) => &[Method::GET, Method::PATCH, Method::PUT, Method::DELETE],
                Place::Manifest(_) => &[Method::GET, Method::HEAD, Method::PUT, Method::DELETE],
                Place::Tags | Place::Referrers(_) => &[Method::GET],
            },
        };
        methods.contains(method)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn told(path: &str) -> String {
        match Endpoint::parse(path) {
            Ok(Endpoint::In(name, place)) => format!("{} {place:?}", name.as_str()),
            Ok(other) => format!("{other:?}"),
            Err(error) => error.code().0.to_owned(),
        }
    }

    #[test]
    fn paths_mean_what_the_specification_says() {
        let d = Digest::of(b"");
        let id = Uuid::nil();
        for (path, expected) in [
            ("/v2", "Version".to_owned()),
            ("/v2/", "Version".to_owned()),
            ("/v2/_catalog", "Catalog".to_owned()),
            ("/v2/a/tags/list", "a Tags".to_owned()),
            (
                "/v2/a/b/c/manifests/1.0",
                "a/b/c Manifest(Tag(\"1.0\"))".to_owned(),
            ),
            (
                &format!("/v2/a/manifests/{d}"),
                format!("a Manifest(Digest({d}))"),
            ),
            (&format!("/v2/a/blobs/{d}"), format!("a Blob({d})")),
            (
                &format!("/v2/a/blobs/{}", d.to_string().replace(':', "%3A")),
                format!("a Blob({d})"),
            ),
            ("/v2/a/blobs/uploads/", "a Uploads".to_owned()),
            ("/v2/a/blobs/uploads", "a Uploads".to_owned()),
            (
                &format!("/v2/a/blobs/uploads/{id}"),
                format!("a Upload({id})"),
            ),
            ("/v2/blobs/blobs/uploads/", "blobs Uploads".to_owned()),
            (
                "/v2/manifests/manifests/manifests",
                "manifests Manifest(Tag(\"manifests\"))".to_owned(),
            ),
            (&format!("/v2/a/referrers/{d}"), format!("a Referrers({d})")),
        ] {
            assert_eq!(told(path), expected, "{path}");
        }
    }

    #[test]
    fn what_could_lead_astray_is_refused() {
        for (path, code) in [
            ("/", "UNSUPPORTED"),
            ("/v2x", "UNSUPPORTED"),
            ("/v3/a/tags/list", "UNSUPPORTED"),
            ("/v2/a", "UNSUPPORTED"),
            ("/v2/tags/list", "NAME_INVALID"),
            ("/v2//tags/list", "NAME_INVALID"),
            ("/v2/../tags/list", "NAME_INVALID"),
            ("/v2/a/../b/tags/list", "NAME_INVALID"),
            ("/v2/%2e%2e/tags/list", "NAME_INVALID"),
            ("/v2/a%00/tags/list", "NAME_INVALID"),
            ("/v2/%ff/tags/list", "NAME_INVALID"),
            ("/v2/_tags/tags/list", "NAME_INVALID"),
            ("/v2/A/tags/list", "NAME_INVALID"),
            ("/v2/a/manifests/..", "DIGEST_INVALID"),
            ("/v2/a/manifests/.hidden", "DIGEST_INVALID"),
            ("/v2/a/manifests/", "DIGEST_INVALID"),
            ("/v2/a/manifests/sha512:00", "DIGEST_INVALID"),
            ("/v2/a/blobs/sha256:../../x", "UNSUPPORTED"),
            ("/v2/a/blobs/latest", "DIGEST_INVALID"),
            ("/v2/a/blobs/uploads/../x", "UNSUPPORTED"),
            ("/v2/a/blobs/uploads/x", "BLOB_UPLOAD_UNKNOWN"),
        ] {
            assert_eq!(told(path), code, "{path}");
        }
    }

    proptest! {
        /// Whatever the path, what is accepted has no part that climbs, hides or collides with the registry's own files.
        #[test]
        fn accepted_names_are_harmless(path in "/v2/[a-zA-Z0-9._/%:-]{0,60}(/tags/list|/manifests/[a-z0-9._%-]{0,10})?") {
            if let Ok(Endpoint::In(name, place)) = Endpoint::parse(&path) {
                for part in name.as_str().split('/') {
                    prop_assert!(part.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit()), "{part}");
                }
                if let Place::Manifest(Reference::Tag(tag)) = place {
                    prop_assert!(!tag.starts_with('.') && !tag.contains('/'), "{tag}");
                }
            }
        }
    }
}
