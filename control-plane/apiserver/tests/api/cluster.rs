//! An API server on a store in memory, with short words for requests.

use std::sync::Arc;

use axum::body::Body;
use bytes::Bytes;
use coracle_api::registry::Registry;
use coracle_apiserver::{
    ApiServer, Options, UserInfo,
    auth::Authorizer,
    limits::Limits,
    links::{Link, NodeLinks},
};
use coracle_store::{MemoryStorage, Storage, history::HistoryLimits};
use http::{HeaderMap, Method, Request, Response};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::frames::Frames;

pub struct Cluster {
    pub server: ApiServer,
    pub store: Arc<dyn Storage>,
    pub nodes: NodeLinks,
    pub user: UserInfo,
}

/// An answer, read to its end.
pub struct Answer {
    pub code: u16,
    pub headers: HeaderMap,
    pub bytes: Bytes,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes)
            .unwrap_or_else(|error| panic!("{error}: {:?}", self.bytes))
    }

    /// The body of an answer that must have this code.
    #[track_caller]
    pub fn expect(&self, code: u16) -> Value {
        let body = String::from_utf8_lossy(&self.bytes);
        assert_eq!(self.code, code, "{body}");
        self.json()
    }

    /// Checks a refusal and gives its message.
    #[track_caller]
    pub fn refused(&self, code: u16, reason: &str) -> String {
        let status = self.expect(code);
        assert_eq!(status["kind"], "Status", "{status}");
        assert_eq!(status["status"], "Failure", "{status}");
        assert_eq!(status["code"], code, "{status}");
        assert_eq!(status["reason"], reason, "{status}");
        status["message"].as_str().unwrap().to_owned()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

impl Cluster {
    pub async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub async fn with(change: impl FnOnce(&mut Options)) -> Self {
        Self::on(Arc::new(MemoryStorage::new()), change).await
    }

    /// A cluster whose store keeps the history of so many events.
    pub async fn with_history(events: usize) -> Self {
        let limits = HistoryLimits {
            events,
            ..HistoryLimits::default()
        };
        Self::on(Arc::new(MemoryStorage::with_history(limits)), |_| {}).await
    }

    pub async fn with_limits(limits: Limits) -> Self {
        Self::with(|options| options.limits = limits).await
    }

    pub async fn on(store: Arc<dyn Storage>, change: impl FnOnce(&mut Options)) -> Self {
        let nodes = NodeLinks::new();
        let mut options = Options::new(
            Arc::clone(&store),
            Registry::builtin(),
            Authorizer::start(Arc::clone(&store)).await.unwrap(),
            nodes.clone(),
        );
        change(&mut options);
        let server = ApiServer::new(options);
        server.bootstrap().await.unwrap();
        Self {
            server,
            store,
            nodes,
            user: UserInfo::new("admin", ["system:masters"]),
        }
    }

    /// Makes `router` the endpoint of a node.
    pub fn attach(&self, node: &str, router: axum::Router) {
        self.nodes.attach(node, Link::Local(router));
    }

    pub async fn send(&self, mut request: Request<Body>) -> Response<Body> {
        request.extensions_mut().insert(self.user.clone());
        match self.server.router().oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }

    pub async fn request(
        &self,
        method: Method,
        uri: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = self.send(request.body(body.into()).unwrap()).await;
        let (parts, body) = response.into_parts();
        Answer {
            code: parts.status.as_u16(),
            headers: parts.headers,
            bytes: body.collect().await.unwrap().to_bytes(),
        }
    }

    pub async fn get(&self, uri: &str) -> Answer {
        self.request(Method::GET, uri, &[], Body::empty()).await
    }

    /// GET with an Accept header.
    pub async fn get_as(&self, uri: &str, accept: &str) -> Answer {
        self.request(Method::GET, uri, &[("accept", accept)], Body::empty())
            .await
    }

    pub async fn post(&self, uri: &str, body: &Value) -> Answer {
        self.request(Method::POST, uri, JSON, body.to_string())
            .await
    }

    pub async fn put(&self, uri: &str, body: &Value) -> Answer {
        self.request(Method::PUT, uri, JSON, body.to_string()).await
    }

    /// PATCH in one of the forms `json`, `merge`, `strategic-merge`.
    pub async fn patch(&self, uri: &str, form: &str, body: &Value) -> Answer {
        let media = format!("application/{form}-patch+json");
        let headers = [("content-type", media.as_str())];
        self.request(Method::PATCH, uri, &headers, body.to_string())
            .await
    }

    pub async fn delete(&self, uri: &str) -> Answer {
        self.request(Method::DELETE, uri, &[], Body::empty()).await
    }

    /// DELETE with options in the body.
    pub async fn delete_with(&self, uri: &str, options: &Value) -> Answer {
        self.request(Method::DELETE, uri, JSON, options.to_string())
            .await
    }

    /// Opens a watch.
    pub async fn watch(&self, uri: &str) -> Frames {
        self.watch_as(uri, "application/json").await
    }

    pub async fn watch_as(&self, uri: &str, accept: &str) -> Frames {
        let request = Request::get(uri)
            .header("accept", accept)
            .body(Body::empty())
            .unwrap();
        let response = self.send(request).await;
        assert_eq!(response.status().as_u16(), 200);
        Frames::new(response.into_body())
    }

    /// Creates a ConfigMap in `default` and gives it as stored.
    pub async fn config_map(&self, name: &str, labels: Value) -> Value {
        let object = config_map(name, labels);
        self.post(CONFIG_MAPS, &object).await.expect(201)
    }

    /// The names in a list.
    pub async fn names(&self, uri: &str) -> Vec<String> {
        names(&self.get(uri).await.expect(200))
    }
}

const JSON: &[(&str, &str)] = &[("content-type", "application/json")];
pub const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";
pub const PODS: &str = "/api/v1/namespaces/default/pods";
pub const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
pub const SERVICES: &str = "/api/v1/namespaces/default/services";
pub const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";

pub fn names(list: &Value) -> Vec<String> {
    let items = list["items"].as_array().unwrap();
    let name = |item: &Value| item["metadata"]["name"].as_str().unwrap().to_owned();
    items.iter().map(name).collect()
}

pub fn config_map(name: &str, labels: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": labels}, "data": {"a": "1"}})
}

pub fn pod(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {"containers": [{"name": "main", "image": "hello:v1"}]}})
}

pub fn deployment(name: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {
            "replicas": 2, "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": "main", "image": "hello:v1"}]}},
        },
    })
}

pub fn service(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": {"ports": [{"port": 80}]}})
}

pub fn version(object: &Value) -> u64 {
    let version = object["metadata"]["resourceVersion"].as_str().unwrap();
    version.parse().unwrap()
}
