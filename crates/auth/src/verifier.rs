//! What a token is worth: its signature, its time, its audience and its issuer.
//!
//! Plain data, without a clock and without IO. The algorithm of a token is compared with what the keys are for, never
//! the other way round: a token that says `none`, or HS256 where the gateway has a public key, is refused before
//! anything is calculated. What the claims say about the client is read next, in `claims`.

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, Header, Validation, decode, decode_header};
use serde_json::Value as Json;

use crate::claims::{self, Claims, Identity, Limits};
use crate::keys::Key;
use crate::refusal::Refusal;
use crate::ring_provider;

/// The longest token, in bytes.
pub const MAX_TOKEN_BYTES: usize = 8 * 1024;

/// The most keys that a token is checked with which names none. All secrets are among them, and more than these of one's
/// own are refused at the start.
pub(crate) const MAX_TRIES: usize = 16;

/// The rules and the keys. Cloned when the keys of a key set change.
#[derive(Debug, Clone)]
pub struct Verifier {
    pub(crate) rules: Rules,
    /// Keys of files and settings.
    pub(crate) own_keys: Vec<Key>,
    pub(crate) key_set: KeySet,
}

/// The keys of `jwks_url`.
#[derive(Debug, Clone)]
pub(crate) enum KeySet {
    /// No URL is set.
    Unused,
    /// They were never fetched.
    Away,
    /// As they were fetched last.
    Fetched(Vec<Key>),
}

/// What a token has to be.
#[derive(Debug, Clone)]
pub(crate) struct Rules {
    /// One of these has to be among its audiences; any, or none, where it is empty.
    pub(crate) audience: Vec<String>,
    /// Whose it has to be; anybody's where it is empty.
    pub(crate) issuer: String,
    /// How far the clocks may differ, in seconds.
    pub(crate) leeway_s: u64,
    pub(crate) allow_without_exp: bool,
    pub(crate) limits: Limits,
}

impl Verifier {
    pub(crate) fn new(rules: Rules, own_keys: Vec<Key>, key_set: KeySet) -> Self {
        ring_provider::install();
        Self { rules, own_keys, key_set }
    }

    /// Returns who a token is about, at a time in seconds since 1970.
    ///
    /// # Errors
    /// The first reason why it is refused.
    pub fn verify(&self, token: &str, now_s: u64) -> Result<Identity, Refusal> {
        if token.is_empty() {
            return Err(Refusal::Missing);
        }
        if token.len() > MAX_TOKEN_BYTES {
            return Err(Refusal::Malformed);
        }
        let header = read_header(token)?;
        let claims = self.check_signature(token, &header)?;
        self.check_rules(&claims, now_s)?;
        claims::identity(claims, &self.rules.limits)
    }

    /// Returns the time up to which a token is taken that expires at `expires_at`, both in seconds since 1970.
    pub(crate) fn with_leeway(&self, expires_at: u64) -> u64 {
        expires_at.saturating_add(self.rules.leeway_s)
    }

    fn check_signature(&self, token: &str, header: &Header) -> Result<Claims, Refusal> {
        let mut refusal = Refusal::Signature;
        let candidates = self.candidates(header).map_err(|refusal| self.or_unknown_key(header, refusal))?;
        for key in candidates {
            match decode::<Claims>(token, &key.key, &signature_only(key.algorithm)) {
                Ok(decoded) => return Ok(decoded.claims),
                Err(error) if *error.kind() == ErrorKind::InvalidSignature => {}
                Err(error) if *error.kind() == ErrorKind::InvalidAlgorithm => refusal = Refusal::Algorithm,
                Err(_) => return Err(Refusal::Malformed),
            }
        }
        Err(self.or_unknown_key(header, refusal))
    }

