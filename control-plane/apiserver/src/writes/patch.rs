//! Applies a patch to an object, in the forms kubectl and controllers send. The forms themselves are in coracle-api; a configuration that is applied is
//! only read here ([`super::apply`]).

use coracle_api::{
    decode::{self, Format},
    patch::{json, merge, strategic},
    schema::Schema,
    status::ApiError,
};
use http::HeaderMap;
use serde_json::Value;

use super::update::Made;
use crate::body;

/// The forms that are understood, by their media types.
const FORMS: [&str; 4] = [
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
];

/// A patch as it was sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Patch {
    form: Form,
    value: Value,
    duplicates: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Json,
    Merge,
    Strategic,
    Apply,
}

impl Patch {
    /// Reads a patch.
    ///
    /// # Errors
    /// `UnsupportedMediaType` for a form that is not known, `BadRequest` for what is not JSON.
    pub fn parse(headers: &HeaderMap, bytes: &[u8]) -> Result<Self, ApiError> {
        let given = body::media_type(headers).unwrap_or_default();
        let form = match given.as_str() {
            "application/json-patch+json" => Form::Json,
            "application/merge-patch+json" => Form::Merge,
            "application/strategic-merge-patch+json" => Form::Strategic,
            "application/apply-patch+yaml" => Form::Apply,
            _ => {
                return Err(ApiError::unsupported_media_type(&given, &FORMS));
            }
        };
        let decoded = decode::decode(
            bytes,
            match form {
                Form::Apply => Format::Yaml,
                _ => Format::Json,
            },
        )?;
        Ok(Self {
            form,
            value: decoded.value,
            duplicates: decoded.duplicates,
        })
    }

    /// Whether it is a configuration to be applied.
    #[must_use]
    pub fn is_applied(&self) -> bool {
        self.form == Form::Apply
    }

    /// The patch itself.
    #[must_use]
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// The paths of keys that came twice.
    #[must_use]
    pub fn duplicates(&self) -> &[String] {
        &self.duplicates
    }

    /// What the patch makes of `current`.
    ///
    /// # Errors
    /// `BadRequest` or `Invalid` when it cannot be applied.
    pub fn apply(&self, current: &Value, schema: &Schema) -> Result<Made, ApiError> {
        let object = match self.form {
            Form::Json => json::apply(current, &self.value)?,
            Form::Merge => merge::apply(current, &self.value)?,
            Form::Strategic => strategic::apply(current, &self.value, schema)?,
            // Only whole objects are applied.
            Form::Apply => {
                return Err(ApiError::unsupported_media_type(
                    "application/apply-patch+yaml",
                    FORMS.get(..3).unwrap_or(&FORMS),
                ));
            }
        };
        // A patch that names a resourceVersion was made for that version; any other can be applied again to a newer object.
        let insists = self.form != Form::Json
            && self
                .value
                .pointer("/metadata/resourceVersion")
                .is_some_and(|v| !v.is_null());
        Ok(Made { object, insists })
    }
}
