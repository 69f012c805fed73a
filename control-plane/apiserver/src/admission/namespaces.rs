//! Nothing is created in a namespace that does not exist or is going away, and the namespaces the cluster needs stay.

use coracle_api::{registry::Resource, status::ApiError};
use coracle_store::{Expect, Op};
use serde_json::{Value, json};

use crate::{encoded::Stored, error, keys, meta, writes::Write};

/// The namespaces that exist from the first start on.
pub const SYSTEM: [&str; 4] = ["default", "kube-system", "kube-public", "kube-node-lease"];
/// Those of them that cannot be deleted, as upstream.
const IMMORTAL: [&str; 3] = ["default", "kube-system", "kube-public"];

/// Gives the condition under which the object may be created: that its namespace is still as it was found.
pub(super) async fn admit(write: &Write<'_>, object: &Value) -> Result<Option<Op>, ApiError> {
    let Some(namespace) = write.namespace else {
        return Ok(None);
    };
    let key = keys::namespace(namespace);
    let found = write
        .server
        .store
        .get(&key)
        .await
        .map_err(error::from_store)?;
    let Some(record) = found else {
        return Err(ApiError::not_found(&*write.server.namespaces()?, namespace));
    };
    let revision = record.modified;
    if is_terminating(&Stored::open(record)?.value()?) {
        let name = meta::name(object).unwrap_or_default();
        let why = format!(
            "unable to create new content in namespace {namespace} because it is being terminated"
        );
        return Err(ApiError::forbidden(&write.resource, name, &why));
    }
    Ok(Some(Op::check(key, Expect::At(revision))))
}

/// The finalizer by which the namespace controller keeps a namespace until it is empty.
const FINALIZER: &str = "kubernetes";

/// A namespace's finalizers are the server's at first and then changed through the finalize subresource only.
pub(super) fn finalize(namespace: &mut Value, old: Option<&Value>) {
    let finalizers = match old {
        Some(old) => meta::at(old, &["spec", "finalizers"]).cloned(),
        None => Some(json!([FINALIZER])),
    };
    let spec = meta::child_mut(namespace, "spec");
    match finalizers {
        Some(finalizers) => spec.insert("finalizers".to_owned(), finalizers),
        None => spec.remove("finalizers"),
    };
}

fn is_terminating(namespace: &Value) -> bool {
    meta::is_terminating(namespace)
        || meta::text_at(namespace, &["status", "phase"]) == Some("Terminating")
}

/// Refuses to delete a namespace the cluster needs.
///
/// # Errors
/// `Forbidden`.
pub fn check_deletion(resource: &Resource, name: &str) -> Result<(), ApiError> {
    let is_namespace = resource.group.is_empty() && resource.plural == "namespaces";
    if is_namespace && IMMORTAL.contains(&name) {
        let why = "this namespace may not be deleted";
        return Err(ApiError::forbidden(resource, name, why));
    }
    Ok(())
}
