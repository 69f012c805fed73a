//! Admission: what an object must get or pass because of the cluster around it, after defaulting and before validation. One file per concern;
//! this one is the order. What needs only the object itself belongs to its kind's defaulting and validation in coracle-api.

pub mod addresses;
pub mod namespaces;
pub mod pods;
pub mod service_ports;
pub mod services;

use coracle_api::status::ApiError;
use coracle_store::Op;
use serde_json::Value;

use crate::writes::Write;

/// What is being done to the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// It is new.
    Create,
    /// It replaces another version.
    Update,
}

/// An admitted object's conditions.
#[derive(Debug, Default)]
pub struct Admitted {
    /// What must still hold of other keys when the object is stored. They go into the same transaction.
    pub guards: Vec<Op>,
}

/// Admits `object`, changing it where the cluster decides.
///
/// # Errors
/// `Forbidden`, `NotFound` (its namespace), `Invalid`, and what the store says.
pub async fn admit(
    write: &Write<'_>,
    operation: Operation,
    object: &mut Value,
    old: Option<&Value>,
) -> Result<Admitted, ApiError> {
    let mut admitted = Admitted::default();
    if operation == Operation::Create {
        admitted
            .guards
            .extend(namespaces::admit(write, object).await?);
    }
    match (&*write.resource.group, &*write.resource.plural) {
        ("", "namespaces") => namespaces::finalize(object, old),
        ("", "pods") if operation == Operation::Create => pods::admit(write, object)?,
        ("", "services") => services::admit(write, object, old).await?,
        _ => {}
    }
    Ok(admitted)
}
