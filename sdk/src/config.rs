//! Settings: environment variables of the pod (written out, or from a ConfigMap or Secret) and files of mounted volumes.

use std::{env, error::Error, fmt, fs, path::Path, str::FromStr};

/// A setting is missing or makes no sense. Says which, so that the log line is all an operator needs.
#[derive(Debug)]
pub struct ConfigError(String);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for ConfigError {}

/// The variable `name`, parsed.
///
/// # Errors
/// When it is not set or cannot be parsed.
///
/// ```
/// # use coracle_sdk::config;
/// assert!(config::var::<u16>("NO_SUCH_SETTING").is_err());
/// ```
pub fn var<T: FromStr>(name: &str) -> Result<T, ConfigError>
where
    T::Err: fmt::Display,
{
    let text = env::var(name)
        .map_err(|_| ConfigError(format!("environment variable {name} is not set")))?;
    text.parse()
        .map_err(|error| ConfigError(format!("environment variable {name}={text:?}: {error}")))
}

/// The variable `name`, parsed, or `default` when it is not set.
///
/// # Errors
/// When it is set and cannot be parsed: a typo must not silently become the default.
///
/// ```
/// # use coracle_sdk::config;
/// assert_eq!(config::var_or("GREETING_COUNT", 3).unwrap(), 3);
/// ```
pub fn var_or<T: FromStr>(name: &str, default: T) -> Result<T, ConfigError>
where
    T::Err: fmt::Display,
{
    match env::var_os(name) {
        None => Ok(default),
        Some(_) => var(name),
    }
}

/// The text of a mounted file, such as a key of a ConfigMap or Secret volume.
///
/// # Errors
/// When it cannot be read or is not UTF-8.
///
/// ```no_run
/// let password = coracle_sdk::config::file("/etc/credentials/password")?;
/// # Ok::<(), coracle_sdk::config::ConfigError>(())
/// ```
pub fn file(path: impl AsRef<Path>) -> Result<String, ConfigError> {
    let path = path.as_ref();
    fs::read_to_string(path)
        .map_err(|error| ConfigError(format!("read {}: {error}", path.display())))
}
