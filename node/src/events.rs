//! Events: what happens on the node, told as Event objects. Repeated ones are counted instead of written again, and who talks too much is not heard (upstream:
//! `client-go/tools/record`). Telling never waits and never fails: what cannot be told in time is dropped and counted.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use coracle_lifecycle::{Note, NoteKind};
use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{Event, EventSource, ObjectReference},
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
};
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::json;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Events that wait to be written. A node that starts a thousand pods makes four thousand; what is more is dropped.
const WAITING: usize = 4096;
/// Events a second in the long run, and at once. The kubelet's rate; events must not slow down what they are about.
const RATE: u32 = 50;
const BURST: u32 = 100;
/// Events of one object at once, and how long until it may send another. Upstream's spam filter.
const OBJECT_BURST: u32 = 25;
const OBJECT_PAUSE: Duration = Duration::from_secs(300);
/// How long an event is counted on instead of written anew, and how many are remembered.
const REMEMBERED: Duration = Duration::from_secs(600);
const REMEMBERED_LIMIT: usize = 4096;

/// What an event is about and what it says.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Said {
    object: Subject,
    is_warning: bool,
    reason: String,
    message: String,
}

/// What an event is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Subject {
    /// `Pod` or `Node`.
    pub kind: &'static str,
    /// Empty for a node.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// The container, if it is about one.
    pub container: Option<Arc<str>>,
}

/// Takes events.
#[derive(Clone, Debug)]
pub struct Recorder {
    sender: mpsc::Sender<(Said, Timestamp)>,
    dropped: Arc<AtomicU64>,
}

impl Recorder {
    /// A recorder and what writes its events until `stop`, or until no recorder is left.
    pub fn new(
        client: Client,
        node: String,
        stop: CancellationToken,
    ) -> (Self, impl Future<Output = ()> + Send) {
        let (sender, receiver) = mpsc::channel(WAITING);
        let recorder = Self {
            sender,
            dropped: Arc::default(),
        };
        let writer = Writer {
            client,
            node,
            known: HashMap::new(),
            objects: HashMap::new(),
            next: 0,
        };
        (recorder, writer.run(receiver, stop))
    }

    /// Tells something.
    pub fn tell(&self, object: Subject, note: &Note) {
        let said = Said {
            object,
            is_warning: note.kind == NoteKind::Warning,
            reason: note.reason.to_owned(),
            message: note.message.clone(),
        };
        if self.sender.try_send((said, Timestamp::now())).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many events were dropped.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

struct Writer {
    client: Client,
    node: String,
    known: HashMap<Said, Known>,
    objects: HashMap<String, Allowance>,
    next: u64,
}

/// An event that was written.
struct Known {
    name: String,
    count: i32,
    at: Instant,
}

/// How much more an object may say.
struct Allowance {
    left: u32,
    at: Instant,
}

impl Writer {
    async fn run(
        mut self,
        mut receiver: mpsc::Receiver<(Said, Timestamp)>,
        stop: CancellationToken,
    ) {
        let mut tokens = BURST;
        let mut earned = Instant::now();
        loop {
            let next = tokio::select! {
                next = receiver.recv() => next,
                () = stop.cancelled() => return,
            };
            let Some((said, at)) = next else { return };
            if tokens == 0 {
                tokio::time::sleep(Duration::from_secs(1) / RATE).await;
            }
            let new = u32::try_from(earned.elapsed().as_millis() * u128::from(RATE) / 1000)
                .unwrap_or(BURST);
            if new > 0 {
                tokens = tokens.saturating_add(new).min(BURST);
                earned = Instant::now();
            }
            tokens = tokens.saturating_sub(1);
            if !self.is_allowed(&said.object.uid) {
                tracing::debug!(
                    object = said.object.name,
                    reason = said.reason,
                    "an event was dropped: its object says too much"
                );
                continue;
            }
            if let Err(error) = self.write(said, at).await {
                // Namespaces end before their pods' last words.
                tracing::debug!(%error, "an event could not be written");
            }
        }
    }

    fn is_allowed(&mut self, uid: &str) -> bool {
        let now = Instant::now();
        if self.objects.len() >= REMEMBERED_LIMIT {
            self.objects
                .retain(|_, allowance| now.duration_since(allowance.at) < OBJECT_PAUSE);
        }
        if self.objects.len() >= REMEMBERED_LIMIT {
            self.objects.clear();
        }
        let fresh = Allowance {
            left: OBJECT_BURST,
            at: now,
        };
        let allowance = self.objects.entry(uid.to_owned()).or_insert(fresh);
        let earned = now.duration_since(allowance.at).as_secs() / OBJECT_PAUSE.as_secs();
        if earned > 0 {
            allowance.left = allowance
                .left
                .saturating_add(u32::try_from(earned).unwrap_or(u32::MAX))
                .min(OBJECT_BURST);
            allowance.at = now;
        }
        if allowance.left == 0 {
            return false;
        }
        allowance.left -= 1;
        true
    }

    async fn write(&mut self, said: Said, at: Timestamp) -> Result<(), kube::Error> {
        let namespace = if said.object.namespace.is_empty() {
            "default"
        } else {
            &said.object.namespace
        };
        let api: Api<Event> = Api::namespaced(self.client.clone(), namespace);
        if let Some(known) = self.known.get_mut(&said)
            && known.at.elapsed() < REMEMBERED
        {
            known.count = known.count.saturating_add(1);
            known.at = Instant::now();
            let patch = json!({ "count": known.count, "lastTimestamp": Time(at) });
            match api
                .patch(&known.name, &PatchParams::default(), &Patch::Merge(patch))
                .await
            {
                Ok(_) => return Ok(()),
                // It is too old; a new one begins.
                Err(kube::Error::Api(status)) if status.is_not_found() => {}
                Err(error) => return Err(error),
            }
        }
        self.next = self.next.wrapping_add(1);
        let stamp = u64::try_from(at.as_nanosecond())
            .unwrap_or(0)
            .wrapping_add(self.next % 1000);
        let name = format!("{}.{stamp:x}", said.object.name);
        let event = self.event(&said, &name, at);
        api.create(&PostParams::default(), &event).await?;
        if self.known.len() >= REMEMBERED_LIMIT {
            self.known
                .retain(|_, known| known.at.elapsed() < REMEMBERED);
        }
        if self.known.len() >= REMEMBERED_LIMIT {
            self.known.clear();
        }
        self.known.insert(
            said,
            Known {
                name,
                count: 1,
                at: Instant::now(),
            },
        );
        Ok(())
    }

    fn event(&self, said: &Said, name: &str, at: Timestamp) -> Event {
        let object = &said.object;
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Event {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                namespace: Some(some(&object.namespace).unwrap_or_else(|| "default".to_owned())),
                ..ObjectMeta::default()
            },
            involved_object: ObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some(object.kind.to_owned()),
                namespace: some(&object.namespace),
                name: Some(object.name.clone()),
                uid: some(&object.uid),
                field_path: object
                    .container
                    .as_ref()
                    .map(|container| format!("spec.containers{{{container}}}")),
                resource_version: None,
            },
            type_: Some(if said.is_warning { "Warning" } else { "Normal" }.to_owned()),
            reason: Some(said.reason.clone()),
            message: Some(said.message.clone()),
            count: Some(1),
            first_timestamp: Some(Time(at)),
            last_timestamp: Some(Time(at)),
            source: Some(EventSource {
                component: Some("kubelet".to_owned()),
                host: Some(self.node.clone()),
            }),
            reporting_component: Some("kubelet".to_owned()),
            reporting_instance: Some(self.node.clone()),
            ..Event::default()
        }
    }
}
