//! A control plane in one process: API server, controllers and driver, with a switch between driver and API server.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::body::Body;
use coracle_api::registry::Registry;
use coracle_apiserver::{
    ApiServer, Options, UserInfo,
    ambient::System,
    auth::Authorizer,
    links::{Link, NodeLinks},
};
use coracle_control_plane::driver::{Driver, USER};
use coracle_controllers::{controller::Controller, node_health::Settings, registered};
use coracle_store::{MemoryStorage, Storage};
use futures::{StreamExt as _, future::BoxFuture};
use http::{Method, Request, Response};
use serde_json::{Value, json};
use tokio::{
    sync::watch,
    time::{Instant, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;

/// How long anything may take.
pub const DEADLINE: Duration = Duration::from_secs(20);

pub struct Cluster {
    pub store: Arc<dyn Storage>,
    pub server: ApiServer,
    pub driver: Driver,
    nodes: NodeLinks,
    client: kube::Client,
    stop: CancellationToken,
    connected: watch::Sender<bool>,
    flowing: watch::Sender<bool>,
}

/// The driver's way to the API server.
#[derive(Clone)]
struct Switch {
    router: axum::Router,
    user: UserInfo,
    connected: watch::Receiver<bool>,
    flowing: watch::Receiver<bool>,
}

impl tower::Service<Request<kube::client::Body>> for Switch {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<kube::client::Body>) -> Self::Future {
        let mut connected = self.connected.clone();
        if !*connected.borrow() {
            let refusal = Response::builder().status(503).body(Body::empty());
            return Box::pin(async move { Ok(refusal.unwrap()) });
        }
        request.extensions_mut().insert(self.user.clone());
        let mut router = self.router.clone();
        let is_watch = request.uri().query().unwrap_or_default().contains("watch=");
        let flowing = self.flowing.clone();
        Box::pin(async move {
            let response = router.call(request.map(Body::new)).await?;
            Ok(response.map(|body| {
                let cut = async move { drop(connected.wait_for(|connected| !connected).await) };
                let data = body.into_data_stream().then(move |chunk| {
                    let mut flowing = flowing.clone();
                    async move {
                        if is_watch {
                            drop(flowing.wait_for(|flowing| *flowing).await);
                        }
                        chunk
                    }
                });
                Body::from_stream(data.take_until(Box::pin(cut)))
            }))
        })
    }
}

impl Cluster {
    pub async fn new() -> Self {
        Self::with(registered::all(Settings::default())).await
    }

    pub async fn with(controllers: Vec<Box<dyn Controller>>) -> Self {
        let store: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
        let authorizer = Authorizer::start(Arc::clone(&store)).await.unwrap();
        let nodes = NodeLinks::new();
        let server = ApiServer::new(Options::new(
            Arc::clone(&store),
            Registry::builtin(),
            authorizer,
            nodes.clone(),
        ));
        server.bootstrap().await.unwrap();
        let connected = watch::Sender::new(true);
        let flowing = watch::Sender::new(true);
        let switch = Switch {
            router: server.router(),
            user: UserInfo::new(USER, ["system:masters"]),
            connected: connected.subscribe(),
            flowing: flowing.subscribe(),
        };
        let stop = CancellationToken::new();
        let driver = Driver::start(
            kube::Client::new(switch, "default"),
            controllers,
            Arc::new(System),
            stop.clone(),
        );
        let client = server.client(UserInfo::new("admin", ["system:masters"]));
        timeout(DEADLINE, driver.synced()).await.unwrap();
        Self {
            store,
            server,
            driver,
            nodes,
            client,
            stop,
            connected,
            flowing,
        }
    }

    /// Cuts the driver off from the API server, or lets it back.
    pub fn connect(&self, connected: bool) {
        self.connected.send_replace(connected);
    }

    /// What holds back what watches tell the driver while it is false.
    pub fn flowing(&self) -> watch::Sender<bool> {
        self.flowing.clone()
    }

    /// Makes `router` the endpoint of a node.
    pub fn attach(&self, node: &str, router: axum::Router) {
        self.nodes.attach(node, Link::Local(router));
    }

    pub async fn stop(self) {
        self.stop.cancel();
        timeout(DEADLINE, self.driver.stopped()).await.unwrap();
    }

    pub async fn ask(&self, method: Method, uri: &str, body: Option<&Value>) -> Result<Value, u16> {
        let media = match method {
            Method::PATCH => "application/merge-patch+json",
            _ => "application/json",
        };
        let bytes = body.map(|body| body.to_string().into_bytes());
        let request = Request::builder()
            .method(method)
            .uri(uri)
            .header("content-type", media)
            .body(bytes.unwrap_or_default())
            .unwrap();
        match self.client.request::<Value>(request).await {
            Ok(answer) => Ok(answer),
            Err(kube::Error::Api(status)) => Err(status.code),
            Err(error) => panic!("{uri}: {error}"),
        }
    }

    pub async fn get(&self, uri: &str) -> Option<Value> {
        match self.ask(Method::GET, uri, None).await {
            Ok(object) => Some(object),
            Err(404) => None,
            Err(code) => panic!("{uri}: {code}"),
        }
    }

    pub async fn list(&self, uri: &str) -> Vec<Value> {
        let list = self.ask(Method::GET, uri, None).await.unwrap();
        list["items"].as_array().unwrap().clone()
    }

    /// The names in a list.
    pub async fn names(&self, uri: &str) -> Vec<String> {
        self.list(uri).await.iter().map(name).collect()
    }

    pub async fn create(&self, uri: &str, object: &Value) -> Value {
        let made = self.ask(Method::POST, uri, Some(object)).await;
        made.unwrap_or_else(|code| panic!("{uri}: {code}: {object}"))
    }

    pub async fn patch(&self, uri: &str, patch: &Value) -> Value {
        let made = self.ask(Method::PATCH, uri, Some(patch)).await;
        made.unwrap_or_else(|code| panic!("{uri}: {code}: {patch}"))
    }

    pub async fn delete(&self, uri: &str, options: Value) {
        let done = self.ask(Method::DELETE, uri, Some(&options)).await;
        done.unwrap_or_else(|code| panic!("{uri}: {code}"));
    }

    /// Waits until `of` gives something; looks again at every change of anything.
    pub async fn until<T>(&self, what: &str, of: impl AsyncFn() -> Result<T, Value>) -> T {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let mut changes = self.store.watch("/", self.store.revision()).await.unwrap();
            let last = match of().await {
                Ok(found) => return found,
                Err(last) => last,
            };
            if timeout_at(deadline, changes.next()).await.is_err() {
                panic!("{what}: not within {DEADLINE:?}; at last {last:#}");
            }
        }
    }

    /// Waits until so many objects are in a list that have what is asked for.
    pub async fn count(&self, uri: &str, n: usize, is: impl Fn(&Value) -> bool) -> Vec<Value> {
        let what = format!("{n} of {uri}");
        self.until(&what, async || {
            let all = self.list(uri).await;
            let found: Vec<Value> = all.iter().filter(|one| is(one)).cloned().collect();
            if found.len() == n {
                Ok(found)
            } else {
                Err(json!(all))
            }
        })
        .await
    }

    pub async fn gone(&self, uri: &str) {
        self.until(uri, async || match self.get(uri).await {
            None => Ok(()),
            Some(object) => Err(object),
        })
        .await;
    }

    /// Waits until an object is as wanted.
    pub async fn becomes(&self, uri: &str, is: impl Fn(&Value) -> bool) -> Value {
        self.until(uri, async || match self.get(uri).await {
            Some(object) if is(&object) => Ok(object),
            other => Err(json!(other)),
        })
        .await
    }

    /// Waits until nothing has been written for a second.
    pub async fn quiet(&self) {
        const QUIET: Duration = Duration::from_secs(1);
        let deadline = Instant::now() + DEADLINE;
        let mut changes = self.store.watch("/", self.store.revision()).await.unwrap();
        let mut writes = BTreeMap::<String, usize>::new();
        while let Ok(events) = timeout(QUIET, changes.next()).await {
            for event in events.unwrap().iter() {
                let record = event.current.as_ref().or(event.previous.as_ref()).unwrap();
                *writes.entry(record.key.to_string()).or_default() += 1;
            }
            assert!(Instant::now() < deadline, "never quiet: {writes:#?}");
        }
    }

    /// Says how a pod is doing, as its node would.
    pub async fn pod_is(&self, pod: &Value, phase: &str, ready: bool, ip: &str) {
        let now = jiff::Timestamp::now();
        let ready = if ready { "True" } else { "False" };
        let status = json!({"status": {"phase": phase, "podIP": ip, "podIPs": [{"ip": ip}], "startTime": now, "conditions": [
            {"type": "Ready", "status": ready, "lastTransitionTime": now},
        ]}});
        let uri = format!("{}/status", uri_of(pod, "/api/v1", "pods"));
        self.patch(&uri, &status).await;
    }
}

