//! Users who act as somebody else (`kubectl --as`): who they ask to be, and whether they may. What they then may do is what the other may.

use coracle_api::status::ApiError;
use http::{HeaderMap, HeaderValue};
use percent_encoding::percent_decode_str;

use super::{
    Attributes, Authorizer, ResourceTarget, Target,
    service_account::ServiceAccount,
    user::{AUTHENTICATED, UserInfo},
};
use crate::authorization;

/// What all its headers begin with.
const PREFIX: &str = "impersonate-";
const USER: &str = "impersonate-user";
const GROUP: &str = "impersonate-group";
const UID: &str = "impersonate-uid";
const EXTRA: &str = "impersonate-extra-";
/// The group of the permissions to take over a uid or an extra.
const AUTHENTICATION: &str = "authentication.k8s.io";

/// Who the request is to be treated as coming from: `user`, or whom `user` asks to be and may be. The headers that ask are taken away.
///
/// # Errors
/// `Forbidden`; `BadRequest` for groups and the like without a user.
pub fn effective(
    authorizer: &Authorizer,
    user: UserInfo,
    headers: &mut HeaderMap,
) -> Result<UserInfo, ApiError> {
    let asked: Vec<_> = headers
        .keys()
        .filter(|name| name.as_str().starts_with(PREFIX))
        .cloned()
        .collect();
    if asked.is_empty() {
        return Ok(user);
    }
    let wanted = wanted(headers)?;
    for name in asked {
        headers.remove(name);
    }
    check(authorizer, &user, &wanted)?;
    Ok(complete(wanted))
}

/// Whom the headers ask to be, as they say it.
fn wanted(headers: &HeaderMap) -> Result<UserInfo, ApiError> {
    let mut wanted = UserInfo::default();
    for (name, value) in headers {
        let name = name.as_str();
        if !name.starts_with(PREFIX) {
            continue;
        }
        let value = text(value)?;
        match name {
            USER => wanted.name = value,
            GROUP => wanted.groups.push(value),
            UID => wanted.uid = Some(value),
            _ => {
                let Some(key) = name.strip_prefix(EXTRA) else {
                    return Err(ApiError::bad_request(format!(
                        "unknown impersonation header {name:?}"
                    )));
                };
                let key = percent_decode_str(key).decode_utf8_lossy().into_owned();
                wanted.extra.entry(key).or_default().push(value);
            }
        }
    }
    if wanted.name.is_empty() {
        return Err(ApiError::bad_request(
            "requested groups, uid or extra without impersonating a user",
        ));
    }
    Ok(wanted)
}

fn text(value: &HeaderValue) -> Result<String, ApiError> {
    std::str::from_utf8(value.as_bytes())
        .map(str::to_owned)
        .map_err(|_| ApiError::bad_request("an impersonation header is not UTF-8"))
}

/// Whether `user` may be all of `wanted`.
fn check(authorizer: &Authorizer, user: &UserInfo, wanted: &UserInfo) -> Result<(), ApiError> {
    let may = |target: ResourceTarget<'_>| {
        let attributes = Attributes {
            user,
            verb: "impersonate",
            target: Target::Resource(target),
        };
        authorizer
            .authorize(&attributes)
            .map_err(authorization::refusal)
    };
    let named = |group, resource, name| ResourceTarget {
        group,
        resource,
        name: Some(name),
        ..ResourceTarget::default()
    };
    match ServiceAccount::parse(&wanted.name) {
        Some(account) => may(ResourceTarget {
            namespace: Some(account.namespace),
            ..named("", "serviceaccounts", account.name)
        })?,
        None => may(named("", "users", &wanted.name))?,
    }
    for group in &wanted.groups {
        may(named("", "groups", group))?;
    }
    if let Some(uid) = &wanted.uid {
        may(named(AUTHENTICATION, "uids", uid))?;
    }
    for (key, values) in &wanted.extra {
        for value in values {
            may(ResourceTarget {
                subresource: Some(key),
                ..named(AUTHENTICATION, "userextras", value)
            })?;
        }
    }
    Ok(())
}

/// The user with the groups everyone of the kind is in.
fn complete(mut wanted: UserInfo) -> UserInfo {
    if wanted.groups.is_empty()
        && let Some(account) = ServiceAccount::parse(&wanted.name)
    {
        wanted.groups = account.groups().to_vec();
    }
    if !wanted.is_in(AUTHENTICATED) {
        wanted.groups.push(AUTHENTICATED.to_owned());
    }
    wanted
}
