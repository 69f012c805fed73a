//! Updates an object: replaces all of it or a part, with optimistic concurrency. Patches and subresources come through here too.

use coracle_api::{
    fields::{FieldError, FieldPath},
    status::ApiError,
    validate::metadata,
};
use serde_json::Value;

use super::{
    ATTEMPTS, Write, deletion,
    prepare::{self, Part},
    transaction::{self, Refused, Transaction},
};
use crate::{
    admission::{self, Operation},
    encoded::Stored,
    error, keys, meta,
};

/// What is to become of an object, made from what is stored.
#[derive(Clone, Debug)]
pub struct Made {
    /// The object as the client wants it.
    pub object: Value,
    /// Whether it was made for exactly this version of the object, so that it must not be made again from a newer one.
    pub insists: bool,
}

/// What an update left behind.
#[derive(Clone, Debug)]
pub struct Updated {
    /// What is stored now, or was last.
    pub stored: Stored,
    /// The parsed form of it, with its resourceVersion.
    pub value: Value,
}

impl Write<'_> {
    /// Makes of the stored object what `make` makes of it; `make` is called again with the newer object when another write came between and what
    /// it made before did not insist on a resourceVersion.
    ///
    /// # Errors
    /// `NotFound`, `Conflict`, `Invalid`, `BadRequest`, and what `make` and the store say.
    pub async fn update(
        &mut self,
        name: &str,
        part: Part,
        mut make: impl FnMut(&Value, &mut Vec<String>) -> Result<Made, ApiError>,
    ) -> Result<Updated, ApiError> {
        let key = keys::object(&self.resource, self.namespace, name);
        for _ in 0..ATTEMPTS {
            let found = self
                .server
                .store
                .get(&key)
                .await
                .map_err(error::from_store)?;
            let Some(record) = found else {
                return Err(ApiError::not_found(&self.resource, name));
            };
            let old = Stored::open(record)?;
            let old_value = old.value()?;
            self.warnings.clear();
            let mut warnings = Vec::new();
            let made = make(&old_value, &mut warnings)?;
            self.warnings.append(&mut warnings);
            self.check_identity(&made.object, &old_value, name)?;
            let tried = self.try_update(&key, made.object, &old, &old_value, part);
            match tried.await {
                Ok(updated) => return Ok(updated),
                Err(Refused::Object) if made.insists => break,
                Err(Refused::Object | Refused::Surroundings) => {}
                Err(Refused::Failed(error)) => return Err(error),
            }
        }
        Err(ApiError::modified(&self.resource, name))
    }

    /// Refuses what is meant for another object or another version of it.
    fn check_identity(&self, sent: &Value, old: &Value, name: &str) -> Result<(), ApiError> {
        if let Some(sent) = meta::name(sent)
            && sent != name
        {
            return Err(ApiError::bad_request(format!(
                "the name of the object ({sent}) does not match the name on the URL ({name})"
            )));
        }
        if let (Some(sent), Some(namespace)) = (meta::namespace(sent), self.namespace)
            && sent != namespace
        {
            return Err(ApiError::bad_request(format!(
                "the namespace of the object ({sent}) does not match the namespace on the URL ({namespace})"
            )));
        }
        if let Some(sent) = meta::uid(sent)
            && meta::uid(old) != Some(sent)
        {
            let is = meta::uid(old).unwrap_or_default();
            let why = format!(
                "Precondition failed: UID in precondition: {sent}, UID in object meta: {is}"
            );
            return Err(ApiError::conflict(&self.resource, name, &why));
        }
        match meta::resource_version(sent).filter(|version| *version != "0") {
            None if self.resource.takes_unconditional_updates() => Ok(()),
            None => {
                let field = FieldPath::new("metadata").child("resourceVersion");
                let problem = FieldError::invalid(&field, 0, "must be specified for an update");
                Err(ApiError::invalid(&self.resource, name, &[problem]))
            }
            Some(version) if meta::resource_version(old) == Some(version) => Ok(()),
            Some(_) => Err(ApiError::modified(&self.resource, name)),
        }
    }

    async fn try_update(
        &mut self,
        key: &str,
        sent: Value,
        old: &Stored,
        old_value: &Value,
        part: Part,
    ) -> Result<Updated, Refused> {
        let fields = meta::at(&sent, &["metadata", "managedFields"]).cloned();
        let same_fields = fields.is_none()
            || fields.as_ref() == meta::at(old_value, &["metadata", "managedFields"]);
        let mut new = prepare::update(sent, old_value, &self.resource, part);
        (self.resource.default)(&mut new);
        match fields {
            Some(fields) if self.options.tracked => meta::set(&mut new, "managedFields", fields),
            _ => self.track(Some(old_value), &mut new),
        }
        let admitted = if part == Part::Main {
            admission::admit(self, Operation::Update, &mut new, Some(old_value)).await?
        } else {
            admission::Admitted::default()
        };
        self.authorize(&new, Some(old_value))?;
        if part == Part::Main {
            self.warnings.extend((self.resource.warnings)(&new));
        }
        prepare::raise_generation(&mut new, old_value, &self.resource);
        self.validate_update(&new, old_value, part)?;
        meta::copy(&mut new, old_value, "resourceVersion");
        // What admission has taken back nobody has changed.
        if same_fields && prepare::is_same_but_for(&new, old_value, "managedFields") {
            meta::copy(&mut new, old_value, "managedFields");
        }
        let finished = deletion::is_finished(&new);
        if new == *old_value && !finished {
            return Ok(Updated {
                stored: old.clone(),
                value: new,
            });
        }
        let stored = if self.options.dry_run {
            transaction::unstored(key, &new)?
        } else if finished {
            // The last change before the object goes is seen by nobody but the one who made it.
            let transaction = Transaction {
                resource: &self.resource,
                key,
                old: Some((old, old_value)),
                new: None,
                guards: admitted.guards,
            };
            transaction.commit(self.server).await?
        } else {
            let transaction = Transaction {
                resource: &self.resource,
                key,
                old: Some((old, old_value)),
                new: Some(&new),
                guards: admitted.guards,
            };
            transaction.commit(self.server).await?
        };
        meta::set(&mut new, "resourceVersion", stored.revision().to_string());
        Ok(Updated { stored, value: new })
    }

    fn validate_update(&self, new: &Value, old: &Value, part: Part) -> Result<(), ApiError> {
        let name = meta::name(old).unwrap_or_default();
        let mut problems = metadata::update(new, old);
        problems.extend((self.resource.validate_update)(new, old));
        if part == Part::Main {
            // What is only marked for deletion or loses a finalizer must not fail on rules that came later.
            if !meta::is_terminating(old) {
                problems.extend((self.resource.validate)(new));
            }
        }
        if problems.is_empty() {
            Ok(())
        } else {
            Err(ApiError::invalid(&self.resource, name, &problems))
        }
    }
}
