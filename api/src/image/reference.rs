//! The names of images: `[REGISTRY/]REPOSITORY[:TAG][@DIGEST]`, by the grammar of OCI distribution and Docker's rule for telling a registry from a
//! repository. A name without a registry means the cluster's own.

use std::{fmt, net::Ipv6Addr, str::FromStr};

use super::{Digest, ImageError};

/// The tag that is meant when none is given.
pub const LATEST: &str = "latest";
/// The longest repository name, as registries have it.
pub const REPOSITORY_LIMIT: usize = 255;
/// The longest tag.
pub const TAG_LIMIT: usize = 128;

/// The name of an image.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageReference {
    /// Host and port of the registry; `None` is the cluster's own.
    pub registry: Option<String>,
    /// The repository: components of lower-case letters, digits and separators, between slashes.
    pub repository: String,
    /// The tag.
    pub tag: Option<String>,
    /// The digest. What has this digest is meant, whatever the tag says.
    pub digest: Option<Digest>,
}

impl ImageReference {
    /// Reads a name.
    ///
    /// # Errors
    /// [`ImageError::Name`], [`ImageError::Digest`].
    pub fn parse(name: &str) -> Result<Self, ImageError> {
        let wrong = |reason| ImageError::Name {
            name: name.chars().take(200).collect(),
            reason,
        };
        let (rest, digest) = match name.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.parse()?)),
            None => (name, None),
        };
        let (registry, rest) = match rest.split_once('/') {
            Some((host, rest)) if looks_like_host(host) => (Some(host), rest),
            _ => (None, rest),
        };
        let (repository, tag) = match rest.split_once(':') {
            Some((repository, tag)) => (repository, Some(tag)),
            None => (rest, None),
        };
        if registry.is_some_and(|host| !is_host(host)) {
            return Err(wrong("the registry is no host name with or without a port"));
        }
        if !is_repository(repository) {
            return Err(wrong(
                "the repository must be lower-case letters and digits, with single separators . _ - and / between them, at most 255 characters",
            ));
        }
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(wrong(
                "the tag must be letters, digits, _ . - (and begin with one of the first three), at most 128 characters",
            ));
        }
        Ok(Self {
            registry: registry.map(str::to_owned),
            repository: repository.to_owned(),
            tag: tag.map(str::to_owned),
            digest,
        })
    }

    /// What to ask the registry for: the digest, or else the tag.
    #[must_use]
    pub fn wanted(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(tag)) => tag.clone(),
            (None, None) => LATEST.to_owned(),
        }
    }

    /// Whether the name always means the same content.
    #[must_use]
    pub fn is_pinned(&self) -> bool {
        self.digest.is_some()
    }

    /// Whether the name means whatever was pushed last (then `imagePullPolicy` defaults to `Always`).
    #[must_use]
    pub fn is_latest(&self) -> bool {
        self.digest.is_none() && self.tag.as_deref().is_none_or(|tag| tag == LATEST)
    }
}

impl FromStr for ImageReference {
    type Err = ImageError;

    fn from_str(name: &str) -> Result<Self, ImageError> {
        Self::parse(name)
    }
}

impl fmt::Display for ImageReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(registry) = &self.registry {
            write!(f, "{registry}/")?;
        }
        f.write_str(&self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

/// Docker's rule: what is before the first slash is a host if it has a dot, a colon or a capital letter, or is `localhost`.
fn looks_like_host(text: &str) -> bool {
    text == "localhost" || text.contains(['.', ':']) || text.chars().any(|c| c.is_ascii_uppercase())
}

/// A host name or address, with or without a port.
fn is_host(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, "")) => return address.parse::<Ipv6Addr>().is_ok(),
        Some((address, port)) => match port.strip_prefix(':') {
            Some(port) if address.parse::<Ipv6Addr>().is_ok() => ("v6", Some(port)),
            _ => return false,
        },
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let port_is_one = |port: &str| {
        port.chars().all(|c| c.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0)
    };
    host.len() <= 253 && host.split('.').all(label) && port.is_none_or(port_is_one)
}

/// Whether `text` is a repository's name: `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*` between slashes. Such a name cannot climb out of a folder.
#[must_use]
pub fn is_repository(text: &str) -> bool {
    text.len() <= REPOSITORY_LIMIT && text.split('/').all(is_component)
}

fn is_component(text: &str) -> bool {
    let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    if !(text.starts_with(word) && text.ends_with(word)) {
        return false;
    }
    // What is between the words: one dot, one or two underscores, any number of dashes.
    text.split(word)
        .filter(|separator| !separator.is_empty())
        .all(|separator| {
            matches!(separator, "." | "_" | "__") || separator.chars().all(|c| c == '-')
        })
}

/// Whether `text` is a tag: `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`.
#[must_use]
pub fn is_tag(text: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.len() <= TAG_LIMIT
        && text.starts_with(word)
        && text.chars().all(|c| word(c) || matches!(c, '.' | '-'))
}
