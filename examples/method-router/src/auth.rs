//! The ticket of a client: its user and room, signed with the shared key. The application verifies it in the handshake.
//!
//! `auth` has two parts with a dot between them, both base64url without padding (RFC 4648, section 5): the ticket as JSON,
//! and the HMAC-SHA256 (RFC 2104) of the first part as it is written. Any program with the key can make one, such as a web
//! backend after its own login.

use std::fmt;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

/// The longest `auth`, in bytes.
pub const MAX_AUTH: usize = 2048;

/// The longest id, room code and nickname, in characters.
pub const MAX_NAME: usize = 64;

/// How far the signer's clock may be ahead of ours, in seconds.
pub const CLOCK_SKEW: i64 = 5;

/// The shortest key, in bytes.
pub const MIN_KEY: usize = 16;

/// The kind of a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "camelCase")]
#[value(rename_all = "camelCase")]
pub enum Kind {
    /// A person with a phone, who takes part.
    WechatUser,
    /// A big screen, which only receives.
    Wall,
}

/// A ticket to one room, for one user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ticket {
    /// The user's id, chosen by the signer.
    pub id: String,
    /// The kind of the user.
    #[serde(rename = "type")]
    pub kind: Kind,
    /// The code of the room.
    pub code: String,
    /// The name that others see.
    pub nickname: String,
    /// The time of signing, in seconds since 1970.
    pub ctime: i64,
}

/// The error of an invalid ticket. Its text is for the user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TicketError {
    /// There is no ticket.
    #[error("缺少 auth")]
    Missing,
    /// It is malformed, or signed with another key.
    #[error("auth 无效")]
    Invalid,
    /// It is too old.
    #[error("auth 已过期，请重新获取")]
    Expired,
    /// It is from the future.
    #[error("auth 的时间晚于当前时间")]
    Early,
}

impl TicketError {
    /// The error's code, for programs. A page has a text for it in its user's language.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Invalid => "invalid",
            Self::Expired => "expired",
            Self::Early => "early",
        }
    }
}

/// The key that signs tickets.
#[derive(Clone)]
pub struct Key(Hmac<Sha256>);

impl Key {
    /// Returns the key of these bytes.
    ///
    /// # Errors
    /// There are fewer than [`MIN_KEY`] bytes.
    pub fn new(key: &str) -> anyhow::Result<Self> {
        anyhow::ensure!(key.len() >= MIN_KEY, "auth_key: must have at least {MIN_KEY} bytes");
        Ok(Self(Hmac::new_from_slice(key.as_bytes())?))
    }

    /// Signs a ticket, and returns its `auth`.
    pub fn sign(&self, ticket: &Ticket) -> String {
        let json = serde_json::to_vec(ticket).unwrap_or_default();
        let body = BASE64.encode(json);
        let mac = self.0.clone().chain_update(&body).finalize().into_bytes();
        format!("{body}.{}", BASE64.encode(mac))
    }

    /// Returns the ticket of an `auth`, if it is valid and at most `max_age` seconds old at the time `now`.
    ///
    /// # Errors
    /// The ticket is missing, invalid, too old, or from the future.
    pub fn verify(&self, auth: Option<&str>, now: i64, max_age: i64) -> Result<Ticket, TicketError> {
        let auth = auth.filter(|auth| !auth.is_empty()).ok_or(TicketError::Missing)?;
        let ticket = self.open(auth).ok_or(TicketError::Invalid)?;
        match now.saturating_sub(ticket.ctime) {
            age if age > max_age => Err(TicketError::Expired),
            age if age < -CLOCK_SKEW => Err(TicketError::Early),
            _ => Ok(ticket),
        }
    }

    fn open(&self, auth: &str) -> Option<Ticket> {
        let (body, mac) = Some(auth).filter(|auth| auth.len() <= MAX_AUTH)?.split_once('.')?;
        let mac = BASE64.decode(mac).ok()?;
        self.0.clone().chain_update(body).verify_slice(&mac).ok()?;
        let ticket: Ticket = serde_json::from_slice(&BASE64.decode(body).ok()?).ok()?;
        let names = [&ticket.id, &ticket.code, &ticket.nickname].into_iter().all(|name| is_name(name));
        names.then_some(ticket)
    }
}

