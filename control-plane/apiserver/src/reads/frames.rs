//! The frames of a watch: one line of JSON, or one length and message of protobuf, per event. Frames of plain objects are made once per change and
//! shared by all watchers.

use std::sync::Arc;

use bytes::Bytes;
use coracle_api::{protobuf, registry::Resource, status::ApiError};
use coracle_store::{Event, Revision};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{selection::Selection, view::View};
use crate::{
    answer,
    encoded::Stored,
    meta,
    negotiation::Shape,
    recent::{Key, Recent},
};

/// What a frame says has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The object is new to this watcher.
    Added = 0,
    /// The object changed.
    Modified = 1,
    /// The object is gone, or no longer meant by the selectors.
    Deleted = 2,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Added => "ADDED",
            Self::Modified => "MODIFIED",
            Self::Deleted => "DELETED",
        }
    }
}

/// The shared frames of a server.
pub type FrameCache = Recent<Bytes>;

/// How many frames are kept, and how many bytes. Watchers of a change all come within milliseconds.
pub const FRAMES: (usize, usize) = (1024, 8 << 20);

/// Makes frames for one watcher.
pub struct Framer {
    view: View,
    selection: Selection,
    cache: Arc<FrameCache>,
    /// Whether the next table frame must say the columns.
    columns: bool,
    /// In protobuf, not in JSON.
    protobuf: bool,
}

/// Tells frames in protobuf from others of the same kind in the cache.
const PROTOBUF: u8 = 0x10;

impl Framer {
    /// A framer for what `selection` means, shown as `view`.
    #[must_use]
    pub fn new(view: View, selection: Selection, cache: Arc<FrameCache>, protobuf: bool) -> Self {
        Self {
            protobuf,
            view,
            selection,
            cache,
            columns: true,
        }
    }

    /// Whether an object of the initial state is meant.
    ///
    /// # Errors
    /// `Internal` for damaged records.
    pub fn selects(&self, stored: &Stored) -> Result<bool, ApiError> {
        self.selection.matches(stored)
    }

    /// The frame of a change, or none when it does not concern this watcher. An object that comes to be meant by the selectors is added, one
    /// that ceases to be is deleted.
    ///
    /// # Errors
    /// `Internal` for damaged records.
    pub fn change(&mut self, event: &Event, now: Timestamp) -> Result<Option<Bytes>, ApiError> {
        let current = event.current.clone().map(Stored::open).transpose()?;
        let previous = event
            .previous
            .clone()
            .map(|record| Stored::open_at(record, event.revision))
            .transpose()?;
        let meant = |stored: Option<Stored>| -> Result<Option<Stored>, ApiError> {
            match stored {
                Some(stored) if self.selection.matches(&stored)? => Ok(Some(stored)),
                _ => Ok(None),
            }
        };
        let (kind, stored) = match (meant(current)?, meant(previous)?) {
            (Some(current), None) => (Kind::Added, current),
            (Some(current), Some(_)) => (Kind::Modified, current),
            (None, Some(previous)) => (Kind::Deleted, previous),
            (None, None) => return Ok(None),
        };
        self.frame(kind, &stored, now).map(Some)
    }

    /// The frame of one object.
    ///
    /// # Errors
    /// `Internal` for damaged records.
    pub fn frame(
        &mut self,
        kind: Kind,
        stored: &Stored,
        now: Timestamp,
    ) -> Result<Bytes, ApiError> {
        if self.view.shape() != Shape::Object {
            let columns = std::mem::take(&mut self.columns);
            return self.wrap(kind.as_str(), &self.view.single(stored, now, columns)?);
        }
        let key = Key {
            key: Arc::clone(&stored.record().key),
            revision: stored.revision(),
            variant: kind as u8 | if self.protobuf { PROTOBUF } else { 0 },
        };
        self.cache.get_or(key, || {
            if self.protobuf {
                let frame = in_protobuf(kind.as_str(), &stored.value()?)?;
                let len = frame.len();
                return Ok((frame, len));
            }
            let mut out = Vec::with_capacity(stored.encoded_len() + 40);
            open(kind.as_str(), &mut out);
            stored.write(&mut out);
            out.extend_from_slice(CLOSE);
            let len = out.len();
            Ok((Bytes::from(out), len))
        })
    }

    /// A bookmark: everything up to `revision` has been sent. `initial` marks the end of the initial events.
    ///
    /// # Errors
    /// `Internal` when it has no form in protobuf.
    pub fn bookmark(
        &self,
        resource: &Resource,
        revision: Revision,
        initial: bool,
    ) -> Result<Bytes, ApiError> {
        let mut metadata =
            json!({"resourceVersion": revision.to_string(), "creationTimestamp": null});
        if initial {
            meta::put(
                &mut metadata,
                "annotations",
                json!({"k8s.io/initial-events-end": "true"}),
            );
        }
        let object = match self.view.shape() {
            Shape::Object => {
                json!({"kind": resource.kind, "apiVersion": resource.api_version(), "metadata": metadata})
            }
            Shape::Partial(version) => {
                json!({"kind": "PartialObjectMetadata", "apiVersion": version.api_version(), "metadata": metadata})
            }
            // A Table has list metadata; the annotation goes with the object of its only row.
            Shape::Table(version) => json!({
                "kind": "Table", "apiVersion": version.api_version(),
                "metadata": {"resourceVersion": revision.to_string()},
                "columnDefinitions": [],
                "rows": [{"cells": [], "object": {
                    "kind": "PartialObjectMetadata", "apiVersion": version.api_version(), "metadata": metadata}}],
            }),
        };
        self.wrap("BOOKMARK", object.to_string().as_bytes())
    }

    /// The frame that ends a watch that cannot go on.
    ///
    /// # Errors
    /// `Internal` when it has no form in protobuf.
    pub fn error(&self, error: &ApiError) -> Result<Bytes, ApiError> {
        self.wrap("ERROR", error.to_status().to_string().as_bytes())
    }

    /// The frame of an object in JSON.
    fn wrap(&self, kind: &str, object: &[u8]) -> Result<Bytes, ApiError> {
        if !self.protobuf {
            return Ok(wrap(kind, object));
        }
        let value = serde_json::from_slice(object)
            .map_err(|error| ApiError::internal(format!("encoding a frame: {error}")))?;
        in_protobuf(kind, &value)
    }
}

fn in_protobuf(kind: &str, object: &Value) -> Result<Bytes, ApiError> {
    Ok(protobuf::frame(kind, &answer::protobuf(object)?).into())
}

const CLOSE: &[u8] = b"}\n";

fn open(kind: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"type\":\"");
    out.extend_from_slice(kind.as_bytes());
    out.extend_from_slice(b"\",\"object\":");
}

fn wrap(kind: &str, object: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(object.len() + 40);
    open(kind, &mut out);
    out.extend_from_slice(object);
    out.extend_from_slice(CLOSE);
    Bytes::from(out)
}
