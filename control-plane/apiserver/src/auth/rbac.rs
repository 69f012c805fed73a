//! Role-based access control as Kubernetes has it. [`rule`] is one rule, [`policy`] all roles and bindings, [`cover`] tells whether rules contain
//! others, [`escalation`] keeps users from granting what they do not have, [`bootstrap`] is what every cluster begins with.

pub mod bootstrap;
pub mod cover;
pub mod escalation;
pub mod policy;
pub mod rule;

pub use policy::Policy;
pub use rule::Rule;
