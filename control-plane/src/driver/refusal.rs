//! What can go wrong with a request, as far as it matters for what comes next. Handled by executor, reflectors and lookups; each variant says what to do.

use std::error::Error;

/// A request that did not do what it was to do.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// There is no such object (or namespace): the world has moved on. Plan again when the caches have.
    #[error("{0}")]
    Gone(String),
    /// There is an object of that name already. Plan again when the caches show it.
    #[error("{0}")]
    Exists(String),
    /// The object is not as it was seen. Plan again when the caches show how it is.
    #[error("{0}")]
    Conflict(String),
    /// A revision or a continuation is too old: list again.
    #[error("{0}")]
    Expired(String),
    /// Not allowed: by roles, quota, or because a namespace is going away. Try again, later and later.
    #[error("{0}")]
    Forbidden(String),
    /// The server said no for another reason. Try again, later and later.
    #[error("{message}")]
    Other {
        /// The HTTP code.
        code: u16,
        /// What it said.
        message: String,
    },
    /// No answer in time; it may have been done or not. Try again, later and later.
    #[error("no answer in time")]
    Late,
    /// The server could not be reached, or not be understood. Try again, later and later.
    #[error("{what}")]
    Transport {
        /// What was tried.
        what: &'static str,
        /// What went wrong.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
}

impl Refusal {
    /// What an error of the client amounts to.
    #[must_use]
    pub fn of(error: kube::Error) -> Self {
        let status = match error {
            kube::Error::Api(status) => status,
            error => {
                return Self::Transport {
                    what: "reach the API server",
                    source: Box::new(error),
                };
            }
        };
        let message = status.message;
        match (status.code, status.reason.as_str()) {
            (404, _) => Self::Gone(message),
            (409, "AlreadyExists") => Self::Exists(message),
            (409, _) => Self::Conflict(message),
            (410, _) => Self::Expired(message),
            (403, _) => Self::Forbidden(message),
            (code, _) => Self::Other { code, message },
        }
    }

    pub(super) fn request(error: http::Error) -> Self {
        Self::Transport {
            what: "make a request",
            source: Box::new(error),
        }
    }

    pub(super) fn answer(error: serde_json::Error) -> Self {
        Self::Transport {
            what: "read the answer of the API server",
            source: Box::new(error),
        }
    }

    pub(super) fn stream(error: std::io::Error) -> Self {
        Self::Transport {
            what: "read the stream of the API server",
            source: Box::new(error),
        }
    }

    /// Whether nothing failed but the world is not as the caches show it.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        match self {
            Self::Gone(_) | Self::Exists(_) | Self::Conflict(_) => true,
            Self::Expired(_)
            | Self::Forbidden(_)
            | Self::Other { .. }
            | Self::Late
            | Self::Transport { .. } => false,
        }
    }

    /// All there is to say, causes included.
    #[must_use]
    pub fn told(&self) -> String {
        let mut text = self.to_string();
        let mut cause = self.source();
        // Chains of errors are short; one that is not would be a loop.
        for _ in 0..16 {
            let Some(error) = cause else { break };
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    #[test]
    fn what_the_server_says_is_sorted_by_what_to_do() {
        let told = |code, reason: &str| {
            let status = Status {
                code,
                reason: reason.to_owned(),
                message: "m".to_owned(),
                ..Status::default()
            };
            Refusal::of(kube::Error::Api(status.boxed()))
        };
        assert!(matches!(told(404, "NotFound"), Refusal::Gone(_)));
        assert!(matches!(told(409, "AlreadyExists"), Refusal::Exists(_)));
        assert!(matches!(told(409, "Conflict"), Refusal::Conflict(_)));
        assert!(matches!(told(410, "Gone"), Refusal::Expired(_)));
        assert!(matches!(told(403, "Forbidden"), Refusal::Forbidden(_)));
        let busy = told(429, "TooManyRequests");
        assert!(matches!(busy, Refusal::Other { code: 429, .. }) && !busy.is_behind());
        let error = serde_json::from_str::<u8>("x").unwrap_err();
        assert!(Refusal::answer(error).told().contains(": expected value"));
    }
}
