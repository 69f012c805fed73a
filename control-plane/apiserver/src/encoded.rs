//! The stored form of an object, and how its resourceVersion gets into it without encoding it again. Knows bytes, not kinds.
//!
//! # The format
//! Compact JSON in UTF-8. The keys of the top level come in the order `apiVersion`, `kind`, `metadata`, then all others in the order of the
//! value's map; `metadata` has no `resourceVersion`. So every stored text begins
//! `{"apiVersion":"…","kind":"…","metadata":{`, and the place right behind that brace is the **splice point**: whoever reads inserts
//! `"resourceVersion":"N",` there, N being the revision of the record (or of the deletion, for the last state of a deleted object). The point is found by
//! searching the first bytes, as neither an API version nor a kind can contain a quotation mark. `metadata` near the front also means that labels are
//! read without reading the rest. Nothing is ever stored at revision 0: an object at 0 is not stored (a dry run, a measurement) and is shown without a
//! resourceVersion.

use std::sync::Arc;

use bytes::Bytes;
use coracle_api::status::ApiError;
use coracle_store::{Record, Revision};
use serde::{
    Serialize, Serializer,
    ser::{Error as _, SerializeMap},
};
use serde_json::{Map, Value, value::RawValue};

/// What stands before the splice point.
const METADATA: &[u8] = b"\"metadata\":{";
/// An API version has at most 253 + 1 + 63 bytes and a kind 63: the splice point lies within this many bytes.
const HEAD: usize = 512;
/// What is inserted, around the number.
const BEFORE: &str = "\"resourceVersion\":\"";
const AFTER: &str = "\"";

/// Encodes `object` for the store.
///
/// # Errors
/// `Internal` when it is no object with `apiVersion`, `kind` and `metadata`: the pipeline has made sure that it is.
pub fn encode(object: &Value) -> Result<Bytes, ApiError> {
    let bytes = serde_json::to_vec(&Canonical(object))
        .map_err(|error| ApiError::internal(format!("encoding an object: {error}")))?;
    match splice_point(&bytes) {
        Some(_) => Ok(Bytes::from(bytes)),
        None => Err(ApiError::internal("encoding an object without metadata")),
    }
}

/// Serializes an object in the stored order.
struct Canonical<'a>(&'a Value);

impl Serialize for Canonical<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        const FIRST: [&str; 2] = ["apiVersion", "kind"];
        let object = self
            .0
            .as_object()
            .ok_or_else(|| S::Error::custom("not an object"))?;
        let mut map = serializer.serialize_map(None)?;
        for key in FIRST {
            let value = object
                .get(key)
                .ok_or_else(|| S::Error::custom(format!("no {key}")))?;
            map.serialize_entry(key, value)?;
        }
        let metadata = object
            .get("metadata")
            .and_then(Value::as_object)
            .ok_or_else(|| S::Error::custom("no metadata"))?;
        map.serialize_entry("metadata", &Unversioned(metadata))?;
        for (key, value) in object {
            if key != "metadata" && !FIRST.contains(&key.as_str()) {
                map.serialize_entry(key, value)?;
            }
        }
        map.end()
    }
}

/// Metadata without the resourceVersion.
struct Unversioned<'a>(&'a Map<String, Value>);

impl Serialize for Unversioned<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().filter(|(key, _)| *key != "resourceVersion"))
    }
}

/// Where the resourceVersion goes.
fn splice_point(bytes: &[u8]) -> Option<usize> {
    bytes
        .get(..bytes.len().min(HEAD))?
        .windows(METADATA.len())
        .position(|window| window == METADATA)
        .map(|at| at + METADATA.len())
}

/// A record that holds an object. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Stored {
    record: Arc<Record>,
    splice: usize,
    /// What resourceVersion readers see: the record's revision, or that of its deletion.
    revision: Revision,
}

impl Stored {
    /// Finds the splice point of `record`.
    ///
    /// # Errors
    /// `Internal` when the value has not the stored form.
    pub fn open(record: Arc<Record>) -> Result<Self, ApiError> {
        let revision = record.modified;
        Self::open_at(record, revision)
    }

    /// The same for the last state of an object that was deleted at `revision`.
    ///
    /// # Errors
    /// As [`Stored::open`].
    pub fn open_at(record: Arc<Record>, revision: Revision) -> Result<Self, ApiError> {
        match splice_point(&record.value) {
            Some(splice) => Ok(Self {
                record,
                splice,
                revision,
            }),
            None => Err(ApiError::internal(format!(
                "the record {} does not hold an object",
                record.key
            ))),
        }
    }

    /// The record itself.
    #[must_use]
    pub fn record(&self) -> &Arc<Record> {
        &self.record
    }

