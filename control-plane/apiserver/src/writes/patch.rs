//! Applies a patch to an object, in the forms kubectl and controllers send. The forms themselves are in coracle-api.

use coracle_api::{
    decode::{self, Format, Limits},
    patch::{json, merge, strategic},
    schema::Schema,
    status::ApiError,
};
use http::HeaderMap;
use serde_json::Value;

use super::update::Made;
use crate::body;

/// A patch as it was sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Patch {
    form: Form,
    value: Value,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Json,
    Merge,
    Strategic,
}

impl Patch {
    /// Reads a patch.
    ///
    /// # Errors
    /// `UnsupportedMediaType` for a form that is not known, `BadRequest` for what is not JSON.
    pub fn parse(headers: &HeaderMap, bytes: &[u8]) -> Result<Self, ApiError> {
        let form = match body::media_type(headers).as_deref() {
            Some("application/json-patch+json") => Form::Json,
            Some("application/merge-patch+json") => Form::Merge,
            Some("application/strategic-merge-patch+json") => Form::Strategic,
            _ => {
                return Err(ApiError::unsupported_media_type(&[
                    "application/json-patch+json",
                    "application/merge-patch+json",
                    "application/strategic-merge-patch+json",
                ]));
            }
        };
        let value = decode::decode(bytes, Format::Json, Limits::default())?.value;
        Ok(Self { form, value })
    }

    /// What the patch makes of `current`.
    ///
    /// # Errors
    /// `BadRequest` or `Invalid` when it cannot be applied.
    pub fn apply(&self, current: &Value, schema: &Schema) -> Result<Made, ApiError> {
        let object = match self.form {
            Form::Json => json::apply(current, &self.value, schema)?,
            Form::Merge => merge::apply(current, &self.value, schema)?,
            Form::Strategic => strategic::apply(current, &self.value, schema)?,
        };
        // A patch that names a resourceVersion was made for that version; any other can be applied again to a newer object.
        let insists = self.form != Form::Json
            && self.value.pointer("/metadata/resourceVersion").is_some_and(|v| !v.is_null());
        Ok(Made { object, insists })
    }
}
