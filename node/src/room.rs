//! Whether the node has room for a pod, by what the pods it has request (upstream: the kubelet's predicate admit handler). Pure.

use std::collections::BTreeMap;

use coracle_api::quantity::Quantity;
use k8s_openapi::api::core::v1::{Container, Pod};

use crate::config::Capacity;

/// What a pod takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Requests {
    /// CPU, in thousandths of a core.
    pub cpu_millis: i64,
    /// Memory in bytes.
    pub memory_bytes: i64,
}

impl Requests {
    /// What `pod` requests: the larger of what its containers (with sidecars) take together and what any init container takes while it runs, plus overhead
    /// (KEP-753's formula).
    #[must_use]
    pub fn of(pod: &Pod) -> Self {
        let Some(spec) = &pod.spec else {
            return Self::default();
        };
        let mut sidecars = Self::default();
        let mut peak = Self::default();
        for init in spec.init_containers.iter().flatten() {
            let own = Self::of_container(init);
            if init.restart_policy.as_deref() == Some("Always") {
                sidecars = sidecars.plus(own);
                peak = peak.max(sidecars);
            } else {
                peak = peak.max(sidecars.plus(own));
            }
        }
        let mains = spec
            .containers
            .iter()
            .fold(sidecars, |sum, one| sum.plus(Self::of_container(one)));
        let overhead = spec.overhead.as_ref().map(Self::of_map).unwrap_or_default();
        mains.max(peak).plus(overhead)
    }

    fn of_container(container: &Container) -> Self {
        let requests = container
            .resources
            .as_ref()
            .and_then(|resources| resources.requests.as_ref());
        requests.map(Self::of_map).unwrap_or_default()
    }

    fn of_map(
        map: &BTreeMap<String, k8s_openapi::apimachinery::pkg::api::resource::Quantity>,
    ) -> Self {
        let amount = |name: &str| {
            map.get(name)
                .and_then(|given| Quantity::parse(&given.0).ok())
        };
        Self {
            cpu_millis: amount("cpu").map_or(0, |cpu| cpu.millis()),
            memory_bytes: amount("memory").map_or(0, |memory| memory.value()),
        }
    }

    fn plus(self, other: Self) -> Self {
        Self {
            cpu_millis: self.cpu_millis.saturating_add(other.cpu_millis),
            memory_bytes: self.memory_bytes.saturating_add(other.memory_bytes),
        }
    }

    fn max(self, other: Self) -> Self {
        Self {
            cpu_millis: self.cpu_millis.max(other.cpu_millis),
            memory_bytes: self.memory_bytes.max(other.memory_bytes),
        }
    }
}

/// Why a pod is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// As `OutOfcpu`.
    pub reason: String,
    /// For people.
    pub message: String,
}

impl Refusal {
    fn out_of(resource: &str, requested: i64, used: i64, capacity: i64) -> Self {
        Self {
            reason: format!("OutOf{resource}"),
            message: format!(
                "Node didn't have enough resource: {resource}, requested: {requested}, used: {used}, capacity: {capacity}"
            ),
        }
    }
}

/// Says whether `wanted` fits beside the pods that take `taken`.
///
/// # Errors
/// Why not.
pub fn check(wanted: Requests, taken: &[Requests], capacity: Capacity) -> Result<(), Refusal> {
    let used = taken
        .iter()
        .fold(Requests::default(), |sum, one| sum.plus(*one));
    let pods = i64::try_from(taken.len()).unwrap_or(i64::MAX);
    let limit = i64::from(capacity.pods);
    if pods >= limit {
        return Err(Refusal::out_of("pods", 1, pods, limit));
    }
    if wanted.cpu_millis > 0
        && used.cpu_millis.saturating_add(wanted.cpu_millis) > capacity.cpu_millis
    {
        return Err(Refusal::out_of(
            "cpu",
            wanted.cpu_millis,
            used.cpu_millis,
            capacity.cpu_millis,
        ));
    }
    if wanted.memory_bytes > 0
        && used.memory_bytes.saturating_add(wanted.memory_bytes) > capacity.memory_bytes
    {
        return Err(Refusal::out_of(
            "memory",
            wanted.memory_bytes,
            used.memory_bytes,
            capacity.memory_bytes,
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(spec: serde_json::Value) -> Pod {
        serde_json::from_value(json!({ "metadata": {}, "spec": spec })).unwrap()
    }

    fn container(cpu: &str, memory: &str) -> serde_json::Value {
        json!({ "name": "c", "resources": { "requests": { "cpu": cpu, "memory": memory } } })
    }

    #[test]
    fn init_containers_count_one_at_a_time_and_sidecars_all_the_time() {
        let mut sidecar = container("100m", "10Mi");
        sidecar["restartPolicy"] = json!("Always");
        let of = Requests::of(&pod(json!({
            "initContainers": [container("2", "1Mi"), sidecar, container("300m", "1Gi")],
            "containers": [container("200m", "20Mi"), container("1", "1Mi")]
        })));
        assert_eq!(of.cpu_millis, 2000);
        assert_eq!(of.memory_bytes, (1 << 30) + (10 << 20));
    }

    #[test]
    fn refusals_are_worded_as_the_kubelets() {
        let capacity = Capacity {
            cpu_millis: 2000,
            memory_bytes: 1 << 30,
            pods: 2,
        };
        let want = |cpu, memory| Requests {
            cpu_millis: cpu,
            memory_bytes: memory,
        };
        assert_eq!(check(want(1000, 0), &[want(1000, 0)], capacity), Ok(()));
        let refusal = check(want(1001, 0), &[want(1000, 0)], capacity).unwrap_err();
        assert_eq!(refusal.reason, "OutOfcpu");
        assert_eq!(
            refusal.message,
            "Node didn't have enough resource: cpu, requested: 1001, used: 1000, capacity: 2000"
        );
        assert_eq!(
            check(want(0, 2 << 30), &[], capacity).unwrap_err().reason,
            "OutOfmemory"
        );
        assert_eq!(
            check(want(0, 0), &[want(0, 0); 2], capacity)
                .unwrap_err()
                .reason,
            "OutOfpods"
        );
        assert_eq!(
            check(want(0, 0), &[want(9000, 0)], capacity),
            Ok(()),
            "who asks for nothing takes nothing"
        );
    }
}
