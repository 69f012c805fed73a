//! Service accounts as users: their names and groups, and whether the one a token names is still there.

use std::time::Duration;

use coracle_api::status::ApiError;
use coracle_pki::token::Bound;

use super::user::UserInfo;
use crate::{encoded::Stored, error, keys, meta, server::Shared};

/// What the names of service accounts' users begin with.
const PREFIX: &str = "system:serviceaccount:";
/// How long a token is valid if nothing else is asked for.
pub const DEFAULT_LIFE: Duration = Duration::from_secs(3600);
/// The extras that tell which pod a token was made for.
pub const POD_NAME: &str = "authentication.kubernetes.io/pod-name";
/// See [`POD_NAME`].
pub const POD_UID: &str = "authentication.kubernetes.io/pod-uid";

/// A service account by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServiceAccount<'a> {
    /// Its namespace.
    pub namespace: &'a str,
    /// Its name.
    pub name: &'a str,
}

impl<'a> ServiceAccount<'a> {
    /// The service account a user is, if it is one.
    #[must_use]
    pub fn parse(user: &'a str) -> Option<Self> {
        let (namespace, name) = user.strip_prefix(PREFIX)?.split_once(':')?;
        (!namespace.is_empty() && !name.is_empty() && !name.contains(':'))
            .then_some(Self { namespace, name })
    }

    /// The name of its user.
    #[must_use]
    pub fn user(self) -> String {
        format!("{PREFIX}{}:{}", self.namespace, self.name)
    }

    /// The groups of its user.
    #[must_use]
    pub fn groups(self) -> [String; 2] {
        let all = "system:serviceaccounts";
        [all.to_owned(), format!("{all}:{}", self.namespace)]
    }
}

/// What a token that is bound to objects says about its user beyond the name.
pub fn add_extra(user: &mut UserInfo, bound: &Bound) {
    if let Some(pod) = &bound.pod {
        let pairs = [(POD_NAME, &pod.name), (POD_UID, &pod.uid)];
        for (key, value) in pairs {
            user.extra.insert(key.to_owned(), vec![value.clone()]);
        }
    }
}

/// Lets through everyone but service accounts (known by a token, which has their uid) that are gone, or whose pod is.
///
/// # Errors
/// `Unauthorized`, and what the store says.
pub async fn still_there(server: &Shared, user: &UserInfo) -> Result<(), ApiError> {
    let (Some(account), Some(uid)) = (ServiceAccount::parse(&user.name), user.uid.as_deref())
    else {
        return Ok(());
    };
    let extra = |key: &str| user.extra.get(key).and_then(|values| values.first());
    if !exists(
        server,
        "serviceaccounts",
        account.namespace,
        account.name,
        uid,
    )
    .await?
    {
        return Err(ApiError::unauthorized());
    }
    if let (Some(name), Some(uid)) = (extra(POD_NAME), extra(POD_UID))
        && !exists(server, "pods", account.namespace, name, uid).await?
    {
        return Err(ApiError::unauthorized());
    }
    Ok(())
}

/// Whether the object of the core group with this name has this uid.
async fn exists(
    server: &Shared,
    plural: &str,
    namespace: &str,
    name: &str,
    uid: &str,
) -> Result<bool, ApiError> {
    let registry = server.registry();
    let Some(resource) = registry.get("", "v1", plural) else {
        return Ok(false);
    };
    let key = keys::object(resource, Some(namespace), name);
    let found = server.store.get(&key).await.map_err(error::from_store)?;
    match found {
        Some(record) => Ok(meta::uid(&Stored::open(record)?.value()?) == Some(uid)),
        None => Ok(false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_service_accounts_are_read_and_made() {
        let account = ServiceAccount::parse("system:serviceaccount:default:robot").unwrap();
        assert_eq!((account.namespace, account.name), ("default", "robot"));
        assert_eq!(account.user(), "system:serviceaccount:default:robot");
        assert_eq!(
            account.groups(),
            ["system:serviceaccounts", "system:serviceaccounts:default"]
        );
        for other in [
            "jane",
            "system:serviceaccount:a",
            "system:serviceaccount:a:b:c",
            "system:serviceaccount::b",
        ] {
            assert_eq!(ServiceAccount::parse(other), None, "{other}");
        }
    }
}
