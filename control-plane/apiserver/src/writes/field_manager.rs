//! Under which name a client manages the fields it writes: the one it gives, else its program's. Reads the request, changes nothing.

use std::sync::Arc;

use coracle_api::{
    fields::{FieldError, FieldPath},
    managed,
    schema::Schema,
    status::ApiError,
};
use http::{HeaderMap, header::USER_AGENT};
use serde_json::Value;

use super::Write;
use crate::{ambient, query::Query};

/// The longest name of a field manager, in bytes. As upstream.
const LONGEST: usize = 128;

/// The refusal of an option of a write.
pub(super) fn invalid(options: &str, problem: FieldError) -> ApiError {
    ApiError::invalid_kind("meta.k8s.io", options, "", &[problem])
}

/// The refusal of a parameter that only applying has.
#[must_use]
pub fn not_for_this_patch(name: &str) -> ApiError {
    let field = FieldPath::new(name);
    let problem = FieldError::forbidden(&field, "may not be specified for non-apply patch");
    invalid("PatchOptions", problem)
}

/// The name given as `fieldManager`.
///
/// # Errors
/// `Invalid` for names that are too long or cannot be shown. `options` is the kind of options the errors are about.
pub fn given(query: &Query, options: &str) -> Result<Option<String>, ApiError> {
    let Some(name) = query.text("fieldManager") else {
        return Ok(None);
    };
    let field = FieldPath::new("fieldManager");
    let problem = if name.len() > LONGEST {
        FieldError::too_long(&field, LONGEST)
    } else if name.chars().any(|c| !is_shown(c)) {
        FieldError::invalid(&field, name, "should only contain printable characters")
    } else {
        return Ok(Some(name.to_owned()));
    };
    Err(invalid(options, problem))
}

/// The program a User-Agent names, up to its version.
#[must_use]
pub fn of_program(headers: &HeaderMap) -> String {
    let agent = headers
        .get(USER_AGENT)
        .and_then(|value| value.to_str().ok());
    let program = agent
        .unwrap_or_default()
        .split('/')
        .next()
        .unwrap_or_default();
    let mut name = String::new();
    for c in program.chars().filter(|c| is_shown(*c)) {
        if name.len() + c.len_utf8() > LONGEST {
            break;
        }
        name.push(c);
    }
    name
}

fn is_shown(c: char) -> bool {
    !c.is_control() && (c == ' ' || !c.is_whitespace())
}

impl Write<'_> {
    /// Notes in `new` who manages what of it now that it is made of `old`.
    pub(super) fn track(&self, old: Option<&Value>, new: &mut Value) {
        managed::update::update(old, new, &self.field_writer().borrowed());
    }

    /// Who this write is by, now.
    pub(super) fn field_writer(&self) -> FieldWriter {
        FieldWriter {
            manager: self.options.manager.clone(),
            api_version: self.resource.api_version(),
            subresource: self.subresource.map(str::to_owned),
            time: ambient::timestamp(self.server.ambient.now()),
            schema: self.resource.schema(),
        }
    }
}

/// Who writes, through what, when.
pub(super) struct FieldWriter {
    manager: String,
    api_version: String,
    subresource: Option<String>,
    time: String,
    schema: Arc<Schema>,
}

impl FieldWriter {
    /// The same in the words of coracle-api.
    pub(super) fn borrowed(&self) -> managed::Writer<'_> {
        managed::Writer {
            manager: &self.manager,
            api_version: &self.api_version,
            subresource: self.subresource.as_deref(),
            time: &self.time,
            schema: &self.schema,
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn programs_are_named_without_their_version() {
        let told = |agent: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(USER_AGENT, HeaderValue::from_static(agent));
            of_program(&headers)
        };
        assert_eq!(
            told("kubectl/v1.33.0 (linux/amd64) kubernetes/60a317e"),
            "kubectl"
        );
        assert_eq!(told("Go-http-client"), "Go-http-client");
        assert_eq!(of_program(&HeaderMap::new()), "");
        let mut headers = HeaderMap::new();
        let long = HeaderValue::from_str(&"x".repeat(300)).unwrap();
        headers.insert(USER_AGENT, long);
        assert_eq!(of_program(&headers).len(), LONGEST);
    }

    #[test]
    fn names_that_cannot_be_shown_are_refused() {
        let told = |query: &str| given(&Query::parse(Some(query)), "PatchOptions");
        assert_eq!(told("fieldManager=helm").unwrap().as_deref(), Some("helm"));
        assert_eq!(told("").unwrap(), None);
        let long = told(&format!("fieldManager={}", "x".repeat(129))).unwrap_err();
        assert_eq!(long.code, 422);
        assert!(
            long.message
                .contains("fieldManager: Too long: may not be more than 128 bytes"),
            "{long}"
        );
        assert_eq!(told("fieldManager=a%0Ab").unwrap_err().code, 422);
    }
}
