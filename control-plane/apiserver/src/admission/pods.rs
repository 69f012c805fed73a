//! What a pod's priority class stands for, and what a pod cannot be created with. All else a pod gets when it is created are defaults of the kind.

use coracle_api::{
    fields::{FieldError, FieldPath},
    status::ApiError,
};
use serde_json::{Value, json};

use crate::{meta, writes::Write};

/// The two classes that exist in every cluster.
const SYSTEM: [(&str, i64); 2] = [
    ("system-node-critical", 2_000_001_000),
    ("system-cluster-critical", 2_000_000_000),
];

pub(super) fn admit(write: &Write<'_>, pod: &mut Value) -> Result<(), ApiError> {
    let ephemeral = meta::at(pod, &["spec", "ephemeralContainers"]).and_then(Value::as_array);
    if ephemeral.is_some_and(|list| !list.is_empty()) {
        let field = FieldPath::new("spec").child("ephemeralContainers");
        let problem = FieldError::forbidden(&field, "cannot be set on create");
        let name = meta::name(pod).unwrap_or_default();
        return Err(ApiError::invalid(&write.resource, name, &[problem]));
    }
    let class = meta::text_at(pod, &["spec", "priorityClassName"]).unwrap_or_default();
    if class.is_empty() {
        return Ok(());
    }
    let Some((_, priority)) = SYSTEM.iter().find(|(name, _)| *name == class) else {
        let why = format!("no PriorityClass with name {class} was found");
        let name = meta::name(pod).unwrap_or_default();
        return Err(ApiError::forbidden(&write.resource, name, &why));
    };
    meta::child_mut(pod, "spec").insert("priority".to_owned(), json!(priority));
    Ok(())
}
