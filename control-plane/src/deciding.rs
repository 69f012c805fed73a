//! The parts that decide, controllers and scheduler: always at work where there is one control plane, and while it holds the Lease where there are
//! several.

use std::sync::Arc;

use coracle_apiserver::{ApiServer, UserInfo, ambient::System};
use coracle_controllers::node_health::Settings;
use coracle_store::Storage;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::{
    compaction,
    driver::{self, Driver},
    leader::Election,
    scheduler_loop::{self, SchedulerLoop},
};

/// The group whose members may do everything.
const MASTERS: &str = "system:masters";
/// Who asks for the Lease.
const CANDIDATE: &str = "system:coracle:control-plane";

/// See the module.
pub(crate) enum Deciding {
    /// From the start to the end.
    Always(Box<(Driver, SchedulerLoop)>),
    /// By election.
    Elected(JoinHandle<()>),
}

impl Deciding {
    /// Begins, until `stop`. `shared` is a store that other control planes use as well.
    pub(crate) fn start(
        api: &ApiServer,
        shared: Option<Arc<dyn Storage>>,
        stop: CancellationToken,
    ) -> Self {
        let Some(store) = shared else {
            return Self::Always(Box::new(deciders(api, &stop)));
        };
        let client = api.client(UserInfo::new(CANDIDATE, [MASTERS]));
        let election = Election::new(client, uuid::Uuid::new_v4().to_string());
        let api = api.clone();
        Self::Elected(tokio::spawn(async move {
            let begin = |term: CancellationToken| {
                let (driver, scheduler) = deciders(&api, &term);
                let compacting = compaction::run(Arc::clone(&store), compaction::EVERY, term);
                async move {
                    compacting.await;
                    driver.stopped().await;
                    scheduler.stopped().await;
                }
            };
            election.run(stop, begin).await;
        }))
    }

    /// Waits for the end: when this returns, nothing is decided any more.
    pub(crate) async fn stopped(self) {
        match self {
            Self::Always(deciders) => {
                let (driver, scheduler) = *deciders;
                driver.stopped().await;
                scheduler.stopped().await;
            }
            Self::Elected(election) => {
                if let Err(error) = election.await {
                    tracing::error!(%error, "the election panicked");
                }
            }
        }
    }
}

fn deciders(api: &ApiServer, stop: &CancellationToken) -> (Driver, SchedulerLoop) {
    let master = |name: &str| api.client(UserInfo::new(name, [MASTERS]));
    let driver = Driver::start(
        master(driver::USER),
        coracle_controllers::registered::all(Settings::default()),
        Arc::new(System),
        stop.clone(),
    );
    let scheduler =
        SchedulerLoop::start(master(scheduler_loop::USER), Arc::new(System), stop.clone());
    (driver, scheduler)
}
