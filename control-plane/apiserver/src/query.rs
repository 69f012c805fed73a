//! The query string, read as upstream reads it: the first value of a name counts, flags are true unless they say no. Knows no parameter.

use std::str::FromStr;

use coracle_api::status::ApiError;

/// A parsed query string.
#[derive(Clone, Debug, Default)]
pub struct Query(Vec<(String, String)>);

/// More parameters than any client sends; the rest is not looked at.
const MAX_PARAMETERS: usize = 256;

impl Query {
    /// Parses the part of a URI behind the question mark.
    #[must_use]
    pub fn parse(query: Option<&str>) -> Self {
        let pairs = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
        Self(pairs.into_owned().take(MAX_PARAMETERS).collect())
    }

    /// The first value of `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    /// The first value of `name`, unless it is empty.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name).filter(|value| !value.is_empty())
    }

    /// All values of `name`.
    pub fn all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        self.0
            .iter()
            .filter(move |(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// A flag: absent is false, `false` and `0` are false, anything else is true.
    #[must_use]
    pub fn flag(&self, name: &str) -> bool {
        self.optional_flag(name).unwrap_or(false)
    }

    /// A flag that may be unset.
    #[must_use]
    pub fn optional_flag(&self, name: &str) -> Option<bool> {
        let value = self.get(name)?;
        Some(!(value == "0" || value.eq_ignore_ascii_case("false")))
    }

    /// A number; absent and empty are `None`.
    ///
    /// # Errors
    /// `BadRequest` when it is not one.
    pub fn number<T: FromStr>(&self, name: &str) -> Result<Option<T>, ApiError> {
        let Some(text) = self.text(name) else {
            return Ok(None);
        };
        match text.parse() {
            Ok(number) => Ok(Some(number)),
            Err(_) => Err(ApiError::bad_request(format!(
                "query parameter {name}: {text:?} is not a valid number"
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_as_upstream_reads_them() {
        let query = Query::parse(Some(
            "a=1&a=2&b=&c&d=false&e=FALSE&f=0&g=yes&n=x&l=a%3Db%2Cc",
        ));
        assert_eq!(query.get("a"), Some("1"));
        assert_eq!(query.all("a").collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(query.text("b"), None);
        assert_eq!(
            ["b", "c", "d", "e", "f", "g", "z"].map(|name| query.flag(name)),
            [true, true, false, false, false, true, false]
        );
        assert_eq!(query.number::<u64>("a").unwrap(), Some(1));
        assert_eq!(query.number::<u64>("b").unwrap(), None);
        assert!(query.number::<u64>("n").is_err());
        assert_eq!(query.get("l"), Some("a=b,c"));
    }
}
