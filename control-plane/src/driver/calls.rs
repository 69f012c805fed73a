//! Requests to the API server, for kinds that are only known by name. One request each, with a deadline; decides nothing and repeats nothing.

use std::{borrow::Cow, fmt::Write as _, time::Duration};

use coracle_api::names::ObjectKey;
use coracle_controllers::{
    action::{Part, Propagation, Target},
    kind::Kind,
    merge,
};
use futures::AsyncBufRead;
use http::{Method, Request, header};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};

use super::refusal::Refusal;

/// How long an answer may take. Half of what the server itself allows, so that a key is not held up for longer than it is worth; a quarter would give up on
/// servers that are merely busy.
const DEADLINE: Duration = Duration::from_secs(30);
/// How many objects a list has per answer: some hundred kilobytes of pods.
const PAGE: usize = 500;

const PLAIN: &str = "application/json";
const META: &str = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io";
const META_LIST: &str = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io";
const MERGE: &str = "application/merge-patch+json";

/// What names may have that paths may have too.
const PATH: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b':');

/// A client of the API server.
#[derive(Clone)]
pub struct Calls {
    client: kube::Client,
}

/// As much of an answer as matters after a write.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Answer {
    /// The metadata of the object.
    pub metadata: Meta,
}

/// As much of the metadata as matters after a write.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Meta {
    /// The uid.
    pub uid: String,
    /// The revision, as text.
    pub resource_version: String,
    /// Since when it is being deleted.
    pub deletion_timestamp: Option<String>,
    /// What keeps it.
    pub finalizers: Vec<String>,
}

/// A page of a list, the items as they came.
#[derive(Debug, Deserialize)]
pub struct Page {
    /// About the list.
    pub metadata: ListMeta,
    /// The objects.
    #[serde(default)]
    pub items: Vec<Box<RawValue>>,
}

/// What a list says about itself.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ListMeta {
    /// The revision, as text.
    pub resource_version: String,
    /// How to get the next page; empty for the last.
    #[serde(rename = "continue")]
    pub continuation: String,
}

impl Answer {
    /// The revision of what was written; 0 where the answer does not say.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.metadata.resource_version.parse().unwrap_or(0)
    }
}

impl Calls {
    /// Requests go through `client`.
    #[must_use]
    pub fn new(client: kube::Client) -> Self {
        Self { client }
    }

    /// The client.
    #[must_use]
    pub fn client(&self) -> &kube::Client {
        &self.client
    }

    /// Reads the metadata of an object.
    ///
    /// # Errors
    /// `Gone` when it does not exist.
    pub async fn get(&self, kind: &Kind, key: &ObjectKey) -> Result<Answer, Refusal> {
        let request = Request::get(path(kind, key.namespace.as_deref(), Some(&key.name), ""));
        let request = request.header(header::ACCEPT, META);
        self.ask(request.body(Vec::new())).await
    }

    /// Reads a page of all objects of a kind, or of those of a namespace.
    ///
    /// # Errors
    /// `Expired` when the continuation is too old.
    pub async fn list(
        &self,
        kind: &Kind,
        namespace: Option<&str>,
        is_whole: bool,
        continuation: &str,
    ) -> Result<Page, Refusal> {
        let mut uri = path(kind, namespace, None, "");
        // Cannot fail: into a string.
        let _ = write!(uri, "?limit={PAGE}");
        if !continuation.is_empty() {
            let token = utf8_percent_encode(continuation, NON_ALPHANUMERIC);
            let _ = write!(uri, "&continue={token}");
        }
        let accept = if is_whole { PLAIN } else { META_LIST };
        let request = Request::get(uri).header(header::ACCEPT, accept);
        self.ask(request.body(Vec::new())).await
    }

    /// Reads one object that is no object of a kind, such as the lists of metrics.
    ///
    /// # Errors
    /// What the server says.
    pub async fn read<T: serde::de::DeserializeOwned>(&self, uri: &str) -> Result<T, Refusal> {
        self.ask(Request::get(uri).body(Vec::new())).await
    }

