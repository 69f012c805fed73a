//! Gives Services their virtual addresses. What is given is written down as claims in the same transaction as the Service, so that no two get
//! the same and none is lost; the claims of a kind are declared in its registry row. Node ports: [`super::service_ports`].

use std::net::Ipv4Addr;

use coracle_api::{
    fields::{FieldError, FieldPath},
    status::ApiError,
};
use serde_json::{Value, json};

use super::service_ports;
use crate::{error, keys, meta, writes::Write};

/// Addresses or ports that are tried one by one before the write gives up: more would be a scan of the store per write.
pub(super) const TRIES: usize = 4096;
const NONE: &str = "None";
const EXTERNAL_NAME: &str = "ExternalName";

pub(super) async fn admit(
    write: &Write<'_>,
    service: &mut Value,
    old: Option<&Value>,
) -> Result<(), ApiError> {
    if let Some(old) = old {
        keep_address(service, old);
    }
    if kind(service) == EXTERNAL_NAME {
        let spec = meta::child_mut(service, "spec");
        for field in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
            spec.remove(field);
        }
    } else {
        check_families(write, service)?;
        give_address(write, service, old).await?;
    }
    service_ports::admit(write, service, old).await
}

/// The Service's type; what is not set has been defaulted.
pub(super) fn kind(service: &Value) -> &str {
    meta::text_at(service, &["spec", "type"]).unwrap_or("ClusterIP")
}

/// The Service's virtual address, `None` for headless ones included.
fn address(service: &Value) -> Option<&str> {
    meta::text_at(service, &["spec", "clusterIP"])
        .or_else(|| service.pointer("/spec/clusterIPs/0")?.as_str())
        .filter(|ip| !ip.is_empty())
}

/// A client that replaces a Service without saying its address means the one it has.
fn keep_address(service: &mut Value, old: &Value) {
    if kind(service) == EXTERNAL_NAME || kind(old) == EXTERNAL_NAME || address(service).is_some() {
        return;
    }
    let spec = meta::child_mut(service, "spec");
    for field in ["clusterIP", "clusterIPs"] {
        if let Some(value) = old.pointer(&format!("/spec/{field}")) {
            spec.insert(field.to_owned(), value.clone());
        }
    }
}

/// This cluster's Services have one IPv4 address.
fn check_families(write: &Write<'_>, service: &mut Value) -> Result<(), ApiError> {
    let invalid = |service: &Value, field: &FieldPath, value: Value, why: &str| {
        let problem = FieldError::invalid(field, value, why);
        let name = meta::name(service).unwrap_or_default();
        Err(ApiError::invalid(&write.resource, name, &[problem]))
    };
    let spec = FieldPath::new("spec");
    if meta::text_at(service, &["spec", "ipFamilyPolicy"]) == Some("RequireDualStack") {
        let why = "this cluster is not configured for dual-stack services";
        return invalid(
            service,
            &spec.child("ipFamilyPolicy"),
            json!("RequireDualStack"),
            why,
        );
    }
    let families = meta::at(service, &["spec", "ipFamilies"]).and_then(Value::as_array);
    let wrong = families
        .into_iter()
        .flatten()
        .position(|family| family != "IPv4");
    if let Some(n) = wrong {
        let value = service.pointer(&format!("/spec/ipFamilies/{n}")).cloned();
        let field = spec.child("ipFamilies").index(n);
        let why = "not configured on this cluster";
        return invalid(service, &field, value.unwrap_or_default(), why);
    }
    let spec = meta::child_mut(service, "spec");
    spec.insert("ipFamilies".to_owned(), json!(["IPv4"]));
    spec.entry("ipFamilyPolicy").or_insert(json!("SingleStack"));
    Ok(())
}

async fn give_address(
    write: &Write<'_>,
    service: &mut Value,
    old: Option<&Value>,
) -> Result<(), ApiError> {
    let asked = address(service).map(str::to_owned);
    let held = old.and_then(address);
    let ip = match asked {
        Some(ip) if ip == NONE || Some(ip.as_str()) == held => ip,
        Some(ip) => {
            if let Err(why) = check_asked(write, &ip).await? {
                let problem = FieldError::invalid(
                    &FieldPath::new("spec").child("clusterIPs"),
                    json!([ip]),
                    format!("failed to allocate IP {ip}: {why}"),
                );
                let name = meta::name(service).unwrap_or_default();
                return Err(ApiError::invalid(&write.resource, name, &[problem]));
            }
            ip
        }
        None => free_address(write).await?.to_string(),
    };
    let spec = meta::child_mut(service, "spec");
    spec.insert("clusterIP".to_owned(), json!(ip));
    let listed = spec.get("clusterIPs").and_then(Value::as_array);
    if listed.is_none_or(Vec::is_empty) {
        spec.insert("clusterIPs".to_owned(), json!([ip]));
    }
    Ok(())
}

/// Whether an address a client chose can be given, or why not.
async fn check_asked(write: &Write<'_>, ip: &str) -> Result<Result<(), String>, ApiError> {
    let range = write.server.service_range;
    // What is no address at all is validation's to say.
    let Ok(parsed) = ip.parse::<Ipv4Addr>() else {
        return Ok(Ok(()));
    };
    if !range.contains(parsed) {
        return Ok(Err(format!(
            "the provided IP ({ip}) is not in the valid range. The range of valid IPs is {range}"
        )));
    }
    if is_claimed(write, &format!("ip/{ip}")).await? {
        return Ok(Err("provided IP is already allocated".to_owned()));
    }
    Ok(Ok(()))
}

async fn free_address(write: &Write<'_>) -> Result<Ipv4Addr, ApiError> {
    let range = write.server.service_range;
    for ip in range.candidates(write.server.ambient.draw()).take(TRIES) {
        if !is_claimed(write, &format!("ip/{ip}")).await? {
            return Ok(ip);
        }
    }
    Err(ApiError::internal(format!(
        "failed to allocate a serviceIP: range {range} is full"
    )))
}

/// Whether some object holds `claim`. Advice only: the transaction decides.
pub(super) async fn is_claimed(write: &Write<'_>, claim: &str) -> Result<bool, ApiError> {
    let found = write.server.store.get(&keys::claim(claim)).await;
    Ok(found.map_err(error::from_store)?.is_some())
}
