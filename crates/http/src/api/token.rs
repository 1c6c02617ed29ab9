//! Checks the token that a caller shows: in constant time, and not for callers that have shown too many wrong ones.

use std::net::IpAddr;

use axum::http::{HeaderMap, header};
use gatewayworker_client::SecretKey;
use gatewayworker_net::LogLimiter;
use tracing::warn;

use super::auth_failures::AuthFailures;
use super::error::{ApiError, TOO_MANY_FAILURES, UNAUTHORIZED};

/// The shortest token, in bytes: a shorter one could be guessed.
pub const MIN_TOKEN_LEN: usize = 16;

/// A token, and those who have shown wrong ones.
#[derive(Debug)]
pub struct TokenGuard {
    token: SecretKey,
    failures: AuthFailures,
    /// Limits the log lines about addresses that sent too many wrong tokens.
    locked_out: LogLimiter,
}

/// Why a request may not do what needs the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenError {
    /// It shows no token.
    Missing,
    /// It shows a wrong one, which was counted.
    Wrong,
    /// Its address has shown too many wrong ones, and is refused for so many seconds more.
    LockedOut {
        /// From 1 to 61.
        seconds: u64,
    },
}

impl TokenError {
    /// Returns the error for the caller; `missing` and `wrong` are sentences that say which token is meant.
    pub fn into_api_error(self, missing: &str, wrong: &str) -> ApiError {
        match self {
            Self::Missing => UNAUTHORIZED.because(missing),
            Self::Wrong => UNAUTHORIZED.because(wrong),
            Self::LockedOut { seconds } => TOO_MANY_FAILURES
                .because(format!(
                    "too many wrong tokens came from this address: correct the token, and try again in {seconds} \
                     seconds"
                ))
                .retry_after(seconds),
        }
    }
}

/// Why a token cannot be used. The text is what follows the name of the setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenProblem {
    /// It is shorter than [`MIN_TOKEN_LEN`].
    #[error("must have at least {MIN_TOKEN_LEN} characters (openssl rand -hex 32 makes one)")]
    Short,
    /// It cannot be sent in a header.
    #[error("must be of ASCII letters, digits and signs, as it goes into a header")]
    Characters,
    /// It is the cluster's key.
    #[error("must not be the secret_key, which callers have no business to know")]
    IsSecretKey,
}

impl TokenProblem {
    /// Checks a token that is not empty; `secret_key` is the cluster's.
    ///
    /// # Errors
    /// When the token cannot be used.
    pub fn check(token: &SecretKey, secret_key: &SecretKey) -> Result<(), Self> {
        if token.expose().len() < MIN_TOKEN_LEN {
            return Err(Self::Short);
        }
        if !token.expose().bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Self::Characters);
        }
        if token == secret_key {
            return Err(Self::IsSecretKey);
        }
        Ok(())
    }
}

impl TokenGuard {
    /// Guards with `token`; an address may show `max_failures` wrong ones within a minute, 0 for any number.
    pub fn new(token: SecretKey, max_failures: u32) -> Self {
        Self { token, failures: AuthFailures::new(max_failures), locked_out: LogLimiter::default() }
    }

    /// Checks the header `Authorization: Bearer` of a request from `address`; one without an address is never locked
    /// out.
    ///
    /// # Errors
    /// When there is no token, a wrong one, or the address is locked out.
    pub fn check(&self, headers: &HeaderMap, address: Option<IpAddr>) -> Result<(), TokenError> {
        if let Some(left) = address.and_then(|address| self.failures.locked_out(address)) {
            return Err(TokenError::LockedOut { seconds: left.as_secs() + 1 });
        }
        // One that is missing guesses nothing, and a page can make a browser send it: it is not counted.
        let shown = SecretKey::new(bearer(headers).ok_or(TokenError::Missing)?);
        if shown == self.token {
            return Ok(());
        }
        if let Some(address) = address
            && self.failures.record(address)
        {
            self.locked_out.log(move |times| {
                warn!(%address, times, "too many wrong tokens: the address is refused for a minute");
            });
        }
        Err(TokenError::Wrong)
    }
}

/// The token in the header `Authorization: Bearer`.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scheme_bearer_is_known_in_any_case() {
        let shown = |value: &str| {
            let headers = HeaderMap::from_iter([(header::AUTHORIZATION, value.parse().unwrap())]);
            bearer(&headers).map(str::to_owned)
        };
        assert_eq!(shown("Bearer abc").as_deref(), Some("abc"));
        assert_eq!(shown("bearer  abc ").as_deref(), Some("abc"));
        assert_eq!(shown("Basic abc"), None);
        assert_eq!(shown("Bearer"), None);
    }

    #[tokio::test(start_paused = true)]
    async fn the_right_token_is_refused_too_while_its_address_is_locked_out() {
        let guard = TokenGuard::new(SecretKey::new("right"), 2);
        let shown = |value: &str| HeaderMap::from_iter([(header::AUTHORIZATION, value.parse().unwrap())]);
        let address = Some("192.0.2.1".parse().unwrap());
        assert_eq!(guard.check(&HeaderMap::new(), address), Err(TokenError::Missing));
        assert_eq!(guard.check(&shown("Bearer right"), address), Ok(()));
        for _ in 0..2 {
            assert_eq!(guard.check(&shown("Bearer wrong"), address), Err(TokenError::Wrong));
        }
        let locked_out = Err(TokenError::LockedOut { seconds: 61 });
        assert_eq!(guard.check(&shown("Bearer right"), address), locked_out);
        assert_eq!(guard.check(&shown("Bearer right"), Some("192.0.2.2".parse().unwrap())), Ok(()));
    }
}
