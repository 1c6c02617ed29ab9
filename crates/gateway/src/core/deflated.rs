//! The compressed encodings of one message, as text or as binary.
//!
//! Each is made when the first client needs it, and shared by all others, across shards: a broadcast is compressed once
//! for all clients of a window and a level. Most messages are not compressed, and then this has no memory.

use std::sync::OnceLock;

use bytes::Bytes;

use super::websocket::compression::{Deflation, MAX_LEVEL, Window};
use super::websocket::encode;

/// The frames, or `None` where one is not shorter than the frame without compression, by window.
type ByWindow = [OnceLock<Option<Bytes>>; Window::ALL.len()];

/// The compressed frames of a message.
#[derive(Debug, Default)]
pub(super) struct Deflated {
    /// By level, from 1.
    by_level: OnceLock<Box<[OnceLock<Box<ByWindow>>; MAX_LEVEL as usize]>>,
}

impl Deflated {
    /// Returns the frame for a client that gets the message compressed like this; `None` where that is not shorter. `binary`
    /// and `message` are always the same for one value.
    pub(super) fn get(&self, binary: bool, message: &[u8], deflation: Deflation) -> Option<&Bytes> {
        let level = usize::from(deflation.policy.level).checked_sub(1)?;
        let by_window = self.by_level.get_or_init(Box::default).get(level)?;
        let frame = &by_window.get_or_init(Box::default)[deflation.window.index()];
        frame.get_or_init(|| encode::deflated_message(binary, message, deflation)).as_ref()
    }
}
