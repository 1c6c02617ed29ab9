//! Why the settings of HTTP push cannot work. Each text begins with the key and says what to write.

/// The shortest token, in bytes: a shorter one could be guessed.
pub const MIN_TOKEN_LEN: usize = 16;

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
    /// `token` is shorter than [`MIN_TOKEN_LEN`].
    #[error("http.token: must have at least {MIN_TOKEN_LEN} characters (openssl rand -hex 32 makes one)")]
    ShortToken,
    /// `token` cannot be sent in a header.
    #[error("http.token: must be of ASCII letters, digits and signs, as it goes into a header")]
    TokenCharacters,
    /// `token` is the cluster's key.
    #[error("http.token: must not be the secret_key, which callers have no business to know")]
    TokenIsSecretKey,
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
