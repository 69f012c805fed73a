//! The scale subresource (autoscaling/v1 Scale): the number of replicas of any kind that has one, without knowing the kind.

use axum::{body::Body, response::Response};
use coracle_api::{
    fields::{FieldError, FieldPath},
    registry::Resource,
    schema::Schema,
    status::ApiError,
};
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
    show(call, &scale_of(&object))
}

pub(super) async fn change(call: &Call<'_>, name: &str, body: Body) -> Result<Response, ApiError> {
    let wanted = match call.verb {
        Verb::Patch => Wanted::Patch(Patch::parse(call.headers(), &call.body(body).await?)?),
        _ => Wanted::Scale(read_object(call, body, API_VERSION, KIND).await?),
    };
    let mut write = call.write()?;
    let updated = write
        .update(name, Part::Main, |object, _| {
            let current = scale_of(object);
            let made = match &wanted {
                Wanted::Scale(scale) => Made {
                    insists: meta::resource_version(scale).is_some(),
                    object: scale.clone(),
                },
                Wanted::Patch(patch) => patch.apply(&current, &Schema::any())?,
            };
            let mut object = object.clone();
            check_name(&made.object, name)?;
            let replicas = replicas(&made.object, &call.resource, name)?;
            meta::child_mut(&mut object, "spec").insert("replicas".to_owned(), json!(replicas));
            for identity in ["resourceVersion", "uid"] {
                if meta::text(&made.object, identity).is_some() {
                    meta::copy(&mut object, &made.object, identity);
                }
            }
            Ok(Made { object, ..made })
        })
        .await?;
    show(call, &scale_of(&updated.value))
}

/// What a client wants the scale to be.
enum Wanted {
    Scale(Value),
    Patch(Patch),
}

fn show(call: &Call<'_>, scale: &Value) -> Result<Response, ApiError> {
    let media = negotiation::negotiate(call.headers(), true)?.media;
    answer::json(StatusCode::OK, scale.to_string().into(), media)
}

/// The scale of an object.
fn scale_of(object: &Value) -> Value {
    let count = |path: [&str; 2]| {
        let count = meta::at(object, &path).and_then(Value::as_i64);
        count.unwrap_or(0)
    };
    let mut metadata = json!({});
    for field in [
        "name",
        "namespace",
        "uid",
        "resourceVersion",
        "creationTimestamp",
    ] {
        if let Some(text) = meta::text(object, field) {
            meta::put(&mut metadata, field, text);
        }
    }
    let mut scale = json!({
        "kind": KIND, "apiVersion": API_VERSION, "metadata": metadata,
        "spec": {"replicas": count(["spec", "replicas"])},
        "status": {"replicas": count(["status", "replicas"])},
    });
    if let Some(selector) = meta::at(object, &["spec", "selector"]) {
        meta::child_mut(&mut scale, "status")
            .insert("selector".to_owned(), json!(selector_text(selector)));
    }
    scale
}

/// A label selector in the form of the query parameter, terms in the order of their keys.
fn selector_text(selector: &Value) -> String {
    let labels = meta::at(selector, &["matchLabels"]).and_then(Value::as_object);
    let mut terms: Vec<(&str, String)> = labels
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| Some((key.as_str(), format!("{key}={}", value.as_str()?))))
        .collect();
    let expressions = meta::at(selector, &["matchExpressions"]).and_then(Value::as_array);
    for expression in expressions.into_iter().flatten() {
        let key = meta::text_at(expression, &["key"]).unwrap_or_default();
        let values = meta::at(expression, &["values"]).and_then(Value::as_array);
        let mut values: Vec<&str> = values
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        values.sort_unstable();
        let values = values.join(",");
        let term = match meta::text_at(expression, &["operator"]) {
            Some("In") => format!("{key} in ({values})"),
            Some("NotIn") => format!("{key} notin ({values})"),
            Some("DoesNotExist") => format!("!{key}"),
            _ => key.to_owned(),
        };
        terms.push((key, term));
    }
    terms.sort();
    let terms: Vec<_> = terms.into_iter().map(|(_, term)| term).collect();
    terms.join(",")
}

fn check_name(scale: &Value, name: &str) -> Result<(), ApiError> {
    match meta::name(scale) {
        Some(other) if other != name => Err(ApiError::bad_request(format!(
            "the name of the object ({other}) does not match the name on the URL ({name})"
        ))),
        _ => Ok(()),
    }
}

/// The Scale of a kind as errors name it.
fn scale_kind(of: &Resource) -> Resource {
    Resource {
        group: "autoscaling".into(),
        kind: KIND.into(),
        ..of.clone()
    }
}

/// The wanted number of replicas; absent is 0, as upstream.
fn replicas(scale: &Value, resource: &Resource, name: &str) -> Result<i64, ApiError> {
    let replicas = match meta::at(scale, &["spec", "replicas"]) {
        None | Some(Value::Null) => 0,
        Some(value) => value
            .as_i64()
            .filter(|n| i32::try_from(*n).is_ok())
            .ok_or_else(|| {
                ApiError::bad_request("spec.replicas of the Scale is not a 32-bit integer")
            })?,
    };
    if replicas < 0 {
        let why = "must be greater than or equal to 0";
        let field = FieldPath::new("spec").child("replicas");
        let problem = FieldError::invalid(&field, replicas, why);
        return Err(ApiError::invalid(&scale_kind(resource), name, &[problem]));
    }
    Ok(replicas)
}
