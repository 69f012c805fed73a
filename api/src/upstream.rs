//! What upstream declares of each field beyond its JSON schema: number and type in protobuf, whether an empty value is left out of JSON, and how it merges.
//! The table is made by `cargo xtask upstream` from Kubernetes' Go modules and read once, when somebody first asks; parsed it takes about 100 kB.

use std::sync::OnceLock;

use crate::schema::Merging;

/// The table; see `xtask/src/upstream.rs` for what makes it. A line `@name` opens a message; `NUMBER NAME TYPE FLAGS…` is a field of it.
const TEXT: &str = include_str!("upstream/fields.txt");

/// A message of upstream's protobuf, which is at the same time a struct of its JSON.
#[derive(Debug)]
pub struct Message {
    /// The last three parts of its full name: `core.v1.PodSpec`, `api.resource.Quantity`.
    pub name: &'static str,
    /// Server-side apply replaces it as a whole.
    pub atomic: bool,
    /// In what way its JSON differs from its message.
    pub form: Form,
    fields: (u16, u16),
}

/// How the JSON of a message looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// An object with its fields.
    Object,
    /// The text of a quantity.
    Quantity,
    /// A number or text.
    IntOrString,
    /// A time in whole seconds.
    Time,
    /// A time in microseconds.
    MicroTime,
    /// A duration as Go writes it.
    Duration,
    /// Bytes that are themselves JSON.
    Json,
    /// The list of its only field.
    Items,
    /// Its field 1 if that is there, else its field 2.
    SchemaOr,
    /// Its field 2 if that is there, else its field 1.
    BoolOrSchema,
}

/// The type of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    /// Text
    String,
    /// Bytes, base64 in JSON
    Bytes,
    /// A truth value
    Bool,
    /// A signed number of 32 bits
    Int32,
    /// A signed number of 64 bits
    Int64,
    /// A floating-point number
    Double,
    /// A message, by its place in the table
    Message(u16),
}

/// How many values a field has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Many {
    /// One or none
    One,
    /// A list
    List,
    /// A map whose keys are texts
    Map,
}

/// A field.
#[derive(Debug)]
pub struct Field {
    /// In JSON.
    pub name: &'static str,
    /// In protobuf.
    pub number: u16,
    /// The type of its value, or of each of its values.
    pub of: Of,
    /// How many values.
    pub many: Many,
    /// Zero is a value: Go has a pointer here.
    pub pointer: bool,
    /// An empty value is left out of JSON.
    pub omitted: bool,
    /// Its fields stand in the JSON of the message it is in.
    pub inline: bool,
}

/// All messages.
#[derive(Debug)]
pub struct Table {
    /// By name.
    messages: Vec<Message>,
    fields: Vec<Field>,
    /// How fields merge, by their place in `fields`, in order. Most have no entry.
    merging: Vec<(u16, Merging)>,
}

/// The table.
pub fn table() -> &'static Table {
    static TABLE: OnceLock<Table> = OnceLock::new();
    TABLE.get_or_init(|| Table::parse(TEXT))
}

impl Table {
    /// The message of that short name.
    #[must_use]
    pub fn message(&self, name: &str) -> Option<&Message> {
        let at = self.messages.binary_search_by(|one| one.name.cmp(name));
        at.ok().and_then(|at| self.messages.get(at))
    }

    /// The message of a definition's full name, `io.k8s.api.core.v1.PodSpec`.
    #[must_use]
    pub fn definition(&self, name: &str) -> Option<&Message> {
        let from = name.rmatch_indices('.').nth(2).map_or(0, |(at, _)| at + 1);
        self.message(name.get(from..)?)
    }

    /// The message of a kind: `apps/v1`, `Deployment`. Kinds of every group, such as DeleteOptions, are those of `meta`.
    #[must_use]
    pub fn kind(&self, api_version: &str, kind: &str) -> Option<&Message> {
        let (group, version) = api_version.split_once('/').unwrap_or(("core", api_version));
        let package = group.split('.').next().unwrap_or_default();
        self.message(&format!("{package}.{version}.{kind}"))
            .or_else(|| self.message(&format!("meta.v1.{kind}")))
    }

