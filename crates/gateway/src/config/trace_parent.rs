//! The setting `trace_parent`: what a client's own trace is worth.

use serde::{Deserialize, Serialize};

/// What the header `traceparent` of a client's WebSocket handshake is worth.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum TraceParent {
    /// Nothing: whether the events of a client are traced is the gateway's own decision.
    #[default]
    Ignore,
    /// It is the parent of the spans of the client's connect, and says whether these are traced. For gateways whose
    /// clients can be trusted: any client can have its connects traced.
    Accept,
}
