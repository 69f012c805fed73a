//! Kinds that are asked and not stored: reviews of who may do what, and measurements.

mod metrics;
mod reviews;
mod stats;

use axum::{body::Body, response::Response};
use coracle_api::status::ApiError;

use crate::{
    path::{ResourcePath, Verb},
    resources::Call,
};

/// A kind that is not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VirtualKind {
    /// May the asker do this?
    SelfSubjectAccessReview,
    /// May somebody do this? Also the form for one namespace.
    SubjectAccessReview,
    /// What may the asker do in a namespace?
    SelfSubjectRulesReview,
    /// Who is the asker?
    SelfSubjectReview,
    /// Whose token is this?
    TokenReview,
    /// What do nodes use?
    NodeMetrics,
    /// What do pods use?
    PodMetrics,
}

/// The kind a path means, if it is one of these.
#[must_use]
pub fn find(path: &ResourcePath) -> Option<VirtualKind> {
    match (path.group.as_str(), path.resource.as_str()) {
        ("authorization.k8s.io", "selfsubjectaccessreviews") => {
            Some(VirtualKind::SelfSubjectAccessReview)
        }
        ("authorization.k8s.io", "subjectaccessreviews" | "localsubjectaccessreviews") => {
            Some(VirtualKind::SubjectAccessReview)
        }
        ("authorization.k8s.io", "selfsubjectrulesreviews") => {
            Some(VirtualKind::SelfSubjectRulesReview)
        }
        ("authentication.k8s.io", "selfsubjectreviews") => Some(VirtualKind::SelfSubjectReview),
        ("authentication.k8s.io", "tokenreviews") => Some(VirtualKind::TokenReview),
        ("metrics.k8s.io", "nodes") => Some(VirtualKind::NodeMetrics),
        ("metrics.k8s.io", "pods") => Some(VirtualKind::PodMetrics),
        _ => None,
    }
}

/// Answers a request for such a kind.
///
/// # Errors
/// Whatever is wrong with the request.
pub async fn answer(call: &Call<'_>, kind: VirtualKind, body: Body) -> Result<Response, ApiError> {
    if call.path.subresource.is_some() {
        return Err(ApiError::no_such_resource());
    }
    match (kind, call.verb) {
        (VirtualKind::NodeMetrics, Verb::Get | Verb::List) => metrics::of_nodes(call).await,
        (VirtualKind::PodMetrics, Verb::Get | Verb::List) => metrics::of_pods(call).await,
        (
            VirtualKind::SelfSubjectAccessReview
            | VirtualKind::SubjectAccessReview
            | VirtualKind::SelfSubjectRulesReview
            | VirtualKind::SelfSubjectReview
            | VirtualKind::TokenReview,
            Verb::Create,
        ) => reviews::create(call, kind, body).await,
        _ => Err(ApiError::method_not_allowed()),
    }
}
