//! Which objects of a collection a request means: label and field selectors, evaluated on stored bytes with as little parsing as they allow.

use std::{collections::BTreeMap, sync::Arc};

use coracle_api::{
    registry::{Resource, Scope},
    selector::{FieldSelector, LabelSelector},
    status::ApiError,
};
use serde::Deserialize;
use serde_json::Value;

use crate::{encoded::Stored, keys, parsed::Parsed, query::Query};

/// The selectors of a request.
#[derive(Clone)]
pub struct Selection {
    resource: Arc<Resource>,
    labels: Option<LabelSelector>,
    /// Requirements on fields that only the object itself tells.
    fields: Vec<Term>,
    /// Requirements that the key tells.
    in_key: Vec<Term>,
    parsed: Option<Arc<Parsed>>,
}

/// One requirement on a field.
#[derive(Clone, Debug)]
struct Term {
    field: String,
    value: String,
    equal: bool,
}

impl Term {
    fn admits(&self, value: &str) -> bool {
        (self.value == value) == self.equal
    }
}

/// What of the metadata label selectors need.
#[derive(Deserialize)]
struct Labels {
    #[serde(default)]
    labels: Option<BTreeMap<String, String>>,
}

impl Selection {
    /// Reads `labelSelector` and `fieldSelector`.
    ///
    /// # Errors
    /// `BadRequest` for selectors that cannot be parsed and for fields the kind cannot be selected by.
    pub fn parse(
        resource: &Arc<Resource>,
        query: &Query,
        parsed: Option<Arc<Parsed>>,
    ) -> Result<Self, ApiError> {
        let labels = query
            .text("labelSelector")
            .map(LabelSelector::parse)
            .transpose()?;
        let mut fields = Vec::new();
        let mut in_key = Vec::new();
        if let Some(text) = query.text("fieldSelector") {
            for requirement in FieldSelector::parse(text)?.requirements() {
                let term = Term {
                    field: requirement.field.clone(),
                    value: requirement.value.clone(),
                    equal: requirement.equal,
                };
                match term.field.as_str() {
                    "metadata.name" => in_key.push(term),
                    "metadata.namespace" if resource.scope == Scope::Namespaced => {
                        in_key.push(term);
                    }
                    field if (resource.selectable)(&Value::Null, field).is_none() => {
                        return Err(ApiError::bad_request(format!(
                            "field label not supported: {field}"
                        )));
                    }
                    _ => fields.push(term),
                }
            }
        }
        Ok(Self {
            resource: Arc::clone(resource),
            labels,
            fields,
            in_key,
            parsed,
        })
    }

    /// Whether every object of the collection is meant.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.labels.is_none() && self.fields.is_empty() && self.in_key.is_empty()
    }

    /// The only name that can match, if the selection says so.
    #[must_use]
    pub fn only_name(&self) -> Option<&str> {
        self.in_key
            .iter()
            .find(|term| term.equal && term.field == "metadata.name")
            .map(|term| term.value.as_str())
    }

    /// Whether the object is meant.
    ///
    /// # Errors
    /// `Internal` for damaged records.
    pub fn matches(&self, stored: &Stored) -> Result<bool, ApiError> {
        let key = &stored.record().key;
        let by_key = self.in_key.iter().all(|term| {
            term.admits(match term.field.as_str() {
                "metadata.name" => keys::name_of(key),
                _ => keys::namespace_of(key),
            })
        });
        if !by_key {
            return Ok(false);
        }
        if let Some(selector) = &self.labels {
            let labels: Labels = stored.metadata()?;
            if !selector.matches(&labels.labels.unwrap_or_default()) {
                return Ok(false);
            }
        }
        if self.fields.is_empty() {
            return Ok(true);
        }
        let object = match &self.parsed {
            Some(parsed) => parsed.get(stored)?,
            None => Arc::new(stored.value()?),
        };
        Ok(self.fields.iter().all(|term| {
            let value = (self.resource.selectable)(&object, &term.field).unwrap_or_default();
            term.admits(&value)
        }))
    }
}
