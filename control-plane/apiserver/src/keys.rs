//! Where objects and claims live in the store. The only place that composes or takes apart keys.

use coracle_api::registry::Resource;

/// What every object key begins with.
pub const OBJECTS: &str = "/registry/";
/// What every claim key begins with. A claim is something an object holds alone in the cluster, such as an address.
pub const CLAIMS: &str = "/claims/";

/// The prefix of all objects of a kind, or of those in one namespace. Ends with a slash.
#[must_use]
pub fn collection(resource: &Resource, namespace: Option<&str>) -> String {
    let group = match &*resource.group {
        "" => "core",
        group => group,
    };
    let mut key = format!("{OBJECTS}{group}/{}/", resource.plural);
    if let Some(namespace) = namespace {
        key.push_str(namespace);
        key.push('/');
    }
    key
}

/// The key of one object.
#[must_use]
pub fn object(resource: &Resource, namespace: Option<&str>, name: &str) -> String {
    let mut key = collection(resource, namespace);
    key.push_str(name);
    key
}

/// The key of a namespace object.
#[must_use]
pub fn namespace(name: &str) -> String {
    format!("{OBJECTS}core/namespaces/{name}")
}

/// The key of a claim.
#[must_use]
pub fn claim(claim: &str) -> String {
    format!("{CLAIMS}{claim}")
}

/// The object's name: the last segment of its key.
#[must_use]
pub fn name_of(key: &str) -> &str {
    key.rsplit_once('/').map_or(key, |(_, name)| name)
}

/// The object's namespace: the segment before the name. Only for keys of namespaced kinds.
#[must_use]
pub fn namespace_of(key: &str) -> &str {
    key.rsplit_once('/').map_or("", |(rest, _)| name_of(rest))
}
