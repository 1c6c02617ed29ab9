//! The application's answer to a WebSocket client's handshake.
//!
//! `on_websocket_connect` returns an [`Admission`]; out of it comes a [`Verdict`] that the
//! client's gateway is told.

use gatewayworker_client::OutMessage;
use gatewayworker_protocol::{close_code, may_close_with};

/// Whether a WebSocket client may come in.
///
/// A gateway of ours waits for the answer, for `admission_timeout_ms` at most; then it
/// closes the client, as it does where the worker dies before. Until the client is
/// admitted it gets what is sent to its own id, but nothing that goes to everybody, a
/// group or a uid, and `client_count`, `client_ids` and `sessions` leave it out. When it
/// is admitted, it gets what went meanwhile to everybody, to a uid that it was bound to
/// and to a group that it joined; when it is refused, it never gets that.
///
/// The original has no such answer: its clients are in from the start, and a handler
/// closes those that it does not want. It is the same with a gateway of the original,
/// which does not look at the close code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admission {
    /// The client may come in.
    Admit,
    /// The client is closed.
    Refuse {
        /// The last message to the client, before the close.
        message: Option<OutMessage>,
        /// The WebSocket close code: 1000 to 1003, 1007 to 1014, or one of your own from
        /// 3000 to 4999 (RFC 6455, section 7.4). Any other is logged, and 1008 goes out.
        code: u16,
    },
}

impl Admission {
    /// A refusal without a message, for "policy violation" (1008).
    pub fn refuse() -> Self {
        Self::Refuse { message: None, code: close_code::POLICY_VIOLATION }
    }

    /// A refusal with a last message, for "policy violation" (1008).
    pub fn refuse_with(message: impl Into<OutMessage>) -> Self {
        Self::Refuse { message: Some(message.into()), code: close_code::POLICY_VIOLATION }
    }

    /// The same refusal with another close code; no change to [`Admit`](Self::Admit).
    pub fn with_code(mut self, close_code: u16) -> Self {
        if let Self::Refuse { code, .. } = &mut self {
            *code = close_code;
        }
        self
    }
}

/// What the client's gateway is told after the handshake's handler.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The gateway may admit the client.
    Admit,
    /// The gateway closes the client.
    Refuse {
        /// The last message to the client, before the close.
        message: Option<OutMessage>,
        /// A close code that may be sent.
        code: u16,
        /// The close code that the application asked for, where it may not be sent.
        invalid_code: Option<u16>,
    },
}

impl Verdict {
    /// Returns the verdict on a client whose handler returned `admission`, or no admission
    /// because it failed; `None` where the gateway does not wait to hear that the client
    /// is admitted.
    pub(crate) fn of(admission: Option<Admission>, gateway_asks: bool) -> Option<Self> {
        match admission.unwrap_or_else(Admission::refuse) {
            Admission::Admit => gateway_asks.then_some(Self::Admit),
            Admission::Refuse { message, code } if may_close_with(code) => {
                Some(Self::Refuse { message, code, invalid_code: None })
            }
            Admission::Refuse { message, code } => {
                Some(Self::Refuse { message, code: close_code::POLICY_VIOLATION, invalid_code: Some(code) })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_gateway_that_asks_is_told_that_a_client_is_admitted() {
        assert_eq!(Verdict::of(Some(Admission::Admit), true), Some(Verdict::Admit));
        assert_eq!(Verdict::of(Some(Admission::Admit), false), None);
    }

    #[test]
    fn a_client_whose_handler_failed_is_refused_for_policy_violation() {
        let refused = Verdict::Refuse { message: None, code: 1008, invalid_code: None };
        assert_eq!(Verdict::of(None, true), Some(refused.clone()));
        assert_eq!(Verdict::of(None, false), Some(refused));
    }

    #[test]
    fn a_close_code_that_may_not_be_sent_becomes_policy_violation() {
        let of = |code| Verdict::of(Some(Admission::refuse().with_code(code)), true);
        assert_eq!(of(4001), Some(Verdict::Refuse { message: None, code: 4001, invalid_code: None }));
        assert_eq!(of(1006), Some(Verdict::Refuse { message: None, code: 1008, invalid_code: Some(1006) }));
    }
}
