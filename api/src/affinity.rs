//! Which nodes a pod's `nodeSelector` and node affinity select (upstream: `component-helpers/scheduling/corev1/nodeaffinity`).

use k8s_openapi::api::core::v1::{Node, NodeSelectorRequirement, NodeSelectorTerm, Pod};

/// Whether `node` is one that `pod` must be on.
#[must_use]
pub fn matches(pod: &Pod, node: &Node) -> bool {
    let Some(spec) = &pod.spec else { return true };
    let labels = node.metadata.labels.as_ref();
    let wanted = spec.node_selector.iter().flatten();
    let has_all = wanted
        .into_iter()
        .all(|(key, value)| labels.and_then(|labels| labels.get(key)) == Some(value));
    let affinity = spec.affinity.as_ref();
    let required = affinity
        .and_then(|affinity| affinity.node_affinity.as_ref())
        .and_then(|affinity| {
            affinity
                .required_during_scheduling_ignored_during_execution
                .as_ref()
        });
    has_all
        && required.is_none_or(|selector| {
            selector
                .node_selector_terms
                .iter()
                .any(|term| term_matches(term, node))
        })
}

/// Whether `pod` selects nodes at all.
#[must_use]
pub fn selects(pod: &Pod) -> bool {
    let Some(spec) = &pod.spec else { return false };
    let affinity = spec.affinity.as_ref();
    let of_nodes = affinity.and_then(|affinity| affinity.node_affinity.as_ref());
    let required = of_nodes.and_then(|affinity| {
        affinity
            .required_during_scheduling_ignored_during_execution
            .as_ref()
    });
    required.is_some()
        || spec
            .node_selector
            .as_ref()
            .is_some_and(|map| !map.is_empty())
}

/// The only nodes that `pod` may be on, where it names them: each of its terms by `metadata.name`. So do the pods of DaemonSets.
#[must_use]
pub fn named(pod: &Pod) -> Option<Vec<String>> {
    let spec = pod.spec.as_ref()?;
    if let Some(name) = crate::pods::node_name(pod) {
        return Some(vec![name.to_owned()]);
    }
    let affinity = spec.affinity.as_ref()?.node_affinity.as_ref()?;
    let required = affinity
        .required_during_scheduling_ignored_during_execution
        .as_ref()?;
    let mut names = Vec::new();
    for term in &required.node_selector_terms {
        let mut fields = term.match_fields.iter().flatten();
        let of_term = fields.find(|one| one.key == "metadata.name" && one.operator == "In")?;
        names.extend(of_term.values.iter().flatten().cloned());
    }
    names.sort();
    names.dedup();
    (!names.is_empty()).then_some(names)
}

/// How much `pod` would like to be on `node`: the weights of the preferred terms that match.
#[must_use]
pub fn preference(pod: &Pod, node: &Node) -> i64 {
    let spec = pod.spec.as_ref();
    let affinity = spec.and_then(|spec| spec.affinity.as_ref()?.node_affinity.as_ref());
    let preferred = affinity.and_then(|affinity| {
        affinity
            .preferred_during_scheduling_ignored_during_execution
            .as_ref()
    });
    let liked = preferred.into_iter().flatten();
    let liked = liked.filter(|term| term_matches(&term.preference, node));
    liked.map(|term| i64::from(term.weight)).sum()
}

/// All requirements hold; a term without any selects nothing.
fn term_matches(term: &NodeSelectorTerm, node: &Node) -> bool {
    let expressions = term.match_expressions.iter().flatten();
    let fields = term.match_fields.iter().flatten();
    let labels = node.metadata.labels.as_ref();
    let mut any = false;
    let mut all = true;
    for requirement in expressions {
        any = true;
        let value = labels.and_then(|labels| labels.get(&requirement.key));
        all &= holds(requirement, value.map(String::as_str));
    }
    for requirement in fields {
        any = true;
        let name = node.metadata.name.as_deref();
        all &= requirement.key == "metadata.name" && holds(requirement, name);
    }
    any && all
}

fn holds(requirement: &NodeSelectorRequirement, value: Option<&str>) -> bool {
    let values = || requirement.values.iter().flatten();
    let is_in = || value.is_some_and(|value| values().any(|one| one == value));
    let numbers = || {
        let bound = values().next()?.parse::<i64>().ok()?;
        Some((value?.parse::<i64>().ok()?, bound))
    };
    match requirement.operator.as_str() {
        "In" => is_in(),
        "NotIn" => !is_in(),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => numbers().is_some_and(|(value, bound)| value > bound),
        "Lt" => numbers().is_some_and(|(value, bound)| value < bound),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn node() -> Node {
        serde_json::from_value(
            json!({ "metadata": { "name": "n1", "labels": { "zone": "a", "cores": "8" } } }),
        )
        .unwrap()
    }

    fn wants(expressions: serde_json::Value) -> bool {
        let pod = json!({ "spec": { "containers": [], "affinity": { "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": { "nodeSelectorTerms": [expressions] } } } } });
        matches(&serde_json::from_value(pod).unwrap(), &node())
    }

    #[test]
    fn every_operator_selects_as_upstreams() {
        let of = |key: &str, operator: &str, values: &[&str]| json!({ "matchExpressions": [{ "key": key, "operator": operator, "values": values }] });
        assert!(wants(of("zone", "In", &["a", "b"])));
        assert!(!wants(of("zone", "NotIn", &["a"])));
        assert!(wants(of("other", "NotIn", &["a"])));
        assert!(wants(of("zone", "Exists", &[])));
        assert!(wants(of("other", "DoesNotExist", &[])));
        assert!(wants(of("cores", "Gt", &["4"])));
        assert!(!wants(of("cores", "Lt", &["8"])));
        assert!(!wants(of("zone", "Gt", &["4"])));
        assert!(!wants(json!({})));
        assert!(wants(
            json!({ "matchFields": [{ "key": "metadata.name", "operator": "In", "values": ["n1"] }] })
        ));
    }

    #[test]
    fn a_selector_needs_every_label() {
        let pod = |selector: serde_json::Value| -> Pod {
            serde_json::from_value(
                json!({ "spec": { "containers": [], "nodeSelector": selector } }),
            )
            .unwrap()
        };
        assert!(matches(&pod(json!({ "zone": "a", "cores": "8" })), &node()));
        assert!(!matches(
            &pod(json!({ "zone": "a", "cores": "9" })),
            &node()
        ));
    }
}
