//! All roles and bindings, indexed by who they are for. Pure: fed with stored objects, asked for rules. Holds no clock, no store, no lock.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use serde::Deserialize;

use super::rule::{Rule, or_default};
use crate::auth::{
    attributes::{Attributes, Target},
    user::UserInfo,
};

/// The API group of roles and bindings.
pub const GROUP: &str = "rbac.authorization.k8s.io";
/// What the user names of service accounts begin with.
const SERVICE_ACCOUNT: &str = "system:serviceaccount:";

/// Roles and bindings.
#[derive(Debug, Default)]
pub struct Policy {
    roles: HashMap<RoleKey, Arc<[Rule]>>,
    bindings: HashMap<BindingKey, Binding>,
    by_user: HashMap<String, Places>,
    by_group: HashMap<String, Places>,
}

/// The names of a subject's bindings in each namespace; `None` are the ClusterRoleBindings.
type Places = BTreeMap<Option<String>, BTreeSet<String>>;
/// The namespace (`None` of a ClusterRole) and the name.
type RoleKey = (Option<String>, String);
/// The namespace (`None` of a ClusterRoleBinding) and the name.
type BindingKey = (Option<String>, String);

/// The four kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Rules for one namespace.
    Role,
    /// Rules for any namespace and for what has none.
    ClusterRole,
    /// Gives a role's rules to subjects, in one namespace.
    RoleBinding,
    /// Gives a role's rules to subjects, everywhere.
    ClusterRoleBinding,
}

impl Kind {
    /// The kind with this plural name.
    #[must_use]
    pub fn of(plural: &str) -> Option<Self> {
        match plural {
            "roles" => Some(Self::Role),
            "clusterroles" => Some(Self::ClusterRole),
            "rolebindings" => Some(Self::RoleBinding),
            "clusterrolebindings" => Some(Self::ClusterRoleBinding),
            _ => None,
        }
    }
}

/// What of a role is read.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct RoleObject {
    /// Its rules.
    #[serde(deserialize_with = "or_default")]
    pub rules: Vec<Rule>,
}

/// What of a binding is read.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Binding {
    /// Who gets the rules.
    #[serde(default, deserialize_with = "or_default")]
    pub subjects: Vec<Subject>,
    /// Whose rules.
    pub role_ref: RoleRef,
}

/// Who gets a role's rules.
#[derive(Debug, Deserialize)]
pub struct Subject {
    /// User, Group or ServiceAccount.
    pub kind: String,
    /// The name.
    pub name: String,
    /// The namespace of a service account.
    #[serde(default)]
    pub namespace: Option<String>,
}

/// Which role.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct RoleRef {
    /// Role or ClusterRole.
    pub kind: String,
    /// The name.
    pub name: String,
}

/// What the rules say to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A rule allows it.
    Allowed,
    /// None does; with a reason when a binding names a role that does not exist.
    NoRule(String),
}

impl Policy {
    /// Takes in a stored object, or forgets it (`None`).
    ///
    /// # Errors
    /// When the object cannot be read; then it grants nothing.
    pub fn apply(
        &mut self,
        kind: Kind,
        namespace: Option<&str>,
        name: &str,
        object: Option<&[u8]>,
    ) -> Result<(), serde_json::Error> {
        let key = (namespace.map(str::to_owned), name.to_owned());
        match kind {
            Kind::Role | Kind::ClusterRole => {
                self.roles.remove(&key);
                if let Some(object) = object {
                    let role: RoleObject = serde_json::from_slice(object)?;
                    self.roles.insert(key, role.rules.into());
                }
            }
            Kind::RoleBinding | Kind::ClusterRoleBinding => {
                self.unbind(&key);
                if let Some(object) = object {
                    self.bind(key, serde_json::from_slice(object)?);
                }
            }
        }
        Ok(())
    }

    fn bind(&mut self, key: BindingKey, binding: Binding) {
        for subject in &binding.subjects {
            if let Some((index, name)) = self.index_of(subject, key.0.as_deref()) {
                let places = index.entry(name).or_default();
                places
                    .entry(key.0.clone())
                    .or_default()
                    .insert(key.1.clone());
            }
        }
        self.bindings.insert(key, binding);
    }

