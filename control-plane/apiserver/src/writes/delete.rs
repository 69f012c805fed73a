//! Deletes objects, one or many. What a deletion does to an object is decided in [`super::deletion`]; this carries it out.

use coracle_api::{
    fields::{FieldError, FieldPath},
    status::ApiError,
};
use http::HeaderMap;
use serde_json::Value;

use super::{
    ATTEMPTS, Write,
    deletion::{self, Decision, DeleteOptions, Propagation},
    dry_run, field_manager,
    transaction::{Refused, Transaction},
};
use crate::{body, encoded::Stored, error, keys, meta, query::Query, reads::list::Listed};

/// What errors call the options.
const OPTIONS: &str = "DeleteOptions";

/// What a deletion did.
#[derive(Debug)]
pub enum Deleted {
    /// The object is gone; this was its last state.
    Gone(Value),
    /// The object stays until what holds it lets go.
    Pending(Stored),
}

impl DeleteOptions {
    /// Reads the options from the body if there is one, else from the query.
    ///
    /// # Errors
    /// `BadRequest`, `UnsupportedMediaType`.
    pub fn parse(headers: &HeaderMap, body: &[u8], query: &Query) -> Result<Self, ApiError> {
        if body.is_empty() {
            return Self::from_query(query);
        }
        let encoding = body::Encoding::of(headers, "v1", "DeleteOptions")?;
        let options = encoding.decode(body)?.value;
        let mut parsed = Self::from_value(&options)?;
        // The query parameter works with a body too, as upstream.
        parsed.dry_run |= dry_run(query.all("dryRun"), OPTIONS)?;
        Ok(parsed)
    }

    fn from_query(query: &Query) -> Result<Self, ApiError> {
        Ok(Self {
            grace: query.number("gracePeriodSeconds")?,
            uid: None,
            resource_version: None,
            propagation: propagation(
                query.text("propagationPolicy"),
                query.optional_flag("orphanDependents"),
            )?,
            dry_run: dry_run(query.all("dryRun"), OPTIONS)?,
        })
    }

    /// Reads a `DeleteOptions` object.
    ///
    /// # Errors
    /// `BadRequest`.
    pub fn from_value(options: &Value) -> Result<Self, ApiError> {
        let kind = meta::text_at(options, &["kind"]).unwrap_or("DeleteOptions");
        if !options.is_object() || kind != "DeleteOptions" {
            return Err(ApiError::bad_request(format!(
                "expected DeleteOptions in the body of a deletion, found {kind:?}"
            )));
        }
        let text = |path: &[&str]| {
            meta::text_at(options, path)
                .filter(|text| !text.is_empty())
                .map(str::to_owned)
        };
        let grace = match options.get("gracePeriodSeconds") {
            None | Some(Value::Null) => None,
            Some(value) => Some(value.as_i64().ok_or_else(|| {
                ApiError::bad_request("gracePeriodSeconds of DeleteOptions is not an integer")
            })?),
        };
        let dry = options.get("dryRun").and_then(Value::as_array);
        Ok(Self {
            grace,
            uid: text(&["preconditions", "uid"]),
            resource_version: text(&["preconditions", "resourceVersion"]),
            propagation: propagation(
                meta::text_at(options, &["propagationPolicy"]),
                meta::at(options, &["orphanDependents"]).and_then(Value::as_bool),
            )?,
            dry_run: dry_run(dry.into_iter().flatten().filter_map(Value::as_str), OPTIONS)?,
        })
    }
}

/// The wish about dependents, in its new or its old form.
fn propagation(
    policy: Option<&str>,
    orphan_dependents: Option<bool>,
) -> Result<Option<Propagation>, ApiError> {
    let policy = match policy {
        None => {
            return Ok(orphan_dependents.map(|orphan| match orphan {
                true => Propagation::Orphan,
                false => Propagation::Background,
            }));
        }
        Some(policy) if orphan_dependents.is_some() => {
            let why = "orphanDependents and deletionPropagation cannot be both set";
            let field = FieldPath::new("propagationPolicy");
            let problem = FieldError::invalid(&field, policy, why);
            return Err(field_manager::invalid(OPTIONS, problem));
        }
        Some(policy) => policy,
    };
    match policy {
        "Background" => Ok(Some(Propagation::Background)),
        "Foreground" => Ok(Some(Propagation::Foreground)),
        "Orphan" => Ok(Some(Propagation::Orphan)),
        other => {
            let field = FieldPath::new("propagationPolicy");
            let known = ["Background", "Foreground", "Orphan", "nil"];
            let problem = FieldError::not_supported(&field, other, &known);
            Err(field_manager::invalid(OPTIONS, problem))
        }
    }
}

