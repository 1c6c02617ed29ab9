//! What becomes of a request that is not upgraded: the reason, and the HTTP answer.

use std::io;

use super::health_check::HealthCheck;
use super::text_answer::text_answer;
use crate::access::rejections::RejectReason;

/// A request that is not upgraded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Rejection {
    #[error("{0}")]
    Io(#[from] io::Error),
    /// Answer with this status and sentence.
    #[error("{status}: {reason}")]
    Http {
        why: RejectReason,
        status: &'static str,
        reason: String,
        /// What the client said that was refused, such as its origin, for the log.
        said: Option<String>,
        /// It was a HEAD: the answer has no body.
        is_head: bool,
    },
    /// A balancer asks how the gateway is.
    #[error("a health check")]
    HealthCheck(HealthCheck),
}

impl From<RejectReason> for Rejection {
    fn from(why: RejectReason) -> Self {
        Self::of(why, why.sentence())
    }
}

impl Rejection {
    pub(crate) fn http(status: &'static str, reason: impl Into<String>) -> Self {
        Self::Http {
            why: RejectReason::NoHandshake,
            status,
            reason: reason.into(),
            said: None,
            is_head: false,
        }
    }

    pub(crate) fn of(why: RejectReason, reason: impl Into<String>) -> Self {
        Self::Http { why, status: why.status(), reason: reason.into(), said: None, is_head: false }
    }

    /// The same, with what the client said.
    pub(super) fn with_said(mut self, text: &[u8]) -> Self {
        const SHOWN: usize = 200;

        if let Self::Http { said, .. } = &mut self {
            *said = Some(String::from_utf8_lossy(&text[..text.len().min(SHOWN)]).into_owned());
        }
        self
    }

    pub(super) fn for_head(mut self) -> Self {
        if let Self::Http { is_head, .. } = &mut self {
            *is_head = true;
        }
        self
    }

    /// The HTTP answer, if there is anybody to read one.
    pub(crate) fn response(&self) -> Option<String> {
        let Self::Http { status, reason, is_head, .. } = self else { return None };
        let headers = match status.split(' ').next() {
            Some("405") => "Allow: GET\r\nConnection: close\r\n",
            Some("426") => {
                "Connection: Upgrade, close\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            }
            _ => "Connection: close\r\n",
        };
        Some(text_answer(status, headers, reason, *is_head))
    }
}
