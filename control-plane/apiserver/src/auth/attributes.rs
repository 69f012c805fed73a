//! What authorization is asked about one request: who does what to what. A pure reading of a request that others parsed; decides nothing.

use crate::auth::user::UserInfo;

/// One request, as rules see it (`authorization.k8s.io` SubjectAccessReview has the same fields).
#[derive(Clone, Copy, Debug)]
pub struct Attributes<'a> {
    /// Who asks.
    pub user: &'a UserInfo,
    /// RBAC's verb: get, list, watch, create, update, patch, delete, deletecollection; for paths the HTTP method in lower case.
    pub verb: &'a str,
    /// What is asked for.
    pub target: Target<'a>,
}

/// What a request is about.
#[derive(Clone, Copy, Debug)]
pub enum Target<'a> {
    /// An object or a collection.
    Resource(ResourceTarget<'a>),
    /// A path that names no resource, such as `/healthz` or `/v2/hello/tags/list`.
    Path(&'a str),
}

/// An object or a collection.
#[derive(Clone, Copy, Debug, Default)]
pub struct ResourceTarget<'a> {
    /// The API group; empty for core.
    pub group: &'a str,
    /// The plural resource name.
    pub resource: &'a str,
    /// The subresource, if one is meant.
    pub subresource: Option<&'a str>,
    /// The namespace; `None` for cluster-scoped kinds and for all namespaces.
    pub namespace: Option<&'a str>,
    /// The object's name; `None` for collections and for creation.
    pub name: Option<&'a str>,
    /// The field selector of a list or watch, as text. What it leaves out cannot be read, so it may widen what is allowed.
    pub field_selector: Option<&'a str>,
}

impl ResourceTarget<'_> {
    /// `resource` or `resource/subresource`, as rules spell it.
    #[must_use]
    pub fn combined(&self) -> String {
        match self.subresource {
            Some(subresource) => format!("{}/{subresource}", self.resource),
            None => self.resource.to_owned(),
        }
    }
}
