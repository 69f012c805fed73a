//! The OpenAPI v2 document in protobuf, in the messages of gnostic's `openapiv2` package, which is the only form kubectl up to 1.28 reads. Writes what
//! those clients look at: definitions, and the parameters and kinds of operations.

use bytes::Bytes;
use serde_json::{Map, Value};

/// Encodes a document.
#[must_use]
pub fn encode(document: &Value) -> Bytes {
    let mut out = Message::default();
    out.text(1, text(document, "swagger"));
    if let Some(info) = document.get("info") {
        out.message(2, |message| {
            message.text(1, text(info, "title"));
            message.text(2, text(info, "version"));
        });
    }
    out.message(8, |paths| {
        for (path, item) in entries(document, "paths") {
            paths.message(2, |named| {
                named.text(1, path);
                named.message(2, |message| path_item(message, item));
            });
        }
    });
    out.message(9, |definitions| {
        named_schemas(definitions, entries(document, "definitions"))
    });
    Bytes::from(out.bytes)
}

/// The operations of a path, by their field numbers.
const OPERATIONS: [(&str, u32); 5] = [
    ("get", 2),
    ("put", 3),
    ("post", 4),
    ("delete", 5),
    ("patch", 8),
];

fn path_item(message: &mut Message, item: &Value) {
    for (method, number) in OPERATIONS {
        if let Some(operation) = item.get(method) {
            message.message(number, |message| {
                message.text(5, text(operation, "operationId"));
                let parameters = operation.get("parameters").and_then(Value::as_array);
                for parameter in parameters.into_iter().flatten() {
                    message.message(8, |message| query_parameter(message, parameter));
                }
                extensions(message, 13, operation);
            });
        }
    }
}

/// A parameter of the query, inside the three wrappers the schema puts around it.
fn query_parameter(message: &mut Message, parameter: &Value) {
    message.message(1, |parameter_message| {
        parameter_message.message(2, |non_body| {
            non_body.message(3, |query| {
                query.text(2, text(parameter, "in"));
                query.text(3, text(parameter, "description"));
                query.text(4, text(parameter, "name"));
                query.text(6, text(parameter, "type"));
            });
        });
    });
}

fn named_schemas<'a>(
    message: &mut Message,
    schemas: impl Iterator<Item = (&'a String, &'a Value)>,
) {
    for (name, schema) in schemas {
        message.message(1, |named| {
            named.text(1, name);
            named.message(2, |message| write_schema(message, schema));
        });
    }
}

fn write_schema(message: &mut Message, schema: &Value) {
    message.text(1, text(schema, "$ref"));
    message.text(2, text(schema, "format"));
    message.text(4, text(schema, "description"));
    let required = schema.get("required").and_then(Value::as_array);
    for name in required.into_iter().flatten().filter_map(Value::as_str) {
        message.text(19, name);
    }
    match schema.get("additionalProperties") {
        Some(inner) if inner.is_object() => {
            message.message(21, |item| {
                item.message(1, |message| write_schema(message, inner))
            });
        }
        _ => {}
    }
    if let Some(kind) = schema.get("type").and_then(Value::as_str) {
        message.message(22, |item| item.text(1, kind));
    }
    if let Some(items) = schema.get("items") {
        message.message(23, |item| {
            item.message(1, |message| write_schema(message, items))
        });
    }
    if schema.get("properties").is_some() {
        message.message(25, |message| {
            named_schemas(message, entries(schema, "properties"))
        });
    }
    extensions(message, 31, schema);
}

/// Everything that begins with `x-`, its value as YAML (of which JSON is a part).
fn extensions(message: &mut Message, number: u32, of: &Value) {
    let fields = of.as_object().into_iter().flatten();
    for (name, value) in fields.filter(|(name, _)| name.starts_with("x-")) {
        message.message(number, |named| {
            named.text(1, name);
            named.message(2, |any| any.text(2, &value.to_string()));
        });
    }
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn entries<'a>(value: &'a Value, name: &str) -> impl Iterator<Item = (&'a String, &'a Value)> {
    let map: Option<&Map<String, Value>> = value.get(name).and_then(Value::as_object);
    map.into_iter().flatten()
}

/// A protobuf message being written. All fields here are length-delimited (wire type 2).
#[derive(Default)]
struct Message {
    bytes: Vec<u8>,
}

impl Message {
    /// A string field; nothing when it is empty, which is its default.
    fn text(&mut self, number: u32, text: &str) {
        if !text.is_empty() {
            self.field(number, text.as_bytes());
        }
    }

    /// A message field, written by `fill`.
    fn message(&mut self, number: u32, fill: impl FnOnce(&mut Self)) {
        let mut inner = Self::default();
        fill(&mut inner);
        self.field(number, &inner.bytes);
    }

    fn field(&mut self, number: u32, bytes: &[u8]) {
        const LENGTH_DELIMITED: u64 = 2;
        self.varint(u64::from(number) << 3 | LENGTH_DELIMITED);
        self.varint(bytes.len() as u64);
        self.bytes.extend_from_slice(bytes);
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bytes.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn messages_are_nested_as_their_schema_says() {
        let document =
            json!({"swagger": "2.0", "definitions": {"A": {"type": "string", "x-y": [1]}}});
        let schema = b"\xb2\x01\x08\x0a\x06string\xfa\x01\x0c\x0a\x03x-y\x12\x05\x12\x03[1]";
        let mut expected = b"\x0a\x032.0\x42\x00\x4a\x21\x0a\x1f\x0a\x01A\x12\x1a".to_vec();
        expected.extend_from_slice(schema);
        assert_eq!(encode(&document), expected);
    }

    #[test]
    fn lengths_over_127_take_more_bytes() {
        let mut message = Message::default();
        message.text(1, &"x".repeat(300));
        assert_eq!(message.bytes[..3], [0x0a, 0xac, 0x02]);
    }
}
