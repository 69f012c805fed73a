//! The pods bound to this node: watched, and each given a worker. Who is where on the node is known here; what happens to a pod is its worker's business.

use std::{
    collections::{HashMap, HashSet},
    panic::AssertUnwindSafe,
    sync::Arc,
    time::Duration,
};

use coracle_lifecycle::with_ephemeral;
use futures::{FutureExt as _, StreamExt as _};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, ResourceExt,
    runtime::watcher::{self, watcher},
};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    parts::Parts,
    policies,
    room::{self, Refusal, Requests},
    sandbox::Sandbox,
    worker::{self, Object},
};

/// The first pause after the watch failed, and the longest.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));

/// The node's pods.
pub(crate) struct Pods {
    parts: Arc<Parts>,
    /// By uid: a pod that was deleted by force may still be ending when another one has its name.
    entries: Mutex<HashMap<String, Entry>>,
    workers: TaskTracker,
    synced: watch::Sender<bool>,
}

struct Entry {
    object: watch::Sender<Object>,
    sandbox: Arc<Sandbox>,
}

impl Pods {
    pub(crate) fn new(parts: Arc<Parts>) -> Arc<Self> {
        Arc::new(Self {
            parts,
            entries: Mutex::default(),
            workers: TaskTracker::new(),
            synced: watch::Sender::new(false),
        })
    }

    /// Waits until every pod there is has its worker.
    pub(crate) async fn synced(&self) {
        let mut synced = self.synced.subscribe();
        // Closed only by dropping, which does not happen while it is waited for.
        let _ = synced.wait_for(|synced| *synced).await;
    }

    /// Waits until all workers have ended.
    pub(crate) async fn ended(&self) {
        self.workers.close();
        self.workers.wait().await;
    }

    /// The pod of this name; the newest, should one with its name still be ending.
    pub(crate) fn find(&self, namespace: &str, name: &str) -> Option<Arc<Sandbox>> {
        let entries = self.entries.lock();
        let named = entries
            .values()
            .filter(|entry| entry.sandbox.namespace == namespace && entry.sandbox.name == name);
        // One whose object is gone is the older one.
        let newest = named.max_by_key(|entry| matches!(*entry.object.borrow(), Object::Is(_)));
        newest.map(|entry| Arc::clone(&entry.sandbox))
    }

    /// All pods.
    pub(crate) fn all(&self) -> Vec<Arc<Sandbox>> {
        let entries = self.entries.lock();
        entries
            .values()
            .map(|entry| Arc::clone(&entry.sandbox))
            .collect()
    }

    /// Watches the node's pods until `stop`.
    pub(crate) async fn follow(self: Arc<Self>, stop: CancellationToken) {
        let api: Api<Pod> = Api::all(self.parts.config.client.clone());
        let config =
            watcher::Config::default().fields(&format!("spec.nodeName={}", self.parts.config.name));
        let mut events = std::pin::pin!(watcher(api, config));
        let mut pause = PAUSE.0;
        let mut listed = Vec::new();
        loop {
            let event = tokio::select! {
                event = events.next() => event,
                () = stop.cancelled() => return,
            };
            match event {
                None => return,
                Some(Ok(watcher::Event::Init)) => listed.clear(),
                Some(Ok(watcher::Event::InitApply(pod))) => listed.push(with_ephemeral(pod)),
                Some(Ok(watcher::Event::InitDone)) => {
                    pause = PAUSE.0;
                    self.replace(std::mem::take(&mut listed));
                }
                Some(Ok(watcher::Event::Apply(pod))) => self.put(Arc::new(with_ephemeral(pod))),
                Some(Ok(watcher::Event::Delete(pod))) => {
                    self.remove(pod.uid().as_deref().unwrap_or_default());
                }
                Some(Err(error)) => {
                    tracing::warn!(%error, "watching the node's pods failed, will try again");
                    tokio::select! {
                        () = tokio::time::sleep(pause) => {}
                        () = stop.cancelled() => return,
                    }
                    pause = pause.saturating_mul(2).min(PAUSE.1);
                }
            }
        }
    }

