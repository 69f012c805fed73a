//! Says which Kubernetes this server speaks and which Coracle it is.

use serde_json::{Value, json};

/// The minor version of the API: that of the types the workspace is built with.
const MINOR: u32 = {
    k8s_openapi::k8s_if_le_1_36! { 36 }
    k8s_openapi::k8s_if_1_37! { 37 }
};

/// The version as clients compare it.
#[must_use]
pub fn git_version() -> String {
    format!("v1.{MINOR}.0+coracle.{}", env!("CARGO_PKG_VERSION"))
}

/// The answer to `/version`.
#[must_use]
pub fn document() -> Value {
    json!({
        "major": "1",
        "minor": MINOR.to_string(),
        "gitVersion": git_version(),
        "gitCommit": "",
        "gitTreeState": "",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "none",
        "compiler": "rustc",
        "platform": format!("{}/{}", std::env::consts::OS, architecture()),
    })
}

/// The machine architecture in Go's words, which clients know.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_one_that_clients_parse() {
        let version = git_version();
        assert!(version.starts_with("v1.37.0+coracle."), "{version}");
        let info: k8s_openapi::apimachinery::pkg::version::Info =
            serde_json::from_value(document()).unwrap();
        assert_eq!((info.major.as_str(), info.minor.as_str()), ("1", "37"));
    }
}
