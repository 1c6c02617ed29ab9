//! The last closes of a gateway: which clients have ended, why, and at whose wish.

use serde::{Deserialize, Serialize};

/// How many closes a gateway keeps.
pub const MAX_CLOSES: u32 = 200;

/// The last closes of a gateway.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CloseList {
    /// The latest first.
    pub closes: Vec<CloseReport>,
}

/// The end of a client.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CloseReport {
    /// The client id.
    pub id: String,
    /// The uid that it was bound to.
    pub uid: Option<String>,
    /// Its IPv4 address and port; `None` for one that came over IPv6.
    pub address: Option<String>,
    /// The URL of the listener that it came to.
    pub listener: String,
    /// Why it ended, by the name that `status` counts it by: `client-left`, `kicked`, …
    pub reason: String,
    /// The code of the close frame that the gateway sent, where it sent one.
    pub code: Option<u16>,
    /// The code of the close frame that the client sent, where it sent one with a code.
    pub client_code: Option<u16>,
    /// The reason of that close frame.
    pub client_reason: Option<String>,
    /// At whose wish it was closed.
    pub closed_by: ClosedBy,
    /// The key of the worker, or the address of the caller.
    pub closer: Option<String>,
    /// When it ended, in milliseconds since 1970.
    pub at_ms: u64,
    /// How long it had been connected; exact to a second.
    pub age_ms: u64,
}

/// At whose wish a client was closed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ClosedBy {
    /// The client's own: it closed, or its connection broke.
    Client,
    /// That of a worker, in a handler or in a call over HTTP.
    Worker,
    /// That of a client library outside of the workers.
    Call,
    /// The heartbeat's: the client was silent.
    Heartbeat,
    /// That of a limit that the client has met.
    Limit,
    /// The gateway's, as it stops, is cut off, or can do nothing with the client.
    Gateway,
    /// That of somebody of another version.
    #[default]
    #[serde(other)]
    Unknown,
}

impl ClosedBy {
    /// The name, as in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Worker => "worker",
            Self::Call => "call",
            Self::Heartbeat => "heartbeat",
            Self::Limit => "limit",
            Self::Gateway => "gateway",
            Self::Unknown => "unknown",
        }
    }
}
