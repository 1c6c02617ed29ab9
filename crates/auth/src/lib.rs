//! Signed admission: JSON Web Tokens of clients, verified without an application's code.
//!
//! A [`Verifier`] says who a token is about ([`Identity`]), or why it is refused ([`Refusal`]). It is plain data: the
//! keys, the rules, and the time as an argument. An [`Authenticator`] is the shell around it: it keeps the verifier for
//! all threads of a gateway, and fetches the keys of `jwks_url`. Nothing here knows of connections: the gateway takes
//! the token out of a handshake, and gives a client what the identity says. A token, or a secret, stands in no log line
//! and no error.
//!
//! - `config`, `flags`: the table `[auth]`,
//! - `verifier`, `claims`, `refusal`: what a token is worth,
//! - `keys`, `ring_provider`: the keys, and the arithmetic, which is *ring*'s,
//! - `authenticator`, `fetch`, `schedule`: keys that come over HTTP, and when they are fetched,
//! - `sign`: makes a token, for tests and for `gatewayworker token`.

mod authenticator;
mod claims;
mod config;
mod fetch;
mod flags;
mod keys;
mod refusal;
mod ring_provider;
mod schedule;
mod sign;
#[cfg(test)]
mod testing;
mod verifier;

pub use authenticator::{Authenticator, unix_s};
pub use claims::{Identity, Limits};
pub use config::{Config, ConfigError, TokenPlace};
pub use flags::Flags;
pub use refusal::Refusal;
pub use sign::{SignError, SigningKey};
pub use verifier::{MAX_TOKEN_BYTES, Verifier};
