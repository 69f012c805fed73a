//! A container's environment variables and arguments (upstream: `makeEnvironmentVariables` in the kubelet). Pure: what the spec refers to comes in as data.

pub mod fields;
pub mod links;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use k8s_openapi::api::core::v1::{Container, EnvVar, EnvVarSource, Pod};

use self::fields::Facts;

/// The contents of a ConfigMap or Secret: keys and bytes.
pub type Contents = BTreeMap<String, Vec<u8>>;

/// A kind of object that pods refer to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A ConfigMap.
    ConfigMap,
    /// A Secret.
    Secret,
}

impl Kind {
    fn title(self) -> &'static str {
        match self {
            Self::ConfigMap => "ConfigMap",
            Self::Secret => "Secret",
        }
    }

    fn lower(self) -> &'static str {
        match self {
            Self::ConfigMap => "configmap",
            Self::Secret => "secret",
        }
    }
}

/// An object in the pod's namespace that it refers to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    /// What kind.
    pub kind: Kind,
    /// Its name.
    pub name: String,
}

/// What a pod refers to, as it is now. What is not in it does not exist.
pub type Referred = BTreeMap<Reference, Arc<Contents>>;

/// Something that the spec refers to is not there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The object.
    #[error("{} {name:?} not found", kind.lower())]
    NoObject {
        /// What kind.
        kind: Kind,
        /// Its name.
        name: String,
    },
    /// A key of it.
    #[error("couldn't find key {key} in {} {namespace}/{name}", kind.title())]
    NoKey {
        /// What kind.
        kind: Kind,
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// The key.
        key: String,
    },
    /// The value is no text, which an environment variable must be.
    #[error("key {key} in {} {name:?} is not UTF-8 text", kind.title())]
    NoText {
        /// What kind.
        kind: Kind,
        /// Its name.
        name: String,
        /// The key.
        key: String,
    },
    /// A field or resource of the pod.
    #[error("{0}")]
    Field(String),
}

/// What a container's spec refers to.
#[must_use]
pub fn references(pod: &Pod) -> BTreeSet<Reference> {
    let mut all = BTreeSet::new();
    let Some(spec) = &pod.spec else { return all };
    let mut add = |kind, name: &str| {
        if !name.is_empty() {
            all.insert(Reference {
                kind,
                name: name.to_owned(),
            });
        }
    };
    for container in spec
        .init_containers
        .iter()
        .flatten()
        .chain(&spec.containers)
    {
        for source in container.env_from.iter().flatten() {
            if let Some(of) = &source.config_map_ref {
                add(Kind::ConfigMap, &of.name);
            }
            if let Some(of) = &source.secret_ref {
                add(Kind::Secret, &of.name);
            }
        }
        for from in container
            .env
            .iter()
            .flatten()
            .filter_map(|one| one.value_from.as_ref())
        {
            if let Some(of) = &from.config_map_key_ref {
                add(Kind::ConfigMap, &of.name);
            }
            if let Some(of) = &from.secret_key_ref {
                add(Kind::Secret, &of.name);
            }
        }
    }
    all
}

/// The environment of a container, in the order of its spec, each name once.
///
/// # Errors
/// [`ConfigError`] for what is missing and not optional.
pub fn variables(
    container: &Container,
    facts: &Facts<'_>,
    referred: &Referred,
    links: &[(String, String)],
) -> Result<Vec<(String, String)>, ConfigError> {
    let mut all = Variables::default();
    for source in container.env_from.iter().flatten() {
        let prefix = source.prefix.as_deref().unwrap_or_default();
        let of = match (&source.config_map_ref, &source.secret_ref) {
            (Some(of), _) => Some((Kind::ConfigMap, &of.name, of.optional)),
            (None, Some(of)) => Some((Kind::Secret, &of.name, of.optional)),
            (None, None) => None,
        };
        let Some((kind, name, optional)) = of else {
            continue;
        };
        let Some(contents) = object(referred, kind, name, optional)? else {
            continue;
        };
        for (key, value) in contents.iter() {
            let name = format!("{prefix}{key}");
            // As upstream: what cannot be a name or a value is left out.
            if let (true, Ok(value)) = (is_name(&name), std::str::from_utf8(value)) {
                all.set(&name, value.to_owned());
            }
        }
    }
    for variable in container.env.iter().flatten() {
        if let Some(value) = value(variable, facts, referred, &all, links)? {
            all.set(&variable.name, value);
        }
    }
    for (name, value) in links {
        if all.get(name).is_none() {
            all.set(name, value.clone());
        }
    }
    Ok(all.0)
}

