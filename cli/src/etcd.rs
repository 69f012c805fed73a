//! The way to an etcd, as flags of `coracle server`. Files are read here; secrets are never on the command line.

use std::{fs, path::PathBuf};

use anyhow::{Context, bail};
use clap::Args;
use coracle_store::EtcdOptions;

/// Where the objects are, when not in the data folder.
#[derive(Args)]
pub(crate) struct EtcdArguments {
    /// Keep the objects in etcd instead of the data folder: the URL of a member; may be given again for the others. Several servers can share one etcd.
    #[arg(long = "etcd", value_name = "URL")]
    endpoints: Vec<String>,
    /// What this cluster's keys in etcd begin with.
    #[arg(long, requires = "endpoints", default_value = "/coracle/")]
    etcd_prefix: String,
    /// The CA that etcd's certificates are signed by, in PEM.
    #[arg(long, requires = "endpoints", value_name = "FILE")]
    etcd_ca: Option<PathBuf>,
    /// The certificate that proves to etcd who we are, in PEM.
    #[arg(long, requires_all = ["endpoints", "etcd_key"], value_name = "FILE")]
    etcd_cert: Option<PathBuf>,
    /// The certificate's key.
    #[arg(long, requires = "etcd_cert", value_name = "FILE")]
    etcd_key: Option<PathBuf>,
    /// The user that etcd knows us as; the password is taken from the environment variable CORACLE_ETCD_PASSWORD.
    #[arg(long, requires = "endpoints", value_name = "NAME")]
    etcd_user: Option<String>,
}

impl EtcdArguments {
    /// The options they make; `None` without an etcd.
    ///
    /// # Errors
    /// When a file cannot be read or the password is missing.
    pub(crate) fn options(self) -> anyhow::Result<Option<EtcdOptions>> {
        if self.endpoints.is_empty() {
            return Ok(None);
        }
        let read =
            |path: &PathBuf| fs::read(path).with_context(|| format!("read {}", path.display()));
        let ca = self.etcd_ca.as_ref().map(read).transpose()?;
        let identity = match (&self.etcd_cert, &self.etcd_key) {
            (Some(certificate), Some(key)) => Some((read(certificate)?, read(key)?)),
            _ => None,
        };
        // Never a flag: command lines are public.
        let password = std::env::var("CORACLE_ETCD_PASSWORD").ok();
        let credentials = match (self.etcd_user, password) {
            (Some(user), Some(password)) => Some((user, password)),
            (Some(_), None) => bail!("--etcd-user needs a password: set CORACLE_ETCD_PASSWORD"),
            (None, _) => None,
        };
        Ok(Some(EtcdOptions {
            prefix: self.etcd_prefix,
            ca,
            identity,
            credentials,
            ..EtcdOptions::new(self.endpoints)
        }))
    }
}