    /// The revision readers see as resourceVersion.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// How many bytes [`Stored::write`] will add.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        let len = self.record.value.len();
        if self.revision.0 == 0 {
            return len;
        }
        let comma = usize::from(!self.metadata_is_empty());
        len + BEFORE.len() + digits(self.revision.0) + AFTER.len() + comma
    }

    /// Appends the object with its resourceVersion to `out`.
    pub fn write(&self, out: &mut Vec<u8>) {
        let (head, tail) = self.record.value.split_at(self.splice);
        out.extend_from_slice(head);
        self.write_version(out);
        out.extend_from_slice(tail);
    }

    /// Appends the resourceVersion, ready for the rest of the metadata.
    fn write_version(&self, out: &mut Vec<u8>) {
        if self.revision.0 == 0 {
            return;
        }
        out.extend_from_slice(BEFORE.as_bytes());
        out.extend_from_slice(self.revision.0.to_string().as_bytes());
        out.extend_from_slice(AFTER.as_bytes());
        if !self.metadata_is_empty() {
            out.push(b',');
        }
    }

    /// The object's JSON with its resourceVersion.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        let mut out = Vec::with_capacity(self.encoded_len());
        self.write(&mut out);
        Bytes::from(out)
    }

    /// The object with its resourceVersion, parsed.
    ///
    /// # Errors
    /// `Internal` when the value is not JSON.
    pub fn value(&self) -> Result<Value, ApiError> {
        let mut value: Value =
            serde_json::from_slice(&self.record.value).map_err(|error| self.damaged(&error))?;
        if self.revision.0 > 0
            && let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut)
        {
            metadata.insert(
                "resourceVersion".to_owned(),
                Value::String(self.revision.to_string()),
            );
        }
        Ok(value)
    }

    /// Reads the metadata, and nothing of the rest, as `T`. The resourceVersion is not in it.
    ///
    /// # Errors
    /// `Internal` when it is not what `T` expects.
    pub fn metadata<'a, T: serde::Deserialize<'a>>(&'a self) -> Result<T, ApiError> {
        let from = self.splice.saturating_sub(1);
        let text = self.record.value.get(from..).unwrap_or_default();
        match serde_json::Deserializer::from_slice(text)
            .into_iter()
            .next()
        {
            Some(Ok(metadata)) => Ok(metadata),
            Some(Err(error)) => Err(self.damaged(&error)),
            None => Err(ApiError::internal(format!(
                "the record {} ends early",
                self.record.key
            ))),
        }
    }

    /// Appends the metadata object with its resourceVersion to `out`.
    ///
    /// # Errors
    /// As [`Stored::metadata`].
    pub fn write_metadata(&self, out: &mut Vec<u8>) -> Result<(), ApiError> {
        let raw: &RawValue = self.metadata()?;
        out.push(b'{');
        self.write_version(out);
        out.extend_from_slice(raw.get().as_bytes().get(1..).unwrap_or(b"}"));
        Ok(())
    }

    fn metadata_is_empty(&self) -> bool {
        self.record.value.get(self.splice) == Some(&b'}')
    }

    fn damaged(&self, error: &serde_json::Error) -> ApiError {
        ApiError::internal(format!(
            "the record {} is damaged: {error}",
            self.record.key
        ))
    }
}

/// How many decimal digits `n` has.
fn digits(n: u64) -> usize {
    n.checked_ilog10().map_or(1, |log| log as usize + 1)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn record(object: &Value, modified: u64) -> Arc<Record> {
        Arc::new(Record {
            key: "/registry/core/configmaps/default/a".into(),
            value: encode(object).unwrap(),
            created: Revision(1),
            modified: Revision(modified),
        })
    }

    #[test]
    fn an_object_round_trips_with_its_revision() {
        let object = json!({"data": {"metadata": "\"metadata\":{"}, "kind": "ConfigMap", "apiVersion": "v1",
            "metadata": {"name": "a", "resourceVersion": "7", "labels": {"x": "y"}}});
        for revision in [0, 1, 9, 10, 99, 1_234_567] {
            let stored = Stored::open(record(&object, revision)).unwrap();
            let mut expected = object.clone();
            let metadata = expected["metadata"].as_object_mut().unwrap();
            metadata.remove("resourceVersion");
            if revision > 0 {
                metadata.insert("resourceVersion".to_owned(), json!(revision.to_string()));
            }
            let bytes = stored.to_bytes();
            assert_eq!(bytes.len(), stored.encoded_len());
            assert_eq!(serde_json::from_slice::<Value>(&bytes).unwrap(), expected);
            assert_eq!(stored.value().unwrap(), expected);
            let mut metadata = Vec::new();
            stored.write_metadata(&mut metadata).unwrap();
            let metadata: Value = serde_json::from_slice(&metadata).unwrap();
            assert_eq!(metadata, expected["metadata"]);
        }
    }

    #[test]
    fn the_stored_text_has_the_documented_beginning() {
        let object = json!({"spec": {}, "kind": "Pod", "apiVersion": "v1", "metadata": {"name": "a", "resourceVersion": "3"}});
        assert_eq!(
            encode(&object).unwrap(),
            r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a"},"spec":{}}"#
        );
    }

    #[test]
    fn empty_metadata_is_spliced_without_a_comma() {
        let object = json!({"kind": "Pod", "apiVersion": "v1", "metadata": {}});
        let stored = Stored::open(record(&object, 5)).unwrap();
        assert_eq!(
            stored.to_bytes(),
            r#"{"apiVersion":"v1","kind":"Pod","metadata":{"resourceVersion":"5"}}"#
        );
        assert_eq!(stored.to_bytes().len(), stored.encoded_len());
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for bad in [
            json!([]),
            json!({"kind": "Pod", "metadata": {}}),
            json!({"kind": "Pod", "apiVersion": "v1"}),
            json!({"kind": "Pod", "apiVersion": "v1", "metadata": "x"}),
        ] {
            assert!(encode(&bad).is_err(), "{bad}");
        }
        let garbage = Arc::new(Record {
            key: "/x".into(),
            value: Bytes::from_static(b"garbage"),
            created: Revision(1),
            modified: Revision(1),
        });
        assert!(Stored::open(garbage).is_err());
    }
}
