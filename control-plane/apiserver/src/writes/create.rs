//! Creates an object.

use coracle_api::{status::ApiError, validate::metadata};
use serde_json::Value;

use super::{
    ATTEMPTS, Write, prepare,
    transaction::{self, Refused, Transaction},
};
use crate::{
    admission::{self, Operation},
    ambient,
    encoded::Stored,
    error, keys, meta,
};

/// How often another name is generated when one is taken, as upstream.
const NAME_ATTEMPTS: usize = 8;
/// The longest base of a generated name: a suffix must fit into 63 characters behind it.
const MAX_BASE: usize = 63 - ambient::SUFFIX;

impl Write<'_> {
    /// Creates the object `sent`, whose name is in the URL where `named` says one (subresources that create).
    ///
    /// # Errors
    /// `AlreadyExists`, `Invalid`, `BadRequest`, `Forbidden` or `NotFound` (its namespace), and what the store says.
    pub async fn create(&mut self, mut sent: Value) -> Result<Stored, ApiError> {
        self.check_namespace(&mut sent)?;
        if meta::resource_version(&sent).is_some_and(|version| version != "0") {
            return Err(ApiError::bad_request(
                "resourceVersion should not be set on objects to be created",
            ));
        }
        if self.resource.has_status
            && !self.resource.takes_status_on_create()
            && let Some(map) = sent.as_object_mut()
        {
            map.remove("status");
        }
        let generate = meta::name(&sent).is_none();
        let base = meta::text(&sent, "generateName").map(base_of);
        let ambient = &*self.server.ambient;
        let (uid, now) = (ambient::uid(ambient), ambient.now());
        prepare::create(&mut sent, &self.resource, uid, now);
        let (mut names, mut tries) = (0, 0);
        loop {
            let mut object = sent.clone();
            if let (true, Some(base)) = (generate, &base) {
                names += 1;
                let name = format!("{base}{}", ambient::name_suffix(ambient));
                meta::set(&mut object, "name", name);
            }
            match self.try_create(object).await {
                Ok(stored) => return Ok(stored),
                Err(Refused::Object) if generate && names < NAME_ATTEMPTS => {}
                Err(Refused::Object) => {
                    let name = meta::name(&sent).or(base.as_deref()).unwrap_or_default();
                    return Err(ApiError::already_exists(&self.resource, name));
                }
                Err(Refused::Surroundings) if tries < ATTEMPTS => tries += 1,
                Err(Refused::Surroundings) => return Err(self.contended(&sent)),
                Err(Refused::Failed(error)) => return Err(error),
            }
        }
    }

    async fn try_create(&mut self, mut object: Value) -> Result<Stored, Refused> {
        // With its identity, on which some defaults depend.
        (self.resource.default)(&mut object);
        if !self.options.tracked {
            self.track(None, &mut object);
        }
        let admitted = admission::admit(self, Operation::Create, &mut object, None).await?;
        self.authorize(&object, None)?;
        let mut problems = metadata::create(&object, &self.resource);
        problems.extend((self.resource.validate)(&object));
        let name = meta::name(&object).unwrap_or_default().to_owned();
        if !problems.is_empty() {
            return Err(ApiError::invalid(&self.resource, &name, &problems).into());
        }
        let warnings = (self.resource.warnings)(&object);
        let key = keys::object(&self.resource, self.namespace, &name);
        if self.options.dry_run {
            let found = self.server.store.get(&key).await;
            return match found.map_err(error::from_store)? {
                Some(_) => Err(Refused::Object),
                None => Ok(transaction::unstored(&key, &object)?),
            };
        }
        let transaction = Transaction {
            resource: &self.resource,
            key: &key,
            old: None,
            new: Some(&object),
            guards: admitted.guards,
        };
        let stored = transaction.commit(self.server).await?;
        self.warnings.extend(warnings);
        Ok(stored)
    }

    /// The namespace of the object is that of the URL.
    pub(super) fn check_namespace(&self, object: &mut Value) -> Result<(), ApiError> {
        match (self.namespace, meta::namespace(object)) {
            (Some(namespace), None) => meta::set(object, "namespace", namespace),
            (None, None) => {}
            (Some(namespace), Some(sent)) if namespace == sent => {}
            (Some(_), Some(_)) => {
                return Err(ApiError::bad_request(
                    "the namespace of the provided object does not match the namespace sent on the request",
                ));
            }
            // Upstream drops the namespace of cluster-scoped objects silently.
            (None, Some(_)) => {
                meta::metadata_mut(object).remove("namespace");
            }
        }
        Ok(())
    }

    /// The surroundings changed at every attempt.
    pub(super) fn contended(&self, object: &Value) -> ApiError {
        ApiError::conflict(
            &self.resource,
            meta::name(object).unwrap_or_default(),
            "the object's surroundings keep changing; please try again",
        )
    }
}

/// The base of a generated name, cut so that the suffix fits.
fn base_of(base: &str) -> String {
    base.chars().take(MAX_BASE).collect()
}
