//! Every namespace has a ServiceAccount `default`, which pods get that name none.

use coracle_api::names::ObjectKey;
use k8s_openapi::api::core::v1::Namespace;
use serde_json::json;

use crate::{
    action::{Action, Plan},
    caches::Change,
    controller::{Controller, Seen, Watch},
    kind::Kind,
};

/// The account's name.
const NAME: &str = "default";

/// The controller. Keys are namespaces.
#[derive(Clone, Copy, Debug, Default)]
pub struct ServiceAccounts;

impl Controller for ServiceAccounts {
    fn name(&self) -> &'static str {
        "serviceaccount-controller"
    }

    fn watches(&self) -> Vec<Watch> {
        vec![
            Watch::of(Kind::NAMESPACE, |change| {
                let name = change.new.and_then(|one| one.meta().name.as_deref());
                name.map(ObjectKey::cluster).into_iter().collect()
            }),
            Watch::of(Kind::SERVICE_ACCOUNT, lost),
        ]
    }

    fn plan(&self, key: &ObjectKey, seen: &Seen<'_>) -> Option<Plan> {
        let namespace = seen.caches.namespaces.get(key)?;
        let account = ObjectKey::namespaced(&key.name, NAME);
        let exists = seen.caches.service_accounts.get(&account).is_some();
        Some(plan(namespace, exists))
    }
}

fn lost(change: &Change<'_>) -> Vec<ObjectKey> {
    let meta = change
        .old
        .filter(|_| change.new.is_none())
        .map(|one| one.meta());
    let meta = meta.filter(|meta| meta.name.as_deref() == Some(NAME));
    let namespace = meta.and_then(|meta| meta.namespace.as_deref());
    namespace.map(ObjectKey::cluster).into_iter().collect()
}

/// Decides.
#[must_use]
pub fn plan(namespace: &Namespace, exists: bool) -> Plan {
    let mut plan = Plan::default();
    let meta = &namespace.metadata;
    let status = namespace.status.as_ref();
    let phase = status.and_then(|status| status.phase.as_deref());
    if !exists && meta.deletion_timestamp.is_none() && phase != Some("Terminating") {
        let kind = Kind::SERVICE_ACCOUNT;
        let object = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": NAME, "namespace": meta.name}});
        plan.act(Action::Create { kind, object });
    }
    plan
}

#[cfg(test)]
mod tests {
    use super::*;

    fn namespace(deleted: Option<&str>) -> Namespace {
        serde_json::from_value(json!({"metadata": {"name": "a", "deletionTimestamp": deleted}}))
            .unwrap()
    }

    #[test]
    fn living_namespaces_get_an_account() {
        let made = plan(&namespace(None), false);
        assert!(matches!(
            &made.actions[0].action,
            Action::Create { object, .. } if object["metadata"]["namespace"] == "a"
        ));
        assert!(plan(&namespace(None), true).is_empty());
        assert!(plan(&namespace(Some("2020-01-01T00:00:00Z")), false).is_empty());
    }
}
