//! `coracle kubeconfig`: makes identities from the data folder of a control plane, whether it runs or not. Whoever can read that folder is its
//! administrator already.

use std::{
    io::{self, Write},
    path::PathBuf,
    time::Duration,
};

use anyhow::{Context, bail};
use clap::Args;
use coracle_control_plane::{Config, Credentials};
use jiff::{SignedDuration, Timestamp};

use crate::{private_file, server::ADMIN_KUBECONFIG};

/// For whom, and where to.
#[derive(Args)]
pub(crate) struct KubeconfigArguments {
    /// The data folder of the control plane.
    #[arg(long, env = "CORACLE_DATA_DIR", default_value = "coracle-data")]
    data_dir: PathBuf,
    /// A bearer token for this user, instead of the administrator's certificate. What the user may do is up to role bindings.
    #[arg(long, conflicts_with = "node")]
    user: Option<String>,
    /// A group of the user; may be given again.
    #[arg(long = "group", requires = "user")]
    groups: Vec<String>,
    /// How long the token is valid: `45m`, `12h`, `30d`.
    #[arg(long, requires = "user", default_value = "24h", value_parser = ttl)]
    ttl: Duration,
    /// A certificate for the node of this name, for `coracle node`.
    #[arg(long)]
    node: Option<String>,
    /// The URL that the kubeconfig points at. Left out: the one in the administrator's kubeconfig.
    #[arg(long)]
    server: Option<String>,
    /// The file to write, readable by you alone. Left out: standard output.
    #[arg(long, short)]
    output: Option<PathBuf>,
}

/// Writes the kubeconfig asked for.
pub(crate) fn run(arguments: KubeconfigArguments) -> anyhow::Result<()> {
    let config = Config::local(arguments.data_dir.clone());
    let pki = config.pki_dir();
    if !pki.join("ca.crt").exists() {
        bail!(
            "there is no cluster in {}: start one there with `coracle up` or `coracle server`, or name its folder with --data-dir",
            arguments.data_dir.display()
        );
    }
    let credentials = Credentials::open_or_create(&pki, Timestamp::now())
        .with_context(|| format!("read the keys in {}", pki.display()))?;
    let server = match &arguments.server {
        Some(server) => server.clone(),
        None => known_server(&arguments.data_dir)?,
    };
    let text = match (&arguments.user, &arguments.node) {
        (Some(user), _) => {
            credentials.token_kubeconfig(&server, user, arguments.groups, arguments.ttl)?
        }
        (None, Some(node)) => credentials.node_kubeconfig(&server, node)?,
        (None, None) => credentials.admin_kubeconfig(&server)?,
    };
    match arguments.output {
        Some(path) => {
            private_file::write(&path, &text).with_context(|| format!("write {}", path.display()))
        }
        None => Ok(io::stdout().write_all(text.as_bytes())?),
    }
}

/// The URL that the control plane was last served at.
fn known_server(data_dir: &std::path::Path) -> anyhow::Result<String> {
    let path = data_dir.join(ADMIN_KUBECONFIG);
    let found = kube::config::Kubeconfig::read_from(&path)
        .with_context(|| format!("find out where the API is served: say so with --server, or start the cluster once, which writes {}", path.display()))?;
    let cluster = found.clusters.into_iter().find_map(|named| named.cluster);
    let server = cluster.and_then(|cluster| cluster.server);
    server.with_context(|| format!("{} names no server: say it with --server", path.display()))
}

/// A positive span of time in the form that Kubernetes' own tools take.
fn ttl(text: &str) -> Result<Duration, String> {
    let span: SignedDuration = text
        .parse()
        .or_else(|error| days(text).ok_or(error))
        .map_err(|error: jiff::Error| format!("{error}: write for example 45m, 12h or 30d"))?;
    match Duration::try_from(span) {
        Ok(ttl) if !ttl.is_zero() => Ok(ttl),
        _ => Err("must be longer than nothing".to_owned()),
    }
}

fn days(text: &str) -> Option<SignedDuration> {
    let days: i64 = text.strip_suffix('d')?.parse().ok()?;
    Some(SignedDuration::from_secs(days.checked_mul(24 * 3600)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_of_time_are_read_as_kubectl_does() {
        assert_eq!(ttl("45m"), Ok(Duration::from_secs(2700)));
        assert_eq!(ttl("1h30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(ttl("30d"), Ok(Duration::from_secs(30 * 86400)));
        for wrong in ["", "0s", "-1h", "soon", "d", "99999999999999999d"] {
            assert!(ttl(wrong).is_err(), "{wrong}");
        }
    }
}
