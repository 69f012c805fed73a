//! STUB
use axum::response::Response; use coracle_api::status::ApiError; use crate::resources::Call;
/// stub
pub async fn handle(_: &Call<'_>) -> Result<Option<Response>, ApiError> { Ok(None) }
