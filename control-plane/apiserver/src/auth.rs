//! Who asks, and whether they may. [`user`] and [`attributes`] are the vocabulary, [`decision`] a refusal, [`authorizer`] the judge.

pub mod attributes;
pub mod authorizer;
pub mod decision;
pub mod user;

pub use attributes::{Attributes, ResourceTarget, Target};
pub use authorizer::Authorizer;
pub use decision::Denied;
pub use user::UserInfo;
