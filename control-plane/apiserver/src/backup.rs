//! `GET /store/backup`: everything in the store at one revision, as a file. Whoever may read this can read every Secret: no role of those that a
//! cluster begins with allows it but the administrator's.

use std::{convert::Infallible, sync::Arc};

use axum::{body::Body, response::Response};
use bytes::Bytes;
use coracle_api::status::ApiError;
use coracle_store::{List, backup::Backup};
use http::StatusCode;

use crate::{answer, error, server::Shared, streams::CutOff};

/// Where it is asked for.
pub const PATH: &str = "/store/backup";

/// Answers with the backup. Records are shared with the store, not copied; blocks are made as they are taken.
///
/// # Errors
/// What the store says.
pub async fn answer(server: &Arc<Shared>, cut_off: Option<CutOff>) -> Result<Response, ApiError> {
    let everything = server.store.list(List::default()).await;
    let backup = Backup::of(everything.map_err(error::from_store)?);
    let blocks = backup.map(|block| Ok::<_, Infallible>(Bytes::from(block)));
    let body = Body::from_stream(futures::stream::iter(blocks));
    let body = server.streams.guard(body, cut_off);
    Ok(answer::typed(
        StatusCode::OK,
        body,
        "application/octet-stream",
    ))
}
