//! What a pod holds on its node while it is there: network, volumes, references, running containers. Filled and emptied by the pod's worker; read by whoever
//! asks for logs and usage.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::Arc,
};

use coracle_lifecycle::{RunId, State};
use coracle_network::PodStack;
use coracle_runtime::{Container, executor::Place};
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use parking_lot::Mutex;

use crate::{
    attached::Attached,
    events::Subject,
    images::Ready,
    logs,
    references::Held,
    room::Requests,
    volumes::{NoUid, PodDirectories, PodVolumes},
};

/// What a pod holds.
pub(crate) struct Sandbox {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) uid: String,
    /// The directory of the pod's logs.
    pub(crate) log_directory: Arc<str>,
    pub(crate) volumes: Arc<PodVolumes>,
    /// The thread that the pod's containers run on.
    pub(crate) place: Place,
    pub(crate) requests: Requests,
    held: Mutex<Holdings>,
    view: Mutex<View>,
    /// The pod's object as its worker last saw it.
    pod: Mutex<Arc<Pod>>,
}

#[derive(Default)]
struct Holdings {
    stack: Option<Arc<PodStack>>,
    references: Option<Arc<Held>>,
    /// What was fetched for each container.
    images: HashMap<Arc<str>, Ready>,
    /// Who watches each container.
    attached: HashMap<Arc<str>, Arc<Attached>>,
    /// The containers that run, by name, with the number of the run.
    running: BTreeMap<Arc<str>, (u32, Arc<Container>)>,
}

/// The pod as its worker last saw it.
#[derive(Clone, Debug, Default)]
pub(crate) struct View {
    /// The status last derived.
    pub(crate) status: PodStatus,
    /// The latest run of each container, and whether its instance runs.
    pub(crate) runs: BTreeMap<Arc<str>, (u32, bool)>,
    /// The pod takes no room any more.
    pub(crate) has_ended: bool,
}

impl Sandbox {
    /// Of a pod that holds nothing yet.
    ///
    /// # Errors
    /// When its uid is none.
    pub(crate) fn new(
        pod: &Arc<Pod>,
        directories: &PodDirectories,
        place: Place,
    ) -> Result<Self, NoUid> {
        let text = |of: &Option<String>| of.clone().unwrap_or_default();
        let (namespace, name, uid) = (
            text(&pod.metadata.namespace),
            text(&pod.metadata.name),
            text(&pod.metadata.uid),
        );
        Ok(Self {
            log_directory: logs::directory_of(&namespace, &name, &uid),
            volumes: Arc::new(directories.of(&uid)?),
            place,
            requests: Requests::of(pod),
            held: Mutex::default(),
            view: Mutex::default(),
            pod: Mutex::new(Arc::clone(pod)),
            namespace,
            name,
            uid,
        })
    }

    /// What events about the pod, or one of its containers, are about.
    pub(crate) fn subject(&self, container: Option<Arc<str>>) -> Subject {
        Subject {
            kind: "Pod",
            namespace: self.namespace.clone(),
            name: self.name.clone(),
            uid: self.uid.clone(),
            container,
        }
    }

    pub(crate) fn set_network(&self, stack: Arc<PodStack>) {
        self.held.lock().stack = Some(stack);
    }

    pub(crate) fn network(&self) -> Option<Arc<PodStack>> {
        self.held.lock().stack.clone()
    }

    /// The pod's address, while it has one.
    pub(crate) fn ip(&self) -> Option<IpAddr> {
        self.held
            .lock()
            .stack
            .as_ref()
            .map(|stack| stack.identity().ip)
    }

    pub(crate) fn set_references(&self, held: Arc<Held>) {
        self.held.lock().references = Some(held);
    }

    pub(crate) fn references(&self) -> Option<Arc<Held>> {
        self.held.lock().references.clone()
    }

    pub(crate) fn set_image(&self, container: &Arc<str>, ready: Ready) {
        self.held.lock().images.insert(Arc::clone(container), ready);
    }

    pub(crate) fn image(&self, container: &str) -> Option<Ready> {
        self.held.lock().images.get(container).cloned()
    }

    /// Who watches a container.
    pub(crate) fn attached(&self, container: &str) -> Arc<Attached> {
        let mut held = self.held.lock();
        Arc::clone(held.attached.entry(Arc::from(container)).or_default())
    }

    pub(crate) fn set_running(&self, run: &RunId, container: Arc<Container>) {
        let mut held = self.held.lock();
        held.running
            .insert(Arc::clone(&run.container), (run.number, container));
    }

    pub(crate) fn running(&self, run: &RunId) -> Option<Arc<Container>> {
        let held = self.held.lock();
        let (number, container) = held.running.get(&run.container)?;
        (*number == run.number).then(|| Arc::clone(container))
    }

    pub(crate) fn ended(&self, run: &RunId) {
        let mut held = self.held.lock();
        if held
            .running
            .get(&run.container)
            .is_some_and(|(number, _)| *number == run.number)
        {
            held.running.remove(&run.container);
        }
    }

    /// Lets go of all containers that run.
    pub(crate) fn forget_running(&self) {
        self.held.lock().running.clear();
    }

    /// The containers that run, with the numbers of their runs.
    pub(crate) fn all_running(&self) -> Vec<(Arc<str>, u32, Arc<Container>)> {
        let held = self.held.lock();
        let running = held.running.iter();
        running
            .map(|(name, (run, container))| (Arc::clone(name), *run, Arc::clone(container)))
            .collect()
    }

    /// Takes network and references away. Volumes are the caller's to remove.
    pub(crate) fn take_network(&self) -> Option<Arc<PodStack>> {
        let mut held = self.held.lock();
        held.references = None;
        held.images.clear();
        held.stack.take()
    }

    pub(crate) fn view(&self) -> View {
        self.view.lock().clone()
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.view.lock().has_ended
    }

    /// The pod's object.
    pub(crate) fn pod(&self) -> Arc<Pod> {
        Arc::clone(&self.pod.lock())
    }

    /// Remembers what others may see of the worker's state.
    pub(crate) fn look(&self, state: &State, pod: &Arc<Pod>) {
        *self.pod.lock() = Arc::clone(pod);
        let spec = pod.spec.as_ref();
        let init = spec.and_then(|spec| spec.init_containers.as_ref());
        let mains = spec.map(|spec| &spec.containers);
        let all = init
            .into_iter()
            .flatten()
            .chain(mains.into_iter().flatten());
        let runs = all.filter_map(|one| {
            let (run, is_live) = state.run_of(&one.name)?;
            Some((run.container, (run.number, is_live)))
        });
        let runs = runs.collect();
        let mut view = self.view.lock();
        view.runs = runs;
        view.has_ended = state.has_ended();
    }

    pub(crate) fn set_status(&self, status: &PodStatus) {
        self.view.lock().status = status.clone();
    }
}
