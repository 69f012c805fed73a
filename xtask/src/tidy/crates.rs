//! Rules about crates: which way dependencies may point, what each must inherit from the workspace.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    process::Command,
};

use anyhow::Context;
use serde::Deserialize;

use crate::{step, workspace};

/// What a crate must not have anywhere below it, and why.
const FORBIDDEN: [(&[&str], &[&str], &str); 4] = [
    (
        &[
            "coracle-api",
            "coracle-scheduler",
            "coracle-controllers",
            "coracle-lifecycle",
        ],
        &["tokio", "axum", "hyper", "sled", "wasmtime"],
        "deciding is pure: the compiler checks it",
    ),
    (
        &["coracle-apiserver"],
        &["wasmtime", "coracle-scheduler", "coracle-controllers"],
        "the API server runs and is tested with nobody in it",
    ),
    (
        &["coracle-runtime", "coracle-network"],
        &["coracle-api", "axum", "sled"],
        "the data plane takes plain structs and knows no cluster",
    ),
    (
        &[
            "coracle-control-plane",
            "coracle-store",
            "coracle-pki",
            "coracle-registry",
        ],
        &["wasmtime"],
        "the control plane compiles no compiler",
    ),
];

#[derive(Deserialize)]
pub(super) struct Metadata {
    packages: Vec<Package>,
    workspace_members: BTreeSet<String>,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    pkg: String,
    dep_kinds: Vec<DependencyKind>,
}

#[derive(Deserialize)]
struct DependencyKind {
    kind: Option<String>,
}

impl Metadata {
    /// Asks cargo.
    pub(super) fn read() -> anyhow::Result<Self> {
        let mut cargo = Command::new("cargo");
        cargo
            .args(["metadata", "--format-version", "1", "--locked"])
            .current_dir(workspace::root());
        let json = step::output(&mut cargo).context("read cargo metadata")?;
        serde_json::from_str(&json).context("parse cargo metadata")
    }

    fn members(&self) -> impl Iterator<Item = &Package> {
        self.packages
            .iter()
            .filter(|package| self.workspace_members.contains(&package.id))
    }

    /// Dependencies, however deep, that a crate must not have.
    pub(super) fn forbidden_dependencies(&self) -> Vec<String> {
        let names: BTreeMap<&str, &str> = self
            .packages
            .iter()
            .map(|p| (p.id.as_str(), p.name.as_str()))
            .collect();
        let nodes: BTreeMap<&str, &Node> = self
            .resolve
            .nodes
            .iter()
            .map(|node| (node.id.as_str(), node))
            .collect();
        let mut found = Vec::new();
        for (crates, banned, why) in FORBIDDEN {
            for member in self
                .members()
                .filter(|member| crates.contains(&member.name.as_str()))
            {
                for id in reachable(&nodes, &member.id) {
                    let name = names.get(id).copied().unwrap_or_default();
                    if banned.contains(&name) {
                        found.push(format!("{} must not depend on {name}: {why}", member.name));
                    }
                }
            }
        }
        found
    }

    /// Crates that the map of the code does not mention.
    pub(super) fn unlisted_in_architecture(&self) -> anyhow::Result<Vec<String>> {
        let text = fs::read_to_string(workspace::root().join("ARCHITECTURE.md"))
            .context("read ARCHITECTURE.md")?;
        Ok(self
            .members()
            .filter(|member| !text.contains(&format!("`{}`", member.name)))
            .map(|member| format!("ARCHITECTURE.md does not mention `{}`", member.name))
            .collect())
    }
}

/// Everything below a package through normal dependencies.
fn reachable<'a>(nodes: &BTreeMap<&'a str, &'a Node>, from: &'a str) -> BTreeSet<&'a str> {
    let mut seen = BTreeSet::new();
    let mut open = vec![from];
    while let Some(id) = open.pop() {
        let Some(node) = nodes.get(id) else { continue };
        for dependency in &node.deps {
            let is_normal = dependency.dep_kinds.iter().any(|kind| kind.kind.is_none());
            if is_normal && seen.insert(dependency.pkg.as_str()) {
                open.push(&dependency.pkg);
            }
        }
    }
    seen
}

/// Members that do not take lints, edition and dependency versions from the workspace.
pub(super) fn without_inheritance() -> anyhow::Result<Vec<String>> {
    let root =
        fs::read_to_string(workspace::root().join("Cargo.toml")).context("read Cargo.toml")?;
    let members = root
        .split("members = [")
        .nth(1)
        .and_then(|rest| rest.split(']').next())
        .context("find the members in Cargo.toml")?;
    let mut found = Vec::new();
    for member in members.split('"').skip(1).step_by(2) {
        let path = workspace::root().join(member).join("Cargo.toml");
        let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        if !text.contains("[lints]\nworkspace = true") && !text.contains("[lints.rust]") {
            found.push(format!("{member}: the workspace's lints are not inherited"));
        }
        if !text.contains("edition.workspace = true") {
            found.push(format!("{member}: the edition is not inherited"));
        }
        let dependencies = text
            .split("dependencies]")
            .skip(1)
            .flat_map(|section| section.split("\n[").next());
        for line in dependencies
            .flat_map(str::lines)
            .filter(|line| line.contains(" = ") && !line.starts_with('#'))
        {
            if !line.contains("workspace = true") {
                found.push(format!("{member}: `{line}` has a version of its own"));
            }
        }
    }
    Ok(found)
}
