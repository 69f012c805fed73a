//! The API server as a value: what it is given, what it keeps, and what it hands out (a router, in-process clients).

use std::{net::SocketAddr, ops::RangeInclusive, sync::Arc, time::Duration};

use coracle_api::{
    registry::{Registry, Resource},
    status::ApiError,
};
use coracle_pki::TokenKey;
use coracle_store::Storage;
use parking_lot::RwLock;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{
    admission::addresses::ServiceRange,
    ambient::{Ambient, System},
    auth::{Authorizer, user::UserInfo},
    bootstrap, client, discovery, expiry,
    limits::{Gate, Limits},
    links::NodeLinks,
    metrics::Metrics,
    openapi,
    parsed::Parsed,
    reads::frames::{FRAMES, FrameCache},
    recent::Recent,
    router,
    streams::Streams,
};

/// What an API server is given.
pub struct Options {
    /// Where the objects are.
    pub store: Arc<dyn Storage>,
    /// The kinds that are served.
    pub registry: Registry,
    /// Who may do what.
    pub authorizer: Authorizer,
    /// The ways to the nodes.
    pub nodes: NodeLinks,
    /// The virtual addresses of Services.
    pub service_range: ServiceRange,
    /// The ports of Services of type NodePort.
    pub node_ports: RangeInclusive<u16>,
    /// The image registry, serving `/v2/`.
    pub images: axum::Router,
    /// Where pods reach this server; published as the endpoint of the `kubernetes` Service. `None` where pods cannot.
    pub endpoint: Option<SocketAddr>,
    /// How long an event is kept after it was last news. Upstream's hour.
    pub event_lifetime: Duration,
    /// Bounds on what clients may have going on.
    pub limits: Limits,
    /// Time and chance.
    pub ambient: Arc<dyn Ambient>,
    /// What tokens of service accounts are made and reviewed with. `None`: not at all.
    pub tokens: Option<Arc<TokenKey>>,
}

impl Options {
    /// Options with upstream's defaults: 10.96.0.0/12, node ports 30000 to 32767, no images.
    #[must_use]
    pub fn new(
        store: Arc<dyn Storage>,
        registry: Registry,
        authorizer: Authorizer,
        nodes: NodeLinks,
    ) -> Self {
        Self {
            store,
            registry,
            authorizer,
            nodes,
            service_range: ServiceRange::default(),
            node_ports: 30000..=32767,
            images: axum::Router::new(),
            endpoint: None,
            event_lifetime: Duration::from_secs(3600),
            limits: Limits::default(),
            ambient: Arc::new(System),
            tokens: None,
        }
    }
}

/// What the handlers share.
pub struct Shared {
    pub(crate) store: Arc<dyn Storage>,
    registry: RwLock<Arc<Registry>>,
    pub(crate) authorizer: Authorizer,
    pub(crate) nodes: NodeLinks,
    pub(crate) service_range: ServiceRange,
    pub(crate) node_ports: RangeInclusive<u16>,
    pub(crate) endpoint: Option<SocketAddr>,
    event_lifetime: Duration,
    pub(crate) gate: Gate,
    pub(crate) streams: Arc<Streams>,
    pub(crate) ambient: Arc<dyn Ambient>,
    pub(crate) tokens: Option<Arc<TokenKey>>,
    pub(crate) metrics: Metrics,
    pub(crate) parsed: Arc<Parsed>,
    pub(crate) frames: Arc<FrameCache>,
    discovery: RwLock<Option<(Arc<Registry>, Arc<discovery::Documents>)>>,
    openapi: RwLock<Option<(Arc<Registry>, openapi::Shared)>>,
}

impl Shared {
    /// The kinds that are served now.
    #[must_use]
    pub fn registry(&self) -> Arc<Registry> {
        Arc::clone(&self.registry.read())
    }

    /// The kind Namespace.
    ///
    /// # Errors
    /// `Internal` when the registry has none.
    pub(crate) fn namespaces(&self) -> Result<Arc<Resource>, ApiError> {
        self.registry()
            .get("", "v1", "namespaces")
            .cloned()
            .ok_or_else(|| ApiError::internal("the registry has no namespaces"))
    }

