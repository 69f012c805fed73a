//! Bytes to JSON values: JSON and YAML, with duplicate keys found, depth and size bounded, and errors in upstream's words. Whether the value is
//! an object of some kind is checked later ([`crate::strict`]).

use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::status::ApiError;

/// How bytes are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// RFC 8259
    Json,
    /// YAML 1.2, one document
    Yaml,
}

/// A decoded body.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoded {
    /// What it holds. Of duplicate keys, the last one counts, as upstream has it.
    pub value: Value,
    /// The paths of duplicate keys, as `spec.containers[0].image`, in the order they were met.
    pub duplicates: Vec<String>,
}

/// Deeper than any object of Kubernetes nests, and far below what a stack holds (the limit upstream's JSON decoder has is 10,000).
const DEPTH_LIMIT: usize = 200;
/// As many duplicates are remembered: an error message has an end.
const DUPLICATES_LIMIT: usize = 100;
/// YAML aliases may repeat so many nodes in all: a bomb ends here.
const YAML_NODES: usize = 400_000;

/// Decodes a body.
///
/// # Errors
/// `BadRequest` when the body is not what `format` says, or nests too deeply.
pub fn decode(body: &[u8], format: Format) -> Result<Decoded, ApiError> {
    let mut duplicates = Vec::new();
    let seed = Node {
        path: &Path::Root,
        depth: 0,
        duplicates: &mut duplicates,
    };
    let value = match format {
        Format::Json => {
            let mut deserializer = serde_json::Deserializer::from_slice(body);
            // Node counts the depth itself.
            let value = seed
                .deserialize(&mut deserializer)
                .and_then(|value| deserializer.end().map(|()| value));
            value.map_err(|error| json_error(body, &error))?
        }
        Format::Yaml => yaml(body, seed)?,
    };
    if value.is_null() {
        return Err(ApiError::bad_request(
            "Request body is empty: an object is expected",
        ));
    }
    Ok(Decoded { value, duplicates })
}

fn yaml(body: &[u8], seed: Node<'_>) -> Result<Value, ApiError> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! { max_depth: DEPTH_LIMIT, max_nodes: YAML_NODES, max_documents: 1 },
        duplicate_keys: serde_saphyr::DuplicateKeyPolicy::PassThrough,
        alias_limits: serde_saphyr::options::AliasLimits::default(),
        emit_comments: false,
    };
    serde_saphyr::with_deserializer_from_slice_with_options(body, options, |deserializer| {
        seed.deserialize(deserializer)
    })
    .map_err(|error| {
        ApiError::bad_request(format!(
            "error converting YAML to JSON: yaml: {}",
            error.without_snippet()
        ))
    })
}

fn json_error(body: &[u8], error: &serde_json::Error) -> ApiError {
    if body.is_empty() {
        return ApiError::bad_request("Request body is empty: an object is expected");
    }
    if error.is_eof() {
        return ApiError::bad_request("unexpected end of JSON input");
    }
    ApiError::bad_request(format!(
        "couldn't get version/kind; json parse error: {error}"
    ))
}

/// Where the decoder is, kept on the stack and written out only when a duplicate is found.
enum Path<'a> {
    Root,
    Key(&'a Path<'a>, &'a str),
    Index(&'a Path<'a>, usize),
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Path::Root => Ok(()),
            Path::Key(Path::Root, key) => f.write_str(key),
            Path::Key(parent, key) => write!(f, "{parent}.{key}"),
            Path::Index(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}

/// Decodes one value and those in it.
struct Node<'a> {
    path: &'a Path<'a>,
    depth: usize,
    duplicates: &'a mut Vec<String>,
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        if self.depth > DEPTH_LIMIT {
            return Err(de::Error::custom("exceeded max depth"));
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        let number = Number::from_f64(value).ok_or_else(|| E::custom("numbers must be finite"))?;
        Ok(number.into())
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E: de::Error>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        loop {
            let path = Path::Index(self.path, items.len());
            let node = Node {
                path: &path,
                depth: self.depth + 1,
                duplicates: self.duplicates,
            };
            match access.next_element_seed(node)? {
                Some(item) => items.push(item),
                None => return Ok(Value::Array(items)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = access.next_key::<String>()? {
            let path = Path::Key(self.path, &key);
            let node = Node {
                path: &path,
                depth: self.depth + 1,
                duplicates: self.duplicates,
            };
            let value = access.next_value_seed(node)?;
            if map.contains_key(&key) && self.duplicates.len() < DUPLICATES_LIMIT {
                self.duplicates.push(path.to_string());
            }
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn duplicate_keys_are_reported_and_the_last_counts() {
        for (body, format) in [
            (
                &br#"{"a":1,"spec":{"c":[{"x":1,"x":2}]},"a":3}"#[..],
                Format::Json,
            ),
            (
                b"a: 1\nspec:\n  c:\n  - x: 1\n    x: 2\na: 3\n",
                Format::Yaml,
            ),
        ] {
            let decoded = decode(body, format).unwrap();
            assert_eq!(decoded.value, json!({"a": 3, "spec": {"c": [{"x": 2}]}}));
            assert_eq!(decoded.duplicates, ["spec.c[0].x", "a"]);
        }
    }

    #[test]
    fn what_is_not_an_object_is_a_bad_request() {
        for body in ["", "{", "{\"a\":}", "nul", "{} {}", "\u{0}"] {
            assert_eq!(
                decode(body.as_bytes(), Format::Json).unwrap_err().code,
                400,
                "{body:?}"
            );
        }
        assert_eq!(decode(b"\xff\xfe{}", Format::Json).unwrap_err().code, 400);
        assert_eq!(
            decode(b"{\"a\":\"\xff\"}", Format::Json).unwrap_err().code,
            400
        );
        assert_eq!(decode(b"a: [", Format::Yaml).unwrap_err().code, 400);
    }

    #[test]
    fn deep_nesting_is_refused_without_overflowing() {
        let deep = "[".repeat(100_000);
        assert_eq!(decode(deep.as_bytes(), Format::Json).unwrap_err().code, 400);
        assert_eq!(decode(deep.as_bytes(), Format::Yaml).unwrap_err().code, 400);
    }

    #[test]
    fn a_yaml_bomb_is_refused() {
        let mut bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n".to_owned();
        for level in 1..12 {
            let before = format!("*a{},", level - 1).repeat(9);
            bomb.push_str(&format!("a{level}: &a{level} [{before}]\n"));
        }
        assert_eq!(decode(bomb.as_bytes(), Format::Yaml).unwrap_err().code, 400);
    }

    proptest! {
        #[test]
        fn any_bytes_are_decoded_or_refused(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&body, Format::Json);
            let _ = decode(&body, Format::Yaml);
        }
    }
}
