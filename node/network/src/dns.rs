//! Names, as Kubernetes' DNS specification gives them: Services, the pods of headless Services, pods by their address; and what a program takes for
//! granted, `localhost` and its own host name. Pure lookups in a table: [`names`] is what it holds, [`message`] speaks DNS about it, and `server` answers
//! programs that speak DNS themselves.

pub mod message;
pub mod names;
pub(crate) mod server;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub use names::Names;

use crate::{error::NetError, stack::PodIdentity};

/// Names with fewer dots are tried with the search path first (the `ndots` of a pod's resolver).
const NDOTS: usize = 5;
/// Aliases followed for one name.
const ALIASES: usize = 8;
/// The longest name (RFC 1035).
const NAME_LIMIT: usize = 253;

/// The addresses of `name` as the pod `from` sees it, in the cluster `domain`.
///
/// # Errors
/// `InvalidArgument` when it is no name; `NameUnresolvable` when nobody has it, or it leads outside the cluster, where pods have no way yet.
pub fn lookup(
    name: &str,
    from: &PodIdentity,
    names: &Names,
    domain: &str,
) -> Result<Vec<IpAddr>, NetError> {
    let unbracketed = name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'));
    if let Some(name) = unbracketed {
        let ip = name.parse::<Ipv6Addr>();
        return ip
            .map(|ip| vec![ip.into()])
            .map_err(|_| NetError::InvalidArgument);
    }
    if let Ok(ip) = name.parse::<IpAddr>() {
        return Ok(vec![ip]);
    }
    let (name, absolute) = match name.strip_suffix('.') {
        Some(absolute) => (absolute.to_ascii_lowercase(), true),
        None => (name.to_ascii_lowercase(), false),
    };
    if !is_name(&name) {
        return Err(NetError::InvalidArgument);
    }
    if name == "localhost" || name.ends_with(".localhost") {
        return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
    }
    if name == from.hostname.to_ascii_lowercase() {
        return Ok(vec![from.ip]);
    }
    let search = [
        format!("{}.svc.{domain}", from.namespace),
        format!("svc.{domain}"),
        domain.to_owned(),
    ];
    let searched = search.iter().map(|suffix| format!("{name}.{suffix}"));
    let candidates: Vec<String> = match (absolute, name.matches('.').count() < NDOTS) {
        (true, _) => vec![name.clone()],
        (false, true) => searched.chain([name.clone()]).collect(),
        (false, false) => [name.clone()].into_iter().chain(searched).collect(),
    };
    let found = candidates
        .iter()
        .find_map(|candidate| resolve(candidate, names, domain));
    found
        .filter(|addresses| !addresses.is_empty())
        .ok_or(NetError::NameUnresolvable)
}

/// The addresses of a full name; `None` when nobody has it. Aliases are followed as far as they stay in the cluster.
fn resolve(name: &str, names: &Names, domain: &str) -> Option<Vec<IpAddr>> {
    let mut name = name.to_owned();
    for _ in 0..ALIASES {
        let found = names.find(&name, domain)?;
        match found.alias {
            Some(alias) => name = alias,
            None => return (!found.addresses.is_empty()).then_some(found.addresses),
        }
    }
    None
}

fn is_name(name: &str) -> bool {
    let label = |label: &str| {
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        (1..=63).contains(&label.len())
            && label.chars().all(allowed)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    !name.is_empty() && name.len() <= NAME_LIMIT && name.split('.').all(label)
}

#[cfg(test)]
mod tests;
