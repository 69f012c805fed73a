//! What `resourceVersion` and `resourceVersionMatch` of a read mean (API concepts, "Semantics for get, list and watch"). Pure.

use coracle_api::{
    fields::{FieldError, FieldPath},
    status::ApiError,
};
use coracle_store::Revision;

use crate::query::Query;

/// The state a get or list wants to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadAt {
    /// The newest. Also what "any" and "not older than" a known revision get: the newest is at hand.
    Latest,
    /// As of this revision.
    Exactly(Revision),
}

/// Reads a revision a client sent. `None` for unset.
///
/// # Errors
/// `BadRequest` when it is not a number.
pub fn parse(text: Option<&str>) -> Result<Option<Revision>, ApiError> {
    let Some(text) = text.filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    match text.parse() {
        Ok(number) => Ok(Some(Revision(number))),
        Err(_) => Err(ApiError::bad_request(format!(
            "Invalid value: {text:?}: resourceVersion must be a number"
        ))),
    }
}

/// What a get or list wants, `current` being the newest revision there is.
///
/// # Errors
/// `Invalid` for combinations upstream forbids, `BadRequest` for what is no revision; `Timeout` for a revision that has not happened.
pub fn read_at(query: &Query, paged: bool, current: Revision) -> Result<ReadAt, ApiError> {
    let asked = parse(query.get("resourceVersion"))?;
    let matching = query.text("resourceVersionMatch");
    let forbidden = |why: &str| Err(forbidden_match(why));
    if query.optional_flag("sendInitialEvents").is_some() {
        let field = FieldPath::new("sendInitialEvents");
        let problem = FieldError::forbidden(&field, "sendInitialEvents is forbidden for list");
        return Err(invalid(problem));
    }
    if query.text("continue").is_some() {
        if asked.is_some_and(|asked| asked.0 > 0) {
            return Err(ApiError::bad_request(
                "specifying resource version is not allowed when using continue",
            ));
        }
        if matching.is_some() {
            return forbidden("resourceVersionMatch is forbidden when continue is provided");
        }
        return Ok(ReadAt::Latest);
    }
    let Some(asked) = asked else {
        return match matching {
            None => Ok(ReadAt::Latest),
            Some(_) => {
                forbidden("resourceVersionMatch is forbidden unless resourceVersion is provided")
            }
        };
    };
    let exactly = match matching {
        Some("Exact") if asked.0 == 0 => {
            return forbidden(
                "resourceVersionMatch \"Exact\" is forbidden for resourceVersion \"0\"",
            );
        }
        Some("Exact") => true,
        Some("NotOlderThan") => false,
        // Pages of a given revision are cut from that revision.
        None => paged && asked.0 > 0,
        Some(other) => {
            let field = FieldPath::new("resourceVersionMatch");
            let known = ["Exact", "NotOlderThan"];
            return Err(invalid(FieldError::not_supported(&field, other, &known)));
        }
    };
    if asked > current {
        return Err(too_large(asked, current));
    }
    Ok(if exactly {
        ReadAt::Exactly(asked)
    } else {
        ReadAt::Latest
    })
}

/// The refusal of options of a read.
#[must_use]
pub fn invalid(problem: FieldError) -> ApiError {
    ApiError::invalid_kind("meta.k8s.io", "ListOptions", "", &[problem])
}

/// The refusal of a `resourceVersionMatch` where it makes no sense.
#[must_use]
pub fn forbidden_match(why: &str) -> ApiError {
    let field = FieldPath::new("resourceVersionMatch");
    invalid(FieldError::forbidden(&field, why))
}

/// The refusal of a revision that has not happened: the client may have it from another server, or from a store that was replaced.
#[must_use]
pub fn too_large(asked: Revision, current: Revision) -> ApiError {
    ApiError::timeout(format!(
        "Too large resource version: {asked}, current: {current}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `latest`, a revision, or the code of the refusal.
    fn told(query: &str, paged: bool) -> String {
        match read_at(&Query::parse(Some(query)), paged, Revision(10)) {
            Ok(ReadAt::Latest) => "latest".to_owned(),
            Ok(ReadAt::Exactly(revision)) => revision.to_string(),
            Err(error) => error.code.to_string(),
        }
    }

    #[test]
    fn reads_see_what_the_documentation_says() {
        for (query, paged, expected) in [
            ("", false, "latest"),
            ("resourceVersion=0", false, "latest"),
            ("resourceVersion=0", true, "latest"),
            ("resourceVersion=7", false, "latest"),
            ("resourceVersion=7", true, "7"),
            (
                "resourceVersion=7&resourceVersionMatch=NotOlderThan",
                true,
                "latest",
            ),
            ("resourceVersion=7&resourceVersionMatch=Exact", false, "7"),
            ("resourceVersion=0&resourceVersionMatch=Exact", false, "422"),
            ("sendInitialEvents=true", false, "422"),
            ("resourceVersionMatch=Exact", false, "422"),
            ("resourceVersion=7&resourceVersionMatch=Newer", false, "422"),
            ("resourceVersion=11", false, "504"),
            ("resourceVersion=x", false, "400"),
            ("continue=x&resourceVersion=7", true, "400"),
            ("continue=x&resourceVersion=0", true, "latest"),
            ("continue=x&resourceVersionMatch=Exact", true, "422"),
        ] {
            assert_eq!(told(query, paged), expected, "{query}");
        }
    }
}
