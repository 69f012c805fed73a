//! Who asks, and whether they may. [`user`] and [`attributes`] are the vocabulary, [`authenticator`] finds out who asks, [`authorizer`] is the judge,
//! on the rules of [`rbac`] and [`node`], which [`live`] keeps up to date; [`decision`] is a refusal. [`service_account`]s are users that objects stand for;
//! [`impersonation`] makes somebody else of a user who may.

pub mod attributes;
pub mod authenticator;
pub mod authorizer;
pub mod decision;
pub mod impersonation;
pub mod live;
pub mod node;
pub mod rbac;
pub mod service_account;
pub mod user;

pub use attributes::{Attributes, ResourceTarget, Target};
pub use authenticator::Authenticator;
pub use authorizer::{Authorizer, Write};
pub use decision::Denied;
pub use user::UserInfo;
