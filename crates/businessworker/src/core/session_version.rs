//! Remembers, for one client, which session this worker last wrote, so that no handler sees
//! an older one.
//!
//! An event contains the session as it was when the event left the gateway. If two events of
//! a client are under way, the second still contains the session from before the first
//! one's handler wrote. The rule: **a handler never reads, and never writes back, a
//! session older than the one that this worker last wrote for the handler's client.**
//!
//! After a write, this module keeps a hash of the session written (the original keeps a
//! checksum). An event whose session has that hash contains the write. For any other event,
//! the worker asks the gateway for the session. It asks over the link on which it sent the
//! write, so the gateway executes the write first and then answers. The hash of the answer
//! replaces the old hash.
//!
//! The module also keeps the session itself, as written or answered, until an event contains
//! it. The handler gets these bytes if the gateway can no longer answer: when the client has
//! closed, and its last events left the gateway before the write arrived.

use std::hash::BuildHasher;

use bytes::Bytes;
use foldhash::fast::RandomState;
use gatewayworker_client::php;
use gatewayworker_protocol::MAX_FRAME_LEN;

/// What this worker knows of one client's session. `None` until this worker writes it.
// Boxed to keep the table's entries small: most clients have no write, and each of their
// events moves such an entry in and out of the table.
#[derive(Debug, Default)]
pub(crate) struct SessionVersion(Option<Box<LastWrite>>);

#[derive(Debug, Default)]
struct LastWrite {
    /// The hash of the session last written or answered. `None` after a merge, whose result
    /// only the gateway knows, until the gateway has answered.
    hash: Option<u64>,
    /// The session last written or answered, until an event contains it.
    unconfirmed: Option<Bytes>,
    /// The number of writes. If it has changed since the gateway was asked, the answer may be
    /// older than the last write and is ignored.
    writes: u64,
}

/// Whether the session in an event is as new as the last write.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Freshness {
    /// The session in the event is as new as the last write.
    Fresh(Bytes),
    /// The session in the event may be older than the last write: ask the gateway.
    MaybeStale {
        /// The number of writes before the question.
        writes: u64,
        /// The newest session that this worker knows, for a gateway that does not answer.
        newest_known: Bytes,
    },
}

/// Hashes sessions with a key of this process, so that no client can choose a session with
/// a known hash. Hashes are compared for equality only.
#[derive(Debug, Default)]
pub(crate) struct SessionHasher(RandomState);

impl SessionHasher {
    fn hash(&self, session: &[u8]) -> u64 {
        self.0.hash_one(normalized(session))
    }
}

/// Returns the session; an empty PHP array becomes the empty session, because both mean "no
/// values".
pub(crate) fn normalized(session: &[u8]) -> &[u8] {
    if session == b"a:0:{}" { b"" } else { session }
}

impl SessionVersion {
    /// Compares the session in an event with the last write.
    pub(crate) fn check(&mut self, session: Bytes, hasher: &SessionHasher) -> Freshness {
        let Some(last) = &mut self.0 else { return Freshness::Fresh(session) };
        if last.hash == Some(hasher.hash(&session)) {
            last.unconfirmed = None;
            return Freshness::Fresh(session);
        }
        let newest_known = last.unconfirmed.clone().unwrap_or(session);
        Freshness::MaybeStale { writes: last.writes, newest_known }
    }

    /// Notes the gateway's answer, unless there was a write since the gateway was asked.
    pub(crate) fn note_answer(&mut self, writes: u64, session: &[u8], hasher: &SessionHasher) {
        if let Some(last) = self.0.as_mut().filter(|last| last.writes == writes) {
            last.hash = Some(hasher.hash(session));
            last.unconfirmed = Some(Bytes::copy_from_slice(session));
        }
    }

    /// Notes that the gateway was told to replace the session.
    pub(crate) fn note_write(&mut self, session: &[u8], hasher: &SessionHasher) {
        let last = self.0.get_or_insert_default();
        last.hash = Some(hasher.hash(session));
        last.unconfirmed = Some(Bytes::copy_from_slice(session));
        last.writes += 1;
    }

