//! The scale subresource (autoscaling/v1 Scale): the number of replicas of any kind that has one, without knowing the kind.

use axum::{body::Body, response::Response};
use coracle_api::{fields::FieldError, schema::Schema, selector::LabelSelector, status::ApiError};
use http::StatusCode;
use serde_json::{Value, json};

use super::read_object;
use crate::{
    answer, meta, negotiation,
    path::Verb,
    resources::Call,
    writes::{patch::Patch, prepare::Part, update::Made},
};

const API_VERSION: &str = "autoscaling/v1";
const KIND: &str = "Scale";

pub(super) async fn get(call: &Call<'_>, name: &str) -> Result<Response, ApiError> {
    let object = call.read(name).await?.value()?;
    show(call, &scale_of(&object)?)
}

pub(super) async fn change(call: &Call<'_>, name: &str, body: Body) -> Result<Response, ApiError> {
    let wanted = match call.verb {
        Verb::Patch => Wanted::Patch(Patch::parse(call.headers(), &call.body(body).await?)?),
        _ => Wanted::Scale(read_object(call, body, API_VERSION, KIND).await?),
    };
    let mut write = call.write()?;
    let updated = write
        .update(name, Part::Main, |object, _| {
            let current = scale_of(object)?;
            let made = match &wanted {
                Wanted::Scale(scale) => Made {
                    insists: meta::resource_version(scale).is_some(),
                    object: scale.clone(),
                },
                Wanted::Patch(patch) => patch.apply(&current, &Schema::default())?,
            };
            let mut object = object.clone();
            check_name(&made.object, name)?;
            let replicas = replicas(&made.object, name)?;
            meta::child_mut(&mut object, "spec").insert("replicas".to_owned(), json!(replicas));
            for identity in ["resourceVersion", "uid"] {
                if meta::text(&made.object, identity).is_some() {
                    meta::copy(&mut object, &made.object, identity);
                }
            }
            Ok(Made { object, ..made })
        })
        .await?;
    show(call, &scale_of(&updated.value)?)
}

/// What a client wants the scale to be.
enum Wanted {
    Scale(Value),
    Patch(Patch),
}

fn show(call: &Call<'_>, scale: &Value) -> Result<Response, ApiError> {
    let media = negotiation::negotiate(call.headers())?.media;
    answer::json(StatusCode::OK, scale.to_string().into(), media)
}

/// The scale of an object.
fn scale_of(object: &Value) -> Result<Value, ApiError> {
    let count = |path: [&str; 2]| {
        let count = meta::at(object, &path).and_then(Value::as_i64);
        count.unwrap_or(0)
    };
    let mut metadata = json!({});
    for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(text) = meta::text(object, field) {
            metadata[field] = json!(text);
        }
    }
    let selector = meta::at(object, &["spec", "selector"]);
    let selector = selector.map(LabelSelector::from_meta).transpose()?;
    let mut scale = json!({
        "kind": KIND, "apiVersion": API_VERSION, "metadata": metadata,
        "spec": {"replicas": count(["spec", "replicas"])},
        "status": {"replicas": count(["status", "replicas"])},
    });
    if let Some(selector) = selector {
        scale["status"]["selector"] = json!(selector.to_string());
    }
    Ok(scale)
}

fn check_name(scale: &Value, name: &str) -> Result<(), ApiError> {
    match meta::name(scale) {
        Some(other) if other != name => Err(ApiError::bad_request(format!(
            "the name of the object ({other}) does not match the name on the URL ({name})"
        ))),
        _ => Ok(()),
    }
}

/// The wanted number of replicas; absent is 0, as upstream.
fn replicas(scale: &Value, name: &str) -> Result<i64, ApiError> {
    let replicas = match meta::at(scale, &["spec", "replicas"]) {
        None | Some(Value::Null) => 0,
        Some(value) => value.as_i64().filter(|n| i32::try_from(*n).is_ok()).ok_or_else(|| {
            ApiError::bad_request("spec.replicas of the Scale is not a 32-bit integer")
        })?,
    };
    if replicas < 0 {
        let why = "must be greater than or equal to 0";
        let problem = FieldError::invalid("spec.replicas", json!(replicas), why);
        return Err(ApiError::invalid_kind("autoscaling", KIND, name, vec![problem]));
    }
    Ok(replicas)
}
