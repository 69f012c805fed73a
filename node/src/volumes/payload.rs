//! What files a volume made of objects has. Pure: which file has which bytes is decided here, writing them is `atomic`'s business.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{DownwardAPIVolumeFile, KeyToPath, Pod, Volume};

use crate::environment::{ConfigError, Kind, Reference, Referred, fields::Facts, object};

/// A file of a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// What is in it.
    pub bytes: Vec<u8>,
    /// Its permission bits.
    pub mode: u32,
}

/// The files of a volume by their paths in it.
pub type Payload = BTreeMap<String, File>;

/// What files have when nothing is said.
const DEFAULT_MODE: i32 = 0o644;

/// Why a volume cannot be filled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PayloadError {
    /// Something it is made of is missing.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A key it names is missing.
    #[error("references non-existent config key: {0}")]
    NoKey(String),
    /// A path that would leave the volume.
    #[error("{0:?} is no path inside of a volume")]
    Path(String),
    /// What this node does not have.
    #[error("{0}")]
    Unavailable(&'static str),
}

/// What the pod's volumes refer to.
#[must_use]
pub fn references(pod: &Pod) -> BTreeSet<Reference> {
    let mut all = BTreeSet::new();
    let mut add = |kind, name: Option<&str>| {
        if let Some(name) = name.filter(|name| !name.is_empty()) {
            all.insert(Reference {
                kind,
                name: name.to_owned(),
            });
        }
    };
    let volumes = pod
        .spec
        .as_ref()
        .and_then(|spec| spec.volumes.as_ref())
        .into_iter()
        .flatten();
    for volume in volumes {
        if let Some(of) = &volume.config_map {
            add(Kind::ConfigMap, Some(&of.name));
        }
        if let Some(of) = &volume.secret {
            add(Kind::Secret, of.secret_name.as_deref());
        }
        let sources = volume
            .projected
            .as_ref()
            .and_then(|projected| projected.sources.as_ref())
            .into_iter()
            .flatten();
        for source in sources {
            if let Some(of) = &source.config_map {
                add(Kind::ConfigMap, Some(&of.name));
            }
            if let Some(of) = &source.secret {
                add(Kind::Secret, Some(&of.name));
            }
        }
    }
    all
}

/// The files of `volume`; nothing when it is not made of objects (it is the containers' own to fill).
///
/// # Errors
/// [`PayloadError`].
pub fn payload(
    volume: &Volume,
    facts: &Facts<'_>,
    referred: &Referred,
) -> Result<Option<Payload>, PayloadError> {
    let mut files = Payload::new();
    if let Some(of) = &volume.config_map {
        keys(
            Kind::ConfigMap,
            &of.name,
            of.items.as_deref(),
            of.optional,
            of.default_mode,
            referred,
            &mut files,
        )?;
    } else if let Some(of) = &volume.secret {
        let name = of.secret_name.as_deref().unwrap_or_default();
        keys(
            Kind::Secret,
            name,
            of.items.as_deref(),
            of.optional,
            of.default_mode,
            referred,
            &mut files,
        )?;
    } else if let Some(of) = &volume.downward_api {
        downward(
            of.items.as_deref().unwrap_or_default(),
            of.default_mode,
            facts,
            &mut files,
        )?;
    } else if let Some(projected) = &volume.projected {
        let mode = projected.default_mode;
        for source in projected.sources.iter().flatten() {
            if let Some(of) = &source.config_map {
                keys(
                    Kind::ConfigMap,
                    &of.name,
                    of.items.as_deref(),
                    of.optional,
                    mode,
                    referred,
                    &mut files,
                )?;
            } else if let Some(of) = &source.secret {
                keys(
                    Kind::Secret,
                    &of.name,
                    of.items.as_deref(),
                    of.optional,
                    mode,
                    referred,
                    &mut files,
                )?;
            } else if let Some(of) = &source.downward_api {
                downward(
                    of.items.as_deref().unwrap_or_default(),
                    mode,
                    facts,
                    &mut files,
                )?;
            } else {
                return Err(PayloadError::Unavailable(
                    "projected volumes can be made of config maps, secrets and the downward API on this node",
                ));
            }
        }
    } else if volume.empty_dir.is_some() {
        return Ok(None);
    } else {
        return Err(PayloadError::Unavailable(
            "this type of volume is not available on this node",
        ));
    }
    Ok(Some(files))
}

fn keys(
    kind: Kind,
    name: &str,
    items: Option<&[KeyToPath]>,
    optional: Option<bool>,
    default: Option<i32>,
    referred: &Referred,
    files: &mut Payload,
) -> Result<(), PayloadError> {
    let Some(contents) = object(referred, kind, name, optional)? else {
        return Ok(());
    };
    let Some(items) = items.filter(|items| !items.is_empty()) else {
        for (key, bytes) in contents.iter() {
            put(files, key, bytes.clone(), None, default)?;
        }
        return Ok(());
    };
    for item in items {
        match contents.get(&item.key) {
            Some(bytes) => put(files, &item.path, bytes.clone(), item.mode, default)?,
            None if optional == Some(true) => {}
            None => return Err(PayloadError::NoKey(item.key.clone())),
        }
    }
    Ok(())
}

fn downward(
    items: &[DownwardAPIVolumeFile],
    default: Option<i32>,
    facts: &Facts<'_>,
    files: &mut Payload,
) -> Result<(), PayloadError> {
    for item in items {
        let text = match (&item.field_ref, &item.resource_field_ref) {
            (Some(field), _) => facts.field(&field.field_path)?,
            (None, Some(resource)) => facts.resource(resource)?,
            (None, None) => continue,
        };
        put(files, &item.path, text.into_bytes(), item.mode, default)?;
    }
    Ok(())
}