    /// The message a field's type refers to.
    #[must_use]
    pub fn at(&self, place: u16) -> Option<&Message> {
        self.messages.get(usize::from(place))
    }

    /// The fields of a message.
    #[must_use]
    pub fn fields(&self, of: &Message) -> &[Field] {
        let (from, to) = of.fields;
        self.fields
            .get(usize::from(from)..usize::from(to))
            .unwrap_or_default()
    }

    /// How a field of a definition merges.
    #[must_use]
    pub fn merging(&self, definition: &str, field: &str) -> Merging {
        let found = || {
            let message = self.definition(definition)?;
            let place = self
                .fields(message)
                .iter()
                .position(|one| one.name == field)?;
            let place = u16::try_from(usize::from(message.fields.0) + place).ok()?;
            let at = self
                .merging
                .binary_search_by_key(&place, |(at, _)| *at)
                .ok()?;
            self.merging.get(at).map(|(_, merging)| merging.clone())
        };
        found().unwrap_or_default()
    }

    fn parse(text: &'static str) -> Self {
        let mut names: Vec<&str> = text
            .lines()
            .filter_map(|line| line.strip_prefix('@'))
            .map(|line| line.split(' ').next().unwrap_or_default())
            .collect();
        names.sort_unstable();
        let mut table = Self {
            messages: Vec::with_capacity(names.len()),
            fields: Vec::new(),
            merging: Vec::new(),
        };
        for line in text.lines() {
            let mut words = line.split(' ');
            let first = words.next().unwrap_or_default();
            let here = u16::try_from(table.fields.len()).unwrap_or(u16::MAX);
            if let Some(name) = first.strip_prefix('@') {
                table.messages.push(Message {
                    name,
                    atomic: words.next() == Some("atomic"),
                    form: Form::of(name),
                    fields: (here, here),
                });
            } else if let Some((field, merging)) = Field::parse(first, words, &names) {
                table.fields.push(field);
                if let Some(message) = table.messages.last_mut() {
                    message.fields.1 = here.saturating_add(1);
                }
                if merging != Merging::default() {
                    table.merging.push((here, merging));
                }
            }
        }
        table.messages.sort_unstable_by_key(|message| message.name);
        table.fields.shrink_to_fit();
        table.merging.shrink_to_fit();
        table
    }
}

impl Form {
    fn of(name: &str) -> Self {
        match name {
            "api.resource.Quantity" => Self::Quantity,
            "util.intstr.IntOrString" => Self::IntOrString,
            "meta.v1.Time" => Self::Time,
            "meta.v1.MicroTime" => Self::MicroTime,
            "meta.v1.Duration" => Self::Duration,
            "pkg.runtime.RawExtension" | "apiextensions.v1.JSON" | "meta.v1.FieldsV1" => Self::Json,
            "authentication.v1.ExtraValue"
            | "authorization.v1.ExtraValue"
            | "certificates.v1.ExtraValue"
            | "meta.v1.Verbs" => Self::Items,
            "apiextensions.v1.JSONSchemaPropsOrArray"
            | "apiextensions.v1.JSONSchemaPropsOrStringArray" => Self::SchemaOr,
            "apiextensions.v1.JSONSchemaPropsOrBool" => Self::BoolOrSchema,
            _ => Self::Object,
        }
    }
}

