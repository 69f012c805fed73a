//! The control plane as one value: store, security, API server and listener, started in that order and stopped in the reverse.

use std::{io, net::SocketAddr, path::PathBuf, sync::Arc};

use coracle_api::{registry::Registry, status::ApiError};
use coracle_apiserver::{
    ApiServer, Options, UserInfo,
    ambient::System,
    auth::{Authenticator, Authorizer},
    links::NodeLinks,
    listen::{self, Listen, ListenLimits},
};
use coracle_pki::{Names, PkiError};
use coracle_store::{EtcdStorage, SledOptions, SledStorage, Storage, StoreError};
use jiff::Timestamp;
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::{config::Config, credentials::Credentials, deciding::Deciding};

/// A control plane could not be started.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The store.
    #[error("open the store in {}", folder.display())]
    Store {
        /// Where it is.
        folder: PathBuf,
        /// What it said.
        source: StoreError,
    },
    /// The store on etcd.
    #[error(
        "open the store on etcd at {endpoints}: do its members run, and are they reached from here?"
    )]
    Etcd {
        /// Where it is.
        endpoints: String,
        /// What it said.
        source: StoreError,
    },
    /// The image registry.
    #[error("open the image registry in {}", folder.display())]
    Images {
        /// Where it is.
        folder: PathBuf,
        /// What it said.
        source: coracle_registry::RegistryError,
    },
    /// A fault of this program.
    #[error("a thread failed")]
    Panicked(#[source] tokio::task::JoinError),
    /// Keys and certificates.
    #[error("prepare keys and certificates in {}", folder.display())]
    Pki {
        /// Where they are.
        folder: PathBuf,
        /// What is wrong.
        source: PkiError,
    },
    /// The listener.
    #[error("listen on {address}: is another server running, or is the port taken?")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The objects every cluster has.
    #[error("create what every cluster has")]
    Bootstrap(#[source] ApiError),
    /// The authorizer's view of the store.
    #[error("read roles and bindings")]
    Authorizer(#[source] StoreError),
}

/// A running control plane.
pub struct ControlPlane {
    address: SocketAddr,
    credentials: Credentials,
    api: ApiServer,
    nodes: NodeLinks,
    decides: Deciding,
    /// Ends controllers and scheduler, which need the API until their end.
    deciding: CancellationToken,
    shutdown: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

impl std::fmt::Debug for ControlPlane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ControlPlane")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl ControlPlane {
    /// Starts everything. When this returns, the API answers.
    ///
    /// # Errors
    /// See [`ServerError`]; nothing is left running then.
    pub async fn start(config: &Config) -> Result<Self, ServerError> {
        let folder = config.pki_dir();
        let pki = |source| ServerError::Pki {
            folder: folder.clone(),
            source,
        };
        let store = open_store(config).await?;
        let shared = config.etcd.is_some().then(|| Arc::clone(&store));
        let now = Timestamp::now();
        let credentials = Credentials::open_or_create(&folder, now).map_err(pki)?;
        let listener = TcpListener::bind(config.listen).await;
        let bound = listener.and_then(|listener| Ok((listener.local_addr()?, listener)));
        let (address, listener) = bound.map_err(|source| ServerError::Listen {
            address: config.listen,
            source,
        })?;
        let names = server_names(config, address);
        let ca = credentials.ca();
        let (identity, _) = ca
            .stored_server(&folder, "apiserver", &names, now)
            .map_err(pki)?;
        let tls = Arc::new(coracle_pki::server_config(ca.cert_pem(), &identity).map_err(pki)?);
        let authorizer = Authorizer::start(Arc::clone(&store))
            .await
            .map_err(ServerError::Authorizer)?;
        let nodes = NodeLinks::new();
        let images = open_images(config).await?;
        let api = ApiServer::new(Options {
            endpoint: Some(address),
            images,
            tokens: Some(Arc::clone(credentials.tokens())),
            ..Options::new(store, Registry::builtin(), authorizer, nodes.clone())
        });
        api.bootstrap().await.map_err(ServerError::Bootstrap)?;
        let shutdown = CancellationToken::new();
        let authenticator = Arc::new(Authenticator::new(
            Arc::clone(credentials.tokens()),
            Arc::new(System),
        ));
        let listen = Listen {
            tls,
            authenticator,
            limits: ListenLimits::default(),
        };
        let serving = {
            let (router, shutdown) = (api.router(), shutdown.clone());
            async move {
                if let Err(error) = listen::serve(listener, listen, router, shutdown).await {
                    tracing::error!(%error, "the API server's listener ended");
                }
            }
        };
        let maintaining = {
            let (api, shutdown) = (api.clone(), shutdown.clone());
            async move { api.maintain(shutdown).await }
        };
        let tasks = vec![tokio::spawn(serving), tokio::spawn(maintaining)];
        let deciding = CancellationToken::new();
        let decides = Deciding::start(&api, shared, deciding.clone());
        Ok(Self {
            address,
            credentials,
            api,
            nodes,
            decides,
            deciding,
            shutdown,
            tasks,
        })
    }

    /// The URL of the API for clients on this machine.
    #[must_use]
    pub fn url(&self) -> String {
        let mut address = self.address;
        if address.ip().is_unspecified() {
            let loopback: std::net::IpAddr = match address {
                SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
                SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
            };
            address.set_ip(loopback);
        }
        format!("https://{address}")
    }

    /// Where the API is served.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The ways to the nodes.
    #[must_use]
    pub fn nodes(&self) -> &NodeLinks {
        &self.nodes
    }

    /// A client in this process, as `user`.
    #[must_use]
    pub fn client(&self, user: UserInfo) -> kube::Client {
        self.api.client(user)
    }

    /// What identities are made of: those of users, tokens and nodes.
    #[must_use]
    pub fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// Stops: requests under way are finished, the store is closed in order.
    pub async fn stop(self) {
        self.deciding.cancel();
        self.decides.stopped().await;
        self.shutdown.cancel();
        for task in self.tasks {
            if let Err(error) = task.await {
                tracing::error!(%error, "a task of the control plane panicked");
            }
        }
    }
}

async fn open_store(config: &Config) -> Result<Arc<dyn Storage>, ServerError> {
    if let Some(etcd) = &config.etcd {
        let opened = EtcdStorage::open(etcd).await;
        return Ok(Arc::new(opened.map_err(|source| ServerError::Etcd {
            endpoints: etcd.endpoints.join(", "),
            source,
        })?));
    }
    let folder = config.store_dir();
    let opening = folder.clone();
    // Reads everything from disk: not for an async thread.
    let opened =
        tokio::task::spawn_blocking(move || SledStorage::open(&opening, &SledOptions::default()));
    let opened = opened.await.unwrap_or_else(|panic| {
        Err(StoreError::Unavailable {
            reason: panic.to_string(),
        })
    });
    Ok(Arc::new(
        opened.map_err(|source| ServerError::Store { folder, source })?,
    ))
}

async fn open_images(config: &Config) -> Result<axum::Router, ServerError> {
    let folder = config.images_dir();
    let opening = folder.clone();
    let opened = tokio::task::spawn_blocking(move || coracle_registry::Registry::open(&opening));
    match opened.await {
        Ok(Ok(registry)) => Ok(coracle_registry::router(registry)),
        Ok(Err(source)) => Err(ServerError::Images { folder, source }),
        Err(panic) => Err(ServerError::Panicked(panic)),
    }
}

/// The names in the server's certificate.
fn server_names(config: &Config, address: SocketAddr) -> Names {
    let fixed = ["localhost", "127.0.0.1", "::1", "10.96.0.1"];
    let services = [
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
    ];
    let own = address.ip().to_string();
    let all = fixed
        .into_iter()
        .chain(services)
        .chain([own.as_str()])
        .chain(config.names.iter().map(String::as_str));
    Names::parse(all)
}