fn put(
    files: &mut Payload,
    path: &str,
    bytes: Vec<u8>,
    mode: Option<i32>,
    default: Option<i32>,
) -> Result<(), PayloadError> {
    if !is_inner(path) {
        return Err(PayloadError::Path(path.to_owned()));
    }
    let mode = mode.or(default).unwrap_or(DEFAULT_MODE);
    let mode = u32::try_from(mode).unwrap_or(0) & 0o777;
    files.insert(path.to_owned(), File { bytes, mode });
    Ok(())
}

/// Whether a path stays inside: relative, no step up, no name that the volume keeps for itself (those begin with two dots).
#[must_use]
pub fn is_inner(path: &str) -> bool {
    let mut parts = path.split('/');
    !path.is_empty()
        && !path.contains('\0')
        && !path.starts_with("..")
        && parts.all(|part| !part.is_empty() && part != "." && part != "..")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::config::Capacity;

    fn files(volume: serde_json::Value) -> Result<Vec<(String, String, u32)>, String> {
        let volume: Volume = serde_json::from_value(volume).unwrap();
        let pod: Pod = serde_json::from_value(json!({
            "metadata": { "name": "p", "namespace": "n", "labels": { "app": "web", "tier": "1" } },
            "spec": { "containers": [{ "name": "c", "resources": { "limits": { "memory": "64Mi" } } }] }
        }))
        .unwrap();
        let of = |kind, name: &str, pairs: &[(&str, &str)]| {
            let contents = pairs
                .iter()
                .map(|(key, value)| ((*key).to_owned(), value.as_bytes().to_vec()))
                .collect();
            (
                Reference {
                    kind,
                    name: name.to_owned(),
                },
                Arc::new(contents),
            )
        };
        let referred = Referred::from([
            of(Kind::ConfigMap, "m", &[("a", "1"), ("b", "2")]),
            of(Kind::Secret, "s", &[("key", "secret")]),
            of(Kind::ConfigMap, "evil", &[("../x", "1")]),
        ]);
        let container = &pod.spec.as_ref().unwrap().containers[0];
        let capacity = Capacity {
            cpu_millis: 1000,
            memory_bytes: 1,
            pods: 1,
        };
        let facts = Facts {
            pod: &pod,
            container,
            pod_ips: &[],
            host_ips: &[],
            capacity,
        };
        let payload = payload(&volume, &facts, &referred).map_err(|error| error.to_string())?;
        let one = |(path, file): (String, File)| {
            (path, String::from_utf8(file.bytes).unwrap(), file.mode)
        };
        Ok(payload.unwrap().into_iter().map(one).collect())
    }

    fn file(path: &str, text: &str, mode: u32) -> (String, String, u32) {
        (path.to_owned(), text.to_owned(), mode)
    }

    #[test]
    fn objects_become_files_with_their_modes() {
        let whole = json!({ "name": "v", "configMap": { "name": "m", "defaultMode": 0o400 } });
        assert_eq!(
            files(whole).unwrap(),
            [file("a", "1", 0o400), file("b", "2", 0o400)]
        );
        let some = json!({ "name": "v", "secret": { "secretName": "s", "items": [{ "key": "key", "path": "deep/er/k", "mode": 0o600 }] } });
        assert_eq!(files(some).unwrap(), [file("deep/er/k", "secret", 0o600)]);
        let none = json!({ "name": "v", "secret": { "secretName": "none", "optional": true } });
        assert_eq!(files(none).unwrap(), []);
    }

    #[test]
    fn projections_and_the_downward_api_are_files_too() {
        let volume = json!({ "name": "v", "projected": { "defaultMode": 0o440, "sources": [
            { "configMap": { "name": "m", "items": [{ "key": "a", "path": "conf/a" }] } },
            { "secret": { "name": "s" } },
            { "downwardAPI": { "items": [
                { "path": "labels", "fieldRef": { "fieldPath": "metadata.labels" } },
                { "path": "memory", "resourceFieldRef": { "containerName": "c", "resource": "limits.memory", "divisor": "1Mi" } }
            ] } }
        ] } });
        assert_eq!(
            files(volume).unwrap(),
            [
                file("conf/a", "1", 0o440),
                file("key", "secret", 0o440),
                file("labels", "app=\"web\"\ntier=\"1\"", 0o440),
                file("memory", "64", 0o440)
            ]
        );
    }

    #[test]
    fn what_cannot_be_is_refused_with_its_reason() {
        let item = |key: &str, path: &str| json!({ "name": "v", "configMap": { "name": "m", "items": [{ "key": key, "path": path }] } });
        let cases = [
            (
                json!({ "name": "v", "configMap": { "name": "none" } }),
                "configmap \"none\" not found",
            ),
            (
                item("none", "x"),
                "references non-existent config key: none",
            ),
            (item("a", "../x"), "\"../x\" is no path inside of a volume"),
            (
                item("a", "x/../../y"),
                "\"x/../../y\" is no path inside of a volume",
            ),
            (
                item("a", "/etc/passwd"),
                "\"/etc/passwd\" is no path inside of a volume",
            ),
            (
                item("a", "..data"),
                "\"..data\" is no path inside of a volume",
            ),
            (
                json!({ "name": "v", "configMap": { "name": "evil" } }),
                "\"../x\" is no path inside of a volume",
            ),
            (
                json!({ "name": "v", "hostPath": { "path": "/" } }),
                "this type of volume is not available on this node",
            ),
        ];
        for (volume, message) in cases {
            assert_eq!(files(volume).unwrap_err(), message);
        }
    }
}
