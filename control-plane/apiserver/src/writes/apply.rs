//! Applies a configuration (server-side apply): to the stored object, or to nothing, which creates it. What applying means is in coracle-api.

use coracle_api::{
    fields::{FieldError, FieldPath},
    managed::{self, apply::Refused},
    status::ApiError,
    strict,
};
use http::StatusCode;
use serde_json::Value;

use super::{
    ATTEMPTS, FieldValidation, Write, field_manager, input, patch::Patch, prepare::Part,
    update::Made,
};
use crate::{
    auth::{Attributes, ResourceTarget, Target},
    authorization,
    encoded::Stored,
    meta,
};

/// What applying left behind.
#[derive(Debug)]
pub struct Applied {
    /// What is stored now.
    pub stored: Stored,
    /// It was not there before.
    pub created: bool,
}

impl Write<'_> {
    /// Applies a configuration to the object `name`.
    ///
    /// # Errors
    /// `Invalid` without a field manager, `Conflict` with other managers, `BadRequest` for what is no configuration of this kind, and what updating and
    /// creating say.
    pub async fn apply(
        &mut self,
        name: &str,
        part: Part,
        patch: &Patch,
        force: bool,
    ) -> Result<Applied, ApiError> {
        let config = self.configuration(name, patch)?;
        self.options.tracked = true;
        for _ in 0..ATTEMPTS {
            match self.apply_to_stored(name, part, &config, force).await {
                Err(error) if error.code == StatusCode::NOT_FOUND && part == Part::Main => {}
                done => return done,
            }
            match self.apply_to_nothing(name, &config).await {
                // Somebody else created it meanwhile.
                Err(error) if error.code == StatusCode::CONFLICT => {}
                done => return done,
            }
        }
        Err(ApiError::modified(&self.resource, name))
    }

    /// The configuration a patch holds, which must be one of this object.
    fn configuration(&mut self, name: &str, patch: &Patch) -> Result<Value, ApiError> {
        if !self.options.named {
            let field = FieldPath::new("fieldManager");
            let problem = FieldError::required(&field, "is required for apply patch");
            return Err(field_manager::invalid("PatchOptions", problem));
        }
        let mut config = patch.value().clone();
        if !config.is_object() {
            return Err(ApiError::bad_request(
                "error decoding YAML: the configuration is not an object",
            ));
        }
        if !patch.duplicates().is_empty() {
            let found = strict::message(&[], patch.duplicates());
            match self.options.validation {
                FieldValidation::Strict => {
                    return Err(ApiError::bad_request(format!(
                        "error strict decoding YAML: {found}"
                    )));
                }
                FieldValidation::Warn => self.warnings.push(found),
                FieldValidation::Ignore => {}
            }
        }
        let (api_version, kind) = (self.resource.api_version(), &*self.resource.kind);
        let sent = meta::text_at(&config, &["apiVersion"]).unwrap_or_default();
        if sent != api_version {
            return Err(ApiError::bad_request(format!(
                "Incorrect version specified in apply patch. Specified patch version: {sent}, expected: {api_version}"
            )));
        }
        let sent = meta::text_at(&config, &["kind"]).unwrap_or_default();
        if sent != kind {
            return Err(ApiError::bad_request(format!(
                "Incorrect kind specified in apply patch. Specified patch kind: {sent}, expected: {kind}"
            )));
        }
        if meta::at(&config, &["metadata", "managedFields"]).is_some_and(|fields| !fields.is_null())
        {
            return Err(ApiError::bad_request("metadata.managedFields must be nil"));
        }
        match meta::name(&config) {
            None => meta::set(&mut config, "name", name),
            Some(sent) if sent == name => {}
            Some(sent) => {
                return Err(ApiError::bad_request(format!(
                    "the name of the object ({sent}) does not match the name on the URL ({name})"
                )));
            }
        }
        self.check_namespace(&mut config)?;
        // Values are compared in the one form they are stored in. What the kind does not have is told by applying.
        let mut canonical = config.clone();
        let findings = strict::check(&mut canonical, &self.resource.schema());
        if findings.unknown.is_empty() && findings.mistyped.is_none() {
            config = canonical;
        }
        Ok(config)
    }

    async fn apply_to_stored(
        &mut self,
        name: &str,
        part: Part,
        config: &Value,
        force: bool,
    ) -> Result<Applied, ApiError> {
        let writer = self.field_writer();
        let resource = std::sync::Arc::clone(&self.resource);
        let namespace = self.namespace.map(str::to_owned);
        let validation = self.options.validation;
        let before = std::mem::take(&mut self.warnings);
        let updated = self
            .update(name, part, |current, warnings| {
                warnings.extend_from_slice(&before);
                let made = managed::apply::apply(Some(current), config, &writer.borrowed(), force);
                let mut object = made.map_err(|why| refusal(why, config, namespace.as_deref()))?;
                input::check_fields(&mut object, &resource, &[], validation, warnings)?;
                Ok(Made {
                    object,
                    insists: meta::resource_version(config).is_some(),
                })
            })
            .await;
        match updated {
            Ok(updated) => Ok(Applied {
                stored: updated.stored,
                created: false,
            }),
            Err(error) => {
                self.warnings = before;
                Err(error)
            }
        }
    }

    async fn apply_to_nothing(&mut self, name: &str, config: &Value) -> Result<Applied, ApiError> {
        if let Some(uid) = meta::uid(config) {
            let why = format!(
                "uid mismatch: the provided object specified uid {uid}, and no existing object was found"
            );
            return Err(ApiError::conflict(&self.resource, name, &why));
        }
        if meta::resource_version(config).is_some() {
            return Err(ApiError::not_found(&self.resource, name));
        }
        // Who may only change objects may not make them this way.
        let create = Attributes {
            user: self.user,
            verb: "create",
            target: Target::Resource(ResourceTarget {
                group: &self.resource.group,
                resource: &self.resource.plural,
                namespace: self.namespace,
                name: Some(name),
                ..ResourceTarget::default()
            }),
        };
        let allowed = self.server.authorizer.authorize(&create);
        allowed.map_err(authorization::refusal)?;
        let writer = self.field_writer();
        let made = managed::apply::apply(None, config, &writer.borrowed(), false);
        let mut object = made.map_err(|why| refusal(why, config, self.namespace))?;
        let validation = self.options.validation;
        let resource = std::sync::Arc::clone(&self.resource);
        input::check_fields(&mut object, &resource, &[], validation, &mut self.warnings)?;
        let stored = self.create(object).await?;
        Ok(Applied {
            stored,
            created: true,
        })
    }
}

/// Why a configuration was not applied, in the API's words.
fn refusal(why: Refused, config: &Value, namespace: Option<&str>) -> ApiError {
    match why {
        Refused::Untyped(why) => {
            let text = |name: &str| meta::text_at(config, &[name]).unwrap_or_default();
            let name = meta::name(config).unwrap_or_default();
            let object =
                namespace.map_or(name.to_owned(), |namespace| format!("{namespace}/{name}"));
            ApiError::bad_request(format!(
                "failed to create typed patch object ({object}; {}, Kind={}): {why}",
                text("apiVersion"),
                text("kind")
            ))
        }
        Refused::Conflicts(conflicts) => {
            let conflicts: Vec<_> = conflicts
                .into_iter()
                .map(|conflict| (conflict.manager, conflict.field))
                .collect();
            ApiError::apply_conflict(&conflicts)
        }
    }
}
