//! How a businessworker learns that a session was written through a handle.

use gatewayworker_protocol::{ClientId, php};

/// Told of every session written through a handle, once the write has been handed
/// to the link: what is asked afterwards over the same handle sees it.
///
/// For the businessworker, which has to know that events under way carry an older
/// session. An application needs none.
pub trait SessionObserver: Send + Sync + 'static {
    /// The session of `id` was replaced by `bytes`, serialized.
    fn session_replaced(&self, id: ClientId, bytes: &[u8]);

    /// `with` was merged into the session of `id`, as PHP's
    /// `array_replace_recursive` does.
    fn session_merged(&self, id: ClientId, with: &php::Array);
}