impl Write<'_> {
    /// Deletes one object.
    ///
    /// # Errors
    /// `NotFound`, `Conflict` with a precondition, `Forbidden` for namespaces the cluster needs, and what the store says.
    pub async fn delete(
        &mut self,
        name: &str,
        options: &DeleteOptions,
    ) -> Result<Deleted, ApiError> {
        crate::admission::namespaces::check_deletion(&self.resource, name)?;
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
            let value = old.value()?;
            deletion::check_preconditions(&value, options, |why| {
                ApiError::conflict(&self.resource, name, &why)
            })?;
            let graceful = (self.resource.graceful_delete)(&value);
            let now = self.server.ambient.now();
            let new = match deletion::decide(&value, options, graceful, now) {
                Decision::Unchanged => return Ok(Deleted::Pending(old)),
                Decision::Remove => None,
                Decision::Mark(marked) => Some(marked),
            };
            if options.dry_run || self.options.dry_run {
                return Ok(match new {
                    Some(new) => Deleted::Pending(super::transaction::unstored(&key, &new)?),
                    None => Deleted::Gone(value),
                });
            }
            let transaction = Transaction {
                resource: &self.resource,
                key: &key,
                old: Some((&old, &value)),
                new: new.as_ref(),
                guards: Vec::new(),
            };
            match transaction.commit(self.server).await {
                Ok(stored) if new.is_some() => return Ok(Deleted::Pending(stored)),
                Ok(_) => return Ok(Deleted::Gone(value)),
                // A precondition of the client that still holds is checked again above.
                Err(Refused::Object | Refused::Surroundings) => {}
                Err(Refused::Failed(error)) => return Err(error),
            }
        }
        Err(ApiError::conflict(
            &self.resource,
            name,
            "the object keeps changing; please try again",
        ))
    }

    /// Deletes all of `listed`, each on its own. What is gone already is no error.
    ///
    /// # Errors
    /// The first of an object that could not be deleted; those before it are.
    pub async fn delete_all(
        &mut self,
        listed: &Listed,
        options: &DeleteOptions,
    ) -> Result<(), ApiError> {
        let of_request = self.namespace;
        for record in &listed.items {
            let namespaced = !self.resource.is_cluster_scoped();
            let namespace = namespaced.then(|| keys::namespace_of(&record.key).to_owned());
            let mut one = Write {
                server: self.server,
                user: self.user,
                resource: self.resource.clone(),
                namespace: namespace.as_deref().or(of_request),
                subresource: None,
                options: self.options.clone(),
                warnings: Vec::new(),
            };
            match one.delete(keys::name_of(&record.key), options).await {
                Ok(_) => {}
                Err(error) if error.code == http::StatusCode::NOT_FOUND => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use serde_json::json;

    use super::*;

    fn parse(body: &str, query: &str) -> Result<DeleteOptions, u16> {
        let mut headers = HeaderMap::new();
        headers.insert("content-type", HeaderValue::from_static("application/json"));
        DeleteOptions::parse(&headers, body.as_bytes(), &Query::parse(Some(query)))
            .map_err(|error| error.code)
    }

    #[test]
    fn options_come_from_the_body_or_the_query() {
        let none = DeleteOptions::default();
        assert_eq!(parse("", ""), Ok(none.clone()));
        let query = "gracePeriodSeconds=5&propagationPolicy=Orphan&dryRun=All";
        let full = DeleteOptions {
            grace: Some(5),
            propagation: Some(Propagation::Orphan),
            dry_run: true,
            ..none.clone()
        };
        assert_eq!(parse("", query), Ok(full));
        let body = json!({"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 0, "propagationPolicy": "Foreground",
            "preconditions": {"uid": "u", "resourceVersion": "7"}});
        let full = DeleteOptions {
            grace: Some(0),
            uid: Some("u".to_owned()),
            resource_version: Some("7".to_owned()),
            propagation: Some(Propagation::Foreground),
            dry_run: false,
        };
        assert_eq!(parse(&body.to_string(), "gracePeriodSeconds=9"), Ok(full));
        let orphan = parse(r#"{"orphanDependents":true}"#, "").unwrap();
        assert_eq!(orphan.propagation, Some(Propagation::Orphan));
    }

    #[test]
    fn nonsense_is_refused() {
        for (body, query, code) in [
            ("", "gracePeriodSeconds=soon", 400),
            ("", "propagationPolicy=Sideways", 422),
            ("", "dryRun=Some", 422),
            ("[]", "", 400),
            ("{", "", 400),
            (r#"{"kind":"Pod"}"#, "", 400),
            (r#"{"gracePeriodSeconds":"5"}"#, "", 400),
            (
                r#"{"orphanDependents":true,"propagationPolicy":"Orphan"}"#,
                "",
                422,
            ),
        ] {
            assert_eq!(parse(body, query), Err(code), "{body} {query}");
        }
    }
}
