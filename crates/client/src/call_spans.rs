//! [`CallObserver`]: how a businessworker learns when each call of its handlers begins and ends, to make spans of them.
//!
//! `gateway.rs` and `ask.rs` tell it; `worker.rs` sets it. Only with the cargo feature `otel`.

use std::any::Any;

use gatewayworker_protocol::Frame;

/// Sees the calls that are made through a handle, on whichever thread makes them.
pub trait CallObserver: Send + Sync + 'static {
    /// Frames are about to be handed to so many gateways. The call ends when what is returned is dropped. Must not
    /// wait, nor use the handle.
    fn begin(&self, frames: &mut dyn Iterator<Item = &Frame>, gateways: usize)
    -> Option<Box<dyn Any + Send>>;
}
