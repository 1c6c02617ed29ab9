//! Why the settings of HTTP push cannot work. Each text begins with the key and says what to write.

use crate::api::TokenProblem;

/// The longest time-out, a day: longer ones could be later than the clock can tell.
pub(crate) const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// A setting of HTTP push that cannot work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// `listen` has no port.
    #[error("http.listen: \"{0}\" is not host:port")]
    Listen(String),
    /// `listen` is set and `token` is not.
    #[error("http.token: http.listen needs one: whoever reaches it could push to every client")]
    NoToken,
    /// `token` cannot be used.
    #[error("http.token: {0}")]
    Token(TokenProblem),
    /// An entry of `allowed_origins` is not an origin.
    #[error(
        "http.allowed_origins: \"{0}\" is no origin: write https://example.com, in small letters, \
         with a port if it is not the scheme's own, and nothing behind it"
    )]
    Origin(String),
    /// This limit is 0.
    #[error("http.{0}: must be at least 1")]
    Zero(&'static str),
    /// This time-out is 0 or over a day.
    #[error("http.{0}: must be from 1 to {DAY_MS}, a day")]
    Timeout(&'static str),
}