    /// Returns the keys that a token may be signed with: the one that it names, or those without a name.
    fn candidates(&self, header: &Header) -> Result<impl Iterator<Item = &Key>, Refusal> {
        if !self.keys().any(|key| key.algorithm == header.alg) {
            return Err(Refusal::Algorithm);
        }
        let by_name = self.names_known_key(header);
        let may_have_signed = move |key: &&Key| match (by_name, &header.kid) {
            (true, _) => key.kid == header.kid,
            (false, Some(_)) => key.kid.is_none(),
            (false, None) => true,
        };
        if !self.keys().any(|key| may_have_signed(&key)) {
            return Err(Refusal::Key);
        }
        let for_algorithm = move |key: &&Key| may_have_signed(key) && key.algorithm == header.alg;
        if !self.keys().any(|key| for_algorithm(&key)) {
            return Err(Refusal::Algorithm);
        }
        Ok(self.keys().filter(for_algorithm).take(MAX_TRIES))
    }

    /// Returns why a token is refused that no key here has signed: where a key set may have its key by now, that is
    /// the reason, and the set is fetched again for it. No set has secrets.
    fn or_unknown_key(&self, header: &Header, refusal: Refusal) -> Refusal {
        match &self.key_set {
            _ if header.alg == Algorithm::HS256 || self.names_known_key(header) => refusal,
            KeySet::Away => Refusal::KeysAway,
            KeySet::Fetched(_) if header.kid.is_some() => Refusal::Key,
            KeySet::Fetched(_) | KeySet::Unused => refusal,
        }
    }

    fn names_known_key(&self, header: &Header) -> bool {
        header.kid.is_some() && self.keys().any(|key| key.kid == header.kid)
    }

    fn keys(&self) -> impl Iterator<Item = &Key> {
        let fetched = match &self.key_set {
            KeySet::Fetched(keys) => keys.as_slice(),
            KeySet::Unused | KeySet::Away => &[],
        };
        self.own_keys.iter().chain(fetched)
    }

    fn check_rules(&self, claims: &Claims, now_s: u64) -> Result<(), Refusal> {
        let Rules { audience, issuer, leeway_s, allow_without_exp, .. } = &self.rules;
        match claims::time(claims, "exp")? {
            Some(expires_at) if now_s >= self.with_leeway(expires_at) => return Err(Refusal::Expired),
            None if !allow_without_exp => {
                return Err(Refusal::Claims(
                    "exp: the token never expires (allow_without_exp takes such tokens)",
                ));
            }
            _ => {}
        }
        if claims::time(claims, "nbf")?.is_some_and(|begins_at| begins_at > now_s.saturating_add(*leeway_s)) {
            return Err(Refusal::NotYet);
        }
        let is_ours =
            |name: &Json| name.as_str().is_some_and(|name| audience.iter().any(|ours| ours == name));
        let is_for_us = match claims.get("aud") {
            _ if audience.is_empty() => true,
            Some(Json::Array(names)) => names.iter().any(is_ours),
            Some(name) => is_ours(name),
            None => false,
        };
        if !is_for_us {
            return Err(Refusal::Audience);
        }
        let is_of_issuer = issuer.is_empty() || claims.get("iss").and_then(Json::as_str) == Some(issuer);
        if is_of_issuer { Ok(()) } else { Err(Refusal::Issuer) }
    }
}

/// Reads the header of a token, which nobody has signed yet.
fn read_header(token: &str) -> Result<Header, Refusal> {
    let header = match decode_header(token) {
        Ok(header) => header,
        Err(error) => {
            // It is an object with another algorithm, or none at all.
            let has_other_algorithm = matches!(error.kind(), ErrorKind::Json(error) if error.is_data())
                && token.split('.').count() == 3;
            return Err(if has_other_algorithm { Refusal::Algorithm } else { Refusal::Malformed });
        }
    };
    // What has to be understood is not: RFC 7515 section 4.1.11.
    if header.crit.is_some() { Err(Refusal::Malformed) } else { Ok(header) }
}

/// The checks that are left to `jsonwebtoken`: the signature alone, as it has a clock of its own.
fn signature_only(algorithm: Algorithm) -> Validation {
    let mut validation = Validation::new(algorithm);
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation.validate_aud = false;
    validation
}

#[cfg(test)]
mod tests;
