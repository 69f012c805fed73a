//! How an error is told to whoever typed the command: what was tried, then why it failed, nothing twice.

use std::io;

/// What the API server said, without kube's wrapping of it.
pub(crate) fn of_request(error: kube::Error) -> anyhow::Error {
    match error {
        kube::Error::Api(status) => anyhow::anyhow!("{} ({})", status.message, status.reason),
        other => other.into(),
    }
}

/// The error and its causes on one line. Causes that the error before them has told already are left out.
pub(crate) fn told(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain() {
        let cause = cause.to_string();
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}

/// Whether nobody reads the output any more, as in `coracle get ... | head -1`. That is no failure; a connection that broke is, and has the client's error
/// around it.
pub(crate) fn is_unread(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context as _;

    #[test]
    fn nothing_is_told_twice() {
        let inner = io::Error::new(io::ErrorKind::NotFound, "no such file");
        let error = Err::<(), _>(inner)
            .context("read x: no such file")
            .context("apply x")
            .unwrap_err();
        assert_eq!(told(&error), "apply x: read x: no such file");
    }

    #[test]
    fn a_closed_pipe_is_no_failure() {
        let closed: anyhow::Error = io::Error::from(io::ErrorKind::BrokenPipe).into();
        assert!(is_unread(&closed.context("print")));
        assert!(!is_unread(&anyhow::anyhow!("other")));
    }
}
