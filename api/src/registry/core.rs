//! Rows of the core group.

use k8s_openapi::api::core::v1;

use super::{Durability, Resource, Scope, Storage, row::stored};
use crate::{defaulting, names, selector, table, validate};

/// What may be done through a proxy.
const PROXIED: &[&str] = &["create", "delete", "get", "patch", "update"];

pub(super) fn rows() -> Vec<Resource> {
    vec![
        Resource {
            default: defaulting::namespace,
            validate_update: validate::namespace_update,
            name_problems: names::dns1123_label,
            ..stored::<v1::Namespace>("namespace", Scope::Cluster)
                .short(&["ns"])
                .with_status()
                .with_subresource("finalize", "Namespace", "", "v1", &["update"])
                .with_table(table::namespace::columns(), table::namespace::row)
        },
        Resource {
            selectable: selector::node_field,
            validate: validate::node,
            ..stored::<v1::Node>("node", Scope::Cluster)
                .short(&["no"])
                .with_status()
                .with_subresource("proxy", "NodeProxyOptions", "", "v1", PROXIED)
                .with_table(table::node::columns(), table::node::row)
        },
        Resource {
            default: defaulting::pod::pod,
            validate: validate::pod::pod,
            validate_update: validate::pod::update,
            warnings: validate::pod::warnings,
            selectable: selector::pod_field,
            graceful_delete: crate::pods::grace_period,
            ..stored::<v1::Pod>("pod", Scope::Namespaced)
                .short(&["po"])
                .in_all()
                .with_status()
                .with_subresource("binding", "Binding", "", "v1", &["create"])
                .with_subresource("eviction", "Eviction", "policy", "v1", &["create"])
                .with_subresource("log", "Pod", "", "v1", &["get"])
                .with_subresource("attach", "PodAttachOptions", "", "v1", &["create", "get"])
                .with_subresource(
                    "ephemeralcontainers",
                    "Pod",
                    "",
                    "v1",
                    &["get", "patch", "update"],
                )
                .with_subresource("exec", "PodExecOptions", "", "v1", &["create", "get"])
                .with_subresource(
                    "portforward",
                    "PodPortForwardOptions",
                    "",
                    "v1",
                    &["create", "get"],
                )
                .with_subresource("proxy", "PodProxyOptions", "", "v1", PROXIED)
                .with_table(table::pod::columns(), table::pod::row)
        },
        Resource {
            default: defaulting::service,
            validate: validate::service::service,
            validate_update: validate::service::update,
            selectable: selector::service_field,
            claims: validate::service::claims,
            name_problems: names::dns1035_label,
            ..stored::<v1::Service>("service", Scope::Namespaced)
                .short(&["svc"])
                .in_all()
                .with_status()
                .with_subresource("proxy", "ServiceProxyOptions", "", "v1", PROXIED)
                .with_table(table::service::columns(), table::service::row)
        },
        Resource {
            validate: validate::config_map,
            validate_update: validate::config_map_update,
            ..stored::<v1::ConfigMap>("configmap", Scope::Namespaced)
                .short(&["cm"])
                .with_table(table::config_map::columns(), table::config_map::row)
        },
        Resource {
            default: defaulting::secret,
            validate: validate::secret,
            validate_update: validate::secret_update,
            selectable: selector::secret_field,
            ..stored::<v1::Secret>("secret", Scope::Namespaced)
                .with_table(table::secret::columns(), table::secret::row)
        },
        Resource {
            storage: Storage::Stored(Durability::Volatile),
            selectable: selector::event_field,
            validate: validate::event,
            ..stored::<v1::Event>("event", Scope::Namespaced)
                .short(&["ev"])
                .with_table(table::event::columns(), table::event::row)
        },
        stored::<v1::ServiceAccount>("serviceaccount", Scope::Namespaced)
            .short(&["sa"])
            .with_subresource(
                "token",
                "TokenRequest",
                "authentication.k8s.io",
                "v1",
                &["create"],
            )
            .with_table(
                table::service_account::columns(),
                table::service_account::row,
            ),
    ]
}
