//! The WebSocket close codes that the daemons send (RFC 6455, section 7.4.1, and the registry that
//! it set up).
//!
//! Codes only: why a client was closed is a [`CloseReason`](crate::CloseReason), which its worker
//! reads. An application may close with codes of its own, from 4000 to 4999.

/// The purpose of the connection is fulfilled: an application closed the client.
pub const NORMAL: u16 = 1000;

/// The endpoint goes away: the gateway stops, or has given up a client that is silent.
pub const GOING_AWAY: u16 = 1001;

/// The client broke the WebSocket protocol.
pub const PROTOCOL_ERROR: u16 = 1002;

/// A text message or a close frame is not UTF-8.
pub const INVALID_PAYLOAD: u16 = 1007;

/// A message or a client is against the policy: the application refused the client, or the client
/// did not read what it was sent.
pub const POLICY_VIOLATION: u16 = 1008;

/// A message is too long to be processed.
pub const MESSAGE_TOO_BIG: u16 = 1009;

/// The server met something that keeps it from fulfilling a request: an event of the client ended one
/// worker after another.
pub const INTERNAL_ERROR: u16 = 1011;

/// The service restarts; the client may connect again (IANA's registry, after RFC 6455).
pub const SERVICE_RESTART: u16 = 1012;

/// The service cannot take the client now; it may connect again later (IANA's registry, after
/// RFC 6455).
pub const TRY_AGAIN_LATER: u16 = 1013;

/// The client's token has expired; it may connect again with a new one. The codes from 4000 on are for applications
/// (RFC 6455): the number follows the 401 of HTTP.
pub const TOKEN_EXPIRED: u16 = 4401;

/// Another connection of the same client is newer: this one is an old attempt, or a second copy of the client (subprotocol
/// `gw.1`).
pub const SUPERSEDED: u16 = 4409;

/// Whether an endpoint may send this close code: RFC 6455, section 7.4, and the codes that have
/// been registered since.
pub fn may_close_with(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_that_only_describe_a_connection_may_not_be_sent() {
        for code in [0, 999, 1004, 1005, 1006, 1015, 2999, 5000] {
            assert!(!may_close_with(code), "{code}");
        }
        for code in [NORMAL, GOING_AWAY, POLICY_VIOLATION, TRY_AGAIN_LATER, TOKEN_EXPIRED, 3000, 4403, 4999] {
            assert!(may_close_with(code), "{code}");
        }
    }
}
