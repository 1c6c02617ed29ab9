//! [`error_chain`]: an error for one line of a log.

use std::error::Error;

/// Returns an error's text, followed by the texts of its causes, in one line.
pub fn error_chain(error: &(dyn Error + 'static)) -> String {
    let causes = std::iter::successors(error.source(), |&cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Link(&'static str, #[source] Option<Box<Link>>);

    #[test]
    fn an_error_is_shown_with_all_its_causes() {
        let error =
            Link("not sent", Some(Box::new(Link("no connection", Some(Box::new(Link("refused", None)))))));
        assert_eq!(error_chain(&error), "not sent: no connection: refused");
    }
}
