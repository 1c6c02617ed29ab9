//! The keys that tokens are checked with, each for one algorithm, which its kind decides.
//!
//! Read from a secret, a PEM file or a JSON Web Key Set. A key that cannot be used is an error in a file of one's own;
//! in a key set of somebody else it is passed over, as such sets have keys for other purposes, too.

use std::fmt;

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind};
use serde::Deserialize;
use serde_json::Value as Json;

/// The most keys that are taken from a key set.
const MAX_KEYS: usize = 100;

/// The shortest secret of HS256, in bytes: RFC 7518 section 3.2.
const MIN_SECRET_BYTES: usize = 32;

/// Why there are no keys to be had. No text has a part of a key in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum KeyProblem {
    #[error(
        "it has {0} bytes, and HS256 needs {MIN_SECRET_BYTES} at least: make one with `openssl rand -base64 32`"
    )]
    ShortSecret(usize),
    #[error("it has no key: put the public key there, which begins with -----BEGIN PUBLIC KEY-----")]
    NoPem,
    #[error("it has a private key: the gateway needs the public one (`openssl pkey -in FILE -pubout`)")]
    PrivateKey,
    #[error("it has a key that is none of RSA, P-256 (for ES256) and Ed25519, in PEM")]
    UnknownPem,
    #[error("it is no JSON Web Key Set, {{\"keys\": [...]}}")]
    NoKeySet,
    #[error("it has no key for RS256, ES256 or EdDSA")]
    EmptyKeySet,
    #[error("it has more than {MAX_KEYS} keys")]
    TooManyKeys,
}

/// A key.
#[derive(Clone)]
pub(crate) struct Key {
    /// Its name, in a key set that gives it one.
    pub(crate) kid: Option<String>,
    /// The one algorithm that it is for.
    pub(crate) algorithm: Algorithm,
    pub(crate) key: DecodingKey,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("kid", &self.kid)
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}

impl Key {
    /// The key of a secret.
    pub(crate) fn of_secret(secret: &str) -> Result<Self, KeyProblem> {
        if secret.len() < MIN_SECRET_BYTES {
            return Err(KeyProblem::ShortSecret(secret.len()));
        }
        let key = DecodingKey::from_secret(secret.as_bytes());
        Ok(Self { kid: None, algorithm: Algorithm::HS256, key })
    }

    /// The public keys of a PEM file: one, or several while a key is changed.
    pub(crate) fn of_pem(text: &str) -> Result<Vec<Self>, KeyProblem> {
        let keys: Vec<_> = blocks(text).map(Self::of_pem_block).collect::<Result<_, _>>()?;
        match keys.len() {
            0 => Err(KeyProblem::NoPem),
            1..=MAX_KEYS => Ok(keys),
            _ => Err(KeyProblem::TooManyKeys),
        }
    }

    fn of_pem_block(block: &str) -> Result<Self, KeyProblem> {
        if block.lines().next().is_some_and(|first| first.contains("PRIVATE")) {
            return Err(KeyProblem::PrivateKey);
        }
        // Each of them refuses keys of another kind, except the first, which is for PKCS #1, too.
        let block = block.as_bytes();
        let read = [
            (Algorithm::ES256, DecodingKey::from_ec_pem(block)),
            (Algorithm::EdDSA, DecodingKey::from_ed_pem(block)),
            (Algorithm::RS256, DecodingKey::from_rsa_pem(block)),
        ];
        let (algorithm, key) = read
            .into_iter()
            .find_map(|(algorithm, key)| Some((algorithm, key.ok()?)))
            .ok_or(KeyProblem::UnknownPem)?;
        let key = Self { kid: None, algorithm, key };
        if key.is_usable() { Ok(key) } else { Err(KeyProblem::UnknownPem) }
    }

    /// The keys of a JSON Web Key Set that are for signatures of clients' tokens.
    pub(crate) fn of_key_set(text: &[u8]) -> Result<Vec<Self>, KeyProblem> {
        #[derive(Deserialize)]
        struct KeySet {
            keys: Vec<Json>,
        }

        let KeySet { keys } = serde_json::from_slice(text).map_err(|_| KeyProblem::NoKeySet)?;
        if keys.len() > MAX_KEYS {
            return Err(KeyProblem::TooManyKeys);
        }
        let keys: Vec<_> = keys.into_iter().filter_map(Self::of_jwk).collect();
        if keys.is_empty() { Err(KeyProblem::EmptyKeySet) } else { Ok(keys) }
    }

    fn of_jwk(jwk: Json) -> Option<Self> {
        let jwk: Jwk = serde_json::from_value(jwk).ok()?;
        let (algorithm, name) = match &jwk.algorithm {
            AlgorithmParameters::RSA(_) => (Algorithm::RS256, KeyAlgorithm::RS256),
            AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => {
                (Algorithm::ES256, KeyAlgorithm::ES256)
            }
            AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => {
                (Algorithm::EdDSA, KeyAlgorithm::EdDSA)
            }
            // A secret that anybody can fetch is none.
            _ => return None,
        };
        let is_for_signatures =
            jwk.common.public_key_use.as_ref().is_none_or(|purpose| *purpose == PublicKeyUse::Signature);
        if !is_for_signatures || jwk.common.key_algorithm.is_some_and(|other| other != name) {
            return None;
        }
        let key = DecodingKey::from_jwk(&jwk).ok()?;
        let key = Self { kid: jwk.common.key_id, algorithm, key };
        key.is_usable().then_some(key)
    }

    /// Whether it is as long as a key for its algorithm; other curves are longer.
    fn is_usable(&self) -> bool {
        match (self.algorithm, self.key.kind()) {
            (Algorithm::ES256, DecodingKeyKind::SecretOrDer(point)) => point.len() == 65,
            (Algorithm::EdDSA, DecodingKeyKind::SecretOrDer(point)) => point.len() == 32,
            _ => true,
        }
    }
}

/// Returns the PEM blocks of a text, each from its BEGIN to its END line.
fn blocks(text: &str) -> impl Iterator<Item = &str> {
    text.match_indices("-----BEGIN ").map(|(from, _)| {
        let rest = &text[from..];
        let end = rest
            .find("-----END ")
            .map_or(rest.len(), |end| end + rest[end..].find('\n').unwrap_or(rest.len() - end));
        &rest[..end]
    })
}
