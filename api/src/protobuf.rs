//! Objects in Kubernetes' protobuf, by the table of [`crate::upstream`] and not by types: bytes to JSON values and back, in the envelope that says which kind they
//! are. Checks the form only; what is decoded is checked against its schema as JSON is.

mod decode;
mod encode;
mod reader;
mod scalar;
mod writer;

use serde_json::{Map, Value};

pub use encode::List;
pub use reader::WireError;
pub use writer::Writer;

use crate::upstream::table;

/// What every body begins with.
const MAGIC: &[u8] = b"k8s\0";

/// The fields of `runtime.Unknown`, the envelope.
mod envelope {
    pub const TYPE: u32 = 1;
    pub const RAW: u32 = 2;
    /// Inside TYPE.
    pub const API_VERSION: u32 = 1;
    /// Inside TYPE.
    pub const KIND: u32 = 2;
}

/// Whether objects of a kind have a form in protobuf.
#[must_use]
pub fn has(api_version: &str, kind: &str) -> bool {
    table().kind(api_version, kind).is_some()
}

/// Decodes a body. What it does not say of its kind is taken from `expected` (apiVersion, kind).
///
/// # Errors
/// In upstream's words.
pub fn decode(body: &[u8], expected: (&str, &str)) -> Result<Value, WireError> {
    if body.is_empty() {
        return Err(WireError::new("empty data"));
    }
    let Some(data) = body.strip_prefix(MAGIC) else {
        return Err(WireError::new(
            "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]",
        ));
    };
    if data.is_empty() {
        return Err(WireError::new("empty body"));
    }
    let (mut api_version, mut kind, mut raw) = (String::new(), String::new(), [].as_slice());
    let mut fields = reader::Reader::new(data);
    while let Some((number, wire)) = fields.next("Unknown")? {
        match number {
            envelope::TYPE => {
                let mut meta = reader::Reader::new(wire.bytes("TypeMeta")?);
                while let Some((number, wire)) = meta.next("TypeMeta")? {
                    match number {
                        envelope::API_VERSION => api_version = wire.text("APIVersion")?.to_owned(),
                        envelope::KIND => kind = wire.text("Kind")?.to_owned(),
                        _ => {}
                    }
                }
            }
            envelope::RAW => raw = wire.bytes("Raw")?,
            _ => {}
        }
    }
    let or = |given: String, expected: &str| match given.is_empty() {
        true => expected.to_owned(),
        false => given,
    };
    let (api_version, kind) = (or(api_version, expected.0), or(kind, expected.1));
    let Some(message) = table().kind(&api_version, &kind) else {
        return Err(WireError::new(format!(
            "no kind {kind:?} is registered for version {api_version:?} in scheme \"coracle\""
        )));
    };
    let mut object = Map::new();
    decode::message(raw, message, 0, &mut object)?;
    object.insert("apiVersion".to_owned(), api_version.into());
    object.insert("kind".to_owned(), kind.into());
    Ok(Value::Object(object))
}

/// Encodes an object, which says itself of which kind it is. `None` for a kind that has no form in protobuf.
///
/// # Errors
/// When a value is not what its kind says.
pub fn encode(object: &Value) -> Result<Option<Vec<u8>>, WireError> {
    let text = |name: &str| object.get(name).and_then(Value::as_str).unwrap_or_default();
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    let Some(message) = table().kind(api_version, kind) else {
        return Ok(None);
    };
    let mut raw = Writer::default();
    encode::message(object, message, &mut raw)?;
    let raw = raw.into_bytes();
    let mut out = head(api_version, kind, raw.len());
    out.extend_from_slice(&raw);
    Ok(Some(out))
}

/// What stands before the `len` bytes of an object of a kind.
fn head(api_version: &str, kind: &str, len: usize) -> Vec<u8> {
    let mut meta = Writer::default();
    meta.bytes(envelope::API_VERSION, api_version.as_bytes());
    meta.bytes(envelope::KIND, kind.as_bytes());
    let mut out = Writer::starting_with(MAGIC);
    out.bytes(envelope::TYPE, &meta.into_bytes());
    out.open(envelope::RAW, len);
    out.into_bytes()
}

/// A frame of a watch: its length, then a WatchEvent with an encoded object in it.
#[must_use]
pub fn frame(event: &str, object: &[u8]) -> Vec<u8> {
    const TYPE: u32 = 1;
    const OBJECT: u32 = 2;
    const RAW: u32 = 1;
    let mut raw = Writer::default();
    raw.bytes(RAW, object);
    let mut message = Writer::default();
    message.bytes(TYPE, event.as_bytes());
    message.bytes(OBJECT, &raw.into_bytes());
    let message = message.into_bytes();
    let len = u32::try_from(message.len()).unwrap_or(u32::MAX);
    let mut out = len.to_be_bytes().to_vec();
    out.extend_from_slice(&message);
    out
}

#[cfg(test)]
mod tests;
