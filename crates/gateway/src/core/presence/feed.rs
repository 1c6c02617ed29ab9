//! Where the shards' tables tell of changes in presence rooms.
//!
//! All shards of a gateway share one [`PresenceFeed`]; a gateway without presence has none, and its tables look at nothing
//! but that. Each membership is on one shard, and clients are counted, so the order between shards does not matter. The
//! lock is held for a look-up and a count; after a change of the list also while the gateway looks through all its uids,
//! once for each gateway, for what concerns that one.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gatewayworker_protocol::pattern;

use super::data::data_of;
use super::reporter::Reporter;

/// The longest name of a room or uid, in bytes. Longer ones have no presence.
const MAX_NAME_BYTES: usize = 1024;

/// Counts the clients of uids in rooms.
pub struct PresenceFeed {
    /// The patterns of the groups that are rooms.
    rooms: Vec<String>,
    /// The keys of the session that others see.
    data: Vec<String>,
    reporter: Mutex<Reporter>,
    /// Called when there may be something to report, on whichever thread.
    changed: Box<dyn Fn() + Send + Sync>,
}

impl PresenceFeed {
    /// A feed of the groups that match one of `rooms`, of which others see these keys of sessions. `changed` must not wait.
    pub fn new(
        rooms: Vec<String>,
        data: Vec<String>,
        reporter: Reporter,
        changed: impl Fn() + Send + Sync + 'static,
    ) -> Self {
        Self { rooms, data, reporter: Mutex::new(reporter), changed: Box::new(changed) }
    }

    /// Whether a group is a room.
    pub fn is_room(&self, group: &[u8]) -> bool {
        self.rooms.iter().any(|room| pattern::matches(room.as_bytes(), group))
    }

    /// Returns what others see of a client with this session, as JSON.
    pub fn data_of(&self, session: &[u8]) -> Arc<str> {
        data_of(session, &self.data)
    }

    /// Whether what others see may change with a session.
    pub fn shows_sessions(&self) -> bool {
        !self.data.is_empty()
    }

    /// Notes that one more client of a uid is in a room.
    pub fn enter(&self, room: &[u8], uid: &[u8], data: Arc<str>) {
        self.note(room, uid, |reporter, room, uid| reporter.enter(room, uid, data));
    }

    /// Notes that one client less of a uid is in a room.
    pub fn exit(&self, room: &[u8], uid: &[u8]) {
        self.note(room, uid, Reporter::exit);
    }

    /// Notes that a client of a uid in a room has another session.
    pub fn update(&self, room: &[u8], uid: &[u8], data: Arc<str>) {
        self.note(room, uid, |reporter, room, uid| reporter.update(room, uid, data));
    }

    fn note(&self, room: &[u8], uid: &[u8], note: impl FnOnce(&mut Reporter, &str, &str)) {
        // The messages and reports are JSON, which has no other names.
        let (Ok(room), Ok(uid)) = (str::from_utf8(room), str::from_utf8(uid)) else { return };
        if room.len() <= MAX_NAME_BYTES && uid.len() <= MAX_NAME_BYTES {
            note(&mut self.reporter(), room, uid);
            (self.changed)();
        }
    }

    /// Locks what is to be reported.
    pub fn reporter(&self) -> MutexGuard<'_, Reporter> {
        // Every step of it is complete when a panic could poison the lock.
        self.reporter.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for PresenceFeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PresenceFeed")
            .field("rooms", &self.rooms)
            .field("data", &self.data)
            .finish_non_exhaustive()
    }
}
