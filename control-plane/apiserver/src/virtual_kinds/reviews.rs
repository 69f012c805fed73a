//! Reviews: questions to the authorizer and about the asker, answered in the object that asks.

use std::collections::BTreeMap;

use axum::{body::Body, response::Response};
use coracle_api::{
    fields::{FieldError, FieldPath},
    status::ApiError,
};
use http::StatusCode;
use serde_json::{Value, json};

use super::VirtualKind;
use crate::{
    answer,
    auth::{
        Attributes, ResourceTarget, Target, authenticator::user_of, service_account, user::UserInfo,
    },
    meta,
    resources::Call,
};

pub(super) async fn create(
    call: &Call<'_>,
    kind: VirtualKind,
    body: Body,
) -> Result<Response, ApiError> {
    let media = call.accepted()?.media;
    let mut write = call.write()?;
    let mut review = call.object(body, &mut write).await?;
    let status = match kind {
        VirtualKind::SelfSubjectReview => json!({"userInfo": user_info(call.user)}),
        VirtualKind::SelfSubjectRulesReview => rules(call, &review)?,
        VirtualKind::TokenReview => token(call, &review).await?,
        VirtualKind::SubjectAccessReview => {
            let user = subject(&review);
            check_subject(call, &user)?;
            decide(call, &user, &review)?
        }
        _ => decide(call, call.user, &review)?,
    };
    if let Some(review) = review.as_object_mut() {
        review.insert("status".to_owned(), status);
    }
    let mut response = answer::json(StatusCode::CREATED, review.to_string().into(), media)?;
    answer::warn(&mut response, &write.warnings);
    Ok(response)
}

/// The status of an access review.
fn decide(call: &Call<'_>, user: &UserInfo, review: &Value) -> Result<Value, ApiError> {
    let resource = meta::at(review, &["spec", "resourceAttributes"]).filter(|v| v.is_object());
    let path = meta::at(review, &["spec", "nonResourceAttributes"]).filter(|v| v.is_object());
    let asked = match (resource, path) {
        (Some(asked), None) | (None, Some(asked)) => asked,
        _ => {
            let why =
                "exactly one of nonResourceAttributes or resourceAttributes must be specified";
            let field = FieldPath::new("spec").child("resourceAttributes");
            let problem = FieldError::invalid(&field, Value::Null, why);
            return Err(ApiError::invalid(&call.resource, "", &[problem]));
        }
    };
    let text = |name: &str| meta::text_at(asked, &[name]).filter(|text| !text.is_empty());
    let target = if path.is_some() {
        Target::Path(text("path").unwrap_or_default())
    } else {
        // A review for one namespace is about that namespace.
        let namespace = call.namespace().or_else(|| text("namespace"));
        Target::Resource(ResourceTarget {
            group: text("group").unwrap_or_default(),
            resource: text("resource").unwrap_or_default(),
            subresource: text("subresource"),
            namespace,
            name: text("name"),
            field_selector: meta::text_at(asked, &["fieldSelector", "rawSelector"]),
        })
    };
    let attributes = Attributes {
        user,
        verb: text("verb").unwrap_or_default(),
        target,
    };
    let allowed = call.server.authorizer.authorize(&attributes).is_ok();
    Ok(json!({"allowed": allowed}))
}

/// The status of a review of rules: everything RBAC allows the asker in a namespace. What nodes may do beyond it depends on their pods.
fn rules(call: &Call<'_>, review: &Value) -> Result<Value, ApiError> {
    let namespace = meta::text_at(review, &["spec", "namespace"]).unwrap_or_default();
    if namespace.is_empty() {
        return Err(ApiError::bad_request("no namespace on request"));
    }
    let rules = call.server.authorizer.rules_of(call.user, Some(namespace));
    let (paths, resources): (Vec<_>, Vec<_>) = rules
        .into_iter()
        .partition(|rule| rule.resources.is_empty());
    Ok(json!({
        "resourceRules": resources, "nonResourceRules": paths,
        "incomplete": call.user.node().is_some(),
    }))
}

/// The status of a review of a token: whose it is, if it holds for one of the audiences asked for.
async fn token(call: &Call<'_>, review: &Value) -> Result<Value, ApiError> {
    let token = meta::text_at(review, &["spec", "token"]).unwrap_or_default();
    if token.is_empty() {
        let why = "token is required for TokenReview in authentication";
        return Err(ApiError::bad_request(why));
    }
    let key = call.server.tokens.as_ref().ok_or_else(|| {
        ApiError::unavailable("this server was not given a key to check tokens with")
    })?;
    let asked = meta::at(review, &["spec", "audiences"]).and_then(Value::as_array);
    let mut audiences: Vec<&str> = asked
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let all = audiences.is_empty();
    if all {
        audiences.push(key.audience());
    }
    let now = call.server.ambient.now();
    let mut known = None;
    let mut held_for = Vec::new();
    for audience in audiences {
        if let Ok(claims) = key.verify_for(token, audience, now) {
            held_for.push(audience);
            known = known.or_else(|| user_of(claims));
        }
    }
    let refused = json!({"authenticated": false, "user": {}, "error": "invalid bearer token"});
    let Some(user) = known else {
        return Ok(refused);
    };
    match service_account::still_there(call.server, &user).await {
        Err(error) if error.code == StatusCode::UNAUTHORIZED => return Ok(refused),
        there => there?,
    }
    let mut status = json!({"authenticated": true, "user": user_info(&user)});
    if !all {
        meta::put(&mut status, "audiences", json!(held_for));
    }
    Ok(status)
}

/// The user a review asks about.
fn subject(review: &Value) -> UserInfo {
    let text = |name: &str| meta::text_at(review, &["spec", name]).filter(|text| !text.is_empty());
    let strings = |value: Option<&Value>| -> Vec<String> {
        let items = value.and_then(Value::as_array).into_iter().flatten();
        items
            .filter_map(|item| Some(item.as_str()?.to_owned()))
            .collect()
    };
    let extra = meta::at(review, &["spec", "extra"]).and_then(Value::as_object);
    UserInfo {
        name: text("user").unwrap_or_default().to_owned(),
        uid: text("uid").map(str::to_owned),
        groups: strings(meta::at(review, &["spec", "groups"])),
        extra: extra
            .into_iter()
            .flatten()
            .map(|(key, values)| (key.clone(), strings(Some(values))))
            .collect::<BTreeMap<_, _>>(),
    }
}

fn check_subject(call: &Call<'_>, user: &UserInfo) -> Result<(), ApiError> {
    if !user.name.is_empty() || !user.groups.is_empty() {
        return Ok(());
    }
    let why = "at least one of user or group must be specified";
    let problem = FieldError::invalid(&FieldPath::new("spec").child("user"), "", why);
    Err(ApiError::invalid(&call.resource, "", &[problem]))
}

/// A user as `authentication.k8s.io` UserInfo.
fn user_info(user: &UserInfo) -> Value {
    let mut info = json!({"username": user.name, "groups": user.groups});
    if let Some(uid) = &user.uid {
        meta::put(&mut info, "uid", json!(uid));
    }
    if !user.extra.is_empty() {
        meta::put(&mut info, "extra", json!(user.extra));
    }
    info
}
