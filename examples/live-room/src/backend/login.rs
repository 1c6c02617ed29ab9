//! `POST /login`: makes a user of a name. The user's page gets a signed token and sends it with each request.
//!
//! A name is enough to log in, and the same name twice makes two users; a real site checks its accounts here. The
//! backend stores nothing: several backends with the same key accept each other's tokens.

use std::fmt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::ensure;
use axum::Json;
use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::Sha256;

use super::Backend;
use super::refusal::Refusal;
use crate::fields::Fields;

/// How long a login is valid, in seconds.
const LASTS: u64 = 24 * 60 * 60;

/// The shortest shared key, in bytes.
const MIN_KEY: usize = 16;
/// The length of a random key, in bytes.
const BLOCK: usize = 64;

/// The key that signs tokens.
#[derive(Clone)]
pub struct LoginKey(Hmac<Sha256>);

/// A user who has logged in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct User {
    pub(super) id: String,
    pub(super) name: String,
    /// The end of the login, in seconds since 1970.
    until: u64,
}

impl LoginKey {
    /// Returns a key that several backends share.
    ///
    /// # Errors
    /// It has less than 16 bytes.
    pub fn new(key: &[u8]) -> anyhow::Result<Self> {
        ensure!(key.len() >= MIN_KEY, "--login-key: must have at least {MIN_KEY} bytes");
        Ok(Self(Hmac::new_from_slice(key)?))
    }

    /// Returns a random key. After a restart, users must log in again.
    pub fn random() -> Self {
        Self(Hmac::new(&rand::random::<[u8; BLOCK]>().into()))
    }

    /// Signs a user, and returns the token.
    fn sign(&self, user: &User) -> String {
        let claim = BASE64.encode(json!(user).to_string());
        let mac = self.0.clone().chain_update(&claim).finalize().into_bytes();
        format!("{claim}.{}", BASE64.encode(mac))
    }

    /// Returns the user of a token, if its signature is right and it has not expired.
    fn read(&self, token: &str, now: u64) -> Option<User> {
        let (claim, mac) = token.split_once('.')?;
        self.0.clone().chain_update(claim).verify_slice(&BASE64.decode(mac).ok()?).ok()?;
        let user: User = serde_json::from_slice(&BASE64.decode(claim).ok()?).ok()?;
        (user.until > now).then_some(user)
    }
}

impl fmt::Debug for LoginKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LoginKey")
    }
}

/// Handles `POST /login`.
pub(super) async fn login(
    State(backend): State<Arc<Backend>>,
    posted: Fields,
) -> Result<Json<Value>, Refusal> {
    let id = format!("u{:016x}", rand::random::<u64>());
    let user = User { id, name: posted.name()?, until: now() + LASTS };
    let token = backend.login_key.sign(&user);
    Ok(Json(json!({"type": "login", "userId": user.id, "userName": user.name, "token": token})))
}

impl FromRequestParts<Arc<Backend>> for User {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, backend: &Arc<Backend>) -> Result<Self, Refusal> {
        let user = bearer(&parts.headers).and_then(|token| backend.login_key.read(token, now()));
        user.ok_or(Refusal::new(StatusCode::UNAUTHORIZED, "not_logged_in", "请先登录"))
    }
}

/// The token of the request. Unlike a cookie, no browser adds it to a request from another site.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_key_has_a_minimum_length() {
        assert!(LoginKey::new(b"").is_err());
        assert!(LoginKey::new(&[7; MIN_KEY - 1]).is_err());
        let user = User { id: "u1".into(), name: "小明".into(), until: 100 };
        let token = LoginKey::new(&[7; MIN_KEY]).unwrap().sign(&user);
        assert_eq!(LoginKey::new(&[7; MIN_KEY]).unwrap().read(&token, 0), Some(user));
    }

    #[test]
    fn a_token_is_valid_for_a_time_and_only_unchanged() {
        let key = LoginKey::random();
        let user = User { id: "u1".into(), name: "小明".into(), until: 100 };
        let token = key.sign(&user);
        assert_eq!(key.read(&token, 99), Some(user.clone()));
        assert_eq!(key.read(&token, 100), None);
        assert_eq!(LoginKey::random().read(&token, 99), None);

        let (_, mac) = token.split_once('.').unwrap();
        let other = BASE64.encode(json!(User { id: "u2".into(), ..user }).to_string());
        for forged in [format!("{other}.{mac}"), format!("{other}."), other, token[1..].into(), "".into()] {
            assert_eq!(key.read(&forged, 99), None, "{forged}");
        }
    }
}
