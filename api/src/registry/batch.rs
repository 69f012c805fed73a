//! Rows of the batch group.

use k8s_openapi::api::batch::v1;

use super::{Resource, Scope, row::stored};
use crate::{defaulting, selector, table, validate};

pub(super) fn rows() -> Vec<Resource> {
    vec![Resource {
        default: defaulting::job,
        validate: validate::workload::job,
        validate_update: validate::workload::job_update,
        warnings: validate::workload::template_warnings,
        selectable: selector::job_field,
        ..stored::<v1::Job>("job", Scope::Namespaced)
            .in_all()
            .with_status()
            .with_table(table::job::columns(), table::job::row)
    }]
}
