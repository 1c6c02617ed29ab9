//! The first message of a connection, as the gateway of this scenario reads it, and tokens.

use super::message::Content;
use crate::websocket::TEXT;

/// The first message of a connection.
pub(super) enum Opening {
    Start,
    Resume { token: String, attempt: u64, got: u64 },
}

/// Reads the payload of the first message.
pub(super) fn read_opening(message: &[u8]) -> Option<Opening> {
    let Content::Control(json) = Content::of(TEXT, message) else { return None };
    let json: serde_json::Value = serde_json::from_slice(json).ok()?;
    if json.get("start").is_some() {
        return Some(Opening::Start);
    }
    let resume = json.get("resume")?;
    let (attempt, got) = (resume["try"].as_u64()?, resume["got"].as_u64()?);
    Some(Opening::Resume { token: resume["token"].as_str()?.to_owned(), attempt, got })
}

/// The token of a client, which nobody forges here.
pub(super) fn token(id: u32, secret: &[u8; 16]) -> String {
    format!("{id:08x}{:032x}", u128::from_be_bytes(*secret))
}

/// Reads a token: the client's id and its secret.
pub(super) fn read_token(token: &str) -> Option<(u32, [u8; 16])> {
    let (id, secret) = token.split_at_checked(8)?;
    Some((u32::from_str_radix(id, 16).ok()?, u128::from_str_radix(secret, 16).ok()?.to_be_bytes()))
}
