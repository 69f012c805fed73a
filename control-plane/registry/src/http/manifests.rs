//! Manifests, tags and referrers.

use axum::{body::Body, response::Response};
use coracle_api::image::{Digest, media};
use http::{HeaderValue, Method, StatusCode, header};
use serde::Deserialize;
use serde_json::json;

use super::{
    CONTENT_DIGEST, Call, FILTERS, SUBJECT, Window, content, empty, json_answer, link_next, set,
};
use crate::{
    error::RegistryError,
    route::{self, Reference},
};

/// Which referrers are wanted.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Filter {
    artifact_type: Option<String>,
    last: Option<String>,
}

impl Call<'_> {
    pub(super) async fn manifest(&self, reference: &Reference) -> Result<Response, RegistryError> {
        let stored = self.registry.manifest(&self.name, reference).await?;
        let size = stored.bytes.len();
        let body = if self.parts.method == Method::HEAD {
            Body::empty()
        } else {
            Body::from(stored.bytes)
        };
        let mut response = Response::new(body);
        let headers = response.headers_mut();
        set(headers, header::CONTENT_TYPE, &stored.media_type);
        set(headers, header::CONTENT_LENGTH, &size.to_string());
        set(headers, CONTENT_DIGEST, &stored.digest.to_string());
        set(headers, header::ETAG, &format!("\"{}\"", stored.digest));
        Ok(response)
    }

    pub(super) async fn put_manifest(
        &self,
        reference: &Reference,
        body: Body,
    ) -> Result<Response, RegistryError> {
        let limits = self.registry.limits();
        let bytes =
            content::whole(body, "a manifest", limits.manifest_bytes, limits.read_time).await?;
        let media_type = self
            .parts
            .headers
            .get(header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok());
        // A parameter (charset) is no part of the type.
        let media_type = media_type.map(|value| value.split(';').next().unwrap_or_default().trim());
        let put = self
            .registry
            .put_manifest(&self.name, reference, media_type, bytes)
            .await?;
        let (digest, subject) = put;
        let mut response = empty(StatusCode::CREATED);
        let headers = response.headers_mut();
        set(
            headers,
            header::LOCATION,
            &self.location(&format!("manifests/{digest}")),
        );
        set(headers, CONTENT_DIGEST, &digest.to_string());
        if let Some(subject) = subject {
            set(headers, SUBJECT, &subject.to_string());
        }
        Ok(response)
    }

    pub(super) async fn delete_manifest(
        &self,
        reference: &Reference,
    ) -> Result<Response, RegistryError> {
        self.registry.remove_manifest(&self.name, reference).await?;
        Ok(empty(StatusCode::ACCEPTED))
    }

    pub(super) async fn tags(&self) -> Result<Response, RegistryError> {
        let Window { n, last } = self.query()?;
        let page = self.registry.tags(&self.name, n, last).await?;
        let answer = json!({"name": self.name.as_str(), "tags": page.items});
        let mut response = json_answer("application/json", &answer);
        if let Some(next) = page.next {
            link_next(
                response.headers_mut(),
                &self.location("tags/list"),
                n,
                &next,
            );
        }
        Ok(response)
    }

    pub(super) async fn referrers(&self, subject: Digest) -> Result<Response, RegistryError> {
        let filter: Filter = self.query()?;
        let last = filter.last.as_deref().map(route::digest).transpose()?;
        let filtered = filter.artifact_type.is_some();
        let page = self
            .registry
            .referrers(&self.name, subject, filter.artifact_type.clone(), last)
            .await?;
        let index = json!({"schemaVersion": 2, "mediaType": media::INDEX, "manifests": page.items});
        let mut response = json_answer(media::INDEX, &index);
        let headers = response.headers_mut();
        if filtered {
            headers.insert(FILTERS, HeaderValue::from_static("artifactType"));
        }
        if let Some(next) = page.next {
            let kind = filter.artifact_type.map(|kind| {
                let kind = percent_encoding::utf8_percent_encode(
                    &kind,
                    percent_encoding::NON_ALPHANUMERIC,
                );
                format!("&artifactType={kind}")
            });
            let next = format!("{next}{}", kind.unwrap_or_default());
            link_next(
                headers,
                &self.location(&format!("referrers/{subject}")),
                None,
                &next,
            );
        }
        Ok(response)
    }
}