impl Field {
    /// Reads a line of the table, of which `number` is the first word. `names` are the messages in order.
    fn parse(
        number: &str,
        mut words: std::str::Split<'static, char>,
        names: &[&str],
    ) -> Option<(Self, Merging)> {
        let number = number.parse().ok()?;
        let name = words.next()?;
        let of = words.next()?;
        let (many, of) = match (of.strip_prefix("[]"), of.strip_prefix("{}")) {
            (Some(of), _) => (Many::List, of),
            (None, Some(of)) => (Many::Map, of),
            (None, None) => (Many::One, of),
        };
        let of = match of {
            "string" => Of::String,
            "bytes" => Of::Bytes,
            "bool" => Of::Bool,
            "int32" => Of::Int32,
            "int64" => Of::Int64,
            "double" => Of::Double,
            message => Of::Message(u16::try_from(names.binary_search(&message).ok()?).ok()?),
        };
        let mut field = Self {
            name,
            number,
            of,
            many,
            pointer: false,
            omitted: false,
            inline: false,
        };
        let mut merging = Merging::default();
        for word in words {
            match word.split_once(':').unwrap_or((word, "")) {
                ("*", _) => field.pointer = true,
                ("-", _) => field.omitted = true,
                ("inline", _) => field.inline = true,
                ("map", keys) => merging.list_keys = keys.split(',').collect(),
                ("set", _) => merging.list_keys = [""].into(),
                ("atomic", _) => merging.atomic = true,
                ("patch", key) => merging.patch_key = Some(key),
                ("retain", _) => merging.retain_keys = true,
                ("default", value) => merging.default = Some(value),
                _ => {}
            }
        }
        let is_struct = match field.of {
            Of::Message(place) => names
                .get(usize::from(place))
                .is_some_and(|name| Form::of(name) == Form::Object),
            _ => false,
        };
        merging.always = match field.many {
            Many::One => is_struct && !field.pointer && !field.inline,
            Many::List | Many::Map => !field.omitted,
        };
        Some((field, merging))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Registry;

    #[test]
    fn every_line_is_understood() {
        let table = table();
        let lines = TEXT.lines().filter(|line| !line.starts_with('@')).count();
        assert_eq!(table.fields.len(), lines);
        assert_eq!(table.messages.len() + lines, TEXT.lines().count());
        let names: Vec<_> = table.messages.iter().map(|one| one.name).collect();
        assert!(names.is_sorted_by(|a, b| a < b), "two messages of one name");
    }

    #[test]
    fn every_built_in_kind_of_kubernetes_has_its_message_and_its_fields() {
        let table = table();
        for row in Registry::builtin().iter() {
            let (group, _) = row.group.split_once('.').unwrap_or((&row.group, ""));
            if group == "gateway" {
                continue; // A CustomResourceDefinition upstream: no protobuf.
            }
            let message = table.kind(&row.api_version(), &row.kind);
            let message = message.unwrap_or_else(|| panic!("{} has no message", row.kind));
            let schema = row.schema();
            let root = schema.resolve(&schema.root).unwrap();
            let fields = table.fields(message);
            for name in root
                .fields
                .keys()
                .filter(|name| !["kind", "apiVersion"].contains(&&***name))
            {
                assert!(
                    fields.iter().any(|field| field.name == &**name),
                    "{}.{name}",
                    row.kind
                );
            }
        }
    }

    #[test]
    fn merging_is_as_upstream_declares_it() {
        let table = table();
        let ports = table.merging("io.k8s.api.core.v1.Container", "ports");
        assert_eq!(&*ports.list_keys, ["containerPort", "protocol"]);
        assert_eq!(ports.patch_key, Some("containerPort"));
        let volumes = table.merging("io.k8s.api.core.v1.PodSpec", "volumes");
        assert!(volumes.retain_keys);
        let finalizers = table.merging(
            "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta",
            "finalizers",
        );
        assert_eq!(
            (&*finalizers.list_keys, finalizers.patch_key),
            (&[""][..], Some(""))
        );
        assert!(
            table
                .merging("io.k8s.api.core.v1.PodSpec", "nodeSelector")
                .atomic
        );
        assert!(
            table
                .definition("io.k8s.apimachinery.pkg.apis.meta.v1.LabelSelector")
                .unwrap()
                .atomic
        );
        assert_eq!(
            table
                .merging("io.k8s.api.core.v1.ContainerPort", "protocol")
                .default,
            Some("TCP")
        );
        assert!(
            table
                .merging("io.k8s.api.apps.v1.DeploymentSpec", "template")
                .always
        );
        assert!(
            !table
                .merging("io.k8s.api.apps.v1.DeploymentSpec", "selector")
                .always
        );
        assert_eq!(table.merging("no.such.Thing", "x"), Merging::default());
    }
}
