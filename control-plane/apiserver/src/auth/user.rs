//! Who makes a request: what authentication found out and authorization asks about. Nothing here decides anything.

use std::collections::BTreeMap;

/// An authenticated user, as in `authentication.k8s.io` UserInfo. Requests carry it as an extension.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserInfo {
    /// The name that identifies the user among all active users.
    pub name: String,
    /// Tells apart users that have the same name at different times.
    pub uid: Option<String>,
    /// The groups the user belongs to.
    pub groups: Vec<String>,
    /// Whatever else the authenticator said.
    pub extra: BTreeMap<String, Vec<String>>,
}

/// The group whose members may do everything.
pub const MASTERS: &str = "system:masters";
/// The group everyone who is somebody belongs to.
pub const AUTHENTICATED: &str = "system:authenticated";
/// The group of the nodes.
pub const NODES: &str = "system:nodes";
/// What the names of nodes' users begin with.
pub const NODE_PREFIX: &str = "system:node:";

impl UserInfo {
    /// A user by name, in these groups and in `system:authenticated`.
    #[must_use]
    pub fn new<I: Into<String>>(
        name: impl Into<String>,
        groups: impl IntoIterator<Item = I>,
    ) -> Self {
        let mut groups: Vec<String> = groups.into_iter().map(Into::into).collect();
        if !groups.iter().any(|group| group == AUTHENTICATED) {
            groups.push(AUTHENTICATED.to_owned());
        }
        Self {
            name: name.into(),
            uid: None,
            groups,
            extra: BTreeMap::new(),
        }
    }

    /// Whether the user belongs to a group.
    #[must_use]
    pub fn is_in(&self, group: &str) -> bool {
        self.groups.iter().any(|name| name == group)
    }

    /// The node this user is, if it is one: named `system:node:NAME` and in the group of the nodes.
    #[must_use]
    pub fn node(&self) -> Option<&str> {
        let node = self.name.strip_prefix(NODE_PREFIX)?;
        (!node.is_empty() && self.is_in(NODES)).then_some(node)
    }
}
