//! The registry of kinds: everything the API server knows about a kind, one row each. Nothing else anywhere knows a kind's name. Rows of built-in
//! kinds are in a file per API group; CustomResourceDefinitions add rows at run time.

mod apps;
mod authorization;
mod autoscaling;
mod batch;
mod coordination;
mod core;
mod discovery;
mod metrics;
mod rbac;
mod row;

use std::{
    borrow::Cow,
    collections::BTreeMap,
    sync::{Arc, OnceLock},
};

use jiff::Timestamp;
use serde_json::Value;

use crate::{
    fields::Problems,
    schema::{Catalog, Defines, Schema},
};

/// Text that is part of the program for built-in kinds and made at run time for others.
pub type Text = Cow<'static, str>;

/// Where objects of a kind live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// In a namespace.
    Namespaced,
    /// Beside namespaces.
    Cluster,
}

/// What can be done with a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verb {
    /// POST to the collection
    Create,
    /// DELETE of an object
    Delete,
    /// DELETE of the collection
    DeleteCollection,
    /// GET of an object
    Get,
    /// GET of the collection
    List,
    /// PATCH
    Patch,
    /// PUT
    Update,
    /// GET of the collection with `watch`
    Watch,
}

impl Verb {
    /// All of them, as stored kinds have them.
    pub const ALL: [Self; 8] = [
        Self::Create,
        Self::Delete,
        Self::DeleteCollection,
        Self::Get,
        Self::List,
        Self::Patch,
        Self::Update,
        Self::Watch,
    ];

    /// The word that discovery and RBAC use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Delete => "delete",
            Self::DeleteCollection => "deletecollection",
            Self::Get => "get",
            Self::List => "list",
            Self::Patch => "patch",
            Self::Update => "update",
            Self::Watch => "watch",
        }
    }
}

/// A path below an object that has a meaning of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subresource {
    /// The last part of the path.
    pub name: Text,
    /// The kind of what is sent and answered there.
    pub kind: Text,
    /// That kind's group, where it is not the resource's own.
    pub group: Text,
    /// That kind's version.
    pub version: Text,
    /// What can be done there.
    pub verbs: &'static [&'static str],
}

/// A column of `kubectl get`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// The heading, in the case of upstream's (kubectl shows it in capitals).
    pub name: Text,
    /// `string`, `integer`, `number`, `boolean` or `date`.
    pub kind: Text,
    /// `name` marks the column that names the object.
    pub format: Text,
    /// What it shows.
    pub description: Text,
    /// 0 is always shown, 1 with `-o wide`.
    pub priority: i32,
}

/// Whether changes survive a power cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// They do.
    Durable,
    /// They may be lost by a crash, and cost no disk sync: heartbeats and events.
    Volatile,
}

/// How objects of a kind are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storage {
    /// In the store.
    Stored(Durability),
    /// Not at all: they are answered from somewhere else.
    Virtual,
}

/// Where a kind's structure comes from.
#[derive(Clone, Debug)]
pub enum SchemaSource {
    /// A type of k8s-openapi.
    BuiltIn(Defines),
    /// A CustomResourceDefinition.
    Custom(Arc<Schema>),
}

/// A row: one version of one kind.
#[derive(Clone, Debug)]
pub struct Resource {
    /// API group; empty for core.
    pub group: Text,
    /// API version.
    pub version: Text,
    /// Kind.
    pub kind: Text,
    /// Kind of the list.
    pub list_kind: Text,
    /// The resource's name in paths.
    pub plural: Text,
    /// What kubectl takes for one.
    pub singular: Text,
    /// Short names that kubectl takes.
    pub short_names: Vec<Text>,
    /// Categories, such as `all`.
    pub categories: Vec<Text>,
    /// Scope.
    pub scope: Scope,
    /// Verbs.
    pub verbs: Vec<Verb>,
    /// Subresources.
    pub subresources: Vec<Subresource>,
    /// How objects are kept.
    pub storage: Storage,
    /// Whether `status` is a subresource: writes to the object leave it, writes to `status` leave the rest.
    pub has_status: bool,
    /// Columns of tables.
    pub columns: Vec<Column>,
    /// The cells of an object's row, as many as there are columns.
    pub row: fn(&Value, Timestamp) -> Vec<Value>,
    /// Fills in defaults. Idempotent.
    pub default: fn(&mut Value),
    /// What is wrong with an object by itself, metadata apart.
    pub validate: fn(&Value) -> Problems,
    /// What is wrong with a change (new, old).
    pub validate_update: fn(&Value, &Value) -> Problems,
    /// What a user should know about an accepted object, as `Warning` headers.
    pub warnings: fn(&Value) -> Vec<String>,
    /// The value of a field that field selectors may name; `None`: no such field.
    pub selectable: fn(&Value, &str) -> Option<String>,
    /// How long the object's deletion is put off when nobody says, in seconds; `None`: it is deleted at once.
    pub graceful_delete: fn(&Value) -> Option<i64>,
    /// Names of things that the object must hold alone, written in the same transaction.
    pub claims: fn(&Value) -> Vec<String>,
    /// What is wrong with a name.
    pub name_problems: fn(&str) -> Vec<String>,
    /// The structure.
    pub schema: SchemaSource,
}

impl Resource {
    /// `v1` or `apps/v1`.
    #[must_use]
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_string()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// `pods` or `deployments.apps`: how messages name the resource.
    #[must_use]
    pub fn qualified(&self) -> String {
        if self.group.is_empty() {
            self.plural.to_string()
        } else {
            format!("{}.{}", self.plural, self.group)
        }
    }

