//! Rows of the apps group.

use k8s_openapi::api::apps::v1;

use super::{Resource, Scope, row::stored};
use crate::{defaulting, table, validate};

pub(super) fn rows() -> Vec<Resource> {
    vec![
        Resource {
            default: defaulting::deployment,
            validate: validate::workload::deployment,
            validate_update: validate::workload::selector_update,
            warnings: validate::workload::template_warnings,
            ..stored::<v1::Deployment>("deployment", Scope::Namespaced)
                .short(&["deploy"])
                .in_all()
                .with_status()
                .with_scale()
                .with_table(table::deployment::columns(), table::deployment::row)
        },
        Resource {
            default: defaulting::replica_set,
            validate: validate::workload::replica_set,
            validate_update: validate::workload::selector_update,
            warnings: validate::workload::template_warnings,
            ..stored::<v1::ReplicaSet>("replicaset", Scope::Namespaced)
                .short(&["rs"])
                .in_all()
                .with_status()
                .with_scale()
                .with_table(table::replica_set::columns(), table::replica_set::row)
        },
    ]
}
