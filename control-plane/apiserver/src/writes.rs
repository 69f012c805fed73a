//! The write half of the pipeline: decode, default, admit, validate, store with a precondition, answer with what was stored. Generic over the
//! registry; the only code that commits to the store.

pub mod apply;
pub mod create;
pub mod delete;
pub mod deletion;
pub mod field_manager;
pub mod input;
pub mod patch;
pub mod prepare;
pub mod transaction;
pub mod update;

use std::sync::Arc;

use coracle_api::{
    fields::{FieldError, FieldPath},
    names::ObjectKey,
    registry::Resource,
    status::ApiError,
};
use http::HeaderMap;
use serde_json::Value;

use crate::{
    auth::{self, user::UserInfo},
    authorization, meta,
    query::Query,
    server::Shared,
};

/// How a client wants a write to be done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WriteOptions {
    /// Do everything but store.
    pub dry_run: bool,
    /// What becomes of unknown and duplicate fields.
    pub validation: FieldValidation,
    /// Who manages the fields that are written; empty for somebody unknown.
    pub manager: String,
    /// That is a name the client gave, and not its program's.
    pub named: bool,
    /// What is written has its `managedFields` already: it was applied.
    pub tracked: bool,
}

/// The `fieldValidation` parameter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FieldValidation {
    /// Refuse them.
    Strict,
    /// Drop them and warn: the default.
    #[default]
    Warn,
    /// Drop them.
    Ignore,
}

impl WriteOptions {
    /// Reads `dryRun`, `fieldValidation` and `fieldManager`. `kind` is what errors call the options: `CreateOptions`, `UpdateOptions`, `PatchOptions`.
    ///
    /// # Errors
    /// `Invalid` for values that do not exist and for managers whose names cannot be shown.
    pub fn parse(query: &Query, headers: &HeaderMap, kind: &'static str) -> Result<Self, ApiError> {
        let validation = match query.text("fieldValidation") {
            None | Some("Warn") => FieldValidation::Warn,
            Some("Strict") => FieldValidation::Strict,
            Some("Ignore") => FieldValidation::Ignore,
            Some(other) => {
                let field = FieldPath::new("fieldValidation");
                let known = ["Ignore", "Strict", "Warn"];
                let problem = FieldError::not_supported(&field, other, &known);
                return Err(field_manager::invalid(kind, problem));
            }
        };
        let given = field_manager::given(query, kind)?;
        Ok(Self {
            dry_run: dry_run(query.all("dryRun"), kind)?,
            validation,
            tracked: false,
            named: given.is_some(),
            manager: given.unwrap_or_else(|| field_manager::of_program(headers)),
        })
    }
}

/// Reads the values of `dryRun`, of which there is one.
///
/// # Errors
/// `Invalid` for others; `options` is what errors call the options.
pub fn dry_run<'a>(values: impl Iterator<Item = &'a str>, options: &str) -> Result<bool, ApiError> {
    let mut dry = false;
    for value in values {
        match value {
            "" => {}
            "All" => dry = true,
            other => {
                let field = FieldPath::new("dryRun");
                let problem = FieldError::not_supported(&field, other, &["All"]);
                return Err(field_manager::invalid(options, problem));
            }
        }
    }
    Ok(dry)
}

/// One write on its way: who wants it, of which kind, where, how.
pub struct Write<'a> {
    /// The server.
    pub server: &'a Shared,
    /// Who asks.
    pub user: &'a UserInfo,
    /// The kind.
    pub resource: Arc<Resource>,
    /// The namespace; none for cluster-scoped kinds.
    pub namespace: Option<&'a str>,
    /// The subresource through which the object is written.
    pub subresource: Option<&'a str>,
    /// How.
    pub options: WriteOptions,
    /// What the client is to be warned of, in the answer's headers.
    pub warnings: Vec<String>,
}

impl Write<'_> {
    /// Whether the user may store the object as it is: nobody grants what they do not have, no node reaches beyond itself.
    ///
    /// # Errors
    /// `Forbidden`.
    fn authorize(&self, new: &Value, old: Option<&Value>) -> Result<(), ApiError> {
        let key = ObjectKey {
            namespace: self.namespace.map(str::to_owned),
            name: meta::name(new).unwrap_or_default().to_owned(),
        };
        let write = auth::Write {
            user: self.user,
            group: &self.resource.group,
            resource: &self.resource.plural,
            subresource: self.subresource,
            key: &key,
            new,
            old,
        };
        let allowed = self.server.authorizer.admit(&write);
        allowed.map_err(authorization::refusal)
    }
}

/// How often a write is tried again when something else changed in between, where trying again is not the client's business. Every failed try means that
/// another write succeeded, so that many concurrent writers of one object get through; more would hide a livelock.
pub const ATTEMPTS: usize = 16;
