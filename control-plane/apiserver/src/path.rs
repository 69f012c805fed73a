//! Parses method, path and query once into what authorization, metrics and handlers ask about a request. Knows the shape of
//! Kubernetes' URLs (as upstream's RequestInfo), not which kinds exist.

use coracle_api::status::ApiError;
use http::Method;
use percent_encoding::percent_decode_str;

use crate::query::Query;

/// What a request does, in RBAC's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verb {
    /// Read one object.
    Get,
    /// Read a collection.
    List,
    /// Follow a collection.
    Watch,
    /// Make an object.
    Create,
    /// Replace an object.
    Update,
    /// Change parts of an object.
    Patch,
    /// Delete one object.
    Delete,
    /// Delete a collection.
    DeleteCollection,
    /// POST to a path that is no resource.
    Post,
    /// PUT to a path that is no resource.
    Put,
    /// An HTTP method that is none of these.
    Other,
}

impl Verb {
    /// As RBAC rules and metrics spell it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Watch => "watch",
            Self::Create => "create",
            Self::Update => "update",
            Self::Patch => "patch",
            Self::Delete => "delete",
            Self::DeleteCollection => "deletecollection",
            Self::Post => "post",
            Self::Put => "put",
            Self::Other => "other",
        }
    }

    /// Whether it may change something.
    #[must_use]
    pub fn writes(self) -> bool {
        !matches!(self, Self::Get | Self::List | Self::Watch)
    }
}

/// Where in the API an object or collection lies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResourcePath {
    /// The API group; empty for core.
    pub group: String,
    /// The version of the group.
    pub version: String,
    /// The namespace in the path. `Some` for the namespace object itself too, as RBAC expects.
    pub namespace: Option<String>,
    /// The plural resource name.
    pub resource: String,
    /// The object's name; `None` for collections.
    pub name: Option<String>,
    /// What of the object is meant.
    pub subresource: Option<String>,
    /// What follows the subresource (the path to a proxied server).
    pub rest: Vec<String>,
}

impl ResourcePath {
    /// The namespace that holds the objects meant: none for the namespace objects themselves.
    #[must_use]
    pub fn object_namespace(&self) -> Option<&str> {
        match self.resource.as_str() {
            "namespaces" if self.group.is_empty() => None,
            _ => self.namespace.as_deref(),
        }
    }

    /// Whether the request opens a stream into a pod.
    fn opens_stream(&self) -> bool {
        let subresource = self.subresource.as_deref();
        self.group.is_empty()
            && self.resource == "pods"
            && matches!(subresource, Some("exec" | "attach" | "portforward"))
    }

    /// Whether the objects are the namespaces themselves.
    fn is_namespaces(&self) -> bool {
        self.group.is_empty() && self.resource == "namespaces"
    }
}

/// What a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestInfo {
    /// In RBAC's words.
    pub verb: Verb,
    /// The path as sent.
    pub path: String,
    /// Set when the path names a resource; discovery, health and other paths have none.
    pub resource: Option<ResourcePath>,
}

/// More segments than any valid resource path outside proxies; bounds the work on hostile paths.
const MAX_SEGMENTS: usize = 64;

/// Segments that may be the resource's own: `namespaces` and one, then the resource, its name and subresource.
const KNOWN_SEGMENTS: (usize, usize) = (2, 3);

