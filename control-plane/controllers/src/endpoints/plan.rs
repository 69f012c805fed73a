//! Decides which EndpointSlices of a Service to make, change and remove, with as little change as possible: endpoints stay in the slice they are in,
//! new ones fill slices that are being changed anyway, then any that has room, then new ones. Every watcher of slices pays for every change.

use std::{collections::BTreeMap, sync::Arc};

use coracle_api::selector::LabelSelector;
use k8s_openapi::{
    Metadata as _,
    api::{
        core::v1::{Node, Pod, Service, ServiceSpec},
        discovery::v1::{Endpoint, EndpointSlice},
    },
};
use serde_json::{Value, json};

use super::desired::{self, Group, PortKey};
use crate::{
    action::{Action, Part, Plan, Propagation, Target, seen},
    caches::{Cached as _, SERVICE_NAME},
    kind::Kind,
    merge,
    naming::Namer,
};

/// The label by which a slice says who keeps it.
pub const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
/// Who keeps the slices of this controller. Upstream's name: clients look for it.
pub const MANAGER: &str = "endpointslice-controller.k8s.io";
/// The label of slices of Services without an address.
const HEADLESS: &str = "service.kubernetes.io/headless";
/// The most endpoints in a slice. Upstream's: at half there are twice the objects, at double every change sends twice the bytes.
pub const SLICE_LIMIT: usize = 100;

/// What is known of a Service.
pub struct Observed<'a> {
    /// The Service.
    pub service: &'a Service,
    /// The pods of its namespace.
    pub pods: Vec<&'a Arc<Pod>>,
    /// The slices that name it.
    pub slices: Vec<&'a Arc<EndpointSlice>>,
    /// A node by name.
    pub node: &'a dyn Fn(&str) -> Option<&'a Arc<Node>>,
    /// Whether there is a slice of this name in the namespace.
    pub taken: &'a dyn Fn(&str) -> bool,
}

/// A slice as it is to be.
struct Draft<'a> {
    slice: &'a EndpointSlice,
    endpoints: Vec<Endpoint>,
    changed: bool,
}

/// What the Service selects; `None` where somebody else keeps its endpoints.
#[must_use]
pub fn selector(service: &Service) -> Option<LabelSelector> {
    let spec = service.spec.as_ref()?;
    let labels = spec.selector.as_ref().filter(|labels| !labels.is_empty())?;
    (spec.type_.as_deref() != Some("ExternalName")).then(|| LabelSelector::from_map(labels))
}

/// Decides.
#[must_use]
pub fn plan(observed: &Observed<'_>) -> Plan {
    let plan = Plan::default();
    let service = observed.service;
    let (Some(selector), Some(spec)) = (selector(service), &service.spec) else {
        return plan;
    };
    if service.metadata.deletion_timestamp.is_some() {
        return plan;
    }
    let selected = observed.pods.iter().copied().filter(|pod| {
        let labels = pod.metadata.labels.as_ref();
        selector.matches_with(|key| Some(labels?.get(key)?.as_str()))
    });
    let mut desired = desired::desired(service, spec, selected, observed.node);
    for family in desired::families(spec) {
        // Watchers learn from an empty slice that the Service is known and has nothing.
        if !desired.keys().any(|group| group.family == family) {
            let ports = Vec::new();
            desired.insert(Group { family, ports }, Vec::new());
        }
    }
    let own = observed.slices.iter().filter(|slice| is_own(slice));
    let mut by_group: BTreeMap<Option<Group>, Vec<&EndpointSlice>> = BTreeMap::new();
    for slice in own {
        let group = group_of(slice).filter(|group| desired.contains_key(group));
        by_group.entry(group).or_default().push(slice);
    }
    let spare = by_group.remove(&None).unwrap_or_default();
    let owner = Target::of(&Kind::SERVICE, &service.metadata);
    let version = seen(&service.metadata);
    let mut writer = Writer {
        observed,
        spec,
        namer: Namer::new(&format!("{}-", owner.key.name), &[&owner.uid, &version]),
        owner,
        plan,
    };
    for (group, endpoints) in desired {
        let slices = by_group.remove(&Some(group.clone())).unwrap_or_default();
        writer.group(&group, endpoints, &slices);
    }
    for slice in spare {
        writer.delete(slice);
    }
    writer.plan
}

fn is_own(slice: &EndpointSlice) -> bool {
    let labels = slice.metadata.labels.as_ref();
    labels
        .and_then(|labels| labels.get(MANAGED_BY))
        .map(String::as_str)
        == Some(MANAGER)
        && slice.metadata.deletion_timestamp.is_none()
}

fn group_of(slice: &EndpointSlice) -> Option<Group> {
    let family = ["IPv4", "IPv6"]
        .into_iter()
        .find(|family| *family == slice.address_type)?;
    let mut ports: Vec<PortKey> = slice.ports.iter().flatten().map(PortKey::of).collect();
    ports.sort();
    Some(Group { family, ports })
}

/// What tells an endpoint from others: the pod.
fn identity(endpoint: &Endpoint) -> String {
    let target = endpoint.target_ref.as_ref();
    let uid = target.and_then(|target| target.uid.clone());
    uid.unwrap_or_else(|| endpoint.addresses.first().cloned().unwrap_or_default())
}

