//! ConfigMaps and Secrets.

use serde_json::Value;

use super::{At, unchanged};
use crate::fields::{FieldError, FieldPath, Problems};

/// As much as a ConfigMap or Secret may hold.
const DATA_LIMIT: usize = 1 << 20;

fn data_keys(at: &At<'_>, problems: &mut Problems) -> usize {
    let mut size = 0;
    for (key, entry) in at.entries() {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if key.is_empty()
            || key.len() > 253
            || !key.chars().all(allowed)
            || key == "."
            || key == ".."
            || key.starts_with("..")
        {
            let detail = "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', \
                 regex used for validation is '[-._a-zA-Z0-9]+')";
            problems.push(FieldError::invalid(&entry.path, key, detail));
        }
        size += entry.text().len();
    }
    size
}

/// A ConfigMap.
#[must_use]
pub fn config_map(object: &Value) -> Problems {
    let mut problems = Problems::new();
    let root = At::root(object);
    let size = data_keys(&root.field("data"), &mut problems)
        + data_keys(&root.field("binaryData"), &mut problems);
    for (key, entry) in root.field("binaryData").entries() {
        if root.field("data").field(key).is_set() {
            problems.push(FieldError::invalid(
                &entry.path,
                key,
                "duplicate of key present in data",
            ));
        }
    }
    if size > DATA_LIMIT {
        problems.push(FieldError::too_long(&FieldPath::root(), DATA_LIMIT));
    }
    problems
}

/// A changed ConfigMap.
#[must_use]
pub fn config_map_update(new: &Value, old: &Value) -> Problems {
    frozen(new, old, &["data", "binaryData"])
}

/// A Secret.
#[must_use]
pub fn secret(object: &Value) -> Problems {
    let mut problems = Problems::new();
    let root = At::root(object);
    let data = root.field("data");
    if data_keys(&data, &mut problems) > DATA_LIMIT * 4 / 3 {
        problems.push(FieldError::too_long(&data.path, DATA_LIMIT));
    }
    let needed: &[&str] = match root.field("type").text() {
        "kubernetes.io/tls" => &["tls.crt", "tls.key"],
        "kubernetes.io/dockerconfigjson" => &[".dockerconfigjson"],
        "kubernetes.io/dockercfg" => &[".dockercfg"],
        "kubernetes.io/ssh-auth" => &["ssh-privatekey"],
        _ => &[],
    };
    for key in needed {
        if !data.field(key).is_set() {
            problems.push(FieldError::required(&data.path.key(key), ""));
        }
    }
    problems
}

/// A changed Secret.
#[must_use]
pub fn secret_update(new: &Value, old: &Value) -> Problems {
    let mut problems = frozen(new, old, &["data"]);
    unchanged(
        &At::root(new).field("type"),
        &At::root(old).field("type"),
        &mut problems,
    );
    problems
}

/// What `immutable: true` means.
fn frozen(new: &Value, old: &Value, fields: &[&str]) -> Problems {
    let mut problems = Problems::new();
    let (new, old) = (At::root(new), At::root(old));
    if !old.field("immutable").flag() {
        return problems;
    }
    let detail = "field is immutable when `immutable` is set";
    if !new.field("immutable").flag() {
        problems.push(FieldError::forbidden(&new.field("immutable").path, detail));
    }
    for field in fields {
        if new.field(field).value != old.field(field).value {
            problems.push(FieldError::forbidden(&new.field(field).path, detail));
        }
    }
    problems
}
