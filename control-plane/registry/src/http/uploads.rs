//! Uploads: begun, added to, finished, given up; in one piece, in chunks, or by mounting what another repository has.

use axum::{body::Body, response::Response};
use coracle_api::image::Digest;
use http::{HeaderMap, StatusCode, header};
use serde::Deserialize;
use uuid::Uuid;

use super::{CONTENT_DIGEST, Call, UPLOAD_ID, content, empty, progress, set};
use crate::{
    error::RegistryError,
    route::{self, Repository},
    store::{Progress, Upload},
};

/// What an upload is begun or finished with.
#[derive(Debug, Deserialize)]
struct Wanted {
    digest: Option<String>,
    mount: Option<String>,
    from: Option<String>,
}

impl Call<'_> {
    pub(super) async fn begin_upload(&self, body: Body) -> Result<Response, RegistryError> {
        let wanted: Wanted = self.query()?;
        if let Some(digest) = &wanted.mount {
            let digest = route::digest(digest)?;
            // Without a repository to mount from it is an upload like any other: whoever knows a digest has not the content.
            if let Some(from) = &wanted.from
                && self
                    .registry
                    .mount(&self.name, &Repository::new(from)?, digest)
                    .await?
            {
                return Ok(self.created(digest));
            }
        }
        let digest = wanted.digest.as_deref().map(route::digest).transpose()?;
        let begun = self.registry.begin(&self.name).await?;
        match digest {
            None => Ok(self.under_way(StatusCode::ACCEPTED, begun)),
            Some(digest) => {
                let upload = self.registry.resume(&self.name, begun.id).await?;
                let upload = self.receive(upload.transient(), body, Partly::No).await?;
                upload.finish(digest).await?;
                Ok(self.created(digest))
            }
        }
    }

    pub(super) fn upload_progress(&self, id: Uuid) -> Result<Response, RegistryError> {
        let progress = self.registry.progress(&self.name, id)?;
        Ok(self.under_way(StatusCode::NO_CONTENT, progress))
    }

    pub(super) async fn add_chunk(&self, id: Uuid, body: Body) -> Result<Response, RegistryError> {
        let upload = self.registry.resume(&self.name, id).await?;
        self.check_range(&upload)?;
        let upload = self.receive(upload, body, Partly::Yes).await?;
        Ok(self.under_way(StatusCode::ACCEPTED, upload.progress()))
    }

    pub(super) async fn finish_upload(
        &self,
        id: Uuid,
        body: Body,
    ) -> Result<Response, RegistryError> {
        let wanted: Wanted = self.query()?;
        let digest = wanted
            .digest
            .ok_or(RegistryError::Request("the digest is missing"))?;
        let digest = route::digest(&digest)?;
        let upload = self.registry.resume(&self.name, id).await?;
        self.check_range(&upload)?;
        let upload = self.receive(upload, body, Partly::Yes).await?;
        upload.finish(digest).await?;
        Ok(self.created(digest))
    }

    pub(super) async fn cancel_upload(&self, id: Uuid) -> Result<Response, RegistryError> {
        self.registry.cancel(&self.name, id).await?;
        Ok(empty(StatusCode::NO_CONTENT))
    }

    /// Whether a chunk, if it says where it belongs, is the one that comes next and as long as it says.
    fn check_range(&self, upload: &Upload) -> Result<(), RegistryError> {
        let Some((from, to)) = chunk_range(&self.parts.headers)? else {
            return Ok(());
        };
        let Progress { id, offset } = upload.progress();
        if from != offset {
            return Err(RegistryError::OutOfOrder {
                offset,
                location: self.upload_location(id),
            });
        }
        match content_length(&self.parts.headers) {
            Some(length)
                if to.checked_sub(from).and_then(|last| last.checked_add(1)) != Some(length) =>
            {
                Err(RegistryError::Length)
            }
            _ => Ok(()),
        }
    }

    /// Takes a body in.
    async fn receive(
        &self,
        mut upload: Upload,
        mut body: Body,
        partly: Partly,
    ) -> Result<Upload, RegistryError> {
        let patience = self.registry.limits().read_time;
        let expected = content_length(&self.parts.headers);
        let mut received = 0_u64;
        let failed = loop {
            match content::next(&mut body, patience).await {
                Ok(Some(bytes)) => {
                    received = received.saturating_add(bytes.len() as u64);
                    if let Err(error) = upload.add(&bytes).await {
                        break Some(error);
                    }
                }
                Ok(None) => break None,
                // What has come is kept: the client asks how far it got, and goes on.
                Err(error) if partly == Partly::Yes => return Err(error),
                Err(error) => break Some(error),
            }
        };
        let failed = failed.or_else(|| {
            (expected.is_some_and(|expected| expected != received)).then_some(RegistryError::Length)
        });
        match failed {
            None => Ok(upload),
            Some(error) => {
                upload.abandon().await?;
                Err(error)
            }
        }
    }

    fn upload_location(&self, id: Uuid) -> String {
        self.location(&format!("blobs/uploads/{id}"))
    }

    fn under_way(&self, status: StatusCode, at: Progress) -> Response {
        let mut response = empty(status);
        let headers = response.headers_mut();
        progress(headers, at.offset, &self.upload_location(at.id));
        set(headers, UPLOAD_ID, &at.id.to_string());
        response
    }

    fn created(&self, digest: Digest) -> Response {
        let mut response = empty(StatusCode::CREATED);
        let headers = response.headers_mut();
        set(
            headers,
            header::LOCATION,
            &self.location(&format!("blobs/{digest}")),
        );
        set(headers, CONTENT_DIGEST, &digest.to_string());
        response
    }
}

/// Whether a client that was interrupted may go on where it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Partly {
    Yes,
    No,
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers
        .get(header::CONTENT_LENGTH)?
        .to_str()
        .ok()?
        .parse()
        .ok()
}

/// The first and the last byte of a chunk: `Content-Range: FIRST-LAST`, with or without the unit.
fn chunk_range(headers: &HeaderMap) -> Result<Option<(u64, u64)>, RegistryError> {
    let wrong = || RegistryError::Request("Content-Range must be FIRST-LAST");
    let Some(range) = headers.get(header::CONTENT_RANGE) else {
        return Ok(None);
    };
    let range = range.to_str().map_err(|_| wrong())?;
    let range = range.strip_prefix("bytes ").unwrap_or(range);
    let range = range.split_once('/').map_or(range, |(range, _)| range);
    let (first, last) = range.split_once('-').ok_or_else(wrong)?;
    match (first.trim().parse(), last.trim().parse()) {
        (Ok(first), Ok(last)) => Ok(Some((first, last))),
        _ => Err(wrong()),
    }
}