    /// Notes that the gateway was told to merge `with` into the session.
    pub(crate) fn note_merge(&mut self, with: &php::Array) {
        let with = php::serialize(&php::Value::Array(with.clone()));
        let last = self.0.get_or_insert_default();
        last.hash = None;
        let known = last.unconfirmed.take();
        last.unconfirmed =
            known.and_then(|known| php::merge_sessions(&known, &with, MAX_FRAME_LEN).ok()).map(Bytes::from);
        last.writes += 1;
    }

    /// Notes the session that the last merge is expected to have produced. It is used only if
    /// the gateway does not answer.
    pub(crate) fn note_expected_merge(&mut self, session: Bytes) {
        if let Some(last) = self.0.as_mut().filter(|last| last.hash.is_none()) {
            last.unconfirmed = Some(session);
        }
    }

    /// Forgets the last write: the client is no longer this worker's, or its id now belongs to
    /// a new client.
    pub(crate) fn forget(&mut self) {
        self.0 = None;
    }

    /// Returns whether this worker has not written the session.
    pub(crate) fn is_unwritten(&self) -> bool {
        self.0.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: Bytes = Bytes::from_static(b"a:1:{i:0;i:0;}");
    const NEW: Bytes = Bytes::from_static(b"a:1:{i:0;i:1;}");
    const NEWER: Bytes = Bytes::from_static(b"a:1:{i:0;i:2;}");

    /// A version with a hasher of its own.
    #[derive(Default)]
    struct Version(SessionVersion, SessionHasher);

    impl Version {
        fn check(&mut self, session: Bytes) -> Freshness {
            self.0.check(session, &self.1)
        }

        fn note_write(&mut self, session: &[u8]) {
            self.0.note_write(session, &self.1);
        }

        fn note_answer(&mut self, writes: u64, session: &[u8]) {
            self.0.note_answer(writes, session, &self.1);
        }
    }

    fn stale(writes: u64, newest_known: Bytes) -> Freshness {
        Freshness::MaybeStale { writes, newest_known }
    }

    #[test]
    fn without_a_write_the_session_in_an_event_is_fresh() {
        assert_eq!(Version::default().check(OLD), Freshness::Fresh(OLD));
    }

    #[test]
    fn after_a_write_only_an_event_that_contains_it_is_fresh() {
        let mut version = Version::default();
        version.note_write(&NEW);
        assert_eq!(version.check(OLD), stale(1, NEW));
        assert_eq!(version.check(NEW), Freshness::Fresh(NEW));
        assert_eq!(version.check(NEWER), stale(1, NEWER), "somebody else's write");
    }

    #[test]
    fn an_answer_replaces_the_last_write_unless_there_was_a_write_meanwhile() {
        let mut version = Version::default();
        version.note_write(&NEW);
        version.note_answer(1, &NEWER);
        assert_eq!(version.check(OLD), stale(1, NEWER), "no older one if the gateway does not answer now");
        assert_eq!(version.check(NEWER), Freshness::Fresh(NEWER));
        version.note_write(&OLD);
        version.note_answer(1, &NEWER);
        assert_eq!(version.check(NEWER), stale(2, OLD));
    }

    #[test]
    fn an_empty_array_contains_the_write_of_an_empty_session() {
        let mut version = Version::default();
        version.note_write(b"");
        let empty = Bytes::from_static(b"a:0:{}");
        assert_eq!(version.check(empty.clone()), Freshness::Fresh(empty));
    }

    #[test]
    fn after_a_merge_the_gateway_is_asked_and_the_result_is_computed_if_it_does_not_answer() {
        let mut version = Version::default();
        version.note_write(&NEW);
        version.0.note_merge(&[(1, 7)].into_iter().collect());
        let merged = Bytes::from_static(b"a:2:{i:0;i:1;i:1;i:7;}");
        assert_eq!(version.check(NEW), stale(2, merged));
        version.0.note_expected_merge(NEWER);
        assert_eq!(version.check(NEW), stale(2, NEWER));
    }
}
