//! From the bytes of a message to the JSON that upstream would make of it: unknown fields are passed over, empty values left out where Go leaves them out, and a
//! message that comes twice is merged, as its generated code does.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Map, Number, Value};

use super::{
    reader::{Reader, Wire, WireError},
    scalar,
};
use crate::{
    decode::{Format, decode},
    upstream::{Field, Form, Many, Message, Of, table},
};

/// Deeper than any object of Kubernetes nests, and far below what a stack holds.
const DEPTH_LIMIT: usize = 100;

/// Decodes the fields of a message into `object`.
pub(super) fn message(
    bytes: &[u8],
    of: &Message,
    depth: usize,
    object: &mut Map<String, Value>,
) -> Result<(), WireError> {
    if depth > DEPTH_LIMIT {
        return Err(WireError::new("exceeded max depth"));
    }
    let fields = table().fields(of);
    let mut reader = Reader::new(bytes);
    let mut expected = 0;
    while let Some((number, wire)) = reader.next(of.name)? {
        // Writers go through the fields in order: the next is nearly always the same one or the next.
        let found = fields
            .iter()
            .cycle()
            .skip(expected)
            .take(fields.len())
            .position(|field| u32::from(field.number) == number);
        let Some(steps) = found else { continue };
        expected = (expected + steps) % fields.len();
        if let Some(field) = fields.get(expected) {
            one(wire, field, depth, object)?;
        }
    }
    Ok(())
}

/// Adds one occurrence of a field.
fn one(
    wire: Wire<'_>,
    field: &Field,
    depth: usize,
    object: &mut Map<String, Value>,
) -> Result<(), WireError> {
    if field.inline {
        return match field.of {
            Of::Message(place) => match table().at(place) {
                Some(inner) => message(wire.bytes(field.name)?, inner, depth + 1, object),
                None => Ok(()),
            },
            _ => Err(wire.wrong(field.name)),
        };
    }
    match field.many {
        Many::One => {
            let before = object.remove(field.name);
            let value = value(wire, field, depth, before)?;
            if !(value.is_null() || field.omitted && !field.pointer && is_zero(&value, field)) {
                object.insert(field.name.to_owned(), value);
            }
        }
        Many::List => {
            let Value::Array(items) = object
                .entry(field.name)
                .or_insert_with(|| Value::Array(Vec::new()))
            else {
                return Err(wire.wrong(field.name));
            };
            if let (Wire::Bytes(packed), Of::Int32 | Of::Int64 | Of::Bool) = (wire, field.of) {
                let mut packed = Reader::new(packed);
                while let Some(number) = packed.packed()? {
                    items.push(value(Wire::Varint(number), field, depth, None)?);
                }
            } else {
                items.push(value(wire, field, depth, None)?);
            }
        }
        Many::Map => {
            let (mut key, mut entry) = (String::new(), None);
            let mut reader = Reader::new(wire.bytes(field.name)?);
            while let Some((number, wire)) = reader.next(field.name)? {
                match number {
                    1 => key = wire.text(field.name)?.to_owned(),
                    2 => entry = Some(value(wire, field, depth, None)?),
                    _ => {}
                }
            }
            let Value::Object(map) = object
                .entry(field.name)
                .or_insert_with(|| Value::Object(Map::new()))
            else {
                return Err(wire.wrong(field.name));
            };
            map.insert(key, entry.map_or_else(|| empty(field), Ok)?);
        }
    }
    Ok(())
}

/// What a map entry without a value stands for.
fn empty(field: &Field) -> Result<Value, WireError> {
    let wire = match field.of {
        Of::String | Of::Bytes | Of::Message(_) => Wire::Bytes(&[]),
        Of::Bool | Of::Int32 | Of::Int64 => Wire::Varint(0),
        Of::Double => Wire::Fixed64(0),
    };
    value(wire, field, 0, None)
}

