//! Amounts of resources: what pods request and what nodes have. In thousandths for `cpu`, in whole units for everything else.

use std::collections::BTreeMap;

use coracle_api::quantity::Quantity;
use k8s_openapi::{
    api::core::v1::{Container, Pod},
    apimachinery::pkg::api::resource::Quantity as Text,
};

/// The resource whose amounts are counted in thousandths.
pub const CPU: &str = "cpu";
/// Memory, in bytes.
pub const MEMORY: &str = "memory";
/// The resource that every pod takes one of.
pub const PODS: &str = "pods";
/// What a container without a request counts as having requested when nodes are scored, so that nodes full of such pods do not look empty. Upstream's.
const FLOOR: Common = Common {
    cpu: 100,
    memory: 200 << 20,
    pods: 0,
};

/// The resources that every node has and nearly every pod takes: compared for each node at each decision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Common {
    /// CPU in thousandths of a core.
    pub cpu: i64,
    /// Memory in bytes.
    pub memory: i64,
    /// Pods.
    pub pods: i64,
}

/// Amounts by resource. What is not in it is zero.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    /// CPU, memory and pods.
    pub common: Common,
    /// All others, by name.
    others: BTreeMap<String, i64>,
}

impl Common {
    fn each(&mut self, other: &Self, of: fn(i64, i64) -> i64) {
        self.cpu = of(self.cpu, other.cpu);
        self.memory = of(self.memory, other.memory);
        self.pods = of(self.pods, other.pods);
    }

    /// Adds amounts.
    pub fn add(&mut self, other: &Self) {
        self.each(other, i64::saturating_add);
    }

    /// Takes amounts away.
    pub fn subtract(&mut self, other: &Self) {
        self.each(other, i64::saturating_sub);
    }
}

impl Resources {
    /// The amounts of a map of the API. What does not parse counts as nothing: it was validated when it was written.
    #[must_use]
    pub fn of_map(map: &BTreeMap<String, Text>) -> Self {
        let mut amounts = Self::default();
        for (name, text) in map {
            if let Ok(amount) = Quantity::parse(&text.0) {
                let units = if name == CPU {
                    amount.millis()
                } else {
                    amount.value()
                };
                amounts.set(name, units);
            }
        }
        amounts
    }

    fn set(&mut self, name: &str, amount: i64) {
        match name {
            CPU => self.common.cpu = amount,
            MEMORY => self.common.memory = amount,
            PODS => self.common.pods = amount,
            _ => drop(self.others.insert(name.to_owned(), amount)),
        }
    }

    /// What a pod requests: the larger of what its containers and sidecars take together and what any init container takes while it runs, plus overhead
    /// (KEP-753); or what the pod requests as a whole (KEP-2837). Every pod takes one of `pods`.
    #[must_use]
    pub fn requested(pod: &Pod) -> Self {
        Self::summed(pod, &Self::of_container)
    }

    /// The same as nodes are scored by it: containers that request nothing count as if they did.
    #[must_use]
    pub fn weighed(pod: &Pod) -> Common {
        let floored = |container: &Container| {
            let mut own = Self::of_container(container);
            let given = requests(container);
            let lacks = |name: &str| !given.is_some_and(|given| given.contains_key(name));
            if lacks(CPU) {
                own.common.cpu = FLOOR.cpu;
            }
            if lacks(MEMORY) {
                own.common.memory = FLOOR.memory;
            }
            own
        };
        Self::summed(pod, &floored).common
    }

    fn summed(pod: &Pod, of: &dyn Fn(&Container) -> Self) -> Self {
        let Some(spec) = &pod.spec else {
            return Self::default();
        };
        let mut sidecars = Self::default();
        let mut peak = Self::default();
        for init in spec.init_containers.iter().flatten() {
            let own = of(init);
            if init.restart_policy.as_deref() == Some("Always") {
                sidecars.add(&own);
                peak.at_least(&sidecars);
            } else {
                let mut with = sidecars.clone();
                with.add(&own);
                peak.at_least(&with);
            }
        }
        let mut total = sidecars;
        for container in &spec.containers {
            total.add(&of(container));
        }
        total.at_least(&peak);
        let as_a_whole = spec.resources.as_ref();
        for (name, amount) in as_a_whole
            .and_then(|all| all.requests.as_ref())
            .into_iter()
            .flatten()
        {
            let one = BTreeMap::from([(name.clone(), amount.clone())]);
            total.set(name, Self::of_map(&one).get(name));
        }
        if let Some(overhead) = &spec.overhead {
            total.add(&Self::of_map(overhead));
        }
        total.common.pods = 1;
        total
    }

