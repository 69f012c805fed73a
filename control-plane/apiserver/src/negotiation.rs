//! What form of an answer a client accepts: the object itself, a Table or its metadata only; JSON, YAML or protobuf. Pure: reads the Accept
//! header, writes nothing.

use coracle_api::status::ApiError;
use http::{HeaderMap, header::ACCEPT};

/// How objects are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// As stored.
    Object,
    /// As rows of printer columns (`as=Table`).
    Table(MetaVersion),
    /// Metadata only (`as=PartialObjectMetadata` or its list).
    Partial(MetaVersion),
}

/// The version of `meta.k8s.io` a transformed answer is written in. The two have the same fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetaVersion {
    /// `meta.k8s.io/v1`.
    V1,
    /// `meta.k8s.io/v1beta1`, asked for by old clients as a second choice.
    V1beta1,
}

impl MetaVersion {
    /// As in `apiVersion`.
    #[must_use]
    pub fn api_version(self) -> &'static str {
        match self {
            Self::V1 => "meta.k8s.io/v1",
            Self::V1beta1 => "meta.k8s.io/v1beta1",
        }
    }
}

/// The format of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Media {
    /// `application/json`.
    Json,
    /// `application/yaml`. Not for streams.
    Yaml,
    /// `application/vnd.kubernetes.protobuf`. For kinds that have such a form.
    Protobuf,
}

/// The media type of objects in protobuf.
pub const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

/// What was agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Representation {
    /// How objects are shown.
    pub shape: Shape,
    /// The format.
    pub media: Media,
}

/// The default: what clients get that do not care.
pub const PLAIN: Representation = Representation {
    shape: Shape::Object,
    media: Media::Json,
};

/// More alternatives than any client names; the rest is not looked at.
const MAX_ALTERNATIVES: usize = 32;

/// One alternative of an Accept header.
#[derive(Debug)]
pub struct Alternative<'a> {
    /// `type/subtype`, as sent.
    pub media_type: &'a str,
    parameters: Vec<(&'a str, &'a str)>,
    quality: f32,
}

impl<'a> Alternative<'a> {
    /// The value of a parameter.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&'a str> {
        self.parameters
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| *value)
    }

    /// Whether JSON would do.
    #[must_use]
    pub fn takes_json(&self) -> bool {
        ["application/json", "application/*", "*/*"]
            .iter()
            .any(|known| self.media_type.eq_ignore_ascii_case(known))
    }

    /// The format it names, if it is one of objects.
    fn media(&self) -> Option<Media> {
        let is = |known: &str| self.media_type.eq_ignore_ascii_case(known);
        if self.takes_json() {
            Some(Media::Json)
        } else if is(PROTOBUF) {
            Some(Media::Protobuf)
        } else if is("application/yaml") || is("text/yaml") {
            Some(Media::Yaml)
        } else {
            None
        }
    }

    /// Parses `type/subtype;name=value;…`.
    fn parse(text: &'a str) -> Self {
        let mut parts = text.split(';').map(str::trim);
        let media_type = parts.next().unwrap_or_default();
        let parameters: Vec<_> = parts
            .filter_map(|part| part.split_once('='))
            .map(|(key, value)| (key.trim(), value.trim().trim_matches('"')))
            .collect();
        let quality = parameters
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case("q"))
            .and_then(|(_, value)| value.parse().ok())
            .unwrap_or(1.0);
        Self {
            media_type,
            parameters,
            quality,
        }
    }
}

/// The alternatives of the Accept headers, best first; `*/*` when there is none.
#[must_use]
pub fn alternatives(headers: &HeaderMap) -> Vec<Alternative<'_>> {
    let mut found: Vec<_> = headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|text| !text.is_empty())
        .take(MAX_ALTERNATIVES)
        .map(Alternative::parse)
        .filter(|alternative| alternative.quality > 0.0)
        .collect();
    if found.is_empty() {
        found.push(Alternative::parse("*/*"));
    }
    found.sort_by(|a, b| b.quality.total_cmp(&a.quality));
    found
}