/// The arguments of a container, the program's name first. `program` stands for what its spec leaves out: the image's entry point and arguments.
#[must_use]
pub fn arguments(
    container: &Container,
    entrypoint: &[String],
    defaults: &[String],
    env: &[(String, String)],
) -> Vec<String> {
    let lookup = |name: &str| {
        env.iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    };
    let given = |list: &Option<Vec<String>>| list.as_ref().filter(|list| !list.is_empty()).cloned();
    let command = given(&container.command);
    // A command without arguments of its own does not take those that the image has for its entry point.
    let rest = given(&container.args).unwrap_or_else(|| {
        if command.is_some() {
            Vec::new()
        } else {
            defaults.to_vec()
        }
    });
    let mut all = command.unwrap_or_else(|| {
        if entrypoint.is_empty() {
            vec![container.name.clone()]
        } else {
            entrypoint.to_vec()
        }
    });
    all.extend(rest);
    all.iter().map(|one| expand(one, lookup)).collect()
}

/// Variables in order, each name once: what is set again keeps its place.
#[derive(Debug, Default)]
struct Variables(Vec<(String, String)>);

impl Variables {
    fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    fn set(&mut self, name: &str, value: String) {
        match self.0.iter_mut().find(|(known, _)| known == name) {
            Some((_, old)) => *old = value,
            None => self.0.push((name.to_owned(), value)),
        }
    }
}

fn value(
    variable: &EnvVar,
    facts: &Facts<'_>,
    referred: &Referred,
    before: &Variables,
    links: &[(String, String)],
) -> Result<Option<String>, ConfigError> {
    if let Some(from) = &variable.value_from {
        return value_from(from, facts, referred);
    }
    let lookup = |name: &str| {
        let link = || {
            links
                .iter()
                .find(|(known, _)| known == name)
                .map(|(_, value)| value.as_str())
        };
        before.get(name).or_else(link)
    };
    Ok(Some(expand(
        variable.value.as_deref().unwrap_or_default(),
        lookup,
    )))
}

fn value_from(
    from: &EnvVarSource,
    facts: &Facts<'_>,
    referred: &Referred,
) -> Result<Option<String>, ConfigError> {
    if let Some(of) = &from.field_ref {
        return facts.field(&of.field_path).map(Some);
    }
    if let Some(of) = &from.resource_field_ref {
        return facts.resource(of).map(Some);
    }
    let of = match (&from.config_map_key_ref, &from.secret_key_ref) {
        (Some(of), _) => Some((Kind::ConfigMap, &of.name, &of.key, of.optional)),
        (None, Some(of)) => Some((Kind::Secret, &of.name, &of.key, of.optional)),
        (None, None) => None,
    };
    let Some((kind, name, key, optional)) = of else {
        return Ok(None);
    };
    let Some(contents) = object(referred, kind, name, optional)? else {
        return Ok(None);
    };
    match contents.get(key) {
        Some(value) => match std::str::from_utf8(value) {
            Ok(text) => Ok(Some(text.to_owned())),
            Err(_) => Err(ConfigError::NoText {
                kind,
                name: name.clone(),
                key: key.clone(),
            }),
        },
        None if optional == Some(true) => Ok(None),
        None => Err(ConfigError::NoKey {
            kind,
            namespace: facts.namespace().to_owned(),
            name: name.clone(),
            key: key.clone(),
        }),
    }
}

/// The object; nothing when it may be missing and is.
pub(crate) fn object<'a>(
    referred: &'a Referred,
    kind: Kind,
    name: &str,
    optional: Option<bool>,
) -> Result<Option<&'a Arc<Contents>>, ConfigError> {
    match referred.get(&Reference {
        kind,
        name: name.to_owned(),
    }) {
        Some(contents) => Ok(Some(contents)),
        None if optional == Some(true) => Ok(None),
        None => Err(ConfigError::NoObject {
            kind,
            name: name.to_owned(),
        }),
    }
}

/// What upstream takes for the name of a variable: printable ASCII without `=`.
fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|byte| (b' '..=b'~').contains(&byte) && byte != b'=')
}

/// `text` with the variables of `env` in it, as `subPathExpr` has them.
#[must_use]
pub fn expanded(text: &str, env: &[(String, String)]) -> String {
    expand(text, |name| {
        let known = env.iter().find(|(known, _)| known == name);
        known.map(|(_, value)| value.as_str())
    })
}

/// Replaces `$(NAME)` by its value; `$$` is a dollar sign; what has no value stays as it is (upstream: `third_party/forked/golang/expansion`).
fn expand<'a>(text: &str, lookup: impl Fn(&str) -> Option<&'a str>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        if let Some(tail) = after.strip_prefix('$') {
            out.push('$');
            rest = tail;
        } else if let Some((name, tail)) = after
            .strip_prefix('(')
            .and_then(|inner| inner.split_once(')'))
        {
            match lookup(name) {
                Some(value) => out.push_str(value),
                None => {
                    out.push_str("$(");
                    out.push_str(name);
                    out.push(')');
                }
            }
            rest = tail;
        } else {
            out.push('$');
            rest = after;
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests;
