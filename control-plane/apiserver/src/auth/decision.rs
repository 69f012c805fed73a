//! A refusal, in upstream's words. Says who may not do what; the API server makes the Status of it.

use crate::auth::attributes::{Attributes, Target};

/// Why a request is forbidden.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Denied {
    /// The whole message, as `kubectl` shows it.
    pub message: String,
    /// The API group of what was asked for; empty for core and for paths.
    pub group: String,
    /// The resource that was asked for; empty for paths.
    pub resource: String,
    /// The object that was asked for.
    pub name: Option<String>,
}

impl Denied {
    /// The refusal of `attributes`; `reason` is added where a rule has one to give.
    #[must_use]
    pub fn new(attributes: &Attributes<'_>, reason: &str) -> Self {
        let (user, verb) = (&attributes.user.name, attributes.verb);
        let target = match attributes.target {
            Target::Path(path) => {
                let message = format!("forbidden: User {user:?} cannot {verb} path {path:?}");
                return Self {
                    message: with_reason(message, reason),
                    group: String::new(),
                    resource: String::new(),
                    name: None,
                };
            }
            Target::Resource(target) => target,
        };
        let qualified = match target.group {
            "" => target.resource.to_owned(),
            group => format!("{}.{group}", target.resource),
        };
        let named = match target.name {
            Some(name) => format!(" {name:?}"),
            None => String::new(),
        };
        let place = match target.namespace {
            Some(namespace) => format!("in the namespace {namespace:?}"),
            None => "at the cluster scope".to_owned(),
        };
        let message = format!(
            "{qualified}{named} is forbidden: User {user:?} cannot {verb} resource {:?} in API group {:?} {place}",
            target.combined(),
            target.group,
        );
        Self {
            message: with_reason(message, reason),
            group: target.group.to_owned(),
            resource: target.resource.to_owned(),
            name: target.name.map(str::to_owned),
        }
    }

    /// The refusal of an object as it is; `why` completes the sentence.
    #[must_use]
    pub fn of_object(group: &str, resource: &str, name: &str, why: &str) -> Self {
        let qualified = match group {
            "" => resource.to_owned(),
            group => format!("{resource}.{group}"),
        };
        Self {
            message: format!("{qualified} {name:?} is forbidden: {why}"),
            group: group.to_owned(),
            resource: resource.to_owned(),
            name: Some(name.to_owned()),
        }
    }
}

fn with_reason(message: String, reason: &str) -> String {
    match reason {
        "" => message,
        reason => format!("{message}: {reason}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::{attributes::ResourceTarget, user::UserInfo};

    #[test]
    fn refusals_use_the_words_kubectl_users_know() {
        let user = UserInfo {
            name: "jane".to_owned(),
            ..UserInfo::default()
        };
        let told = |verb, target, reason| {
            let attributes = Attributes {
                user: &user,
                verb,
                target,
            };
            Denied::new(&attributes, reason).message
        };
        let pods = ResourceTarget {
            resource: "pods",
            namespace: Some("default"),
            ..ResourceTarget::default()
        };
        assert_eq!(
            told("list", Target::Resource(pods), ""),
            r#"pods is forbidden: User "jane" cannot list resource "pods" in API group "" in the namespace "default""#
        );
        let log = ResourceTarget {
            subresource: Some("log"),
            name: Some("web"),
            ..pods
        };
        assert_eq!(
            told("get", Target::Resource(log), ""),
            r#"pods "web" is forbidden: User "jane" cannot get resource "pods/log" in API group "" in the namespace "default""#
        );
        let roles = ResourceTarget {
            group: "rbac.authorization.k8s.io",
            resource: "clusterroles",
            ..ResourceTarget::default()
        };
        assert_eq!(
            told("list", Target::Resource(roles), "because"),
            r#"clusterroles.rbac.authorization.k8s.io is forbidden: User "jane" cannot list resource "clusterroles" in API group "rbac.authorization.k8s.io" at the cluster scope: because"#
        );
        assert_eq!(
            told("get", Target::Path("/metrics"), ""),
            r#"forbidden: User "jane" cannot get path "/metrics""#
        );
    }
}
