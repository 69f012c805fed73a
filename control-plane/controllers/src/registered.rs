//! All controllers. One that is not in this list does not run; a test compares it with the folders.

use crate::{
    autoscaler::Autoscalers,
    controller::Controller,
    daemon_set::DaemonSets,
    deployment::Deployments,
    endpoints::Endpoints,
    garbage::Garbage,
    job::{Jobs, expiry::JobExpiry},
    load_balancer::LoadBalancers,
    namespace::Namespaces,
    node_health::{Settings, eviction::TaintEviction, heartbeat::NodeHealth, orphans::PodOrphans},
    replica_set::ReplicaSets,
    service_account::ServiceAccounts,
    stateful_set::StatefulSets,
};

/// All controllers, for clusters with these settings.
#[must_use]
pub fn all(settings: Settings) -> Vec<Box<dyn Controller>> {
    vec![
        Box::new(ReplicaSets),
        Box::new(Deployments),
        Box::new(StatefulSets),
        Box::new(DaemonSets),
        Box::new(Jobs),
        Box::new(JobExpiry),
        Box::new(Autoscalers),
        Box::new(Endpoints),
        Box::new(Garbage),
        Box::new(LoadBalancers),
        Box::new(Namespaces),
        Box::new(NodeHealth { settings }),
        Box::new(TaintEviction),
        Box::new(PodOrphans { settings }),
        Box::new(ServiceAccounts),
    ]
}