pub fn name(object: &Value) -> String {
    object["metadata"]["name"].as_str().unwrap().to_owned()
}

pub fn uid(object: &Value) -> String {
    object["metadata"]["uid"].as_str().unwrap().to_owned()
}

pub fn uri_of(object: &Value, version: &str, plural: &str) -> String {
    let namespace = object["metadata"]["namespace"].as_str().unwrap();
    format!("{version}/namespaces/{namespace}/{plural}/{}", name(object))
}

pub fn is_owned(object: &Value) -> bool {
    object["metadata"]["ownerReferences"].is_array()
}

pub fn any(_: &Value) -> bool {
    true
}

pub const PODS: &str = "/api/v1/namespaces/default/pods";
pub const MAPS: &str = "/api/v1/namespaces/default/configmaps";
pub const EVENTS: &str = "/api/v1/namespaces/default/events";
pub const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
pub const SETS: &str = "/apis/apps/v1/namespaces/default/replicasets";

/// A pod template for workloads called `name`.
pub fn template(name: &str) -> Value {
    json!({"metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": "main", "image": "hello:v1"}]}})
}

pub fn deployment(name: &str, replicas: u32) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": template(name)},
    })
}

pub fn config_map(name: &str, owner: Option<&Value>) -> Value {
    let owners = owner.map(|owner| json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": owner["metadata"]["name"], "uid": uid(owner)}]));
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "ownerReferences": owners}, "data": {"a": "1"}})
}
