//! The one place that says yes or no to a request. Members of `system:masters` may do everything; everyone else needs a rule.

use crate::auth::{attributes::Attributes, decision::Denied, user::MASTERS};

/// Decides who may do what.
#[derive(Debug, Default)]
pub struct Authorizer {}

impl Authorizer {
    /// Whether the request may happen.
    ///
    /// # Errors
    /// [`Denied`]: no rule allows it.
    pub fn authorize(&self, attributes: &Attributes<'_>) -> Result<(), Denied> {
        if attributes.user.is_in(MASTERS) {
            return Ok(());
        }
        Err(Denied::new(attributes, ""))
    }
}
