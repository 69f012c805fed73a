//! Makes `api/src/upstream/fields.txt` from the sources of Kubernetes' Go modules: what of a field neither its JSON schema nor k8s-openapi tells, that is
//! its number and type in protobuf, whether an empty value is left out, and how it merges. Run when k8s-openapi gets a new version:
//!
//! ```text
//! for m in api apimachinery apiextensions-apiserver metrics; do
//!   curl -sSO https://proxy.golang.org/k8s.io/$m/@v/v0.37.2.zip && unzip -q v0.37.2.zip && rm v0.37.2.zip; done
//! cargo xtask upstream k8s.io
//! ```

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};

use crate::workspace;

/// The packages whose messages are taken: those of served versions and what they are made of.
const PACKAGES: [&str; 28] = [
    "api/admissionregistration/v1",
    "api/apps/v1",
    "api/authentication/v1",
    "api/authorization/v1",
    "api/autoscaling/v1",
    "api/autoscaling/v2",
    "api/batch/v1",
    "api/certificates/v1",
    "api/coordination/v1",
    "api/core/v1",
    "api/discovery/v1",
    "api/events/v1",
    "api/flowcontrol/v1",
    "api/networking/v1",
    "api/node/v1",
    "api/policy/v1",
    "api/rbac/v1",
    "api/resource/v1",
    "api/scheduling/v1",
    "api/scheduling/v1alpha3",
    "api/storage/v1",
    "apiextensions-apiserver/pkg/apis/apiextensions/v1",
    "apimachinery/pkg/api/resource",
    "apimachinery/pkg/apis/meta/v1",
    "apimachinery/pkg/apis/meta/v1beta1",
    "apimachinery/pkg/runtime",
    "apimachinery/pkg/util/intstr",
    "metrics/pkg/apis/metrics/v1beta1",
];

/// What Go says of a field.
#[derive(Default)]
struct Tags {
    json: String,
    omitted_when_empty: bool,
    pointer: bool,
    inline: bool,
    merging: Vec<String>,
}

/// A struct in Go: its fields by their protobuf numbers, and whether it is replaced as a whole.
#[derive(Default)]
struct Go {
    fields: BTreeMap<u32, Tags>,
    atomic: bool,
}

/// Writes the table from the modules in `folder`, which are named as the module proxy names them (`api@v0.37.2`).
pub(crate) fn generate(folder: &Path) -> anyhow::Result<()> {
    let mut out = String::new();
    for package in PACKAGES {
        let (module, rest) = package.split_once('/').context("a package has a module")?;
        let folder = module_folder(folder, module)?.join(rest);
        let structs = go_structs(&folder)?;
        let proto = fs::read_to_string(folder.join("generated.proto"))
            .with_context(|| format!("read {}/generated.proto", folder.display()))?;
        messages(&proto, &structs, &mut out)?;
    }
    let target = workspace::root().join("api/src/upstream/fields.txt");
    fs::write(&target, &out).with_context(|| format!("write {}", target.display()))?;
    eprintln!("{} lines", out.lines().count());
    Ok(())
}

/// The folder of a module in whatever version is there.
fn module_folder(folder: &Path, module: &str) -> anyhow::Result<PathBuf> {
    for entry in fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))? {
        let path = entry?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if name.split('@').next() == Some(module) {
            return Ok(path);
        }
    }
    bail!("no module {module} in {}", folder.display())
}

/// The structs of a Go package by name.
fn go_structs(folder: &Path) -> anyhow::Result<BTreeMap<String, Go>> {
    let mut structs = BTreeMap::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let written_by_hand = name.ends_with(".go")
            && !name.starts_with("zz_")
            && !name.starts_with("generated")
            && !name.ends_with("_test.go");
        if written_by_hand {
            read_go(&fs::read_to_string(&path)?, &mut structs);
        }
    }
    Ok(structs)
}

fn read_go(text: &str, structs: &mut BTreeMap<String, Go>) {
    let mut current: Option<(String, Go)> = None;
    let mut markers: Vec<&str> = Vec::new();
    for line in text.lines() {
        let trimmed = line.trim();
        if let Some(comment) = trimmed.strip_prefix("//") {
            markers.extend(comment.trim().strip_prefix('+'));
        } else if let Some(name) = line
            .strip_prefix("type ")
            .and_then(|rest| rest.strip_suffix(" struct {"))
        {
            let atomic = markers.contains(&"structType=atomic");
            let go = Go {
                atomic,
                ..Go::default()
            };
            current = Some((name.to_owned(), go));
            markers.clear();
        } else if line == "}" {
            structs.extend(current.take());
            markers.clear();
        } else if let (Some((_, go)), Some((number, tags))) =
            (&mut current, read_field(trimmed, &markers))
        {
            go.fields.insert(number, tags);
            markers.clear();
        } else {
            markers.clear();
        }
    }
}

