//! What the driver counts about itself, in Prometheus' text format. Labels are controllers and results, never objects.

use std::time::Duration;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        counter::Counter,
        family::Family,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};

/// How planning for a key and carrying the plan out ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// As planned, or there was nothing to do.
    Well,
    /// The world was not as the caches showed it.
    Behind,
    /// An action failed.
    Failed,
    /// The planner has a bug.
    Panicked,
}

impl Ended {
    fn as_str(self) -> &'static str {
        match self {
            Self::Well => "well",
            Self::Behind => "behind",
            Self::Failed => "failed",
            Self::Panicked => "panicked",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reconciled {
    controller: &'static str,
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Controller {
    controller: &'static str,
}

/// The counters. Clones count together.
#[derive(Clone, Debug)]
pub struct DriverMetrics {
    reconciles: Family<Reconciled, Counter>,
    seconds: Family<Controller, Histogram, fn() -> Histogram>,
    /// How often a kind was listed again because its watch had lost the thread.
    pub relists: Counter,
    /// Events that nobody will see, because there were too many.
    pub events_dropped: Counter,
}

impl Default for DriverMetrics {
    fn default() -> Self {
        Self {
            reconciles: Family::default(),
            // From a tenth of a millisecond, a plan that finds nothing to do, to half a minute.
            seconds: Family::new_with_constructor(|| {
                Histogram::new(exponential_buckets(0.000_1, 2.0, 19))
            }),
            relists: Counter::default(),
            events_dropped: Counter::default(),
        }
    }
}

impl DriverMetrics {
    /// Has them shown.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("coracle_controllers");
        let reconciles = self.reconciles.clone();
        registry.register("reconciles", "Keys planned for, by result", reconciles);
        let seconds = self.seconds.clone();
        let help = "Time from taking a key to having carried its plan out";
        registry.register("reconcile_seconds", help, seconds);
        let relists = self.relists.clone();
        registry.register("relists", "Kinds that were listed again", relists);
        let dropped = self.events_dropped.clone();
        registry.register("events_dropped", "Events that were not recorded", dropped);
    }

    /// Counts a key that was planned for.
    pub fn reconciled(&self, controller: &'static str, ended: Ended, took: Duration) {
        let result = ended.as_str();
        let labels = Reconciled { controller, result };
        self.reconciles.get_or_create(&labels).inc();
        let labels = Controller { controller };
        let seconds = self.seconds.get_or_create(&labels);
        seconds.observe(took.as_secs_f64());
    }
}
