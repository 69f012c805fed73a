//! Makes a row from a type of k8s-openapi and what has to be said beyond it. What a row does not say is what most kinds have.

use k8s_openapi::ListableResource;
use schemars::JsonSchema;

use super::{Column, Durability, Resource, SchemaSource, Scope, Storage, Subresource, Text, Verb};
use crate::{names, schema::defines, table};

/// A stored kind with all verbs and the columns NAME and AGE.
pub(super) fn stored<T: ListableResource + JsonSchema>(
    singular: &'static str,
    scope: Scope,
) -> Resource {
    Resource {
        list_kind: Text::Borrowed(T::LIST_KIND),
        ..kind::<T>(singular, scope)
    }
}

/// A kind that is only created, and answered at once: reviews.
pub(super) fn review<T: k8s_openapi::Resource + JsonSchema>(
    singular: &'static str,
    scope: Scope,
) -> Resource {
    Resource {
        verbs: vec![Verb::Create],
        storage: Storage::Virtual,
        ..kind::<T>(singular, scope)
    }
}

fn kind<T: k8s_openapi::Resource + JsonSchema>(singular: &'static str, scope: Scope) -> Resource {
    Resource {
        group: Text::Borrowed(T::GROUP),
        version: Text::Borrowed(T::VERSION),
        kind: Text::Borrowed(T::KIND),
        list_kind: Text::Owned(format!("{}List", T::KIND)),
        plural: Text::Borrowed(T::URL_PATH_SEGMENT),
        singular: Text::Borrowed(singular),
        short_names: Vec::new(),
        categories: Vec::new(),
        scope,
        verbs: Verb::ALL.to_vec(),
        subresources: Vec::new(),
        storage: Storage::Stored(Durability::Durable),
        has_status: false,
        columns: table::name_age_columns(),
        row: table::name_age,
        default: |_| {},
        validate: |_| Vec::new(),
        validate_update: |_, _| Vec::new(),
        warnings: |_| Vec::new(),
        selectable: super::super::selector::metadata_field,
        graceful_delete: |_| None,
        claims: |_| Vec::new(),
        name_problems: names::dns1123_subdomain,
        schema: SchemaSource::BuiltIn(defines::<T>()),
    }
}

impl Resource {
    /// Short names for kubectl.
    pub(super) fn short(mut self, names: &[&'static str]) -> Self {
        self.short_names = names.iter().copied().map(Text::Borrowed).collect();
        self
    }

    /// Part of `kubectl get all`.
    pub(super) fn in_all(mut self) -> Self {
        self.categories.push(Text::Borrowed("all"));
        self
    }

    /// Has a status subresource.
    pub(super) fn with_status(mut self) -> Self {
        self.has_status = true;
        let (kind, group, version) = (self.kind.clone(), self.group.clone(), self.version.clone());
        self.subresources.push(Subresource {
            name: Text::Borrowed("status"),
            kind,
            group,
            version,
            verbs: &["get", "patch", "update"],
        });
        self
    }

    /// Has a scale subresource.
    pub(super) fn with_scale(self) -> Self {
        self.with_subresource(
            "scale",
            "Scale",
            "autoscaling",
            "v1",
            &["get", "patch", "update"],
        )
    }

    /// Has a subresource of another kind.
    pub(super) fn with_subresource(
        mut self,
        name: &'static str,
        kind: &'static str,
        group: &'static str,
        version: &'static str,
        verbs: &'static [&'static str],
    ) -> Self {
        self.subresources.push(Subresource {
            name: Text::Borrowed(name),
            kind: Text::Borrowed(kind),
            group: Text::Borrowed(group),
            version: Text::Borrowed(version),
            verbs,
        });
        self
    }

    /// Shows these columns.
    pub(super) fn with_table(
        mut self,
        columns: Vec<Column>,
        row: fn(&serde_json::Value, jiff::Timestamp) -> Vec<serde_json::Value>,
    ) -> Self {
        self.columns = columns;
        self.row = row;
        self
    }
}
