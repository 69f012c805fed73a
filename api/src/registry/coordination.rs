//! Rows of the coordination group.

use k8s_openapi::api::coordination::v1;

use super::{Durability, Resource, Scope, Storage, row::stored};
use crate::{table, validate};

pub(super) fn rows() -> Vec<Resource> {
    vec![Resource {
        storage: Storage::Stored(Durability::Volatile),
        validate: validate::lease,
        ..stored::<v1::Lease>("lease", Scope::Namespaced)
            .with_table(table::lease::columns(), table::lease::row)
    }]
}