/// A line of a struct with a protobuf number.
fn read_field(line: &str, markers: &[&str]) -> Option<(u32, Tags)> {
    let (declared, rest) = line.split_once('`')?;
    let (tags, _) = rest.split_once('`')?;
    let number = tag(tags, "protobuf")?.split(',').nth(1)?.parse().ok()?;
    let words: Vec<&str> = declared.split_whitespace().collect();
    let mut json = tag(tags, "json").unwrap_or_default().split(',');
    let name = json.next().unwrap_or_default().to_owned();
    let pointer = words.get(1).is_some_and(|of| of.starts_with('*'));
    let merging = merging(tags, markers);
    Some((
        number,
        Tags {
            inline: words.len() == 1 && name.is_empty(),
            omitted_when_empty: json.any(|option| option == "omitempty"),
            json: name,
            pointer,
            merging,
        },
    ))
}

fn tag<'a>(tags: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = tags.split_once(&format!("{name}:\""))?;
    rest.split('"').next()
}

/// How a field merges, in the words of the table.
fn merging(tags: &str, markers: &[&str]) -> Vec<String> {
    let mut words = Vec::new();
    let value = |name: &str| {
        markers
            .iter()
            .find_map(|marker| marker.strip_prefix(name)?.strip_prefix('='))
    };
    match value("listType") {
        Some("map") => {
            let keys = markers
                .iter()
                .filter_map(|marker| marker.strip_prefix("listMapKey="))
                .collect::<Vec<_>>();
            words.push(format!("map:{}", keys.join(",")));
        }
        Some("set") => words.push("set".to_owned()),
        _ => {}
    }
    if value("structType") == Some("atomic") || value("mapType") == Some("atomic") {
        words.push("atomic".to_owned());
    }
    let strategy = tag(tags, "patchStrategy").unwrap_or_default();
    if strategy.split(',').any(|one| one == "merge") {
        words.push(format!(
            "patch:{}",
            tag(tags, "patchMergeKey").unwrap_or_default()
        ));
    }
    if strategy.split(',').any(|one| one == "retainKeys") {
        words.push("retain".to_owned());
    }
    if let Some(default) = value("default").filter(|default| default.starts_with('"')) {
        words.push(format!("default:{}", default.trim_matches('"')));
    }
    words
}

/// Adds the messages of a `.proto` file.
fn messages(proto: &str, structs: &BTreeMap<String, Go>, out: &mut String) -> anyhow::Result<()> {
    let package = proto
        .lines()
        .find_map(|line| line.strip_prefix("package ")?.strip_suffix(';'))
        .context("a package line")?;
    let mut current: Option<&Go> = None;
    let none = Go::default();
    for line in proto.lines() {
        if let Some(name) = line
            .strip_prefix("message ")
            .and_then(|rest| rest.strip_suffix(" {"))
        {
            let go = structs.get(name).unwrap_or(&none);
            let atomic = if go.atomic { " atomic" } else { "" };
            writeln!(out, "@{}{atomic}", short(&format!("{package}.{name}")))?;
            current = Some(go);
        } else if line == "}" {
            current = None;
        } else if let (Some(go), Some((declared, number))) = (
            current,
            line.strip_suffix(';')
                .and_then(|line| line.split_once(" = ")),
        ) {
            let number: u32 = number
                .parse()
                .with_context(|| format!("number in {line}"))?;
            let (of, name) = proto_field(declared.trim(), package)?;
            let tags = go.fields.get(&number);
            // An embedded type that is no struct (a duration) is a field like others.
            let is_message = of.contains('.');
            let json = match tags {
                Some(tags)
                    if !(tags.json.is_empty() || tags.inline && is_message) && tags.json != "-" =>
                {
                    tags.json.as_str()
                }
                _ => name,
            };
            write!(out, "{number} {json} {of}")?;
            if let Some(tags) = tags {
                for (set, word) in [
                    (tags.pointer, " *"),
                    (tags.omitted_when_empty, " -"),
                    (tags.inline && is_message, " inline"),
                ] {
                    out.push_str(if set { word } else { "" });
                }
                for word in &tags.merging {
                    write!(out, " {word}")?;
                }
            }
            out.push('\n');
        }
    }
    Ok(())
}

/// The type and name in `optional string name`, `repeated X name`, `map<string, X> name`.
fn proto_field<'a>(declared: &'a str, package: &str) -> anyhow::Result<(String, &'a str)> {
    let (of, name) = declared
        .rsplit_once(' ')
        .with_context(|| format!("a field in {declared:?}"))?;
    let full = |of: &str| match of.strip_prefix('.') {
        Some(elsewhere) => short(elsewhere),
        None if of.starts_with(char::is_uppercase) => short(&format!("{package}.{of}")),
        None => of.to_owned(),
    };
    let of = if let Some(of) = of.strip_prefix("optional ") {
        full(of)
    } else if let Some(of) = of.strip_prefix("repeated ") {
        format!("[]{}", full(of))
    } else if let Some(of) = of
        .strip_prefix("map<string, ")
        .and_then(|of| of.strip_suffix('>'))
    {
        format!("{{}}{}", full(of))
    } else {
        bail!("a field that is not optional, repeated or a map: {declared}")
    };
    Ok((of, name))
}

/// A message's name by its last three parts, which no two share.
fn short(name: &str) -> String {
    let parts: Vec<&str> = name.split('.').collect();
    let from = parts.len().saturating_sub(3);
    parts.get(from..).unwrap_or_default().join(".")
}
