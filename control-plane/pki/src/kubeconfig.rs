//! The text of a kubeconfig with everything in it: one cluster, one user, one context. Does not touch files; does not merge with others.

use std::fmt::Write as _;

use base64::{Engine as _, engine::general_purpose::STANDARD};

use crate::identity::Identity;

/// How the user proves who they are.
#[derive(Clone, Debug)]
pub enum Credential {
    /// A client certificate with its key, embedded.
    Certificate(Identity),
    /// A bearer token.
    Token(String),
}

/// A kubeconfig (`v1 Config` of client-go) with one context.
#[derive(Clone, Debug)]
pub struct Kubeconfig {
    /// The API server's URL, `https://HOST:PORT`.
    pub server: String,
    /// The CA's certificate, embedded.
    pub ca_pem: String,
    /// What the cluster and the context are called.
    pub cluster: String,
    /// What the user is called (in this file; who they are is in the credential).
    pub user: String,
    /// The namespace of commands that name none.
    pub namespace: Option<String>,
    /// How the user proves who they are.
    pub credential: Credential,
}

impl Kubeconfig {
    /// The file's text in YAML. Holds a secret: for its owner's eyes only.
    #[must_use]
    pub fn to_yaml(&self) -> String {
        let cluster = quoted(&self.cluster);
        let user = quoted(&self.user);
        let context = quoted(&format!("{}@{}", self.user, self.cluster));
        let context = if self.user == self.cluster {
            cluster.clone()
        } else {
            context
        };
        let mut text = String::from("apiVersion: v1\nkind: Config\n");
        let mut line = |line: std::fmt::Arguments<'_>| {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{line}");
        };
        line(format_args!("clusters:\n- name: {cluster}\n  cluster:"));
        line(format_args!("    server: {}", quoted(&self.server)));
        line(format_args!(
            "    certificate-authority-data: {}",
            STANDARD.encode(&self.ca_pem)
        ));
        line(format_args!("users:\n- name: {user}\n  user:"));
        match &self.credential {
            Credential::Certificate(identity) => {
                line(format_args!(
                    "    client-certificate-data: {}",
                    STANDARD.encode(&identity.cert_pem)
                ));
                line(format_args!(
                    "    client-key-data: {}",
                    STANDARD.encode(&identity.key_pem)
                ));
            }
            Credential::Token(token) => line(format_args!("    token: {}", quoted(token))),
        }
        line(format_args!("contexts:\n- name: {context}\n  context:"));
        line(format_args!("    cluster: {cluster}\n    user: {user}"));
        if let Some(namespace) = &self.namespace {
            line(format_args!("    namespace: {}", quoted(namespace)));
        }
        line(format_args!("current-context: {context}"));
        text
    }
}

/// A YAML scalar: plain where that is unmistakable, else a JSON string, which YAML reads too.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/' | '@');
    let starts = text.starts_with(|c: char| c.is_ascii_alphabetic());
    let word = matches!(
        text.to_ascii_lowercase().as_str(),
        "true" | "false" | "null" | "yes" | "no" | "on" | "off" | "y" | "n"
    );
    let url = text.strip_prefix("https://").is_some_and(|rest| {
        !rest.is_empty() && rest.chars().all(|c| plain(c) || c == ':') && !rest.ends_with(':')
    });
    if url || starts && !word && text.chars().all(plain) {
        return text.to_owned();
    }
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests;