    /// Follows all objects of a kind from a revision on, for `time`.
    ///
    /// # Errors
    /// `Expired` when the revision is too old.
    pub async fn watch(
        &self,
        kind: &Kind,
        is_whole: bool,
        revision: u64,
        time: Duration,
    ) -> Result<impl AsyncBufRead + use<>, Refusal> {
        let mut uri = path(kind, None, None, "");
        let seconds = time.as_secs().max(1);
        let _ = write!(
            uri,
            "?watch=true&allowWatchBookmarks=true&resourceVersion={revision}&timeoutSeconds={seconds}"
        );
        let accept = if is_whole { PLAIN } else { META };
        let request = Request::get(uri)
            .header(header::ACCEPT, accept)
            // What is compressed arrives late.
            .header(header::ACCEPT_ENCODING, "identity");
        let request = request.body(Vec::new()).map_err(Refusal::request)?;
        within(self.client.request_stream(request)).await
    }

    /// Creates an object.
    ///
    /// # Errors
    /// `Exists`, `Gone` when its namespace does not exist.
    pub async fn create(&self, kind: &Kind, object: &Value) -> Result<Answer, Refusal> {
        let namespace = object.pointer("/metadata/namespace");
        let uri = path(kind, namespace.and_then(Value::as_str), None, "");
        self.send(Method::POST, uri, PLAIN, object).await
    }

    /// Deletes an object.
    ///
    /// # Errors
    /// `Conflict` when it is another or at another version, `Gone` when it is none.
    pub async fn delete(
        &self,
        target: &Target,
        seen: Option<&str>,
        propagation: Propagation,
        grace: Option<i64>,
    ) -> Result<Answer, Refusal> {
        let mut preconditions = json!({"uid": target.uid});
        put(&mut preconditions, "resourceVersion", seen);
        let mut options = json!({
            "apiVersion": "v1", "kind": "DeleteOptions",
            "preconditions": preconditions, "propagationPolicy": propagation.as_str(),
        });
        put(&mut options, "gracePeriodSeconds", grace);
        let uri = self::object(target, "");
        self.send(Method::DELETE, uri, PLAIN, &options).await
    }

    /// Deletes all objects of a kind in a namespace.
    ///
    /// # Errors
    /// The first of an object that could not be deleted.
    pub async fn delete_all(&self, kind: &Kind, namespace: &str) -> Result<(), Refusal> {
        let options =
            json!({"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"});
        let uri = path(kind, Some(namespace), None, "");
        let done: serde::de::IgnoredAny = self.send(Method::DELETE, uri, PLAIN, &options).await?;
        let _ = done;
        Ok(())
    }

    /// Changes an object by a merge patch, if it still is at the version `seen`.
    ///
    /// # Errors
    /// `Conflict` when it is another or at another version, `Gone` when it is none.
    pub async fn patch(
        &self,
        target: &Target,
        seen: &str,
        part: Part,
        patch: &Value,
    ) -> Result<Answer, Refusal> {
        let mut patch = patch.clone();
        insist(&mut patch, target, seen);
        let subresource = match part {
            Part::Main => "",
            Part::Status => "/status",
            Part::Scale => "/scale",
            Part::Finalize => return self.finalize(target, &patch).await,
        };
        let uri = object(target, subresource);
        self.send(Method::PATCH, uri, MERGE, &patch).await
    }

    /// Changes an object through the finalize subresource, which takes whole objects only.
    async fn finalize(&self, target: &Target, patch: &Value) -> Result<Answer, Refusal> {
        let mut object: Value = self.read(&self::object(target, "")).await?;
        merge::apply(&mut object, patch);
        let uri = self::object(target, "/finalize");
        self.send(Method::PUT, uri, PLAIN, &object).await
    }

    /// Changes an object whatever version it is at.
    ///
    /// # Errors
    /// `Gone` when there is none.
    pub async fn patch_any(
        &self,
        kind: &Kind,
        key: &ObjectKey,
        patch: &Value,
    ) -> Result<Answer, Refusal> {
        let uri = path(kind, key.namespace.as_deref(), Some(&key.name), "");
        self.send(Method::PATCH, uri, MERGE, patch).await
    }

