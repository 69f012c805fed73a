//! Shows stored objects in the negotiated shape: as they are, as rows of a Table, or their metadata. Writes JSON bytes straight from the stored
//! bytes wherever nothing needs to be parsed.

use std::sync::Arc;

use bytes::Bytes;
use coracle_api::{protobuf, registry::Resource, status::ApiError};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    encoded::Stored,
    meta,
    negotiation::{MetaVersion, Shape},
    parsed::Parsed,
    query::Query,
};

/// How much of an object goes with its table row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Include {
    /// Nothing.
    None,
    /// Its metadata: the default.
    Metadata,
    /// All of it.
    Object,
}

impl Include {
    /// Reads `includeObject`.
    ///
    /// # Errors
    /// `BadRequest` for an unknown value.
    pub fn parse(query: &Query) -> Result<Self, ApiError> {
        match query.text("includeObject") {
            None | Some("Metadata") => Ok(Self::Metadata),
            Some("None") => Ok(Self::None),
            Some("Object") => Ok(Self::Object),
            Some(other) => Err(ApiError::bad_request(format!(
                "invalid includeObject value: {other:?}"
            ))),
        }
    }
}

/// A way of showing the objects of one kind.
#[derive(Clone)]
pub struct View {
    resource: Arc<Resource>,
    shape: Shape,
    include: Include,
    /// Shared parsed forms, for changes many look at. Lists look at each object once and go without.
    parsed: Option<Arc<Parsed>>,
}

/// What a list says about itself.
#[derive(Clone, Debug, Default)]
pub struct ListMeta {
    /// The revision it is true at.
    pub revision: u64,
    /// The token for the next page.
    pub continuation: Option<String>,
    /// How many follow, where that is known.
    pub remaining: Option<u64>,
}

impl ListMeta {
    fn to_value(&self) -> Value {
        let mut metadata = json!({});
        if self.revision > 0 {
            let revision = json!(self.revision.to_string());
            meta::put(&mut metadata, "resourceVersion", revision);
        }
        if let Some(token) = &self.continuation {
            meta::put(&mut metadata, "continue", json!(token));
        }
        if let Some(remaining) = self.remaining {
            meta::put(&mut metadata, "remainingItemCount", json!(remaining));
        }
        metadata
    }
}

impl View {
    /// A view of objects of `resource`.
    #[must_use]
    pub fn new(
        resource: Arc<Resource>,
        shape: Shape,
        include: Include,
        parsed: Option<Arc<Parsed>>,
    ) -> Self {
        Self {
            resource,
            shape,
            include,
            parsed,
        }
    }

    /// The shape of the view.
    #[must_use]
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// One object as a whole answer (or in a watch frame). Tables have their columns when `columns` says so: in a watch only the first has.
    ///
    /// # Errors
    /// `Internal` for damaged records.
    pub fn single(
        &self,
        stored: &Stored,
        now: Timestamp,
        columns: bool,
    ) -> Result<Bytes, ApiError> {
        let mut out = Vec::with_capacity(stored.encoded_len() + 64);
        match self.shape {
            Shape::Object => stored.write(&mut out),
            Shape::Partial(version) => write_partial(stored, version, &mut out)?,
            Shape::Table(_) => {
                let meta = ListMeta {
                    revision: stored.revision().0,
                    ..ListMeta::default()
                };
                self.write_head(&meta, columns, &mut out);
                self.write_item(stored, now, &mut out)?;
                out.extend_from_slice(TAIL);
            }
        }
        Ok(Bytes::from(out))
    }

    /// An object in the shape of the view, as a value. Tables have none.
    ///
    /// # Errors
    /// `Internal` for damaged records.
    pub fn value(&self, stored: &Stored) -> Result<Value, ApiError> {
        match self.shape {
            Shape::Partial(version) => Ok(json!({
                "kind": "PartialObjectMetadata", "apiVersion": version.api_version(),
                "metadata": meta::at(&stored.value()?, &["metadata"]),
            })),
            _ => stored.value(),
        }
    }

