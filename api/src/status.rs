//! Errors of the API as clients know them: `metav1.Status` with the field's reasons and words. The one vocabulary for what goes wrong with a
//! request; HTTP itself is the server's business.

use std::{collections::BTreeMap, fmt};

use serde_json::{Map, Value, json};

use crate::{fields::FieldError, registry::Resource};

/// The machine-readable reason of a failure (apimachinery `metav1.StatusReason`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// 401
    Unauthorized,
    /// 403
    Forbidden,
    /// 404
    NotFound,
    /// 409: the name is taken
    AlreadyExists,
    /// 409: the object has changed
    Conflict,
    /// 410: an old resourceVersion
    Expired,
    /// 422
    Invalid,
    /// 400
    BadRequest,
    /// 405
    MethodNotAllowed,
    /// 406
    NotAcceptable,
    /// 413
    RequestEntityTooLarge,
    /// 415
    UnsupportedMediaType,
    /// 429
    TooManyRequests,
    /// 500
    InternalError,
    /// 503
    ServiceUnavailable,
    /// 504
    Timeout,
}

impl Reason {
    /// The HTTP status that goes with it.
    #[must_use]
    pub fn code(self) -> u16 {
        match self {
            Self::BadRequest => 400,
            Self::Unauthorized => 401,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::NotAcceptable => 406,
            Self::AlreadyExists | Self::Conflict => 409,
            Self::Expired => 410,
            Self::RequestEntityTooLarge => 413,
            Self::UnsupportedMediaType => 415,
            Self::Invalid => 422,
            Self::TooManyRequests => 429,
            Self::InternalError => 500,
            Self::ServiceUnavailable => 503,
            Self::Timeout => 504,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// What the failure is about.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Details {
    /// The object's name.
    pub name: String,
    /// The API group.
    pub group: String,
    /// The resource (for most errors) or the kind (for [`Reason::Invalid`]), as upstream fills it.
    pub kind: String,
    /// The object's uid, where a precondition on it failed.
    pub uid: String,
    /// What is wrong with which field.
    pub causes: Vec<Cause>,
    /// When to try again, in seconds.
    pub retry_after_seconds: Option<u32>,
}

/// One reason of several.
#[derive(Clone, Debug, PartialEq)]
pub struct Cause {
    /// Machine-readable.
    pub reason: String,
    /// For people.
    pub message: String,
    /// The path of the field.
    pub field: String,
}

/// A failed request.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// The HTTP status.
    pub code: u16,
    /// The machine-readable reason.
    pub reason: Reason,
    /// For people, in upstream's words.
    pub message: String,
    /// What it is about. Boxed: errors travel through every result.
    pub details: Option<Box<Details>>,
    /// The `metadata.continue` to go on with, for an expired one.
    pub continuation: Option<String>,
}

impl ApiError {
    /// A failure without details.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            code: reason.code(),
            reason,
            message: message.into(),
            details: None,
            continuation: None,
        }
    }

    fn about(reason: Reason, message: String, resource: &Resource, name: &str) -> Self {
        let details = Details {
            name: name.to_owned(),
            group: resource.group.to_string(),
            kind: resource.plural.to_string(),
            ..Details::default()
        };
        Self {
            details: Some(Box::new(details)),
            ..Self::new(reason, message)
        }
    }

    /// There is no such object.
    #[must_use]
    pub fn not_found(resource: &Resource, name: &str) -> Self {
        Self::about(
            Reason::NotFound,
            format!("{} {name:?} not found", resource.qualified()),
            resource,
            name,
        )
    }

    /// There is no such path.
    #[must_use]
    pub fn no_such_resource() -> Self {
        let mut error = Self::new(
            Reason::NotFound,
            "the server could not find the requested resource",
        );
        error.details = Some(Box::default());
        error
    }

    /// The name is taken.
    #[must_use]
    pub fn already_exists(resource: &Resource, name: &str) -> Self {
        Self::about(
            Reason::AlreadyExists,
            format!("{} {name:?} already exists", resource.qualified()),
            resource,
            name,
        )
    }

    /// The object is not as the request expects; `why` completes the sentence.
    #[must_use]
    pub fn conflict(resource: &Resource, name: &str, why: &str) -> Self {
        let message = format!(
            "Operation cannot be fulfilled on {} {name:?}: {why}",
            resource.qualified()
        );
        Self::about(Reason::Conflict, message, resource, name)
    }

    /// The object was changed since the client read it.
    #[must_use]
    pub fn modified(resource: &Resource, name: &str) -> Self {
        let why = "the object has been modified; please apply your changes to the latest version and try again";
        Self::conflict(resource, name, why)
    }

    /// The object is not valid.
    #[must_use]
    pub fn invalid(resource: &Resource, name: &str, problems: &[FieldError]) -> Self {
        Self::invalid_kind(&resource.group, &resource.kind, name, problems)
    }

    /// The object, of a kind that need not be a resource, is not valid.
    #[must_use]
    pub fn invalid_kind(group: &str, kind: &str, name: &str, problems: &[FieldError]) -> Self {
        let listed = match problems {
            [] => String::new(),
            [one] => one.to_string(),
            many => format!(
                "[{}]",
                many.iter()
                    .map(ToString::to_string)
                    .collect::<Vec<_>>()
                    .join(", ")
            ),
        };
        let shown = match group {
            "" => kind.to_owned(),
            group => format!("{kind}.{group}"),
        };
        let causes = problems
            .iter()
            .map(|problem| Cause {
                reason: problem.kind.reason().to_owned(),
                message: problem.body(),
                field: problem.field.as_str().to_owned(),
            })
            .collect();
        let details = Details {
            name: name.to_owned(),
            group: group.to_owned(),
            kind: kind.to_owned(),
            causes,
            ..Details::default()
        };
        let message = format!("{shown} {name:?} is invalid: {listed}");
        Self {
            details: Some(Box::new(details)),
            ..Self::new(Reason::Invalid, message)
        }
    }

    /// Others manage fields that were to be applied: who, and which.
    #[must_use]
    pub fn apply_conflict(conflicts: &[(String, String)]) -> Self {
        let message = match conflicts {
            [(manager, field)] => {
                format!("Apply failed with 1 conflict: conflict with {manager}: {field}")
            }
            many => {
                let mut by_manager: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
                for (manager, field) in many {
                    by_manager.entry(manager).or_default().push(field);
                }
                let listed = by_manager.into_iter().map(|(manager, fields)| {
                    let fields: String =
                        fields.iter().map(|field| format!("\n- {field}")).collect();
                    format!("conflicts with {manager}:{fields}")
                });
                let listed = listed.collect::<Vec<_>>().join("\n");
                format!("Apply failed with {} conflicts: {listed}", many.len())
            }
        };
        let causes = conflicts.iter().map(|(manager, field)| Cause {
            reason: "FieldManagerConflict".to_owned(),
            message: format!("conflict with {manager}"),
            field: field.clone(),
        });
        let details = Details {
            causes: causes.collect(),
            ..Details::default()
        };
        Self {
            details: Some(Box::new(details)),
            ..Self::new(Reason::Conflict, message)
        }
    }

    /// The request makes no sense.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(Reason::BadRequest, message)
    }

    /// Nobody knows who asks.
    #[must_use]
    pub fn unauthorized() -> Self {
        Self::new(Reason::Unauthorized, "Unauthorized")
    }

    /// Whoever asks may not; `why` completes the sentence. An empty `name` stands for the whole collection.
    #[must_use]
    pub fn forbidden(resource: &Resource, name: &str, why: &str) -> Self {
        let message = match name {
            "" => format!("{} is forbidden: {why}", resource.qualified()),
            name => format!("{} {name:?} is forbidden: {why}", resource.qualified()),
        };
        Self::about(Reason::Forbidden, message, resource, name)
    }

    /// The resource does not know the verb.
    #[must_use]
    pub fn method_not_allowed() -> Self {
        let mut error = Self::new(
            Reason::MethodNotAllowed,
            "the server does not allow this method on the requested resource",
        );
        error.details = Some(Box::default());
        error
    }

    /// The body is in a form that is not read here.
    #[must_use]
    pub fn unsupported_media_type(given: &str, supported: &[&str]) -> Self {
        let message = format!(
            "the body of the request was in an unknown format ({given}) - accepted media types include: {}",
            supported.join(", ")
        );
        Self::new(Reason::UnsupportedMediaType, message)
    }

    /// The client takes no form that is written here.
    #[must_use]
    pub fn not_acceptable(supported: &[&str]) -> Self {
        let message = format!(
            "only the following media types are accepted: {}",
            supported.join(", ")
        );
        Self::new(Reason::NotAcceptable, message)
    }

    /// The resourceVersion or continue token is too old; `continuation` is the token to go on with, inconsistently.
    pub fn expired(message: impl Into<String>, continuation: Option<String>) -> Self {
        Self {
            continuation,
            ..Self::new(Reason::Expired, message)
        }
    }

    /// The body is larger than `limit` bytes.
    #[must_use]
    pub fn too_large(limit: usize) -> Self {
        Self::new(
            Reason::RequestEntityTooLarge,
            format!("Request entity too large: limit is {limit}"),
        )
    }

    /// The client has too many requests under way.
    #[must_use]
    pub fn too_many_requests(retry_after_seconds: u32) -> Self {
        let details = Details {
            retry_after_seconds: Some(retry_after_seconds),
            ..Details::default()
        };
        let message = "too many requests, please try again later";
        Self {
            details: Some(Box::new(details)),
            ..Self::new(Reason::TooManyRequests, message)
        }
    }

    /// The server is at fault. `message` is for the operator's eyes too: no secrets.
    pub fn internal(message: impl fmt::Display) -> Self {
        Self::new(
            Reason::InternalError,
            format!("Internal error occurred: {message}"),
        )
    }

    /// The server can't do it now.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(Reason::ServiceUnavailable, message)
    }

    /// The request took too long.
    pub fn timeout(message: impl Into<String>) -> Self {
        Self::new(Reason::Timeout, message)
    }

    /// The error as a `Status` object.
    #[must_use]
    pub fn to_status(&self) -> Value {
        let metadata = match &self.continuation {
            Some(token) => json!({ "continue": token }),
            None => json!({}),
        };
        let mut status = json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": metadata,
            "status": "Failure",
            "message": self.message,
            "reason": self.reason.to_string(),
            "code": self.code,
        });
        if let (Some(details), Some(status)) = (&self.details, status.as_object_mut()) {
            status.insert("details".to_owned(), Value::Object(details.to_map()));
        }
        status
    }
}

impl Details {
    fn to_map(&self) -> Map<String, Value> {
        let mut map = Map::new();
        for (key, text) in [
            ("name", &self.name),
            ("group", &self.group),
            ("kind", &self.kind),
            ("uid", &self.uid),
        ] {
            if !text.is_empty() {
                map.insert(key.to_owned(), text.as_str().into());
            }
        }
        if !self.causes.is_empty() {
            let causes = self.causes.iter();
            let causes = causes.map(|cause| json!({ "reason": cause.reason, "message": cause.message, "field": cause.field }));
            map.insert("causes".to_owned(), causes.collect());
        }
        if let Some(seconds) = self.retry_after_seconds {
            map.insert("retryAfterSeconds".to_owned(), seconds.into());
        }
        map
    }
}