    /// Whether objects live beside namespaces.
    #[must_use]
    pub fn is_cluster_scoped(&self) -> bool {
        self.scope == Scope::Cluster
    }

    /// Whether the kind has a verb.
    #[must_use]
    pub fn allows(&self, verb: Verb) -> bool {
        self.verbs.contains(&verb)
    }

    /// Whether `metadata.generation` counts changes of the spec. Kinds without a status do not have it, pods being the first exception upstream.
    #[must_use]
    pub fn has_generation(&self) -> bool {
        self.has_status
            && !matches!(
                self.plural.as_ref(),
                "namespaces"
                    | "nodes"
                    | "services"
                    | "persistentvolumes"
                    | "persistentvolumeclaims"
            )
    }

    /// Whether what a client says of the status counts when it creates the object: nodes register with theirs.
    #[must_use]
    pub fn takes_status_on_create(&self) -> bool {
        self.group.is_empty() && self.plural == "nodes"
    }

    /// Whether an object may be replaced by a client that does not say which version it has seen. For leases that would defeat their purpose.
    #[must_use]
    pub fn takes_unconditional_updates(&self) -> bool {
        self.group != "coordination.k8s.io"
    }

    /// The subresource of that name.
    #[must_use]
    pub fn subresource(&self, name: &str) -> Option<&Subresource> {
        self.subresources
            .iter()
            .find(|subresource| subresource.name == name)
    }

    /// The structure of the kind.
    #[must_use]
    pub fn schema(&self) -> Arc<Schema> {
        match &self.schema {
            SchemaSource::Custom(schema) => Arc::clone(schema),
            SchemaSource::BuiltIn(defines) => {
                let catalog = builtin_catalog();
                let root = catalog.root(*defines);
                Arc::new(Schema { catalog, root })
            }
        }
    }
}

/// All kinds that are served.
#[derive(Clone, Debug)]
pub struct Registry {
    /// By group, version and plural.
    rows: BTreeMap<(Text, Text, Text), Arc<Resource>>,
}

/// The definitions of all built-in kinds, made once.
fn builtin_catalog() -> Arc<Catalog> {
    static CATALOG: OnceLock<Arc<Catalog>> = OnceLock::new();
    let collect = || {
        let defines = builtin_rows()
            .into_iter()
            .filter_map(|row| match row.schema {
                SchemaSource::BuiltIn(defines) => Some(defines),
                SchemaSource::Custom(_) => None,
            });
        Arc::new(Catalog::collect(defines))
    };
    Arc::clone(CATALOG.get_or_init(collect))
}

fn builtin_rows() -> Vec<Resource> {
    let groups = [
        core::rows(),
        apps::rows(),
        batch::rows(),
        autoscaling::rows(),
        discovery::rows(),
        coordination::rows(),
        rbac::rows(),
        authorization::rows(),
        metrics::rows(),
    ];
    groups.into_iter().flatten().collect()
}

impl Registry {
    /// The kinds that are part of the program.
    #[must_use]
    pub fn builtin() -> Self {
        let mut registry = Self {
            rows: BTreeMap::new(),
        };
        for row in builtin_rows() {
            registry.insert(row);
        }
        registry
    }

    /// Adds or replaces a row.
    pub fn insert(&mut self, row: Resource) {
        let key = (row.group.clone(), row.version.clone(), row.plural.clone());
        self.rows.insert(key, Arc::new(row));
    }

    /// Removes a row.
    pub fn remove(&mut self, group: &str, version: &str, plural: &str) {
        self.rows.retain(|(g, v, p), _| {
            (g.as_ref(), v.as_ref(), p.as_ref()) != (group, version, plural)
        });
    }

    /// The row of a path.
    #[must_use]
    pub fn get(&self, group: &str, version: &str, plural: &str) -> Option<&Arc<Resource>> {
        let key = (
            Text::Owned(group.to_owned()),
            Text::Owned(version.to_owned()),
            Text::Owned(plural.to_owned()),
        );
        self.rows.get(&key)
    }

    /// The row of a kind.
    #[must_use]
    pub fn by_kind(&self, group: &str, version: &str, kind: &str) -> Option<&Arc<Resource>> {
        self.iter()
            .find(|row| row.group == group && row.version == version && row.kind == kind)
    }

    /// All rows, ordered by group, version and plural.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Resource>> {
        self.rows.values()
    }

    /// The definitions of the built-in kinds.
    #[must_use]
    pub fn catalog(&self) -> Arc<Catalog> {
        builtin_catalog()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_structure_with_its_own_fields() {
        for row in Registry::builtin().iter() {
            let schema = row.schema();
            let Some(root) = schema.resolve(&schema.root) else {
                panic!("{} has no structure", row.kind)
            };
            assert!(
                root.fields.contains_key("kind") && root.fields.contains_key("apiVersion"),
                "{}",
                row.kind
            );
            assert!(root.fields.contains_key("metadata"), "{}", row.kind);
        }
    }

    #[test]
    fn every_row_has_as_many_cells_as_columns() {
        for row in Registry::builtin().iter() {
            let cells = (row.row)(
                &serde_json::json!({"metadata": {"name": "x"}}),
                Timestamp::UNIX_EPOCH,
            );
            assert_eq!(cells.len(), row.columns.len(), "{}", row.kind);
            assert!(
                row.columns.iter().any(|column| column.format == "name"),
                "{}",
                row.kind
            );
        }
    }

    #[test]
    fn names_are_unique_among_kinds() {
        let registry = Registry::builtin();
        let mut seen = std::collections::BTreeSet::new();
        for row in registry.iter() {
            for short in &row.short_names {
                assert!(seen.insert(short.clone()), "{short} twice");
            }
        }
    }
}
