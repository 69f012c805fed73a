//! Asks the authorizer about a request, in the authorizer's terms, and puts its refusal into the API's words.

use coracle_api::status::{ApiError, Details, Reason};

use crate::{
    auth::{Attributes, Denied, ResourceTarget, Target, user::UserInfo},
    path::{RequestInfo, Verb},
    query::Query,
    server::Shared,
};

/// Lets through what the user may do.
///
/// # Errors
/// `Forbidden`.
pub fn authorize(
    server: &Shared,
    user: &UserInfo,
    info: &RequestInfo,
    query: &Query,
) -> Result<(), ApiError> {
    let target = match &info.resource {
        None => Target::Path(&info.path),
        Some(path) => Target::Resource(ResourceTarget {
            group: &path.group,
            resource: &path.resource,
            subresource: path.subresource.as_deref(),
            namespace: path.namespace.as_deref(),
            name: path.name.as_deref(),
            field_selector: match info.verb {
                Verb::List | Verb::Watch | Verb::DeleteCollection => query.text("fieldSelector"),
                _ => None,
            },
        }),
    };
    let attributes = Attributes {
        user,
        verb: info.verb.as_str(),
        target,
    };
    server.authorizer.authorize(&attributes).map_err(refusal)
}

/// A refusal as an error.
pub fn refusal(denied: Denied) -> ApiError {
    let mut error = ApiError::new(Reason::Forbidden, denied.message);
    error.details = Some(Box::new(Details {
        name: denied.name.unwrap_or_default(),
        group: denied.group,
        kind: denied.resource,
        ..Details::default()
    }));
    error
}
