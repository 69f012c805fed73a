//! Where in an object something is wrong, and what: field paths and field errors in upstream's words (apimachinery `util/validation/field`).

use std::fmt::{self, Write as _};

use serde_json::Value;

/// A path to a field, shown as `spec.containers[0].image`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct FieldPath(String);

impl FieldPath {
    /// The object itself.
    #[must_use]
    pub fn root() -> Self {
        Self::default()
    }

    /// A path that starts at a top-level field.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self(name.to_owned())
    }

    /// The field `name` below this one. `name` may itself have dots.
    #[must_use]
    pub fn child(&self, name: &str) -> Self {
        if self.0.is_empty() {
            Self(name.to_owned())
        } else {
            Self(format!("{}.{name}", self.0))
        }
    }

    /// The element `index` of this list.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        Self(format!("{}[{index}]", self.0))
    }

    /// The entry `key` of this map.
    #[must_use]
    pub fn key(&self, key: &str) -> Self {
        Self(format!("{}[{key}]", self.0))
    }

    /// The path as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "<nil>" } else { &self.0 })
    }
}

/// In what way a field is wrong. The names are the causes' reasons in a `Status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FieldErrorType {
    /// Something refers to what does not exist.
    NotFound,
    /// A value that must be there is not.
    Required,
    /// A value that must be unique is not.
    Duplicate,
    /// A value does not have the form it must have.
    Invalid,
    /// A value is none of those allowed.
    NotSupported,
    /// A value, or a change, is not allowed here at all.
    Forbidden,
    /// A text or collection is too long.
    TooLong,
    /// A list has too many elements.
    TooMany,
    /// The server failed to check.
    Internal,
    /// A value is of the wrong JSON type.
    TypeInvalid,
}

impl FieldErrorType {
    /// The reason that a `Status` cause carries.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::NotFound => "FieldValueNotFound",
            Self::Required => "FieldValueRequired",
            Self::Duplicate => "FieldValueDuplicate",
            Self::Invalid => "FieldValueInvalid",
            Self::NotSupported => "FieldValueNotSupported",
            Self::Forbidden => "FieldValueForbidden",
            Self::TooLong => "FieldValueTooLong",
            Self::TooMany => "FieldValueTooMany",
            Self::Internal => "InternalError",
            Self::TypeInvalid => "FieldValueTypeInvalid",
        }
    }

    /// How the message begins.
    fn words(self) -> &'static str {
        match self {
            Self::NotFound => "Not found",
            Self::Required => "Required value",
            Self::Duplicate => "Duplicate value",
            Self::Invalid | Self::TypeInvalid => "Invalid value",
            Self::NotSupported => "Unsupported value",
            Self::Forbidden => "Forbidden",
            Self::TooLong => "Too long",
            Self::TooMany => "Too many",
            Self::Internal => "Internal error",
        }
    }
}

/// One thing wrong with one field.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldError {
    /// In what way.
    pub kind: FieldErrorType,
    /// Where.
    pub field: FieldPath,
    /// The value there, where the message shows it.
    pub bad_value: Option<Value>,
    /// What would be right.
    pub detail: String,
}

/// What is wrong with an object; empty when nothing is.
pub type Problems = Vec<FieldError>;

impl FieldError {
    /// The field must be there.
    pub fn required(field: &FieldPath, detail: impl Into<String>) -> Self {
        Self {
            kind: FieldErrorType::Required,
            field: field.clone(),
            bad_value: None,
            detail: detail.into(),
        }
    }

    /// The value does not have the right form.
    pub fn invalid(field: &FieldPath, value: impl Into<Value>, detail: impl Into<String>) -> Self {
        Self {
            kind: FieldErrorType::Invalid,
            field: field.clone(),
            bad_value: Some(value.into()),
            detail: detail.into(),
        }
    }

    /// The value is none of `allowed`.
    pub fn not_supported(field: &FieldPath, value: impl Into<Value>, allowed: &[&str]) -> Self {
        let mut detail = String::from("supported values: ");
        for (position, one) in allowed.iter().enumerate() {
            let comma = if position == 0 { "" } else { ", " };
            // Writing to a String cannot fail.
            let _ = write!(detail, "{comma}\"{one}\"");
        }
        Self {
            kind: FieldErrorType::NotSupported,
            field: field.clone(),
            bad_value: Some(value.into()),
            detail,
        }
    }

    /// The field may not be set, or not changed.
    pub fn forbidden(field: &FieldPath, detail: impl Into<String>) -> Self {
        Self {
            kind: FieldErrorType::Forbidden,
            field: field.clone(),
            bad_value: None,
            detail: detail.into(),
        }
    }

    /// The value is there twice.
    pub fn duplicate(field: &FieldPath, value: impl Into<Value>) -> Self {
        Self {
            kind: FieldErrorType::Duplicate,
            field: field.clone(),
            bad_value: Some(value.into()),
            detail: String::new(),
        }
    }

    /// The value refers to what does not exist.
    pub fn not_found(field: &FieldPath, value: impl Into<Value>) -> Self {
        Self {
            kind: FieldErrorType::NotFound,
            field: field.clone(),
            bad_value: Some(value.into()),
            detail: String::new(),
        }
    }

    /// The text is longer than `limit` bytes.
    pub fn too_long(field: &FieldPath, limit: usize) -> Self {
        let detail = format!("may not be more than {limit} bytes");
        Self {
            kind: FieldErrorType::TooLong,
            field: field.clone(),
            bad_value: None,
            detail,
        }
    }

    /// The list has more than `limit` elements.
    pub fn too_many(field: &FieldPath, actual: usize, limit: usize) -> Self {
        let detail = format!("must have at most {limit} items");
        Self {
            kind: FieldErrorType::TooMany,
            field: field.clone(),
            bad_value: Some(actual.into()),
            detail,
        }
    }

    /// The message without the field: what a `Status` cause says.
    #[must_use]
    pub fn body(&self) -> String {
        let mut text = self.kind.words().to_owned();
        if let Some(value) = &self.bad_value {
            // Writing to a String cannot fail.
            let _ = match value {
                Value::String(string) => write!(text, ": {string:?}"),
                other => write!(text, ": {other}"),
            };
        }
        if !self.detail.is_empty() {
            text.push_str(": ");
            text.push_str(&self.detail);
        }
        text
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.body())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_read_as_upstream_writes_them() {
        let spec = FieldPath::new("spec");
        let image = spec.child("containers").index(0).child("image");
        assert_eq!(
            FieldError::required(&image, "").to_string(),
            "spec.containers[0].image: Required value"
        );
        assert_eq!(
            FieldError::invalid(&spec.child("replicas"), -1, "must be non-negative").to_string(),
            "spec.replicas: Invalid value: -1: must be non-negative"
        );
        let policy = FieldError::not_supported(
            &spec.child("restartPolicy"),
            "Sometimes",
            &["Always", "Never"],
        );
        assert_eq!(
            policy.to_string(),
            "spec.restartPolicy: Unsupported value: \"Sometimes\": supported values: \"Always\", \"Never\""
        );
        assert_eq!(
            FieldError::duplicate(&spec.key("a"), "x").to_string(),
            "spec[a]: Duplicate value: \"x\""
        );
    }
}