/// Picks the first alternative that can be served; `protobuf` says whether the kind has that form.
///
/// # Errors
/// `NotAcceptable` when none can.
pub fn negotiate(headers: &HeaderMap, protobuf: bool) -> Result<Representation, ApiError> {
    alternatives(headers)
        .iter()
        .filter_map(representation)
        .find(|found| protobuf || found.media != Media::Protobuf)
        .ok_or_else(|| {
            let all = ["application/json", "application/yaml", PROTOBUF];
            ApiError::not_acceptable(if protobuf { &all } else { &all[..2] })
        })
}

/// Whether a client takes a Status rather in protobuf than in JSON.
#[must_use]
pub fn prefers_protobuf(headers: &HeaderMap) -> bool {
    let media = alternatives(headers).iter().find_map(Alternative::media);
    media == Some(Media::Protobuf)
}

/// What an alternative amounts to, if it can be served.
fn representation(alternative: &Alternative<'_>) -> Option<Representation> {
    let media = alternative.media()?;
    let Some(kind) = alternative.parameter("as") else {
        return Some(Representation {
            shape: Shape::Object,
            media,
        });
    };
    if alternative.parameter("g") != Some("meta.k8s.io") {
        return None;
    }
    let version = match alternative.parameter("v") {
        Some("v1") => MetaVersion::V1,
        Some("v1beta1") => MetaVersion::V1beta1,
        _ => return None,
    };
    let shape = match kind {
        // Tables have no form in protobuf.
        "Table" if media != Media::Protobuf => Shape::Table(version),
        "PartialObjectMetadata" | "PartialObjectMetadataList" => Shape::Partial(version),
        _ => return None,
    };
    Some(Representation { shape, media })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn told(accept: &'static str) -> Option<Representation> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static(accept));
        negotiate(&headers, false).ok()
    }

    #[test]
    fn protobuf_is_for_kinds_that_have_it_and_not_for_tables() {
        let media = |accept: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, HeaderValue::from_static(accept));
            negotiate(&headers, true).unwrap()
        };
        let found = media("application/vnd.kubernetes.protobuf,application/json");
        assert_eq!((found.media, found.shape), (Media::Protobuf, Shape::Object));
        let found = media(
            "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json",
        );
        assert_eq!(found.shape, Shape::Partial(MetaVersion::V1));
        let found = media(
            "application/vnd.kubernetes.protobuf;as=Table;g=meta.k8s.io;v=v1,application/json",
        );
        assert_eq!((found.media, found.shape), (Media::Json, Shape::Object));
    }

    #[test]
    fn the_first_that_can_be_served_wins() {
        let shape = |accept| told(accept).map(|found| found.shape);
        let table = Some(Shape::Table(MetaVersion::V1));
        for (accept, expected) in [
            (
                "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json",
                table,
            ),
            (
                "application/json;as=Table;g=meta.k8s.io;v=v2,application/json",
                Some(Shape::Object),
            ),
            (
                "application/json;as=Table;g=meta.k8s.io;v=v1beta1",
                Some(Shape::Table(MetaVersion::V1beta1)),
            ),
            (
                "application/vnd.kubernetes.protobuf,application/json;q=0.9",
                Some(Shape::Object),
            ),
            (
                "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
                Some(Shape::Partial(MetaVersion::V1)),
            ),
            (
                "application/json;q=0.1, application/json;as=Table;g=meta.k8s.io;v=v1",
                table,
            ),
            ("*/*", Some(Shape::Object)),
            (
                "application/vnd.kubernetes.protobuf, */*",
                Some(Shape::Object),
            ),
            ("application/vnd.kubernetes.protobuf", None),
            ("text/html", None),
            ("application/json;q=0", Some(Shape::Object)),
        ] {
            assert_eq!(shape(accept), expected, "{accept}");
        }
        assert_eq!(told("application/yaml").map(|r| r.media), Some(Media::Yaml));
        assert_eq!(negotiate(&HeaderMap::new(), true).unwrap(), PLAIN);
    }
}
