//! Rows of the discovery group.

use k8s_openapi::api::discovery::v1;

use super::{Resource, Scope, row::stored};
use crate::{table, validate};

pub(super) fn rows() -> Vec<Resource> {
    vec![Resource {
        validate: validate::endpoint_slice,
        validate_update: validate::endpoint_slice_update,
        ..stored::<v1::EndpointSlice>("endpointslice", Scope::Namespaced)
            .with_table(table::endpoint_slice::columns(), table::endpoint_slice::row)
    }]
}
