//! A control plane in memory with an image registry on disk, and agents that join it.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use axum::body::Body;
use bytes::Bytes;
use coracle_api::{image::build::Image, registry::Registry};
use coracle_apiserver::{
    ApiServer, Options, UserInfo,
    auth::Authorizer,
    links::{Link, NodeLinks},
};
use coracle_node::{Agent, Config};
use coracle_store::{MemoryStorage, Storage};
use http::Request;
use http_body_util::BodyExt as _;
use tempfile::TempDir;
use tower::ServiceExt as _;

/// No test waits longer for anything.
pub const DEADLINE: Duration = Duration::from_secs(60);
/// The node of every test.
pub const NODE: &str = "n1";

pub struct Cluster {
    pub server: ApiServer,
    pub nodes: NodeLinks,
    pub admin: kube::Client,
    images: axum::Router,
    folder: TempDir,
}

impl Cluster {
    pub async fn new() -> Self {
        // Only the first one of the process counts. RUST_LOG says what is to be seen.
        let _ = tracing_subscriber::fmt()
            .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
            .with_test_writer()
            .try_init();
        let folder = tempfile::tempdir().unwrap();
        let registry = coracle_registry::Registry::open(&folder.path().join("registry")).unwrap();
        let images = coracle_registry::router(registry);
        let store: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
        let nodes = NodeLinks::new();
        let authorizer = Authorizer::start(Arc::clone(&store)).await.unwrap();
        let server = ApiServer::new(Options {
            images: images.clone(),
            ..Options::new(store, Registry::builtin(), authorizer, nodes.clone())
        });
        server.bootstrap().await.unwrap();
        let admin = server.client(UserInfo::new("admin", ["system:masters"]));
        Self {
            server,
            nodes,
            admin,
            images,
            folder,
        }
    }

    /// A cluster with a node.
    pub async fn with_node() -> (Self, Agent) {
        let cluster = Self::new().await;
        let agent = cluster.join(|_| {}).await;
        (cluster, agent)
    }

    /// How the node is set up: always in the same folder, as itself and not as an administrator.
    pub fn config(&self) -> Config {
        let user = UserInfo::new(format!("system:node:{NODE}"), ["system:nodes"]);
        let client = self.server.client(user);
        Config {
            runtime_threads: 1,
            drain_time: Duration::from_secs(2),
            ..Config::new(NODE.to_owned(), client, self.node_dir())
        }
    }

    pub fn node_dir(&self) -> PathBuf {
        self.folder.path().join("node")
    }

    /// Starts the node's agent and gives the API server its way to it.
    pub async fn join(&self, change: impl FnOnce(&mut Config)) -> Agent {
        let mut config = self.config();
        change(&mut config);
        let agent = Agent::start(config).await.unwrap();
        self.nodes.attach(NODE, Link::Local(agent.router()));
        agent
    }

    /// Pushes a guest under its own name.
    pub async fn push(&self, guest: &str) {
        self.push_bytes(guest, wasm(guest)).await;
    }

    /// Pushes bytes that are, or say that they are, wasm.
    pub async fn push_bytes(&self, name: &str, wasm: Bytes) {
        let image = Image::of_wasm(&wasm, None).unwrap();
        for (digest, content) in [
            (image.layer.digest, wasm),
            (image.config.digest, Bytes::from(image.config_bytes)),
        ] {
            let uri = format!("/v2/{name}/blobs/uploads/?digest={digest}");
            let upload = Request::post(uri)
                .header("content-type", "application/octet-stream")
                .header("content-length", content.len());
            self.registry(upload.body(Body::from(content)).unwrap())
                .await;
        }
        let put = Request::put(format!("/v2/{name}/manifests/latest"))
            .header("content-type", image.manifest.media_type);
        self.registry(put.body(Body::from(image.manifest_bytes)).unwrap())
            .await;
    }

    async fn registry(&self, request: Request<Body>) {
        let Ok(answer) = self.images.clone().oneshot(request).await;
        let status = answer.status();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        assert!(status.is_success(), "{status}: {body:?}");
    }

    /// What the API server answers to a GET of an administrator.
    pub async fn get(&self, uri: &str) -> (u16, String) {
        let mut request = Request::get(uri).body(Body::empty()).unwrap();
        let admin = UserInfo::new("admin", ["system:masters"]);
        request.extensions_mut().insert(admin);
        let Ok(answer) = self.server.router().oneshot(request).await;
        let code = answer.status().as_u16();
        let body = tokio::time::timeout(DEADLINE, answer.into_body().collect());
        let body = body.await.expect("an answer that ends").unwrap().to_bytes();
        (code, String::from_utf8_lossy(&body).into_owned())
    }
}

/// The bytes of a guest.
pub fn wasm(name: &str) -> Bytes {
    // target/release/deps/this-test
    let test = std::env::current_exe().unwrap();
    let target: &Path = test.ancestors().nth(3).unwrap();
    let path = target.join("guests").join(format!("{name}.wasm"));
    std::fs::read(&path)
        .unwrap_or_else(|error| panic!("{}: {error}: run `cargo xtask guests`", path.display()))
        .into()
}