    /// Takes a whole list: what is not in it is gone.
    fn replace(self: &Arc<Self>, listed: Vec<Pod>) {
        let uids: HashSet<String> = listed.iter().filter_map(ResourceExt::uid).collect();
        let gone: Vec<String> = {
            let entries = self.entries.lock();
            let known = entries.keys().filter(|uid| !uids.contains(*uid));
            known.cloned().collect()
        };
        for uid in gone {
            self.remove(&uid);
        }
        let is_first = !*self.synced.borrow();
        if is_first {
            // Before anybody is given an address, those keep theirs who have one.
            let mut addresses = self.parts.addresses.lock();
            for pod in listed
                .iter()
                .filter(|pod| !coracle_api::pods::is_terminal(pod))
            {
                let ip = pod
                    .status
                    .as_ref()
                    .and_then(|status| status.pod_ip.as_ref());
                if let (Some(uid), Some(Ok(ip))) = (pod.uid(), ip.map(|ip| ip.parse())) {
                    addresses.reserve(&uid, ip);
                }
            }
        }
        for pod in listed {
            self.put(Arc::new(pod));
        }
        if is_first {
            self.sweep(uids);
            self.synced.send_replace(true);
        }
    }

    fn put(self: &Arc<Self>, pod: Arc<Pod>) {
        let Some(uid) = pod.uid() else { return };
        let mut entries = self.entries.lock();
        if let Some(entry) = entries.get(&uid) {
            if let Some(network) = entry.sandbox.network() {
                // Labels may be others now, and policies are for pods by labels.
                network.set_facts(policies::facts(&pod));
            }
            entry.object.send_replace(Object::Is(pod));
            return;
        }
        let place = self.parts.runtime.place();
        let sandbox = match Sandbox::new(&pod, &self.parts.directories, place) {
            Ok(sandbox) => Arc::new(sandbox),
            Err(error) => {
                tracing::error!(pod = pod.name_any(), %error, "a pod cannot be run");
                return;
            }
        };
        let refusal = self.refusal(&entries, &pod, sandbox.requests);
        let (object, receiver) = watch::channel(Object::Is(Arc::clone(&pod)));
        entries.insert(
            uid.clone(),
            Entry {
                object,
                sandbox: Arc::clone(&sandbox),
            },
        );
        drop(entries);
        let pods = Arc::clone(self);
        self.workers.spawn(async move {
            let parts = Arc::clone(&pods.parts);
            let running = worker::run(parts, Arc::clone(&sandbox), pod, receiver, refusal);
            let ended = AssertUnwindSafe(running).catch_unwind().await;
            if ended.is_err() {
                tracing::error!(
                    pod = sandbox.name,
                    "a pod's worker panicked, the pod is begun anew"
                );
                worker::clear(&pods.parts, &sandbox).await;
                tokio::time::sleep(PAUSE.1).await;
            }
            let left = pods.entries.lock().remove(&uid);
            let object = left.map(|entry| entry.object.borrow().clone());
            if let (Err(_), Some(Object::Is(pod))) = (ended, object) {
                pods.put(pod);
            }
        });
    }

    /// Why a pod that was not here before cannot be, if so.
    fn refusal(
        &self,
        entries: &HashMap<String, Entry>,
        pod: &Pod,
        wanted: Requests,
    ) -> Option<Refusal> {
        let was_here = pod
            .status
            .as_ref()
            .is_some_and(|status| status.start_time.is_some());
        if was_here {
            return None;
        }
        let others = entries
            .values()
            .filter(|entry| !entry.sandbox.has_ended())
            .map(|entry| entry.sandbox.requests);
        let taken: Vec<_> = others.collect();
        room::check(wanted, &taken, self.parts.config.capacity).err()
    }

    fn remove(&self, uid: &str) {
        if let Some(entry) = self.entries.lock().get(uid) {
            entry.object.send_replace(Object::Gone);
        }
    }

    /// Removes what pods left behind that went while the agent was away.
    fn sweep(self: &Arc<Self>, uids: HashSet<String>) {
        let pods = Arc::clone(self);
        tokio::task::spawn_blocking(move || {
            // A log directory ends in its pod's uid. Pods that came meanwhile are known to the table.
            let is_known = |uid: &str| uids.contains(uid) || pods.entries.lock().contains_key(uid);
            let logs = |name: &str| name.rsplit('_').next().is_some_and(is_known);
            let swept = pods.parts.directories.sweep(is_known);
            if let Err(error) = swept.and_then(|()| pods.parts.logs.sweep(logs)) {
                tracing::warn!(%error, "what earlier pods left behind cannot be removed");
            }
        });
    }
}
