//! Evicts a pod: a deletion that disruption budgets may refuse. Until there are budgets it is the deletion alone.

use axum::{body::Body, response::Response};
use coracle_api::status::ApiError;
use http::StatusCode;

use super::read_object;
use crate::{answer, meta, resources::Call, writes::deletion::DeleteOptions};

pub(super) async fn create(call: &Call<'_>, name: &str, body: Body) -> Result<Response, ApiError> {
    let eviction = read_object(call, body, "policy/v1", "Eviction").await?;
    if meta::name(&eviction).is_some_and(|sent| sent != name) {
        return Err(ApiError::bad_request(
            "name in URL does not match name in Eviction object",
        ));
    }
    let options = match eviction
        .get("deleteOptions")
        .filter(|options| options.is_object())
    {
        Some(options) => DeleteOptions::from_value(options)?,
        None => DeleteOptions::default(),
    };
    call.write()?.delete(name, &options).await?;
    Ok(answer::value(StatusCode::CREATED, &answer::success(None)))
}
