//! Volumes of a pod. What a node here can't give to a module is refused, not ignored.

use std::collections::BTreeSet;

use super::At;
use crate::{
    fields::{FieldError, Problems},
    names,
};

/// The kinds of volume that nodes have.
const SUPPORTED: [&str; 5] = [
    "configMap",
    "downwardAPI",
    "emptyDir",
    "projected",
    "secret",
];

/// Checks the volumes of a pod spec and returns their names.
pub(super) fn volumes<'a>(spec: &At<'a>, problems: &mut Problems) -> BTreeSet<&'a str> {
    let mut seen = BTreeSet::new();
    for volume in spec.field("volumes").items() {
        let name = volume.field("name");
        if name.require(problems) {
            name.named(names::dns1123_label, problems);
        }
        if !seen.insert(name.text()) {
            problems.push(FieldError::duplicate(&name.path, name.value.clone()));
        }
        source(&volume, problems);
    }
    seen
}

fn source(volume: &At<'_>, problems: &mut Problems) {
    let sources: Vec<&str> = volume
        .value
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, _)| key.as_str())
        .filter(|key| *key != "name")
        .collect();
    match sources.as_slice() {
        [] => problems.push(FieldError::required(
            &volume.path,
            "must specify a volume type",
        )),
        [one] if SUPPORTED.contains(one) => {}
        [one] => {
            let detail = format!(
                "volumes of this type are not available to WebAssembly modules here; available: {}",
                SUPPORTED.join(", ")
            );
            problems.push(FieldError::forbidden(&volume.field(one).path, detail));
        }
        [_, more @ ..] => {
            for one in more {
                problems.push(FieldError::forbidden(
                    &volume.field(one).path,
                    "may not specify more than 1 volume type",
                ));
            }
        }
    }
    let config_map = volume.field("configMap");
    if config_map.is_set() {
        config_map.field("name").require(problems);
    }
    let secret = volume.field("secret");
    if secret.is_set() {
        secret.field("secretName").require(problems);
    }
    for source in [config_map, secret] {
        for item in source.field("items").items() {
            item.field("key").require(problems);
            inner_path(&item.field("path"), problems);
        }
    }
    let limit = volume.field("emptyDir").field("sizeLimit");
    if limit.is_set() {
        super::quantity(&limit, problems);
    }
}

/// A path inside a volume: relative and without a way out.
pub(super) fn inner_path(path: &At<'_>, problems: &mut Problems) {
    if !path.require(problems) {
        return;
    }
    if path.text().starts_with('/') {
        problems.push(FieldError::invalid(
            &path.path,
            path.value.clone(),
            "must be a relative path",
        ));
    }
    if path.text().split('/').any(|part| part == "..") {
        problems.push(FieldError::invalid(
            &path.path,
            path.value.clone(),
            "must not contain '..'",
        ));
    }
}
