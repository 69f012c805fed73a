//! Rows of reviews: questions about who may do what and who somebody is. Created, answered, not kept.

use k8s_openapi::api::{authentication::v1 as authentication, authorization::v1 as authorization};

use super::{Resource, Scope, row::review};

pub(super) fn rows() -> Vec<Resource> {
    vec![
        review::<authorization::SelfSubjectAccessReview>("selfsubjectaccessreview", Scope::Cluster),
        review::<authorization::SelfSubjectRulesReview>("selfsubjectrulesreview", Scope::Cluster),
        review::<authorization::SubjectAccessReview>("subjectaccessreview", Scope::Cluster),
        review::<authorization::LocalSubjectAccessReview>(
            "localsubjectaccessreview",
            Scope::Namespaced,
        ),
        review::<authentication::SelfSubjectReview>("selfsubjectreview", Scope::Cluster),
        review::<authentication::TokenReview>("tokenreview", Scope::Cluster),
    ]
}
