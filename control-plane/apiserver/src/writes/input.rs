//! From a decoded body to an object of the expected kind: checked against the kind's schema, unknown fields dropped. Knows schemas, not
//! semantics.

use coracle_api::{decode::Decoded, registry::Resource, status::ApiError, strict};
use serde_json::{Map, Value};

use super::FieldValidation;

/// Makes of a decoded body an object of `resource`.
///
/// # Errors
/// `BadRequest`: of another kind, with fields of wrong types, or (when strict) with unknown or duplicate fields.
pub fn object(
    decoded: Decoded,
    resource: &Resource,
    validation: FieldValidation,
    warnings: &mut Vec<String>,
) -> Result<Value, ApiError> {
    let mut object = decoded.value;
    if !object.is_object() {
        return Err(ApiError::bad_request(format!(
            "{} in version {:?} cannot be handled as a {}: the body is not an object",
            resource.kind, resource.version, resource.kind
        )));
    }
    check_kind(&mut object, &resource.api_version(), &resource.kind)?;
    check_fields(
        &mut object,
        resource,
        &decoded.duplicates,
        validation,
        warnings,
    )?;
    Ok(object)
}

/// Checks an object against the schema of its kind and drops what the schema does not know. `duplicates` are findings of the decoder.
///
/// # Errors
/// `BadRequest` for wrong types, and for unknown and duplicate fields when strict.
pub fn check_fields(
    object: &mut Value,
    resource: &Resource,
    duplicates: &[String],
    validation: FieldValidation,
    warnings: &mut Vec<String>,
) -> Result<(), ApiError> {
    let findings = strict::check(object, &resource.schema());
    if let Some(mistyped) = findings.mistyped {
        return Err(ApiError::bad_request(format!(
            "{} in version {:?} cannot be handled as a {}: {mistyped}",
            resource.kind, resource.version, resource.kind
        )));
    }
    if findings.unknown.is_empty() && duplicates.is_empty() {
        return Ok(());
    }
    match validation {
        FieldValidation::Strict => Err(ApiError::bad_request(format!(
            "{} in version {:?} cannot be handled as a {}: strict decoding error: {}",
            resource.kind,
            resource.version,
            resource.kind,
            strict::message(&findings.unknown, duplicates)
        ))),
        FieldValidation::Warn => {
            let duplicates = duplicates.chunks(1);
            warnings.extend(duplicates.map(|one| strict::message(&[], one)));
            let unknown = findings.unknown.chunks(1);
            warnings.extend(unknown.map(|one| strict::message(one, &[])));
            Ok(())
        }
        FieldValidation::Ignore => Ok(()),
    }
}

/// Checks apiVersion and kind against what the URL says, and fills in what is missing.
fn check_kind(object: &mut Value, api_version: &str, kind: &str) -> Result<(), ApiError> {
    let Some(map) = object.as_object_mut() else {
        return Ok(());
    };
    let text = |map: &Map<String, Value>, key: &str| {
        map.get(key)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let (sent_version, sent_kind) = (text(map, "apiVersion"), text(map, "kind"));
    if !sent_version.is_empty() && sent_version != api_version {
        return Err(ApiError::bad_request(format!(
            "the API version in the data ({sent_version}) does not match the expected API version ({api_version})"
        )));
    }
    if !sent_kind.is_empty() && sent_kind != kind {
        return Err(ApiError::bad_request(format!(
            "{sent_kind} in version {:?} cannot be handled as a {kind}: converting ({sent_version}.{sent_kind}) to ({api_version}.{kind}): unknown conversion",
            sent_version.rsplit('/').next().unwrap_or_default()
        )));
    }
    map.insert("apiVersion".to_owned(), api_version.into());
    map.insert("kind".to_owned(), kind.into());
    Ok(())
}