/// Whether a text can be shown, and be part of a Redis key.
fn is_name(text: &str) -> bool {
    let length = text.chars().count();
    !text.trim().is_empty() && length <= MAX_NAME && !text.chars().any(char::is_control)
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_700_000_000;

    fn key() -> Key {
        Key::new("a key of some length").unwrap()
    }

    fn ticket() -> Ticket {
        Ticket {
            id: "7".into(),
            kind: Kind::WechatUser,
            code: "room1".into(),
            nickname: "小明".into(),
            ctime: NOW,
        }
    }

    fn verify(auth: &str, now: i64) -> Result<Ticket, TicketError> {
        key().verify(Some(auth), now, 600)
    }

    #[test]
    fn a_signed_ticket_is_read_back() {
        let auth = key().sign(&ticket());
        assert_eq!(verify(&auth, NOW), Ok(ticket()));
        assert!(auth.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)), "{auth}");
    }

    #[test]
    fn a_signature_matches_that_of_another_implementation() {
        // php: $b = rtrim(strtr(base64_encode($json), '+/', '-_'), '=');
        //      $b . '.' . the same of hash_hmac('sha256', $b, $key, true)
        let auth = "eyJpZCI6IjciLCJ0eXBlIjoid2FsbCIsImNvZGUiOiJyb29tMSIsIm5pY2tuYW1lIjoic2NyZWVuIiwiY3RpbWUiOjE3MDAwMDAwMDB9.hD__LyMv2BdTXos5hrlP9hAEyCc9QgCo1L8aE2-BX5I";
        let wall = Ticket { kind: Kind::Wall, nickname: "screen".into(), ..ticket() };
        assert_eq!(verify(auth, NOW), Ok(wall));
    }

    #[test]
    fn a_ticket_expires() {
        let auth = key().sign(&ticket());
        assert!(verify(&auth, NOW + 600).is_ok());
        assert_eq!(verify(&auth, NOW + 601), Err(TicketError::Expired));
        assert!(verify(&auth, NOW - CLOCK_SKEW).is_ok());
        assert_eq!(verify(&auth, NOW - CLOCK_SKEW - 1), Err(TicketError::Early));
        let endless = key().sign(&Ticket { ctime: i64::MIN, ..ticket() });
        assert_eq!(verify(&endless, NOW), Err(TicketError::Expired));
    }

    #[test]
    fn a_changed_ticket_is_refused() {
        let auth = key().sign(&ticket());
        let (body, mac) = auth.split_once('.').unwrap();
        let other = key().sign(&Ticket { id: "8".into(), ..ticket() });
        let (other_body, _) = other.split_once('.').unwrap();
        let short = &mac[..20];
        for wrong in [
            format!("{other_body}.{mac}"),
            format!("{body}.{short}"),
            format!("{body}."),
            body.to_owned(),
            ".".to_owned(),
            "字.字".to_owned(),
            format!("{auth}="),
            "a".repeat(MAX_AUTH + 1),
        ] {
            assert_eq!(verify(&wrong, NOW), Err(TicketError::Invalid), "{wrong}");
        }
        let strange = Key::new("another key, as long").unwrap().sign(&ticket());
        assert_eq!(verify(&strange, NOW), Err(TicketError::Invalid));
        assert_eq!(key().verify(None, NOW, 600), Err(TicketError::Missing));
        assert_eq!(key().verify(Some(""), NOW, 600), Err(TicketError::Missing));
    }

    #[test]
    fn a_ticket_without_a_name_is_refused() {
        for ticket in [
            Ticket { id: String::new(), ..ticket() },
            Ticket { nickname: "  ".into(), ..ticket() },
            Ticket { code: "a\nb".into(), ..ticket() },
            Ticket { nickname: "名".repeat(MAX_NAME + 1), ..ticket() },
        ] {
            assert_eq!(verify(&key().sign(&ticket), NOW), Err(TicketError::Invalid), "{ticket:?}");
        }
    }

    #[test]
    fn a_short_key_is_refused_and_no_key_is_printed() {
        assert!(Key::new("short").is_err());
        assert_eq!(format!("{:?}", key()), "Key(…)");
    }
}
