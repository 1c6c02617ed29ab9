//! What the tests of this crate share: rules, claims, and tokens that nobody would sign.

use serde_json::{Map, Value as Json, json};

use crate::claims::Limits;
use crate::keys::Key;
use crate::sign::SigningKey;
use crate::verifier::{KeySet, Rules, Verifier};

pub(crate) const SECRET: &str = "a secret of more than thirty-two bytes";

/// The time of the tests, in seconds since 1970.
pub(crate) const NOW_S: u64 = 1_800_000_000;

pub(crate) fn rules() -> Rules {
    Rules {
        audience: Vec::new(),
        issuer: String::new(),
        leeway_s: 10,
        allow_without_exp: false,
        limits: Limits { max_groups: 10, max_name_bytes: 100, max_session_bytes: 1000 },
    }
}

pub(crate) fn verifier() -> Verifier {
    Verifier::new(rules(), vec![Key::of_secret(SECRET).unwrap()], KeySet::Unused)
}

pub(crate) fn claims(claims: Json) -> Map<String, Json> {
    let Json::Object(claims) = claims else { panic!("claims are an object") };
    claims
}

/// Claims that expire in a minute.
pub(crate) fn valid() -> Map<String, Json> {
    claims(json!({"sub": "u1", "exp": NOW_S + 60}))
}

pub(crate) fn signed(claims: &Map<String, Json>) -> String {
    SigningKey::hs256(SECRET).sign(claims, None).unwrap()
}

/// base64url without padding.
pub(crate) fn base64url(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    bytes
        .chunks(3)
        .flat_map(|chunk| {
            let word = (0..3).fold(0, |word, i| word << 8 | u32::from(chunk.get(i).copied().unwrap_or(0)));
            (0..=chunk.len()).map(move |i| DIGITS[(word >> (18 - 6 * i)) as usize & 63] as char)
        })
        .collect()
}
