//! What the server counts about itself, in Prometheus' text format. Label values are bounded: verbs, kinds and codes, never names.

use std::time::Duration;

use coracle_api::status::ApiError;
use coracle_store::Storage;
use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};

/// What a request was.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Labels {
    /// RBAC's verb.
    pub verb: &'static str,
    /// `group/resource`, or `-` outside resources and for what is not served.
    pub resource: String,
    /// The subresource, or `-`.
    pub subresource: &'static str,
    /// The HTTP code.
    pub code: u16,
}

/// The same without what makes too many series for histograms.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    verb: &'static str,
    resource: String,
}

/// The server's metrics.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// What the store counts, under its own names.
    store: Registry,
    requests: Family<Labels, Counter>,
    durations: Family<Kind, Histogram, fn() -> Histogram>,
    /// Requests being worked on.
    pub in_flight: Gauge,
    /// Long answers being sent.
    pub streams: Gauge,
    /// Watchers and other readers that were cut off because they did not read.
    pub stalled: Counter,
}

/// From a quarter of a millisecond, an in-memory read, to half a minute.
fn buckets() -> Histogram {
    Histogram::new(exponential_buckets(0.000_25, 2.0, 18))
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("coracle_apiserver");
        let requests = Family::default();
        let durations = Family::new_with_constructor(buckets as fn() -> Histogram);
        let (in_flight, streams, stalled) =
            (Gauge::default(), Gauge::default(), Counter::default());
        registry.register("requests", "Requests answered", requests.clone());
        registry.register(
            "request_duration_seconds",
            "Time until the head of the answer",
            durations.clone(),
        );
        registry.register(
            "in_flight_requests",
            "Requests being worked on",
            in_flight.clone(),
        );
        registry.register("open_streams", "Long answers being sent", streams.clone());
        registry.register(
            "stalled_streams",
            "Long answers cut off unread",
            stalled.clone(),
        );
        Self {
            registry,
            store: Registry::default(),
            requests,
            durations,
            in_flight,
            streams,
            stalled,
        }
    }
}

impl Metrics {
    /// The metrics of a server on `store`, whose own are shown beside them.
    #[must_use]
    pub fn of(store: &dyn Storage) -> Self {
        let mut metrics = Self::default();
        if let Some(own) = store.metrics() {
            own.register(&mut metrics.store);
        }
        metrics
    }

    /// Counts an answered request.
    pub fn answered(&self, labels: Labels, took: Duration) {
        let kind = Kind {
            verb: labels.verb,
            resource: labels.resource.clone(),
        };
        self.durations
            .get_or_create(&kind)
            .observe(took.as_secs_f64());
        self.requests.get_or_create(&labels).inc();
    }

    /// All metrics as text.
    ///
    /// # Errors
    /// `Internal`: formatting failed.
    pub fn encode(&self) -> Result<String, ApiError> {
        let mut out = String::new();
        text::encode_registry(&mut out, &self.registry)
            .and_then(|()| text::encode(&mut out, &self.store))
            .map_err(|error| ApiError::internal(format!("encoding metrics: {error}")))?;
        Ok(out)
    }
}
