//! Amounts of resources: what pods request and what nodes have. In thousandths for `cpu`, in whole units for everything else.

use std::collections::BTreeMap;

use coracle_api::quantity::Quantity;
use k8s_openapi::{
    api::core::v1::{Container, Pod},
    apimachinery::pkg::api::resource::Quantity as Text,
};

/// The resource whose amounts are counted in thousandths.
pub const CPU: &str = "cpu";
/// The resource that every pod takes one of.
pub const PODS: &str = "pods";

/// Amounts by resource. What is not in it is zero.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resources(BTreeMap<String, i64>);

impl Resources {
    /// The amounts of a map of the API. What does not parse counts as nothing: it was validated when it was written.
    #[must_use]
    pub fn of_map(map: &BTreeMap<String, Text>) -> Self {
        let amounts = map.iter().filter_map(|(name, text)| {
            let amount = Quantity::parse(&text.0).ok()?;
            let units = if name == CPU {
                amount.millis()
            } else {
                amount.value()
            };
            Some((name.clone(), units))
        });
        Self(amounts.collect())
    }

    /// What a pod requests: the larger of what its containers and sidecars take together and what any init container takes while it runs, plus overhead
    /// (KEP-753). Every pod takes one of `pods`.
    #[must_use]
    pub fn requested(pod: &Pod) -> Self {
        let Some(spec) = &pod.spec else {
            return Self::default();
        };
        let mut sidecars = Self::default();
        let mut peak = Self::default();
        for init in spec.init_containers.iter().flatten() {
            let own = Self::of_container(init);
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
            total.add(&Self::of_container(container));
        }
        total.at_least(&peak);
        if let Some(overhead) = &spec.overhead {
            total.add(&Self::of_map(overhead));
        }
        total.0.insert(PODS.to_owned(), 1);
        total
    }

    fn of_container(container: &Container) -> Self {
        let resources = container.resources.as_ref();
        let requests = resources.and_then(|resources| resources.requests.as_ref());
        requests.map(Self::of_map).unwrap_or_default()
    }

    /// The amount of a resource.
    #[must_use]
    pub fn get(&self, name: &str) -> i64 {
        self.0.get(name).copied().unwrap_or(0)
    }

    /// The resources there is some of.
    pub fn iter(&self) -> impl Iterator<Item = (&str, i64)> {
        self.0.iter().map(|(name, amount)| (name.as_str(), *amount))
    }

    /// Adds amounts.
    pub fn add(&mut self, other: &Self) {
        for (name, amount) in &other.0 {
            let own = self.0.entry(name.clone()).or_default();
            *own = own.saturating_add(*amount);
        }
    }

    /// Takes amounts away.
    pub fn subtract(&mut self, other: &Self) {
        for (name, amount) in &other.0 {
            let own = self.0.entry(name.clone()).or_default();
            *own = own.saturating_sub(*amount);
        }
    }

    fn at_least(&mut self, other: &Self) {
        for (name, amount) in &other.0 {
            let own = self.0.entry(name.clone()).or_default();
            *own = (*own).max(*amount);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn init_containers_count_one_at_a_time_and_sidecars_all_the_time() {
        let of = |name: &str, cpu: &str, policy: Option<&str>| json!({ "name": name, "restartPolicy": policy, "resources": { "requests": { "cpu": cpu } } });
        let pod = json!({ "spec": {
            "initContainers": [of("a", "2", None), of("side", "500m", Some("Always")), of("b", "1", None)],
            "containers": [of("main", "1", None)],
            "overhead": { "cpu": "10m" }
        } });
        let pod: Pod = serde_json::from_value(pod).unwrap();
        let all = Resources::requested(&pod);
        assert_eq!(
            (all.get(CPU), all.get(PODS), all.get("memory")),
            (2010, 1, 0)
        );
    }
}