impl RequestInfo {
    /// Parses a request line.
    ///
    /// # Errors
    /// `BadRequest` for paths whose segments are not UTF-8 or that try to climb.
    pub fn parse(method: &Method, path: &str, query: &Query) -> Result<Self, ApiError> {
        let resource = resource_path(path)?;
        let Some(mut resource) = resource else {
            return Ok(Self {
                verb: plain_verb(method),
                path: path.to_owned(),
                resource: None,
            });
        };
        let verb = match (method.as_str(), resource.name.is_some()) {
            ("GET" | "HEAD", true) => Verb::Get,
            ("GET" | "HEAD", false) if query.flag("watch") => Verb::Watch,
            ("GET" | "HEAD", false) => Verb::List,
            ("POST", _) => Verb::Create,
            ("PUT", _) => Verb::Update,
            ("PATCH", _) => Verb::Patch,
            ("DELETE", true) => Verb::Delete,
            ("DELETE", false) => Verb::DeleteCollection,
            _ => Verb::Other,
        };
        // To open such a stream is to act on the pod, whatever method the protocol begins with: WebSockets begin with GET.
        let verb = match verb {
            Verb::Get if resource.opens_stream() => Verb::Create,
            verb => verb,
        };
        // Who may list or watch one named object says so by resourceNames in a rule, and asks with this selector.
        if matches!(verb, Verb::List | Verb::Watch) && resource.name.is_none() {
            resource.name = query.get("fieldSelector").and_then(named_object);
        }
        Ok(Self {
            verb,
            path: path.to_owned(),
            resource: Some(resource),
        })
    }
}

/// The name in a field selector that can match one object only.
fn named_object(selector: &str) -> Option<String> {
    let name = selector.split(',').find_map(|term| {
        let (field, value) = term.split_once("==").or_else(|| term.split_once('='))?;
        (field.trim() == "metadata.name").then(|| value.trim())
    })?;
    (!name.is_empty() && !name.contains(['\\', '!', '='])).then(|| name.to_owned())
}

/// RBAC's verb for paths that are no resources: the method in lower case.
fn plain_verb(method: &Method) -> Verb {
    match method.as_str() {
        "GET" | "HEAD" => Verb::Get,
        "POST" => Verb::Post,
        "PUT" => Verb::Put,
        "PATCH" => Verb::Patch,
        "DELETE" => Verb::Delete,
        _ => Verb::Other,
    }
}

/// The resource a path names, if it names one: `/api/VERSION/…` or `/apis/GROUP/VERSION/…` with at least one more segment.
fn resource_path(path: &str) -> Result<Option<ResourcePath>, ApiError> {
    let segments: Vec<&str> = path.split('/').filter(|s| !s.is_empty()).collect();
    let (group, version, rest) = match segments.as_slice() {
        ["api", version, rest @ ..] => ("", *version, rest),
        ["apis", group, version, rest @ ..] => (*group, *version, rest),
        _ => return Ok(None),
    };
    if rest.is_empty() {
        return Ok(None);
    }
    if segments.len() > MAX_SEGMENTS {
        return Err(ApiError::bad_request("the path has too many segments"));
    }
    // What follows the subresource is the proxied server's business, decoded by nobody here.
    let of_namespace = if rest.first() == Some(&"namespaces") {
        KNOWN_SEGMENTS.0
    } else {
        0
    };
    let known = rest.len().min(of_namespace + KNOWN_SEGMENTS.1);
    let (known, others) = rest.split_at_checked(known).unwrap_or((rest, &[]));
    let mut rest = known
        .iter()
        .map(|segment| decode(segment))
        .collect::<Result<Vec<_>, _>>()?
        .into_iter();
    let mut found = ResourcePath {
        group: decode(group)?,
        version: decode(version)?,
        resource: rest.next().unwrap_or_default(),
        ..ResourcePath::default()
    };
    if found.resource == "namespaces"
        && let Some(namespace) = rest.next()
    {
        found.namespace = Some(namespace.clone());
        match rest.next() {
            // The namespace object itself (of the core group) and its subresources.
            None => found.name = Some(namespace),
            Some(sub) if found.is_namespaces() && matches!(sub.as_str(), "status" | "finalize") => {
                found.name = Some(namespace);
                found.subresource = Some(sub);
            }
            Some(resource) => {
                found.resource = resource;
                found.name = rest.next();
                found.subresource = rest.next();
            }
        }
    } else {
        found.name = rest.next();
        found.subresource = rest.next();
    }
    found.rest = rest
        .chain(others.iter().map(|&other| other.to_owned()))
        .collect();
    Ok(Some(found))
}

