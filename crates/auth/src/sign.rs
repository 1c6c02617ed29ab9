//! Makes tokens, as an application's backend does: for `gatewayworker token`, and for tests.
//!
//! The gateway itself signs nothing.

use std::fmt;

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Map, Value as Json};

use crate::ring_provider;

/// A key that signs.
#[derive(Clone)]
pub struct SigningKey {
    algorithm: Algorithm,
    key: EncodingKey,
}

/// Why nothing can be signed. No text has a part of the key in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignError {
    /// It is no private key that signs tokens.
    #[error(
        "it has no private key for RS256, ES256 or EdDSA that begins with -----BEGIN PRIVATE KEY----- \
         (make it of another form with `openssl pkcs8 -topk8 -nocrypt -in FILE`)"
    )]
    NoPrivateKey,
    /// The key cannot sign.
    #[error("the key cannot sign: an RSA key needs 2048 bits, and ES256 the curve P-256")]
    Signing,
}

impl SigningKey {
    /// The key of HS256 with this secret.
    pub fn hs256(secret: &str) -> Self {
        Self { algorithm: Algorithm::HS256, key: EncodingKey::from_secret(secret.as_bytes()) }
    }

    /// The private key of a PEM file: RS256, ES256 or EdDSA, by its kind.
    ///
    /// # Errors
    /// When it is none of these.
    pub fn from_pem(text: &str) -> Result<Self, SignError> {
        let text = text.as_bytes();
        let read = [
            (Algorithm::ES256, EncodingKey::from_ec_pem(text)),
            (Algorithm::EdDSA, EncodingKey::from_ed_pem(text)),
            (Algorithm::RS256, EncodingKey::from_rsa_pem(text)),
        ];
        let read = read.into_iter().find_map(|(algorithm, key)| Some(Self { algorithm, key: key.ok()? }));
        read.ok_or(SignError::NoPrivateKey)
    }

    /// Returns the token with these claims. It names the key by `kid`, where that is given.
    ///
    /// # Errors
    /// When the key cannot be used.
    pub fn sign(&self, claims: &Map<String, Json>, kid: Option<&str>) -> Result<String, SignError> {
        ring_provider::install();
        let header = Header { kid: kid.map(str::to_owned), ..Header::new(self.algorithm) };
        encode(&header, claims, &self.key).map_err(|_| SignError::Signing)
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}
