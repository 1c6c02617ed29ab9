//! The settings of a shard for events that workers acknowledge.

use serde::{Deserialize, Serialize};

/// What becomes of an event that a worker was given and has not finished when it is gone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeliveryMode {
    /// It is given to another worker, marked as redelivered.
    #[default]
    AtLeastOnce,
    /// It is dropped, unless it is a close.
    AtMostOnce,
}

/// The settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeliverySettings {
    /// What becomes of events that a worker has not finished.
    pub mode: DeliveryMode,
    /// An event is dropped, and its client closed, when the connections of so many workers have ended
    /// while it was their first of that client.
    pub max_deliveries: u8,
    /// So many events of one client may be unfinished or wait; beyond, the client is not read from.
    pub window_events: usize,
    /// So many bytes of one client's events may be unfinished or wait, but at least one event.
    pub window_bytes: usize,
}

impl Default for DeliverySettings {
    /// At least once, 5 deliveries, 256 events and 1 MiB for each client.
    fn default() -> Self {
        Self { mode: DeliveryMode::default(), max_deliveries: 5, window_events: 256, window_bytes: 1 << 20 }
    }
}
