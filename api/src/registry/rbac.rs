//! Rows of the RBAC group.

use k8s_openapi::api::rbac::v1;

use super::{Resource, Scope, row::stored};
use crate::{defaulting, names, table, validate};

pub(super) fn rows() -> Vec<Resource> {
    vec![
        Resource {
            validate: validate::role,
            name_problems: names::path_segment,
            ..stored::<v1::Role>("role", Scope::Namespaced)
                .with_table(table::role::columns(), table::role::row)
        },
        Resource {
            validate: validate::cluster_role,
            name_problems: names::path_segment,
            ..stored::<v1::ClusterRole>("clusterrole", Scope::Cluster)
                .with_table(table::role::columns(), table::role::row)
        },
        Resource {
            default: defaulting::role_binding,
            validate: validate::role_binding,
            validate_update: validate::role_binding_update,
            name_problems: names::path_segment,
            ..stored::<v1::RoleBinding>("rolebinding", Scope::Namespaced)
                .with_table(table::role_binding::columns(), table::role_binding::row)
        },
        Resource {
            default: defaulting::role_binding,
            validate: validate::cluster_role_binding,
            validate_update: validate::role_binding_update,
            name_problems: names::path_segment,
            ..stored::<v1::ClusterRoleBinding>("clusterrolebinding", Scope::Cluster)
                .with_table(table::role_binding::columns(), table::role_binding::row)
        },
    ]
}
