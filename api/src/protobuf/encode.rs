//! From JSON to the bytes of a message, for answers. What is written was checked when it came in: a value of the wrong type is an error of the server's.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Map, Value};

use super::{WireError, Writer, head, scalar};
use crate::upstream::{Field, Form, Many, Message, Of, table};

/// Writes the message of an object.
pub(super) fn message(object: &Value, of: &Message, out: &mut Writer) -> Result<(), WireError> {
    match object.as_object() {
        Some(object) => fields(object, of, out),
        None => Err(mistyped(of.name, object)),
    }
}

fn fields(object: &Map<String, Value>, of: &Message, out: &mut Writer) -> Result<(), WireError> {
    for field in table().fields(of) {
        if field.inline {
            let mut inner = Writer::default();
            if let Of::Message(place) = field.of
                && let Some(of) = table().at(place)
            {
                fields(object, of, &mut inner)?;
            }
            if !inner.is_empty() {
                out.bytes(field.number.into(), &inner.into_bytes());
            }
            continue;
        }
        let Some(value) = object.get(field.name).filter(|value| !value.is_null()) else {
            continue;
        };
        match (field.many, value) {
            (Many::One, value) => one(u32::from(field.number), value, field, out)?,
            (Many::List, Value::Array(items)) => {
                for item in items {
                    one(field.number.into(), item, field, out)?;
                }
            }
            (Many::Map, Value::Object(map)) => {
                for (key, value) in map {
                    let mut entry = Writer::default();
                    entry.bytes(1, key.as_bytes());
                    one(2, value, field, &mut entry)?;
                    out.bytes(field.number.into(), &entry.into_bytes());
                }
            }
            (_, other) => return Err(mistyped(field.name, other)),
        }
    }
    Ok(())
}

/// Writes one value of a field.
fn one(number: u32, value: &Value, field: &Field, out: &mut Writer) -> Result<(), WireError> {
    let wrong = || mistyped(field.name, value);
    match field.of {
        Of::String => out.bytes(number, value.as_str().ok_or_else(wrong)?.as_bytes()),
        Of::Bytes => {
            let text = value.as_str().ok_or_else(wrong)?;
            out.bytes(number, &STANDARD.decode(text).map_err(|_| wrong())?);
        }
        Of::Bool => out.integer(number, value.as_bool().ok_or_else(wrong)?.into()),
        Of::Int32 | Of::Int64 => out.integer(number, value.as_i64().ok_or_else(wrong)?),
        Of::Double => out.double(number, value.as_f64().ok_or_else(wrong)?),
        Of::Message(place) => {
            let mut inner = Writer::default();
            if let Some(of) = table().at(place) {
                formed(value, of, &mut inner)?;
            }
            out.bytes(number, &inner.into_bytes());
        }
    }
    Ok(())
}

/// Writes a message from the JSON of its form.
fn formed(value: &Value, of: &Message, out: &mut Writer) -> Result<(), WireError> {
    const INT: u32 = 2;
    const TEXT: u32 = 3;
    let wrong = || mistyped(of.name, value);
    match of.form {
        Form::Object => return message(value, of, out),
        Form::Json => out.bytes(1, value.to_string().as_bytes()),
        Form::Quantity => match value {
            Value::Number(number) => out.bytes(1, number.to_string().as_bytes()),
            text => out.bytes(1, text.as_str().ok_or_else(wrong)?.as_bytes()),
        },
        Form::IntOrString => match value {
            Value::String(text) => {
                out.integer(1, 1);
                out.integer(INT, 0);
                out.bytes(TEXT, text.as_bytes());
            }
            number => {
                out.integer(1, 0);
                out.integer(INT, number.as_i64().ok_or_else(wrong)?);
                out.bytes(TEXT, b"");
            }
        },
        // null, which stands for no time at all, is an empty message.
        Form::Time | Form::MicroTime if value.is_null() => {}
        Form::Time | Form::MicroTime => {
            let (seconds, nanos) = scalar::parse_time(value.as_str().ok_or_else(wrong)?)?;
            out.integer(1, seconds);
            out.integer(2, if of.form == Form::Time { 0 } else { nanos });
        }
        Form::Duration => out.integer(
            1,
            scalar::parse_duration(value.as_str().ok_or_else(wrong)?)?,
        ),
        Form::Items => {
            for item in value.as_array().ok_or_else(wrong)? {
                out.bytes(1, item.as_str().ok_or_else(wrong)?.as_bytes());
            }
        }
        Form::SchemaOr | Form::BoolOrSchema => schema_or(value, of, out)?,
    }
    Ok(())
}

/// Writes the one or the other of a schema and something else.
fn schema_or(value: &Value, of: &Message, out: &mut Writer) -> Result<(), WireError> {
    let all = table().fields(of);
    match value {
        Value::Bool(flag) => out.integer(1, (*flag).into()),
        Value::Array(items) => {
            if let Some(list) = all.get(1) {
                for item in items {
                    one(list.number.into(), item, list, out)?;
                }
            }
        }
        schema => {
            if let Some(field) = all.iter().find(|field| field.name == "schema") {
                // A schema allows.
                if of.form == Form::BoolOrSchema {
                    out.integer(1, 1);
                }
                one(field.number.into(), schema, field, out)?;
            }
        }
    }
    Ok(())
}

fn mistyped(what: &str, value: &Value) -> WireError {
    let found = match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    };
    WireError::new(format!("{what} cannot be encoded from {found}"))
}

/// A list being encoded item by item: the items are kept encoded until all are there, as their length comes first.
#[derive(Debug)]
pub struct List {
    api_version: String,
    kind: String,
    item: &'static Message,
    head: Writer,
    items: Vec<Vec<u8>>,
}

impl List {
    /// Every list has its metadata in field 1 and its items in field 2.
    const METADATA: u32 = 1;
    const ITEMS: u32 = 2;

    /// Begins a list `kind` of items of `item_kind`. `None` when they have no form in protobuf.
    ///
    /// # Errors
    /// When `metadata` is no ListMeta.
    pub fn begin(
        api_version: &str,
        kind: &str,
        item_kind: &str,
        metadata: &Value,
    ) -> Result<Option<Self>, WireError> {
        let (Some(item), Some(list_meta)) = (
            table().kind(api_version, item_kind),
            table().message("meta.v1.ListMeta"),
        ) else {
            return Ok(None);
        };
        let mut inner = Writer::default();
        message(metadata, list_meta, &mut inner)?;
        let mut head = Writer::default();
        head.bytes(Self::METADATA, &inner.into_bytes());
        Ok(Some(Self {
            api_version: api_version.to_owned(),
            kind: kind.to_owned(),
            item,
            head,
            items: Vec::new(),
        }))
    }

    /// Adds an item.
    ///
    /// # Errors
    /// When a value is not what its kind says.
    pub fn add(&mut self, item: &Value) -> Result<(), WireError> {
        let mut inner = Writer::default();
        message(item, self.item, &mut inner)?;
        let mut out = Writer::default();
        out.bytes(Self::ITEMS, &inner.into_bytes());
        self.items.push(out.into_bytes());
        Ok(())
    }

    /// The whole answer, in pieces.
    #[must_use]
    pub fn finish(self) -> Vec<Vec<u8>> {
        let head_bytes = self.head.into_bytes();
        let len = head_bytes.len() + self.items.iter().map(Vec::len).sum::<usize>();
        let mut first = head(&self.api_version, &self.kind, len);
        first.extend_from_slice(&head_bytes);
        let mut pieces = vec![first];
        pieces.extend(self.items);
        pieces
    }
}
