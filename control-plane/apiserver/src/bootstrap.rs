//! What every cluster has from its first start: roles, the system namespaces and the `kubernetes` Service. Goes through the pipeline like everything
//! else, and changes nothing that is there already.

use std::{net::SocketAddr, sync::Arc};

use coracle_api::status::ApiError;
use serde_json::{Value, json};

use crate::{
    admission::namespaces::SYSTEM,
    ambient,
    auth::{
        rbac,
        user::{MASTERS, UserInfo},
    },
    error, keys, meta,
    server::Shared,
    writes::{Write, WriteOptions, prepare::Part, update::Made},
};

const SERVICE: &str = "kubernetes";
const PORT: u16 = 443;

/// Makes what is missing, and brings the endpoint up to date.
///
/// # Errors
/// What the pipeline says.
pub async fn run(server: &Arc<Shared>) -> Result<(), ApiError> {
    let user = UserInfo::new("system:apiserver", [MASTERS]);
    let ambient = &*server.ambient;
    let roles = rbac::bootstrap::ensure(&*server.store, ambient.now(), || ambient::uid(ambient));
    roles.await.map_err(error::from_store)?;
    for name in SYSTEM {
        let namespace =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        ensure(server, &user, ("", "namespaces"), None, namespace).await?;
    }
    let service = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": SERVICE, "labels": {"component": "apiserver", "provider": "kubernetes"}},
        "spec": {
            "type": "ClusterIP",
            "clusterIP": server.service_range.first().to_string(),
            "ports": [{"name": "https", "port": PORT, "protocol": "TCP", "targetPort": server.endpoint.map_or(PORT, |at| at.port())}],
        },
    });
    ensure(server, &user, ("", "services"), Some("default"), service).await?;
    // Loopback is every pod's own: an endpoint there would be none.
    let endpoint = server
        .endpoint
        .filter(|at| !at.ip().is_loopback() && !at.ip().is_unspecified());
    if let Some(endpoint) = endpoint {
        publish(server, &user, endpoint).await?;
    }
    Ok(())
}

/// Creates an object unless it exists. Whatever is wrong with creating it does not matter when another server has done so meanwhile.
async fn ensure(
    server: &Shared,
    user: &UserInfo,
    kind: (&str, &str),
    namespace: Option<&str>,
    object: Value,
) -> Result<bool, ApiError> {
    let mut write = write(server, user, kind, namespace)?;
    let name = meta::name(&object).unwrap_or_default();
    let key = keys::object(&write.resource, namespace, name);
    let exists = async || server.store.get(&key).await.map_err(error::from_store);
    if exists().await?.is_some() {
        return Ok(false);
    }
    match write.create(object).await {
        Ok(_) => Ok(true),
        Err(_) if exists().await?.is_some() => Ok(false),
        Err(error) => Err(error),
    }
}

/// Makes this server's address the endpoint of the `kubernetes` Service.
async fn publish(server: &Shared, user: &UserInfo, at: SocketAddr) -> Result<(), ApiError> {
    let kind = ("discovery.k8s.io", "endpointslices");
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": SERVICE, "labels": {"kubernetes.io/service-name": SERVICE}},
        "addressType": if at.is_ipv4() { "IPv4" } else { "IPv6" },
        "endpoints": [{"addresses": [at.ip().to_string()], "conditions": {"ready": true}}],
        "ports": [{"name": "https", "port": at.port(), "protocol": "TCP"}],
    });
    if ensure(server, user, kind, Some("default"), slice.clone()).await? {
        return Ok(());
    }
    let mut write = write(server, user, kind, Some("default"))?;
    let updated = write.update(SERVICE, Part::Main, |current, _| {
        let mut object = current.clone();
        for field in ["endpoints", "ports"] {
            if let (Some(map), Some(value)) = (object.as_object_mut(), slice.get(field)) {
                map.insert(field.to_owned(), value.clone());
            }
        }
        meta::copy(&mut object, &slice, "labels");
        Ok(Made {
            object,
            insists: false,
        })
    });
    updated.await.map(drop)
}

fn write<'a>(
    server: &'a Shared,
    user: &'a UserInfo,
    (group, plural): (&str, &str),
    namespace: Option<&'a str>,
) -> Result<Write<'a>, ApiError> {
    let resource = server
        .registry()
        .get(group, "v1", plural)
        .cloned()
        .ok_or_else(|| ApiError::internal(format!("the registry has no {plural}")))?;
    Ok(Write {
        server,
        user,
        resource,
        namespace,
        subresource: None,
        options: WriteOptions {
            manager: "kube-apiserver".to_owned(),
            ..WriteOptions::default()
        },
        warnings: Vec::new(),
    })
}