    fn of_container(container: &Container) -> Self {
        requests(container).map(Self::of_map).unwrap_or_default()
    }

    /// The amount of a resource.
    #[must_use]
    pub fn get(&self, name: &str) -> i64 {
        match name {
            CPU => self.common.cpu,
            MEMORY => self.common.memory,
            PODS => self.common.pods,
            _ => self.others.get(name).copied().unwrap_or(0),
        }
    }

    /// The resources other than CPU, memory and pods that there is some of.
    pub fn others(&self) -> impl Iterator<Item = (&str, i64)> {
        let others = self.others.iter();
        others.map(|(name, amount)| (name.as_str(), *amount))
    }

    /// Adds amounts.
    pub fn add(&mut self, other: &Self) {
        self.common.add(&other.common);
        for (name, amount) in &other.others {
            let own = self.others.entry(name.clone()).or_default();
            *own = own.saturating_add(*amount);
        }
    }

    /// Takes amounts away.
    pub fn subtract(&mut self, other: &Self) {
        self.common.subtract(&other.common);
        for (name, amount) in &other.others {
            if let Some(own) = self.others.get_mut(name) {
                *own = own.saturating_sub(*amount);
                if *own == 0 {
                    self.others.remove(name);
                }
            }
        }
    }

    fn at_least(&mut self, other: &Self) {
        self.common.each(&other.common, i64::max);
        for (name, amount) in &other.others {
            let own = self.others.entry(name.clone()).or_default();
            *own = (*own).max(*amount);
        }
    }
}

fn requests(container: &Container) -> Option<&BTreeMap<String, Text>> {
    container.resources.as_ref()?.requests.as_ref()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn requested(spec: Value) -> Resources {
        let pod: Pod = serde_json::from_value(json!({ "spec": spec })).unwrap();
        Resources::requested(&pod)
    }

    #[test]
    fn init_containers_count_one_at_a_time_and_sidecars_all_the_time() {
        let of = |name: &str, cpu: &str, policy: Option<&str>| json!({ "name": name, "restartPolicy": policy, "resources": { "requests": { "cpu": cpu } } });
        let all = requested(json!({
            "initContainers": [of("a", "2", None), of("side", "500m", Some("Always")), of("b", "1", None)],
            "containers": [of("main", "1", None)],
            "overhead": { "cpu": "10m", "example.com/gpu": "1" }
        }));
        assert_eq!((all.get(CPU), all.get(PODS), all.get(MEMORY)), (2010, 1, 0));
        assert_eq!(all.get("example.com/gpu"), 1);
        let peak = requested(json!({
            "initContainers": [of("side", "500m", Some("Always")), of("b", "3", None)],
            "containers": [of("main", "1", None)],
        }));
        assert_eq!(
            peak.get(CPU),
            3500,
            "a sidecar runs beside later init containers"
        );
    }

    #[test]
    fn what_a_pod_requests_as_a_whole_counts_instead() {
        let all = requested(
            json!({"containers": [{"name": "a", "resources": {"requests": {"cpu": "1", "memory": "1Gi"}}}], "resources": {"requests": {"cpu": "2"}}}),
        );
        assert_eq!((all.get(CPU), all.get(MEMORY)), (2000, 1 << 30));
    }

    #[test]
    fn what_is_added_can_be_taken_away() {
        let one = requested(
            json!({"containers": [{"name": "a", "resources": {"requests": {"cpu": "1", "x/y": "2"}}}]}),
        );
        let mut sum = Resources::default();
        sum.add(&one);
        sum.add(&one);
        assert_eq!((sum.get("x/y"), sum.get(PODS)), (4, 2));
        sum.subtract(&one);
        sum.subtract(&one);
        assert_eq!(sum, Resources::default());
    }
}