/// A segment with its percent escapes resolved.
fn decode(segment: &str) -> Result<String, ApiError> {
    let text = percent_decode_str(segment)
        .decode_utf8()
        .map_err(|_| ApiError::bad_request("the path is not UTF-8"))?;
    if matches!(&*text, "." | "..") || text.contains(['/', '\0']) {
        return Err(ApiError::bad_request(format!(
            "invalid path segment {text:?}"
        )));
    }
    Ok(text.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `verb group/version namespace resource name subresource`, `-` for nothing.
    fn told(method: &str, uri: &str) -> String {
        let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let info = match RequestInfo::parse(&method, path, &Query::parse(Some(query))) {
            Ok(info) => info,
            Err(error) => return error.code.to_string(),
        };
        let dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        match &info.resource {
            None => format!("{} {}", info.verb.as_str(), info.path),
            Some(r) => format!(
                "{} {}/{} {} {} {} {}",
                info.verb.as_str(),
                r.group,
                r.version,
                dash(&r.namespace),
                r.resource,
                dash(&r.name),
                dash(&r.subresource)
            ),
        }
    }

    #[test]
    fn paths_mean_what_upstream_says() {
        for (method, uri, expected) in [
            ("GET", "/api/v1/pods", "list /v1 - pods - -"),
            ("GET", "/api/v1/pods?watch=1", "watch /v1 - pods - -"),
            ("GET", "/api/v1/pods?watch=false", "list /v1 - pods - -"),
            ("GET", "/api/v1/namespaces", "list /v1 - namespaces - -"),
            ("GET", "/api/v1/namespaces/a", "get /v1 a namespaces a -"),
            (
                "PUT",
                "/api/v1/namespaces/a/finalize",
                "update /v1 a namespaces a finalize",
            ),
            (
                "PATCH",
                "/api/v1/namespaces/a/status",
                "patch /v1 a namespaces a status",
            ),
            ("GET", "/api/v1/namespaces/a/pods", "list /v1 a pods - -"),
            (
                "DELETE",
                "/api/v1/namespaces/a/pods",
                "deletecollection /v1 a pods - -",
            ),
            (
                "DELETE",
                "/api/v1/namespaces/a/pods/b",
                "delete /v1 a pods b -",
            ),
            (
                "POST",
                "/api/v1/namespaces/a/pods/b/binding",
                "create /v1 a pods b binding",
            ),
            (
                "GET",
                "/apis/apps/v1/namespaces/a/deployments/d/scale",
                "get apps/v1 a deployments d scale",
            ),
            (
                "GET",
                "/apis/x.io/v1/namespaces/a/namespaces",
                "list x.io/v1 a namespaces - -",
            ),
            (
                "GET",
                "/api/v1/nodes/n1/proxy/stats/summary",
                "get /v1 - nodes n1 proxy",
            ),
            (
                "GET",
                "/api/v1/namespaces/a/pods/b/portforward",
                "create /v1 a pods b portforward",
            ),
            (
                "GET",
                "/api/v1/namespaces/a/pods/b/log",
                "get /v1 a pods b log",
            ),
            (
                "GET",
                "/api/v1/namespaces/a/pods?fieldSelector=metadata.name%3Dp",
                "list /v1 a pods p -",
            ),
            (
                "GET",
                "/api/v1/namespaces/a/pods?fieldSelector=metadata.name!%3Dp",
                "list /v1 a pods - -",
            ),
            ("GET", "/api/v1/namespaces/%61/pods", "list /v1 a pods - -"),
            ("GET", "/api", "get /api"),
            ("GET", "/apis/apps/v1", "get /apis/apps/v1"),
            ("POST", "/version", "post /version"),
            ("GET", "/api/v1/namespaces/../pods", "400"),
            (
                "GET",
                "/api/v1/namespaces/a/pods/b/proxy/c%2fd/../%ff",
                "get /v1 a pods b proxy",
            ),
            ("GET", "/api/v1/namespaces/a%2fb/pods", "400"),
            ("GET", "/api/v1/namespaces/%ff/pods", "400"),
            ("OPTIONS", "/api/v1/pods", "other /v1 - pods - -"),
        ] {
            assert_eq!(told(method, uri), expected, "{method} {uri}");
        }
        assert_eq!(told("GET", &format!("/api/v1/{}", "a/".repeat(100))), "400");
    }
}
