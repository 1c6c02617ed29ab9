//! How a businessworker learns what was said through a handle, and ends what may be said.
//!
//! `commands.rs` calls the observers after a session was written, `gateway.rs` gives the links their
//! [`EventCalls`] and asks their [`Fence`]; `worker.rs` sets them.

use gatewayworker_protocol::{ClientId, php};

use crate::event_calls::EventCalls;
use crate::fence::Fence;

/// Is told of every session that is written through a handle, once the link has the write:
/// a question over the same handle afterwards sees the new session.
///
/// The businessworker needs it, as events that are under way carry an older session.
pub trait SessionObserver: Send + Sync + 'static {
    /// The session of `id` was replaced by `bytes`, serialized.
    fn session_replaced(&self, id: ClientId, bytes: &[u8]);

    /// `with` was merged into the session of `id`, as PHP's
    /// `array_replace_recursive` does.
    fn session_merged(&self, id: ClientId, with: &php::Array);

    /// Where the commands and refusals of a handle are noted that belongs to one event; nowhere by default. Only
    /// that of a single handle's observer is used ([`WorkerHandle::gateway_observed_by`]).
    ///
    /// [`WorkerHandle::gateway_observed_by`]: crate::worker::WorkerHandle::gateway_observed_by
    fn calls(&self) -> Option<&EventCalls> {
        None
    }

    /// What refuses the calls of such a handle when its event's epoch is over, likewise; nothing by
    /// default.
    fn fence(&self) -> Option<&Fence> {
        None
    }
}