    fn unbind(&mut self, key: &BindingKey) {
        let Some(binding) = self.bindings.remove(key) else {
            return;
        };
        for subject in &binding.subjects {
            let Some((index, name)) = self.index_of(subject, key.0.as_deref()) else {
                continue;
            };
            let Some(places) = index.get_mut(&name) else {
                continue;
            };
            if let Some(names) = places.get_mut(&key.0) {
                names.remove(&key.1);
                if names.is_empty() {
                    places.remove(&key.0);
                }
            }
            if places.is_empty() {
                index.remove(&name);
            }
        }
    }

    /// The index a subject is found in, and under which name. A service account is a user of a certain name.
    fn index_of(
        &mut self,
        subject: &Subject,
        namespace: Option<&str>,
    ) -> Option<(&mut HashMap<String, Places>, String)> {
        match subject.kind.as_str() {
            "User" => Some((&mut self.by_user, subject.name.clone())),
            "Group" => Some((&mut self.by_group, subject.name.clone())),
            "ServiceAccount" => {
                let own = subject.namespace.as_deref().filter(|own| !own.is_empty());
                let namespace = own.or(namespace)?;
                let user = format!("{SERVICE_ACCOUNT}{namespace}:{}", subject.name);
                Some((&mut self.by_user, user))
            }
            _ => None,
        }
    }

    /// The rules of a role, if it exists. Roles are looked up in `namespace`, the binding's own.
    #[must_use]
    pub fn rules(&self, role: &RoleRef, namespace: Option<&str>) -> Option<&Arc<[Rule]>> {
        let namespace = match role.kind.as_str() {
            "ClusterRole" => None,
            "Role" => Some(namespace?.to_owned()),
            _ => return None,
        };
        self.roles.get(&(namespace, role.name.clone()))
    }

    /// The bindings that give `user` rules for requests in `namespace`: first those of the cluster.
    fn bindings<'a>(
        &'a self,
        user: &'a UserInfo,
        namespace: Option<&str>,
    ) -> impl Iterator<Item = (Option<&'a str>, &'a str, &'a Binding)> {
        let of_user = self.by_user.get(&user.name);
        let of_groups = user
            .groups
            .iter()
            .filter_map(|group| self.by_group.get(group));
        let subjects: Vec<&Places> = of_user.into_iter().chain(of_groups).collect();
        let scopes = [Some(None), namespace.map(|own| Some(own.to_owned()))];
        scopes.into_iter().flatten().flat_map(move |scope| {
            let found: Vec<_> = subjects
                .iter()
                .filter_map(|places| places.get_key_value(&scope))
                .flat_map(|(place, names)| names.iter().map(move |name| (place, name)))
                .filter_map(|(place, name)| {
                    let binding = self.bindings.get(&(place.clone(), name.clone()))?;
                    Some((place.as_deref(), name.as_str(), binding))
                })
                .collect();
            found
        })
    }

    /// What the rules say to a request.
    #[must_use]
    pub fn evaluate(&self, attributes: &Attributes<'_>) -> Verdict {
        let namespace = match attributes.target {
            Target::Resource(target) => target.namespace,
            Target::Path(_) => None,
        };
        let mut dangling = BTreeSet::new();
        for (place, _, binding) in self.bindings(attributes.user, namespace) {
            match self.rules(&binding.role_ref, place) {
                Some(rules) if super::rule::evaluate(rules, attributes) => return Verdict::Allowed,
                Some(_) => {}
                None => {
                    dangling.insert(missing(&binding.role_ref));
                }
            }
        }
        Verdict::NoRule(match dangling.len() {
            0 => String::new(),
            1 => format!("RBAC: {}", dangling.into_iter().collect::<String>()),
            _ => format!(
                "RBAC: [{}]",
                dangling.into_iter().collect::<Vec<_>>().join(", ")
            ),
        })
    }

    /// All rules `user` has in `namespace` (`None`: at the cluster's scope).
    #[must_use]
    pub fn rules_of(&self, user: &UserInfo, namespace: Option<&str>) -> Vec<Rule> {
        self.bindings(user, namespace)
            .filter_map(|(place, _, binding)| self.rules(&binding.role_ref, place))
            .flat_map(|rules| rules.iter().cloned())
            .collect()
    }
}

/// That a role does not exist, in upstream's words.
#[must_use]
pub fn missing(role: &RoleRef) -> String {
    format!(
        "{}.{GROUP} {:?} not found",
        role.kind.to_lowercase(),
        role.name
    )
}

#[cfg(test)]
mod tests;