    /// The discovery documents of the registry as it is.
    pub(crate) fn discovery(&self) -> Result<Arc<discovery::Documents>, ApiError> {
        let registry = self.registry();
        if let Some((of, documents)) = &*self.discovery.read()
            && Arc::ptr_eq(of, &registry)
        {
            return Ok(Arc::clone(documents));
        }
        let documents = Arc::new(discovery::Documents::new(&registry)?);
        *self.discovery.write() = Some((registry, Arc::clone(&documents)));
        Ok(documents)
    }

    /// The OpenAPI documents of the registry as it is, made on a thread of their own.
    pub(crate) async fn openapi(&self) -> Result<openapi::Shared, ApiError> {
        let registry = self.registry();
        if let Some((of, documents)) = &*self.openapi.read()
            && Arc::ptr_eq(of, &registry)
        {
            return Ok(Arc::clone(documents));
        }
        let of = Arc::clone(&registry);
        let made = tokio::task::spawn_blocking(move || openapi::Documents::new(&of)).await;
        let documents =
            Arc::new(made.map_err(|error| {
                ApiError::internal(format!("making OpenAPI documents: {error}"))
            })?);
        *self.openapi.write() = Some((registry, Arc::clone(&documents)));
        Ok(documents)
    }
}

/// The API server. Cheap to clone; clones are the same server.
#[derive(Clone)]
pub struct ApiServer {
    shared: Arc<Shared>,
    router: axum::Router,
}

/// How often unread streams are looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(5);
/// How often expired events are looked for.
const EXPIRE_EVERY: Duration = Duration::from_secs(300);

impl ApiServer {
    /// A server on what `options` say. Starts nothing.
    #[must_use]
    pub fn new(options: Options) -> Self {
        let images = options.images;
        let metrics = Metrics::of(&*options.store);
        let shared = Arc::new(Shared {
            store: options.store,
            registry: RwLock::new(Arc::new(options.registry)),
            authorizer: options.authorizer,
            nodes: options.nodes,
            service_range: options.service_range,
            node_ports: options.node_ports,
            endpoint: options.endpoint,
            event_lifetime: options.event_lifetime,
            streams: Arc::new(Streams::new(options.limits.stall_time)),
            gate: Gate::new(options.limits),
            ambient: options.ambient,
            tokens: options.tokens,
            metrics,
            parsed: Arc::default(),
            frames: Arc::new(Recent::new(FRAMES.0, FRAMES.1)),
            discovery: RwLock::default(),
            openapi: RwLock::default(),
        });
        let router = router::router(&shared, images);
        Self { shared, router }
    }

    /// Creates what every cluster has: the first roles and bindings, the system namespaces and the `kubernetes` Service with its endpoint. Does nothing where it is there.
    ///
    /// # Errors
    /// What the pipeline says.
    pub async fn bootstrap(&self) -> Result<(), ApiError> {
        bootstrap::run(&self.shared).await
    }

    /// The whole API as a service. Requests must carry `Extension<UserInfo>`; those without are answered with 401.
    pub fn router(&self) -> axum::Router {
        self.router.clone()
    }

    /// A client that calls the router directly, as `user`.
    #[must_use]
    pub fn client(&self, user: UserInfo) -> kube::Client {
        client::in_process(self.router(), user)
    }

    /// Deletes the events that have expired, and says how many.
    ///
    /// # Errors
    /// What the store says.
    pub async fn expire_events(&self) -> Result<usize, ApiError> {
        expiry::sweep(&self.shared, self.shared.event_lifetime).await
    }

    /// Cuts off clients that leave long answers unread, and deletes expired events, until `shutdown`. Run it as a task beside the listener.
    pub async fn maintain(&self, shutdown: CancellationToken) {
        let mut ticks = tokio::time::interval(SWEEP_EVERY);
        let mut expiries = tokio::time::interval(EXPIRE_EVERY);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = expiries.tick() => match self.expire_events().await {
                    Ok(events) => tracing::debug!(events, "deleted expired events"),
                    Err(error) => tracing::warn!(error = %error, "deleting expired events"),
                },
                _ = ticks.tick() => {
                    let cut = self.shared.streams.sweep(Instant::now());
                    if cut > 0 {
                        tracing::warn!(streams = cut, "cut off clients that do not read");
                        self.shared.metrics.stalled.inc_by(cut as u64);
                    }
                }
            }
        }
    }
}
