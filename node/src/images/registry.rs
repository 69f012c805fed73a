//! Asks the cluster's registry (OCI distribution 1.1), through the same client as everything else the node asks the control plane.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use coracle_api::image::{Digest, ImageError, MANIFEST_LIMIT, media};
use http::{Request, StatusCode, header};
use http_body_util::BodyExt;
use kube::client::Body;
use tokio::time::timeout;

use super::Unfetched;

/// How long the registry may take to begin an answer, and between two pieces of one.
const PATIENCE: Duration = Duration::from_secs(30);
/// What is read of an answer that says no.
const REFUSAL_LIMIT: usize = 4096;

pub(super) struct Registry {
    client: kube::Client,
}

impl Registry {
    pub(super) fn new(client: kube::Client) -> Self {
        Self { client }
    }

    /// A manifest or index by tag or digest, verified where the digest is known.
    pub(super) async fn manifest(
        &self,
        repository: &str,
        wanted: &str,
    ) -> Result<(Digest, Bytes), Unfetched> {
        let request = Request::get(format!("/v2/{repository}/manifests/{wanted}"))
            .header(header::ACCEPT, media::ACCEPTED.join(", "));
        let what = || format!("{repository} {wanted}");
        let bytes = self.get(request, MANIFEST_LIMIT, what).await?;
        let digest = Digest::of(&bytes);
        match wanted.parse::<Digest>() {
            Ok(expected) if expected != digest => Err(Unfetched::pull(format!(
                "the registry sent something else for {}: it has digest {digest}",
                what()
            ))),
            _ => Ok((digest, bytes)),
        }
    }

    /// A blob, verified.
    pub(super) async fn blob(
        &self,
        repository: &str,
        digest: &Digest,
        size: u64,
    ) -> Result<Bytes, Unfetched> {
        let request = Request::get(format!("/v2/{repository}/blobs/{digest}"));
        let what = || format!("{repository} {digest}");
        let limit = usize::try_from(size).unwrap_or(usize::MAX);
        let bytes = self.get(request, limit, what).await?;
        let got = Digest::of(&bytes);
        if got != *digest {
            return Err(Unfetched::pull(format!(
                "the registry sent something else for {}: it has digest {got}",
                what()
            )));
        }
        Ok(bytes)
    }

    async fn get(
        &self,
        request: http::request::Builder,
        limit: usize,
        what: impl Fn() -> String,
    ) -> Result<Bytes, Unfetched> {
        let request = request.body(Body::empty()).map_err(|error| {
            Unfetched::pull(format!("ask the registry for {}: {error}", what()))
        })?;
        let slow = || {
            Unfetched::pull(format!(
                "the registry does not answer within {} s to the request for {}",
                PATIENCE.as_secs(),
                what()
            ))
        };
        let answer = timeout(PATIENCE, self.client.send(request))
            .await
            .map_err(|_| slow())?;
        let answer = answer.map_err(|error| {
            Unfetched::pull(format!("ask the registry for {}: {error}", what()))
        })?;
        let status = answer.status();
        let limit = if status.is_success() {
            limit
        } else {
            REFUSAL_LIMIT
        };
        let mut body = answer.into_body();
        let mut content = BytesMut::new();
        while let Some(frame) = timeout(PATIENCE, body.frame()).await.map_err(|_| slow())? {
            let frame = frame.map_err(|error| {
                Unfetched::pull(format!("read {} from the registry: {error}", what()))
            })?;
            let Ok(data) = frame.into_data() else {
                continue;
            };
            if content.len() + data.len() > limit {
                if status.is_success() {
                    return Err(Unfetched::unusable(&ImageError::TooLarge {
                        what: "what the registry sent",
                        limit,
                    }));
                }
                break;
            }
            content.extend_from_slice(&data);
        }
        if status == StatusCode::NOT_FOUND {
            return Err(Unfetched::pull(format!(
                "the cluster's registry has no {}: push it with `coracle push`",
                what()
            )));
        }
        if !status.is_success() {
            let said = String::from_utf8_lossy(&content);
            return Err(Unfetched::pull(format!(
                "the registry answers {status} to the request for {}: {}",
                what(),
                said.trim()
            )));
        }
        Ok(content.freeze())
    }
}
