//! ConfigMaps and Secrets that the node's pods refer to: each watched while some pod needs it, as the kubelet does, because a node may read no others.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::StreamExt;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{
    Api, Client,
    runtime::watcher::{self, watcher},
};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::environment::{Contents, Kind, Reference, Referred};

/// The first pause after a watch failed, and the longest. The first is short because a node may ask a moment before the API server has seen that one of its
/// pods refers to the object.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(10));

/// The objects that are watched.
pub struct References {
    client: Client,
    watched: Mutex<HashMap<Key, Watched>>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    namespace: String,
    reference: Reference,
}

/// What is known of an object.
#[derive(Clone)]
enum Seen {
    /// Nothing yet.
    Unknown,
    /// There is none.
    Missing,
    /// It is there.
    Is(Arc<Contents>),
}

struct Watched {
    seen: watch::Receiver<Seen>,
    holders: Arc<Mutex<HashMap<u64, Weak<Notify>>>>,
    _stop: DropGuard,
}

/// Keeps objects watched. Dropping it gives them up.
pub struct Held {
    references: Arc<References>,
    id: u64,
    objects: Vec<(Key, watch::Receiver<Seen>)>,
    notify: Arc<Notify>,
}

/// Numbers holders, to tell them apart.
static NEXT: AtomicU64 = AtomicU64::new(0);

impl References {
    /// Watches nothing yet.
    #[must_use]
    pub fn new(client: Client) -> Arc<Self> {
        Arc::new(Self {
            client,
            watched: Mutex::default(),
        })
    }

    /// Watches objects of a namespace. Must be called within a tokio runtime.
    #[must_use]
    pub fn hold(self: &Arc<Self>, namespace: &str, references: BTreeSet<Reference>) -> Held {
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        let notify = Arc::new(Notify::new());
        let mut watched = self.watched.lock();
        let objects = references.into_iter().map(|reference| {
            let key = Key {
                namespace: namespace.to_owned(),
                reference,
            };
            let entry = watched
                .entry(key.clone())
                .or_insert_with(|| self.watch(&key));
            entry.holders.lock().insert(id, Arc::downgrade(&notify));
            let seen = entry.seen.clone();
            (key, seen)
        });
        let objects = objects.collect();
        drop(watched);
        Held {
            references: Arc::clone(self),
            id,
            objects,
            notify,
        }
    }

    fn watch(&self, key: &Key) -> Watched {
        let (sender, seen) = watch::channel(Seen::Unknown);
        let holders: Arc<Mutex<HashMap<u64, Weak<Notify>>>> = Arc::default();
        let stop = CancellationToken::new();
        let teller = Teller {
            sender,
            holders: Arc::clone(&holders),
        };
        let (client, namespace, name) = (
            self.client.clone(),
            key.namespace.clone(),
            key.reference.name.clone(),
        );
        let stopped = stop.clone();
        let kind = key.reference.kind;
        tokio::spawn(async move {
            let following = async {
                match kind {
                    Kind::ConfigMap => {
                        follow(
                            Api::<ConfigMap>::namespaced(client, &namespace),
                            &name,
                            &teller,
                            of_config_map,
                        )
                        .await
                    }
                    Kind::Secret => {
                        follow(
                            Api::<Secret>::namespaced(client, &namespace),
                            &name,
                            &teller,
                            of_secret,
                        )
                        .await
                    }
                }
            };
            tokio::select! {
                () = stopped.cancelled() => {}
                () = following => {}
            }
        });
        Watched {
            seen,
            holders,
            _stop: stop.drop_guard(),
        }
    }
}

impl Held {
    /// What the objects are now; nothing while one of them is not known.
    #[must_use]
    pub fn now(&self) -> Option<Referred> {
        let mut all = Referred::new();
        for (key, seen) in &self.objects {
            match &*seen.borrow() {
                Seen::Unknown => return None,
                Seen::Missing => {}
                Seen::Is(contents) => {
                    all.insert(key.reference.clone(), Arc::clone(contents));
                }
            }
        }
        Some(all)
    }

    /// Waits until every object is known to be there or not.
    pub async fn known(&self) -> Referred {
        // Not by the notification: that is the holder's, and wakes one alone.
        for (_, seen) in &self.objects {
            let mut seen = seen.clone();
            // Closed only when it is given up, which a holder prevents.
            let _ = seen.wait_for(|seen| !matches!(seen, Seen::Unknown)).await;
        }
        self.now().unwrap_or_default()
    }

    /// Told each time one of the objects changes.
    #[must_use]
    pub fn notify(&self) -> Arc<Notify> {
        Arc::clone(&self.notify)
    }

    /// Whether there is nothing to watch.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut watched = self.references.watched.lock();
        for (key, _) in &self.objects {
            let is_last = watched.get(key).is_some_and(|entry| {
                let mut holders = entry.holders.lock();
                holders.remove(&self.id);
                holders.is_empty()
            });
            if is_last {
                watched.remove(key);
            }
        }
    }
}

/// Tells holders what was seen.
struct Teller {
    sender: watch::Sender<Seen>,
    holders: Arc<Mutex<HashMap<u64, Weak<Notify>>>>,
}

impl Teller {
    fn tell(&self, seen: Seen) {
        self.sender.send_replace(seen);
        let holders: Vec<_> = self
            .holders
            .lock()
            .values()
            .filter_map(Weak::upgrade)
            .collect();
        for holder in holders {
            // Both who waits now and who looks next learns of it.
            holder.notify_one();
        }
    }
}

async fn follow<K>(api: Api<K>, name: &str, teller: &Teller, contents: fn(K) -> Contents)
where
    K: kube::Resource + Clone + serde::de::DeserializeOwned + std::fmt::Debug + Send + 'static,
{
    let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let mut events = std::pin::pin!(watcher(api, config));
    let mut pause = PAUSE.0;
    let mut found = false;
    while let Some(event) = events.next().await {
        match event {
            Ok(watcher::Event::Init) => found = false,
            Ok(watcher::Event::InitApply(object)) => {
                found = true;
                teller.tell(Seen::Is(Arc::new(contents(object))));
            }
            Ok(watcher::Event::InitDone) => {
                pause = PAUSE.0;
                if !found {
                    teller.tell(Seen::Missing);
                }
            }
            Ok(watcher::Event::Apply(object)) => teller.tell(Seen::Is(Arc::new(contents(object)))),
            Ok(watcher::Event::Delete(_)) => teller.tell(Seen::Missing),
            Err(error) => {
                tracing::debug!(name, %error, "watching a referenced object failed");
                tokio::time::sleep(pause).await;
                pause = pause.saturating_mul(2).min(PAUSE.1);
            }
        }
    }
}

fn of_config_map(object: ConfigMap) -> Contents {
    let text = object
        .data
        .into_iter()
        .flatten()
        .map(|(key, value)| (key, value.into_bytes()));
    let binary = object
        .binary_data
        .into_iter()
        .flatten()
        .map(|(key, value)| (key, value.0));
    text.chain(binary).collect()
}

fn of_secret(object: Secret) -> Contents {
    let bytes = object
        .data
        .into_iter()
        .flatten()
        .map(|(key, value)| (key, value.0));
    bytes.collect()
}
