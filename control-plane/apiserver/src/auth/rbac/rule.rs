//! One rule of a role, and whether it allows a request (`rbac.authorization.k8s.io` PolicyRule; upstream's RuleAllows). Pure.

use serde::{Deserialize, Deserializer, Serialize};

use crate::auth::attributes::{Attributes, ResourceTarget, Target};

/// Matches everything.
const ALL: &str = "*";

/// What some requests need to be allowed. A list that is empty matches nothing, but for the names, where it matches all.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Rule {
    /// What may be done; `*` is everything.
    #[serde(deserialize_with = "or_default")]
    pub verbs: Vec<String>,
    /// In which groups; `*` is all.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub api_groups: Vec<String>,
    /// To what: `pods`, `pods/log`, `*/scale`, `*`.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<String>,
    /// To which objects; empty is all.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub resource_names: Vec<String>,
    /// On which paths; `/metrics/*` is what begins with `/metrics/`.
    #[serde(
        rename = "nonResourceURLs",
        deserialize_with = "or_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub non_resource_urls: Vec<String>,
}

impl Rule {
    /// A rule about resources.
    #[must_use]
    pub fn resources(groups: &[&str], resources: &[&str], verbs: &[&str]) -> Self {
        Self {
            verbs: strings(verbs),
            api_groups: strings(groups),
            resources: strings(resources),
            ..Self::default()
        }
    }

    /// A rule about paths.
    #[must_use]
    pub fn paths(paths: &[&str], verbs: &[&str]) -> Self {
        Self {
            verbs: strings(verbs),
            non_resource_urls: strings(paths),
            ..Self::default()
        }
    }

    /// The rules that allow everything.
    #[must_use]
    pub fn everything() -> [Self; 2] {
        [
            Self::resources(&[ALL], &[ALL], &[ALL]),
            Self::paths(&[ALL], &[ALL]),
        ]
    }

    /// Whether the rule allows the request.
    #[must_use]
    pub fn allows(&self, attributes: &Attributes<'_>) -> bool {
        has(&self.verbs, attributes.verb)
            && match attributes.target {
                Target::Resource(target) => self.matches(&target),
                Target::Path(path) => self
                    .non_resource_urls
                    .iter()
                    .any(|pattern| path_matches(pattern, path)),
            }
    }

    fn matches(&self, target: &ResourceTarget<'_>) -> bool {
        has(&self.api_groups, target.group)
            && self
                .resources
                .iter()
                .any(|pattern| resource_matches(pattern, target.resource, target.subresource))
            && (self.resource_names.is_empty()
                || target
                    .name
                    .is_some_and(|name| self.resource_names.iter().any(|allowed| allowed == name)))
    }
}

/// Whether some rule allows the request.
#[must_use]
pub fn evaluate(rules: &[Rule], attributes: &Attributes<'_>) -> bool {
    rules.iter().any(|rule| rule.allows(attributes))
}

fn has(list: &[String], item: &str) -> bool {
    list.iter().any(|listed| listed == ALL || listed == item)
}

/// `pods` is the pods without their subresources, `*/scale` that subresource of everything, `*` everything with all subresources. `pods/*` is
/// nothing special, as upstream.
pub(super) fn resource_matches(pattern: &str, resource: &str, subresource: Option<&str>) -> bool {
    if pattern == ALL {
        return true;
    }
    match (pattern.split_once('/'), subresource) {
        (None, None) => pattern == resource,
        (Some((of, sub)), Some(subresource)) => sub == subresource && (of == ALL || of == resource),
        _ => false,
    }
}

/// A pattern that ends with `*` matches what begins with the rest of it.
pub(super) fn path_matches(pattern: &str, path: &str) -> bool {
    match pattern.strip_suffix(ALL) {
        Some(prefix) => path.starts_with(prefix.trim_end_matches(ALL)),
        None => pattern == path,
    }
}

fn strings(list: &[&str]) -> Vec<String> {
    list.iter().map(|&text| text.to_owned()).collect()
}

/// JSON's null is the same as nothing, as for every list in Kubernetes.
pub(in crate::auth) fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
pub(in crate::auth::rbac) mod tests;
