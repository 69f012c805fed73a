//! The one place that says yes or no to a request. Members of `system:masters` may do everything; nodes what concerns them; everyone else, and nodes
//! besides, what RBAC's rules allow. Refuses by default.

use std::sync::Arc;

use coracle_api::names::ObjectKey;
use coracle_store::{Storage, StoreError};
use serde_json::Value;

use crate::auth::{
    attributes::{Attributes, ResourceTarget, Target},
    decision::Denied,
    live::{Live, Picture},
    node::{
        decide::{self, Opinion},
        restriction::{self, Written},
    },
    rbac::{
        Rule,
        escalation::{self, Grant},
        policy::{GROUP, Verdict},
    },
    user::{MASTERS, UserInfo},
};

/// Decides who may do what, from the roles, bindings and pods in the store.
#[derive(Clone, Debug)]
pub struct Authorizer {
    live: Arc<Live>,
}

/// An object that is about to be stored.
#[derive(Clone, Copy, Debug)]
pub struct Write<'a> {
    /// Who writes it.
    pub user: &'a UserInfo,
    /// The API group.
    pub group: &'a str,
    /// The plural resource name.
    pub resource: &'a str,
    /// The subresource through which it is written.
    pub subresource: Option<&'a str>,
    /// Which object.
    pub key: &'a ObjectKey,
    /// What it shall be.
    pub new: &'a Value,
    /// What it was; `None` when it is new.
    pub old: Option<&'a Value>,
}

impl Authorizer {
    /// An authorizer on what is in `store`, following it until dropped. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// What the store says.
    pub async fn start(store: Arc<dyn Storage>) -> Result<Self, StoreError> {
        Ok(Self {
            live: Live::start(store).await?,
        })
    }

    /// Whether the request may happen.
    ///
    /// # Guarantees
    /// What was granted by a write this server has acknowledged is allowed. What was revoked is refused within the time it takes to wake a task.
    /// # Errors
    /// [`Denied`]: nothing allows it.
    pub fn authorize(&self, attributes: &Attributes<'_>) -> Result<(), Denied> {
        if attributes.user.is_in(MASTERS) {
            return Ok(());
        }
        match self.live.read(|picture| judge(picture, attributes)) {
            Ok(()) => Ok(()),
            Err(_) if self.live.catch_up() => self
                .live
                .read(|picture| judge(picture, attributes))
                .map_err(|why| Denied::new(attributes, &why)),
            Err(why) => Err(Denied::new(attributes, &why)),
        }
    }

    /// Whether the object may be stored as it is, by a user who may make the request: nobody grants what they do not have, no node reaches beyond
    /// itself.
    ///
    /// # Errors
    /// [`Denied`].
    pub fn admit(&self, write: &Write<'_>) -> Result<(), Denied> {
        let refused =
            |why: String| Denied::of_object(write.group, write.resource, &write.key.name, &why);
        if let Some(node) = write.user.node() {
            let written = Written {
                group: write.group,
                resource: write.resource,
                key: write.key,
                new: write.new,
                old: write.old,
            };
            restriction::check(node, &written).map_err(refused)?;
        }
        let Some(kind) = escalation::granting(write.group, write.resource) else {
            return Ok(());
        };
        let grant = Grant {
            user: write.user,
            kind,
            namespace: write.key.namespace.as_deref(),
            new: write.new,
            old: write.old,
        };
        self.live.catch_up();
        self.live
            .read(|picture| {
                escalation::check(&picture.policy, &grant, |way_out| {
                    let attributes = Attributes {
                        user: write.user,
                        verb: way_out.verb,
                        target: Target::Resource(ResourceTarget {
                            group: GROUP,
                            resource: way_out.resource,
                            namespace: grant.namespace,
                            name: Some(&way_out.name),
                            ..ResourceTarget::default()
                        }),
                    };
                    judge(picture, &attributes).is_ok()
                })
            })
            .map_err(refused)
    }

    /// All rules of RBAC a user has in a namespace (`None`: at the cluster's scope).
    #[must_use]
    pub fn rules_of(&self, user: &UserInfo, namespace: Option<&str>) -> Vec<Rule> {
        if user.is_in(MASTERS) {
            return Rule::everything().to_vec();
        }
        self.live.catch_up();
        self.live
            .read(|picture| picture.policy.rules_of(user, namespace))
    }
}

/// What the picture says to a request; why not.
fn judge(picture: &Picture, attributes: &Attributes<'_>) -> Result<(), String> {
    let of_node = match attributes.user.node() {
        Some(node) => match decide::decide(&picture.graph, node, attributes) {
            Opinion::Allowed => return Ok(()),
            Opinion::None(why) => why,
        },
        None => String::new(),
    };
    match picture.policy.evaluate(attributes) {
        Verdict::Allowed => Ok(()),
        Verdict::NoRule(why) if of_node.is_empty() => Err(why),
        Verdict::NoRule(_) => Err(of_node),
    }
}
