//! [`EventTrace`]: the trace of an event, as its gateway has said it. Only with the cargo feature `otel`.

use std::time::SystemTime;

use gatewayworker_protocol::TraceContext;

/// The trace of an event.
#[derive(Debug)]
pub struct EventTrace {
    /// The gateway's span of the event, and its trace.
    pub context: TraceContext,
    /// When the event came; taken when its handler begins.
    pub received: Option<SystemTime>,
}