    /// A list of the view's objects in protobuf, without items yet.
    ///
    /// # Errors
    /// `Internal` when the kind has no such form.
    pub fn protobuf_list(&self, meta: &ListMeta) -> Result<protobuf::List, ApiError> {
        let (list, item, api_version) = match self.shape {
            Shape::Partial(version) => (
                "PartialObjectMetadataList",
                "PartialObjectMetadata",
                version.api_version().to_owned(),
            ),
            _ => (
                &*self.resource.list_kind,
                &*self.resource.kind,
                self.resource.api_version(),
            ),
        };
        match protobuf::List::begin(&api_version, list, item, &meta.to_value()) {
            Ok(Some(list)) => Ok(list),
            Ok(None) => Err(ApiError::internal(format!("{list} has no protobuf"))),
            Err(error) => Err(ApiError::internal(format!("encoding protobuf: {error}"))),
        }
    }

    /// What stands before the first item of a list.
    pub fn write_list_head(&self, meta: &ListMeta, out: &mut Vec<u8>) {
        self.write_head(meta, true, out);
    }

    /// Adds an item of a list. Commas are the caller's.
    ///
    /// # Errors
    /// `Internal` for damaged records.
    pub fn write_item(
        &self,
        stored: &Stored,
        now: Timestamp,
        out: &mut Vec<u8>,
    ) -> Result<(), ApiError> {
        let version = match self.shape {
            Shape::Object => {
                stored.write(out);
                return Ok(());
            }
            Shape::Partial(version) => return write_partial(stored, version, out),
            Shape::Table(version) => version,
        };
        let value = match &self.parsed {
            Some(parsed) => parsed.get(stored)?,
            None => Arc::new(stored.value()?),
        };
        let cells = (self.resource.row)(&value, now);
        out.extend_from_slice(b"{\"cells\":");
        write_json(&cells, out)?;
        match self.include {
            Include::None => {}
            Include::Metadata => {
                out.extend_from_slice(b",\"object\":");
                write_partial(stored, version, out)?;
            }
            Include::Object => {
                out.extend_from_slice(b",\"object\":");
                stored.write(out);
            }
        }
        out.push(b'}');
        Ok(())
    }

    /// Kind, version, list metadata, columns and the opening of the items.
    fn write_head(&self, meta: &ListMeta, columns: bool, out: &mut Vec<u8>) {
        let (kind, api_version) = match self.shape {
            Shape::Object => (
                self.resource.list_kind.to_string(),
                self.resource.api_version(),
            ),
            Shape::Partial(v) => (
                "PartialObjectMetadataList".to_owned(),
                v.api_version().to_owned(),
            ),
            Shape::Table(v) => ("Table".to_owned(), v.api_version().to_owned()),
        };
        let metadata = meta.to_value();
        let head = format!(
            "{{\"kind\":{},\"apiVersion\":{},\"metadata\":{metadata},",
            json!(kind),
            json!(api_version)
        );
        out.extend_from_slice(head.as_bytes());
        if matches!(self.shape, Shape::Table(_)) {
            let columns = if columns {
                self.column_definitions()
            } else {
                json!([])
            };
            let head = format!("\"columnDefinitions\":{columns},\"rows\":[");
            out.extend_from_slice(head.as_bytes());
        } else {
            out.extend_from_slice(b"\"items\":[");
        }
    }

    fn column_definitions(&self) -> Value {
        self.resource
            .columns
            .iter()
            .map(|column| {
                json!({
                    "name": column.name,
                    "type": column.kind,
                    "format": column.format,
                    "description": column.description,
                    "priority": column.priority,
                })
            })
            .collect()
    }
}

/// What closes a list in every shape.
pub const TAIL: &[u8] = b"]}";

fn write_json(value: &impl serde::Serialize, out: &mut Vec<u8>) -> Result<(), ApiError> {
    serde_json::to_writer(out, value)
        .map_err(|error| ApiError::internal(format!("encoding an answer: {error}")))
}

/// The object's metadata as a PartialObjectMetadata.
fn write_partial(stored: &Stored, version: MetaVersion, out: &mut Vec<u8>) -> Result<(), ApiError> {
    let head = format!(
        "{{\"kind\":\"PartialObjectMetadata\",\"apiVersion\":\"{}\",\"metadata\":",
        version.api_version()
    );
    out.extend_from_slice(head.as_bytes());
    stored.write_metadata(out)?;
    out.push(b'}');
    Ok(())
}
