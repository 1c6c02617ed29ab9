//! A connection that does not become a client: the reason, and the HTTP answer.
//!
//! `handshake` and `client` return it; `access::rejections` counts and logs the reasons.

use std::io;

use bytes::Bytes;
use gatewayworker_auth::Refusal;
use gatewayworker_protocol::close_code::{POLICY_VIOLATION, PROTOCOL_ERROR, TOKEN_EXPIRED, TRY_AGAIN_LATER};

use super::health_check::HealthCheck;
use super::text_answer::text_answer;
use crate::access::rejections::RejectReason;
use crate::core::websocket::encode;
use crate::listener::{AddressLimitReached, NoRoom};

/// After how many seconds a client may try again whose token cannot be checked: the keys are fetched as often.
const KEYS_AWAY_RETRY_S: u64 = 10;

/// The longest reason of a close frame, in bytes: RFC 6455 section 5.5.
const MAX_REASON: usize = 123;

/// The rejection of a connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Rejection {
    #[error("{0}")]
    Io(#[from] io::Error),
    /// An answer with this status and sentence.
    #[error("{status}: {sentence}")]
    Http {
        reason: RejectReason,
        status: &'static str,
        sentence: String,
        /// The rejected value of the request, such as its origin, for the log.
        value: Option<String>,
        /// After how many seconds the client may try again, where that is known.
        retry_after_s: Option<u64>,
        /// The request was a HEAD: the answer has no body.
        is_head: bool,
    },
    /// A health check, which is answered and not counted.
    #[error("a health check")]
    HealthCheck(HealthCheck),
    /// The rejection of a connection that has got its 101: a page reads the code of a close frame, and no status.
    #[error("{0}")]
    Opened(Box<Rejection>),
}

impl From<RejectReason> for Rejection {
    fn from(reason: RejectReason) -> Self {
        Self::of(reason, reason.sentence())
    }
}

impl From<AddressLimitReached> for Rejection {
    fn from(limit: AddressLimitReached) -> Self {
        let reason = match limit {
            AddressLimitReached::Connections => RejectReason::AddressFull,
            AddressLimitReached::Rate { .. } => RejectReason::AddressRate,
        };
        let mut rejection = Self::from(reason);
        if let (AddressLimitReached::Rate { retry_after_s: after_s }, Self::Http { retry_after_s, .. }) =
            (limit, &mut rejection)
        {
            *retry_after_s = Some(after_s);
        }
        rejection
    }
}

impl From<NoRoom> for Rejection {
    fn from(limit: NoRoom) -> Self {
        match limit {
            NoRoom::Limit(limit) => RejectReason::from(limit).into(),
            NoRoom::Address(limit) => limit.into(),
        }
    }
}

/// A token that is not accepted: 401, or 503 where the gateway has no keys yet.
impl From<Refusal> for Rejection {
    fn from(refusal: Refusal) -> Self {
        let mut rejection =
            Self::of(RejectReason::Token, refusal.to_string()).with_value(refusal.name().as_bytes());
        if let (Refusal::KeysAway, Self::Http { status, retry_after_s, .. }) = (refusal, &mut rejection) {
            *status = "503 Service Unavailable";
            *retry_after_s = Some(KEYS_AWAY_RETRY_S);
        }
        rejection
    }
}

impl Rejection {
    /// The rejection of a request that is no valid WebSocket handshake.
    pub(crate) fn http(status: &'static str, sentence: impl Into<String>) -> Self {
        Self::Http {
            reason: RejectReason::NoHandshake,
            status,
            sentence: sentence.into(),
            value: None,
            retry_after_s: None,
            is_head: false,
        }
    }

    /// A rejection for this reason, with the reason's own status.
    pub(crate) fn of(reason: RejectReason, sentence: impl Into<String>) -> Self {
        Self::Http {
            reason,
            status: reason.status(),
            sentence: sentence.into(),
            value: None,
            retry_after_s: None,
            is_head: false,
        }
    }

    /// Adds the rejected value, for the log.
    pub(super) fn with_value(mut self, text: &[u8]) -> Self {
        const SHOWN: usize = 200;

        if let Self::Http { value, .. } = &mut self {
            *value = Some(String::from_utf8_lossy(&text[..text.len().min(SHOWN)]).into_owned());
        }
        self
    }

    /// Makes this the answer to a HEAD.
    pub(super) fn for_head(mut self) -> Self {
        if let Self::Http { is_head, .. } = &mut self {
            *is_head = true;
        }
        self
    }

    /// The rejection of a connection that has got its 101.
    pub(crate) fn opened(self) -> Self {
        Self::Opened(Box::new(self))
    }

    /// Returns the close frame for a client that has got its 101; `None` where it has left. Its code says whether the
    /// client may come back (`docs/client-protocol.md`).
    pub(crate) fn close_frame(&self) -> Option<Bytes> {
        let Self::Http { status, sentence, reason, .. } = self else { return None };
        let code = match status.split(' ').next() {
            Some("401") => TOKEN_EXPIRED,
            Some("429" | "503" | "408") => TRY_AGAIN_LATER,
            _ if *reason == RejectReason::NoHandshake => PROTOCOL_ERROR,
            _ => POLICY_VIOLATION,
        };
        // A control frame has 125 bytes at most.
        let end = (0..=MAX_REASON).rev().find(|end| sentence.is_char_boundary(*end)).unwrap_or_default();
        let reason = if sentence.len() <= MAX_REASON { sentence } else { &sentence[..end] };
        Some(encode::close(Some(code), reason))
    }

    /// Returns the HTTP answer; `None` where the client has left, and for a health check.
    pub(crate) fn response(&self) -> Option<String> {
        let Self::Http { status, sentence, retry_after_s, is_head, .. } = self else { return None };
        let headers = match (status.split(' ').next(), retry_after_s) {
            (Some("401"), _) => "WWW-Authenticate: Bearer\r\nConnection: close\r\n",
            (Some("405"), _) => "Allow: GET\r\nConnection: close\r\n",
            (Some("426"), _) => {
                "Connection: Upgrade, close\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            }
            (_, Some(seconds)) => &format!("Retry-After: {seconds}\r\nConnection: close\r\n"),
            _ => "Connection: close\r\n",
        };
        Some(text_answer(status, headers, sentence, *is_head))
    }
}
