//! A token for a service account (`kubectl create token`): valid for a time, for an audience, and as long as what it is bound to is there.

use std::time::Duration;

use axum::{body::Body, response::Response};
use coracle_api::{
    fields::{FieldError, FieldPath, Problems},
    status::ApiError,
};
use coracle_pki::{
    TokenKey, TokenRequest,
    token::{Bound, BoundObject},
};
use http::StatusCode;
use jiff::SignedDuration;
use serde_json::{Value, json};

use super::read_object;
use crate::{
    ambient, answer,
    auth::service_account::{DEFAULT_LIFE, ServiceAccount},
    encoded::Stored,
    error, keys, meta, negotiation,
    resources::Call,
};

const API_VERSION: &str = "authentication.k8s.io/v1";
const KIND: &str = "TokenRequest";
/// The shortest and the longest life of a token, in seconds. As upstream.
const SHORTEST: i64 = 600;
const LONGEST: i64 = 1 << 32;
/// More audiences than anybody names; the token has to fit into a header.
const MAX_AUDIENCES: usize = 16;

pub(super) async fn create(call: &Call<'_>, name: &str, body: Body) -> Result<Response, ApiError> {
    let media = negotiation::negotiate(call.headers(), true)?.media;
    let mut request = read_object(call, body, API_VERSION, KIND).await?;
    let key = call.server.tokens.as_ref().ok_or_else(|| {
        ApiError::unavailable("this server was not given a key to make tokens with")
    })?;
    if meta::name(&request).is_some_and(|sent| sent != name) {
        return Err(ApiError::bad_request(format!(
            "service account name {:?} does not match the request name {name:?}",
            meta::name(&request).unwrap_or_default()
        )));
    }
    let namespace = call.namespace().unwrap_or_default();
    let spec = Spec::read(&request, key)?;
    let account = call.read(name).await?.value()?;
    let uid = meta::uid(&account).unwrap_or_default().to_owned();
    let pod = match meta::at(&request, &["spec", "boundObjectRef"]).filter(|v| v.is_object()) {
        Some(reference) => Some(bound_pod(call, reference, name).await?),
        None => None,
    };
    let who = ServiceAccount { namespace, name };
    let wanted = TokenRequest {
        user: who.user(),
        groups: who.groups().to_vec(),
        uid: Some(uid.clone()),
        audiences: spec.audiences.clone(),
        ttl: spec.life,
        bound: Some(Bound {
            namespace: namespace.to_owned(),
            serviceaccount: BoundObject {
                name: name.to_owned(),
                uid,
            },
            pod,
        }),
    };
    let now = call.server.ambient.now();
    let dry_run = call.write()?.options.dry_run;
    let token = match dry_run {
        true => String::new(),
        false => key
            .sign(&wanted, now)
            .map_err(|error| ApiError::internal(format!("making a token: {error}")))?,
    };
    let life = SignedDuration::try_from(spec.life)
        .map_err(|error| ApiError::internal(error.to_string()))?;
    let ends = now
        .checked_add(life)
        .map_err(|error| ApiError::internal(error.to_string()))?;
    meta::set(&mut request, "name", name);
    meta::set(&mut request, "namespace", namespace);
    meta::set(&mut request, "creationTimestamp", ambient::timestamp(now));
    for (field, value) in [("apiVersion", API_VERSION), ("kind", KIND)] {
        meta::put(&mut request, field, value);
    }
    let sent = meta::child_mut(&mut request, "spec");
    sent.insert("audiences".to_owned(), json!(spec.audiences));
    sent.insert("expirationSeconds".to_owned(), json!(spec.life.as_secs()));
    let status = json!({"token": token, "expirationTimestamp": ambient::timestamp(ends)});
    meta::put(&mut request, "status", status);
    answer::json(StatusCode::CREATED, request.to_string().into(), media)
}

/// What is asked for.
struct Spec {
    life: Duration,
    audiences: Vec<String>,
}

impl Spec {
    fn read(request: &Value, key: &TokenKey) -> Result<Self, ApiError> {
        let path = FieldPath::new("spec");
        let mut problems = Problems::new();
        let life = match meta::at(request, &["spec", "expirationSeconds"]) {
            None | Some(Value::Null) => DEFAULT_LIFE,
            Some(value) => {
                let field = path.child("expirationSeconds");
                let seconds = value.as_i64().ok_or_else(|| {
                    ApiError::bad_request(
                        "spec.expirationSeconds of TokenRequest is not an integer",
                    )
                })?;
                if seconds < SHORTEST {
                    let why = "may not specify a duration less than 10 minutes";
                    problems.push(FieldError::invalid(&field, seconds, why));
                } else if seconds > LONGEST {
                    let why = "may not specify a duration larger than 2^32 seconds";
                    problems.push(FieldError::invalid(&field, seconds, why));
                }
                Duration::from_secs(seconds.unsigned_abs())
            }
        };
        let sent = meta::at(request, &["spec", "audiences"]).and_then(Value::as_array);
        let mut audiences: Vec<String> = sent
            .into_iter()
            .flatten()
            .filter_map(|audience| audience.as_str().map(str::to_owned))
            .collect();
        if audiences.len() > MAX_AUDIENCES {
            let field = path.child("audiences");
            let why = format!("must have at most {MAX_AUDIENCES} items");
            problems.push(FieldError::invalid(&field, audiences.len(), why));
        }
        if audiences.is_empty() {
            audiences.push(key.audience().to_owned());
        }
        match problems.is_empty() {
            true => Ok(Self { life, audiences }),
            false => Err(ApiError::invalid_kind(
                "authentication.k8s.io",
                KIND,
                "",
                &problems,
            )),
        }
    }
}

/// The pod a token is bound to, which must run as the service account.
async fn bound_pod(
    call: &Call<'_>,
    reference: &Value,
    account: &str,
) -> Result<BoundObject, ApiError> {
    let text = |name: &str| meta::text_at(reference, &[name]).unwrap_or_default();
    if (text("apiVersion"), text("kind")) != ("v1", "Pod") {
        return Err(ApiError::bad_request(format!(
            "cannot bind token to a {}, version: {}",
            text("kind"),
            text("apiVersion")
        )));
    }
    let name = text("name");
    let registry = call.server.registry();
    let pods = registry
        .get("", "v1", "pods")
        .ok_or_else(|| ApiError::internal("the registry has no pods"))?;
    let key = keys::object(pods, call.namespace(), name);
    let found = call
        .server
        .store
        .get(&key)
        .await
        .map_err(error::from_store)?;
    let record = found.ok_or_else(|| ApiError::not_found(pods, name))?;
    let pod = Stored::open(record)?.value()?;
    let runs_as = meta::text_at(&pod, &["spec", "serviceAccountName"]).unwrap_or("default");
    if runs_as != account {
        return Err(ApiError::bad_request(format!(
            "cannot bind token for serviceaccount {account:?} to pod running with different serviceaccount name."
        )));
    }
    let uid = meta::uid(&pod).unwrap_or_default();
    let wanted = text("uid");
    if !wanted.is_empty() && wanted != uid {
        let why = format!(
            "the UID in the bound object reference ({wanted}) does not match the UID in record. The object might have been deleted and then recreated"
        );
        return Err(ApiError::conflict(pods, name, &why));
    }
    Ok(BoundObject {
        name: name.to_owned(),
        uid: uid.to_owned(),
    })
}