    async fn send<T: serde::de::DeserializeOwned>(
        &self,
        method: Method,
        uri: String,
        content: &str,
        body: &Value,
    ) -> Result<T, Refusal> {
        let request = Request::builder()
            .method(method)
            .uri(uri)
            .header(header::CONTENT_TYPE, content)
            .header(header::ACCEPT, PLAIN);
        self.ask(request.body(body.to_string().into_bytes())).await
    }

    async fn ask<T: serde::de::DeserializeOwned>(
        &self,
        request: http::Result<Request<Vec<u8>>>,
    ) -> Result<T, Refusal> {
        let request = request.map_err(Refusal::request)?;
        let text = within(self.client.request_text(request)).await?;
        serde_json::from_str(&text).map_err(Refusal::answer)
    }
}

async fn within<T>(call: impl Future<Output = kube::Result<T>>) -> Result<T, Refusal> {
    match tokio::time::timeout(DEADLINE, call).await {
        Ok(answer) => answer.map_err(Refusal::of),
        Err(_) => Err(Refusal::Late),
    }
}

/// Makes a patch one for this object at this version only.
fn insist(patch: &mut Value, target: &Target, seen: &str) {
    let identity = json!({"metadata": {"uid": target.uid, "resourceVersion": seen}});
    merge::apply(patch, &identity);
}

fn put(object: &mut Value, field: &str, value: Option<impl Into<Value>>) {
    if let (Some(object), Some(value)) = (object.as_object_mut(), value) {
        object.insert(field.to_owned(), value.into());
    }
}

fn object(target: &Target, subresource: &str) -> String {
    let key = &target.key;
    path(
        &target.kind,
        key.namespace.as_deref(),
        Some(&key.name),
        subresource,
    )
}

/// The path of a collection or an object. The namespace of what has none is left out.
fn path(kind: &Kind, namespace: Option<&str>, name: Option<&str>, subresource: &str) -> String {
    let escaped = |text| Cow::from(utf8_percent_encode(text, PATH));
    let mut path = if kind.group.is_empty() {
        format!("/api/{}", kind.version)
    } else {
        format!("/apis/{}/{}", kind.group, kind.version)
    };
    if let Some(namespace) = namespace.filter(|_| kind.namespaced) {
        path.push_str("/namespaces/");
        path.push_str(&escaped(namespace));
    }
    path.push('/');
    path.push_str(&kind.plural);
    if let Some(name) = name {
        path.push('/');
        path.push_str(&escaped(name));
    }
    path.push_str(subresource);
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_of_the_api() {
        let key = |name| ObjectKey::namespaced("d", name);
        let target = |kind: Kind, name| Target {
            kind,
            key: key(name),
            uid: String::new(),
        };
        assert_eq!(path(&Kind::POD, None, None, ""), "/api/v1/pods");
        assert_eq!(
            object(&target(Kind::POD, "a"), "/status"),
            "/api/v1/namespaces/d/pods/a/status"
        );
        assert_eq!(
            object(&target(Kind::JOB, "a"), ""),
            "/apis/batch/v1/namespaces/d/jobs/a"
        );
        assert_eq!(
            object(&target(Kind::NODE, "system:a b/c"), ""),
            "/api/v1/nodes/system:a%20b%2Fc"
        );
    }

    #[test]
    fn patches_insist_on_what_was_seen() {
        let target = Target {
            kind: Kind::POD,
            key: ObjectKey::namespaced("d", "a"),
            uid: "u".to_owned(),
        };
        let mut patch = json!({"metadata": {"finalizers": null}, "spec": {"x": 1}});
        insist(&mut patch, &target, "7");
        let expected = json!({"metadata": {"finalizers": null, "uid": "u", "resourceVersion": "7"}, "spec": {"x": 1}});
        assert_eq!(patch, expected);
    }
}
