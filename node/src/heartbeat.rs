//! The node's Lease: renewed while the agent lives. When it no longer is, the control plane takes the node for lost (KEP-589).

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
};
use kube::{
    Api,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::parts::Parts;

/// The namespace of the nodes' leases.
const NAMESPACE: &str = "kube-node-lease";
/// How long a lease is good for, in seconds, and how often it is renewed. The kubelet's values: a node may miss three renewals.
const DURATION: i32 = 40;
const PERIOD: Duration = Duration::from_secs(10);
/// How soon a renewal that failed is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// Renews the lease until `stop`.
pub(crate) async fn follow(parts: Arc<Parts>, stop: CancellationToken) {
    let api: Api<Lease> = Api::namespaced(parts.config.client.clone(), NAMESPACE);
    let name = &parts.config.name;
    loop {
        let pause = match renew(&api, name).await {
            Ok(()) => PERIOD,
            Err(error) => {
                tracing::warn!(%error, "the node's lease cannot be renewed, will try again");
                RETRY
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stop.cancelled() => return,
        }
    }
}

async fn renew(api: &Api<Lease>, name: &str) -> Result<(), kube::Error> {
    let now = MicroTime(Timestamp::now());
    let spec = LeaseSpec {
        holder_identity: Some(name.to_owned()),
        lease_duration_seconds: Some(DURATION),
        renew_time: Some(now),
        ..LeaseSpec::default()
    };
    let patch = Patch::Merge(json!({ "spec": spec }));
    match api.patch(name, &PatchParams::default(), &patch).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_not_found() => {
            let lease = Lease {
                metadata: ObjectMeta {
                    name: Some(name.to_owned()),
                    namespace: Some(NAMESPACE.to_owned()),
                    ..ObjectMeta::default()
                },
                spec: Some(spec),
            };
            api.create(&PostParams::default(), &lease).await.map(drop)
        }
        Err(error) => Err(error),
    }
}
