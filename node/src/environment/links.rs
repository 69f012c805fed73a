//! The environment variables that tell of Services (upstream: `pkg/kubelet/envvars`). Pure.

use k8s_openapi::api::core::v1::Service;

/// The variables for Services, in the order they come in.
#[must_use]
pub fn variables<'a>(services: impl IntoIterator<Item = &'a Service>) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for service in services {
        let Some(spec) = &service.spec else { continue };
        let name = variable_name(service.metadata.name.as_deref().unwrap_or_default());
        let ip = spec.cluster_ip.as_deref().unwrap_or_default();
        // Headless and external ones have no address to tell.
        let Ok(address) = ip.parse::<std::net::IpAddr>() else {
            continue;
        };
        let ports = spec.ports.as_deref().unwrap_or_default();
        let Some(first) = ports.first() else { continue };
        all.push((format!("{name}_SERVICE_HOST"), ip.to_owned()));
        all.push((format!("{name}_SERVICE_PORT"), first.port.to_string()));
        for port in ports {
            if let Some(of) = port.name.as_deref().filter(|of| !of.is_empty()) {
                all.push((
                    format!("{name}_SERVICE_PORT_{}", variable_name(of)),
                    port.port.to_string(),
                ));
            }
        }
        for (index, port) in ports.iter().enumerate() {
            let protocol = port.protocol.as_deref().unwrap_or("TCP");
            let url = format!(
                "{}://{}",
                protocol.to_lowercase(),
                std::net::SocketAddr::new(address, u16::try_from(port.port).unwrap_or(0))
            );
            if index == 0 {
                all.push((format!("{name}_PORT"), url.clone()));
            }
            let prefix = format!("{name}_PORT_{}_{}", port.port, protocol.to_uppercase());
            all.push((prefix.clone(), url));
            all.push((format!("{prefix}_PROTO"), protocol.to_lowercase()));
            all.push((format!("{prefix}_PORT"), port.port.to_string()));
            all.push((format!("{prefix}_ADDR"), ip.to_owned()));
        }
    }
    all
}

fn variable_name(name: &str) -> String {
    name.to_uppercase().replace('-', "_")
}