/// Whether Go takes a value for empty: what is a struct there never is.
fn is_zero(value: &Value, field: &Field) -> bool {
    match value {
        Value::String(text) => text.is_empty(),
        Value::Bool(flag) => !flag,
        // A struct in Go, but one whose zero means that it was not given.
        Value::Number(number) => match field.of {
            Of::Message(_) => number.as_i64() == Some(0),
            _ => number.as_f64() == Some(0.0),
        },
        Value::Array(items) => items.is_empty(),
        Value::Object(_) | Value::Null => false,
    }
}

/// The JSON of a value. `before` is what the field had already.
fn value(
    wire: Wire<'_>,
    field: &Field,
    depth: usize,
    before: Option<Value>,
) -> Result<Value, WireError> {
    let name = field.name;
    Ok(match field.of {
        Of::String => wire.text(name)?.into(),
        Of::Bytes => STANDARD.encode(wire.bytes(name)?).into(),
        Of::Bool => (wire.varint(name)? != 0).into(),
        // Go takes the lower half too.
        #[allow(clippy::cast_possible_truncation, reason = "as upstream")]
        Of::Int32 => (wire.varint(name)?.cast_signed() as i32).into(),
        Of::Int64 => wire.varint(name)?.cast_signed().into(),
        Of::Double => Number::from_f64(wire.double(name)?)
            .map(Value::Number)
            .ok_or_else(|| WireError::new(format!("field {name} is not a finite number")))?,
        Of::Message(place) => match table().at(place) {
            Some(inner) => formed(wire.bytes(name)?, inner, depth + 1, before)?,
            None => Value::Null,
        },
    })
}

/// The JSON of a message in its form.
fn formed(
    bytes: &[u8],
    of: &Message,
    depth: usize,
    before: Option<Value>,
) -> Result<Value, WireError> {
    if of.form == Form::Object {
        let mut object = match before {
            Some(Value::Object(object)) => object,
            _ => Map::new(),
        };
        message(bytes, of, depth, &mut object)?;
        return Ok(Value::Object(object));
    }
    if of.form == Form::Json {
        return json(bytes, of);
    }
    let mut fields = Map::new();
    message(bytes, of, depth, &mut fields)?;
    let number = |name: &str| fields.get(name).and_then(Value::as_i64).unwrap_or_default();
    Ok(match of.form {
        Form::Quantity => match fields.remove("string") {
            Some(text) => text,
            None => "0".into(),
        },
        Form::IntOrString if number("type") == 0 => number("intVal").into(),
        Form::IntOrString => fields.remove("strVal").unwrap_or_else(|| "".into()),
        Form::Time | Form::MicroTime if bytes.is_empty() => Value::Null,
        Form::Time => scalar::time(number("seconds"))?.into(),
        Form::MicroTime => scalar::micro_time(number("seconds"), number("nanos"))?.into(),
        Form::Duration => scalar::duration(number("duration")).into(),
        Form::Items => fields
            .remove("items")
            .unwrap_or_else(|| Value::Array(Vec::new())),
        Form::SchemaOr => {
            let list = fields
                .remove("jSONSchemas")
                .or_else(|| fields.remove("property"));
            fields.remove("schema").or(list).unwrap_or(Value::Null)
        }
        Form::BoolOrSchema => match fields.remove("schema") {
            Some(schema) => schema,
            None => fields.remove("allows").unwrap_or_else(|| false.into()),
        },
        Form::Object | Form::Json => Value::Null,
    })
}

/// Bytes that are JSON themselves: `raw` is the only field.
fn json(bytes: &[u8], of: &Message) -> Result<Value, WireError> {
    let mut reader = Reader::new(bytes);
    let mut raw = None;
    while let Some((number, wire)) = reader.next(of.name)? {
        if number == 1 {
            raw = Some(wire.bytes("Raw")?);
        }
    }
    match raw {
        None | Some([] | b"null") => Ok(Value::Null),
        Some(raw) => decode(raw, Format::Json)
            .map(|decoded| decoded.value)
            .map_err(|error| WireError::new(error.message)),
    }
}