struct Writer<'a, 'o> {
    observed: &'a Observed<'o>,
    spec: &'a ServiceSpec,
    owner: Target,
    namer: Namer,
    plan: Plan,
}

impl Writer<'_, '_> {
    /// Brings the slices of one group to the endpoints wanted.
    fn group(&mut self, group: &Group, endpoints: Vec<Endpoint>, slices: &[&EndpointSlice]) {
        let mut missing: BTreeMap<String, Endpoint> = endpoints
            .into_iter()
            .map(|endpoint| (identity(&endpoint), endpoint))
            .collect();
        let mut drafts: Vec<Draft<'_>> = slices
            .iter()
            .map(|slice| kept(slice, &mut missing))
            .collect();
        let mut missing = missing.into_values();
        // Slices that change anyway first, then the fullest: fewest slices with room in the end.
        let mut order: Vec<usize> = (0..drafts.len()).collect();
        order.sort_by_key(|at| {
            drafts.get(*at).map_or((true, 0), |draft| {
                (
                    !draft.changed,
                    SLICE_LIMIT - draft.endpoints.len().min(SLICE_LIMIT),
                )
            })
        });
        for at in order {
            let Some(draft) = drafts.get_mut(at) else {
                continue;
            };
            while draft.endpoints.len() < SLICE_LIMIT
                && let Some(endpoint) = missing.next()
            {
                draft.endpoints.push(endpoint);
                draft.changed = true;
            }
        }
        let left: Vec<Endpoint> = missing.collect();
        let any_used = !left.is_empty() || drafts.iter().any(|draft| !draft.endpoints.is_empty());
        let mut placeholder = any_used;
        // Endpoints appear before they disappear elsewhere, and slices go last.
        for chunk in left.chunks(SLICE_LIMIT) {
            self.create(group, chunk);
        }
        let mut doomed = Vec::new();
        for draft in &drafts {
            if draft.endpoints.is_empty() && placeholder {
                doomed.push(draft.slice);
            } else {
                placeholder = true;
                self.update(draft);
            }
        }
        for slice in doomed {
            self.delete(slice);
        }
        if !placeholder {
            self.create(group, &[]);
        }
    }

    fn labels(&self) -> BTreeMap<String, String> {
        let own = self.observed.service.metadata().labels.iter().flatten();
        let mut labels: BTreeMap<String, String> = own
            .filter(|(name, _)| ![SERVICE_NAME, MANAGED_BY, HEADLESS].contains(&name.as_str()))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        labels.insert(SERVICE_NAME.to_owned(), self.owner.key.name.clone());
        labels.insert(MANAGED_BY.to_owned(), MANAGER.to_owned());
        if desired::is_headless(self.spec) {
            labels.insert(HEADLESS.to_owned(), String::new());
        }
        labels
    }

    fn create(&mut self, group: &Group, endpoints: &[Endpoint]) {
        let name = self.namer.next(self.observed.taken);
        let ports: Vec<_> = group.ports.iter().map(PortKey::to_port).collect();
        let object = json!({
            "apiVersion": EndpointSlice::OF_KIND.api_version(),
            "kind": EndpointSlice::OF_KIND.kind,
            "metadata": {
                "name": name,
                "generateName": self.namer.base(),
                "namespace": self.owner.key.namespace,
                "labels": self.labels(),
                "ownerReferences": [self.owner.controller_ref()],
            },
            "addressType": group.family,
            "endpoints": endpoints,
            "ports": ports,
        });
        let kind = Kind::ENDPOINT_SLICE;
        self.plan.act(Action::Create { kind, object });
    }

    fn update(&mut self, draft: &Draft<'_>) {
        let meta = &draft.slice.metadata;
        let has = json!({ "labels": meta.labels, "ownerReferences": meta.owner_references });
        let should =
            json!({ "labels": self.labels(), "ownerReferences": [self.owner.controller_ref()] });
        let mut patch = serde_json::Map::new();
        if let Some(change) = merge::diff(&has, &should) {
            patch.insert("metadata".to_owned(), change);
        }
        if draft.changed {
            let endpoints = serde_json::to_value(&draft.endpoints).unwrap_or_default();
            patch.insert("endpoints".to_owned(), endpoints);
        }
        if !patch.is_empty() {
            self.plan.act(Action::Patch {
                target: Target::of(&Kind::ENDPOINT_SLICE, meta),
                seen: seen(meta),
                part: Part::Main,
                patch: Value::Object(patch),
            });
        }
    }

    fn delete(&mut self, slice: &EndpointSlice) {
        self.plan.act(Action::Delete {
            target: Target::of(&Kind::ENDPOINT_SLICE, &slice.metadata),
            seen: Some(seen(&slice.metadata)),
            propagation: Propagation::Background,
            grace: None,
        });
    }
}

/// A slice with those of its endpoints that are still wanted, brought up to date; they are no longer `missing`.
fn kept<'a>(slice: &'a EndpointSlice, missing: &mut BTreeMap<String, Endpoint>) -> Draft<'a> {
    let has = slice.endpoints.as_deref().unwrap_or_default();
    let mut endpoints = Vec::with_capacity(has.len());
    let mut changed = false;
    for old in has {
        match missing.remove(&identity(old)) {
            Some(new) => {
                changed |= new != *old;
                endpoints.push(new);
            }
            None => changed = true,
        }
    }
    Draft {
        slice,
        endpoints,
        changed,
    }
}
