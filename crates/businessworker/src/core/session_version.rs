//! The version of one client's session that was last written here, so that no handler
//! sees an older one.
//!
//! An event carries the session as it was when the event left the gateway. With two
//! events of a client under way, the second still carries the session from before
//! the first one's handler wrote. The rule: **a handler never reads, and never
//! writes back, a session older than its own client's last write.**
//!
//! So for a client whose session a handler wrote, a hash of that session is kept (the
//! original keeps a checksum). An event whose session has that hash carries the write.
//! With any other the gateway is asked, over the link that the write went out on, so that
//! it answers from after the write; the hash of the answer takes the place of the old one.
//!
//! The bytes themselves, written or answered, are kept until an event is seen to carry
//! them. They stand in where the gateway can no longer be asked: the client has closed,
//! and its last events left before the write came.

use std::hash::BuildHasher;

use bytes::Bytes;
use foldhash::fast::RandomState;
use gatewayworker_client::php;
use gatewayworker_protocol::MAX_FRAME_LEN;

/// What is known here of one client's session; nothing, as long as nobody has written it.
// Boxed: each event of a client without one would move its place in and out of a table.
#[derive(Debug, Default)]
pub(crate) struct SessionVersion(Option<Box<LastWrite>>);

#[derive(Debug, Default)]
struct LastWrite {
    /// The hash of the session last written or answered; `None` where it is not known what
    /// a merge has made of it.
    hash: Option<u64>,
    /// The session last written or answered, until an event carries it.
    unconfirmed: Option<Bytes>,
    /// The number of writes, so that an answer from before one is not taken for newer.
    writes: u64,
}

/// Whether the session in an event is as new as the last write.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Freshness {
    /// It is; this is the session.
    Fresh(Bytes),
    /// It may be older: the gateway has to be asked.
    MaybeStale {
        /// The number of writes before the question.
        writes: u64,
        /// The newest session that is known here, for when the gateway cannot say.
        newest_known: Bytes,
    },
}

/// Hashes sessions with a key of this process, so that no client can choose a session with
/// a known hash. Hashes are compared for equality only.
#[derive(Debug, Default)]
pub(crate) struct SessionHasher(RandomState);

impl SessionHasher {
    fn hash(&self, session: &[u8]) -> u64 {
        self.0.hash_one(normal(session))
    }
}

/// Returns the one form of an empty session: an empty array is as good as none.
pub(crate) fn normal(session: &[u8]) -> &[u8] {
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
    pub(crate) fn answered(&mut self, writes: u64, session: &[u8], hasher: &SessionHasher) {
        if let Some(last) = self.0.as_mut().filter(|last| last.writes == writes) {
            last.hash = Some(hasher.hash(session));
            last.unconfirmed = Some(Bytes::copy_from_slice(session));
        }
    }

    /// Notes a write.
    pub(crate) fn written(&mut self, session: &[u8], hasher: &SessionHasher) {
        let last = self.0.get_or_insert_default();
        last.hash = Some(hasher.hash(session));
        last.unconfirmed = Some(Bytes::copy_from_slice(session));
        last.writes += 1;
    }

    /// Notes that the gateway was told to merge `with` into the session.
    pub(crate) fn merged(&mut self, with: &php::Array) {
        let with = php::serialize(&php::Value::Array(with.clone()));
        let last = self.0.get_or_insert_default();
        last.hash = None;
        let known = last.unconfirmed.take();
        last.unconfirmed =
            known.and_then(|known| php::merge_sessions(&known, &with, MAX_FRAME_LEN).ok()).map(Bytes::from);
        last.writes += 1;
    }

    /// Notes the session that a merge should have made.
    pub(crate) fn expect(&mut self, session: Bytes) {
        if let Some(last) = self.0.as_mut().filter(|last| last.hash.is_none()) {
            last.unconfirmed = Some(session);
        }
    }

    /// Forgets the last write: the client is gone, or new.
    pub(crate) fn forget(&mut self) {
        self.0 = None;
    }

    /// Returns whether nothing was written here.
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

        fn written(&mut self, session: &[u8]) {
            self.0.written(session, &self.1);
        }

        fn answered(&mut self, writes: u64, session: &[u8]) {
            self.0.answered(writes, session, &self.1);
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
    fn after_a_write_only_an_event_that_carries_it_is_fresh() {
        let mut version = Version::default();
        version.written(&NEW);
        assert_eq!(version.check(OLD), stale(1, NEW));
        assert_eq!(version.check(NEW), Freshness::Fresh(NEW));
        assert_eq!(version.check(NEWER), stale(1, NEWER), "somebody else's write");
    }

    #[test]
    fn an_answer_replaces_the_last_write_unless_there_was_a_write_meanwhile() {
        let mut version = Version::default();
        version.written(&NEW);
        version.answered(1, &NEWER);
        assert_eq!(version.check(OLD), stale(1, NEWER), "no older one where the gateway does not answer now");
        assert_eq!(version.check(NEWER), Freshness::Fresh(NEWER));
        version.written(&OLD);
        version.answered(1, &NEWER);
        assert_eq!(version.check(NEWER), stale(2, OLD));
    }

    #[test]
    fn an_empty_array_carries_the_write_of_an_empty_session() {
        let mut version = Version::default();
        version.written(b"");
        let empty = Bytes::from_static(b"a:0:{}");
        assert_eq!(version.check(empty.clone()), Freshness::Fresh(empty));
    }

    #[test]
    fn after_a_merge_the_gateway_is_asked_and_the_result_is_computed_where_it_does_not_answer() {
        let mut version = Version::default();
        version.written(&NEW);
        version.0.merged(&[(1, 7)].into_iter().collect());
        let merged = Bytes::from_static(b"a:2:{i:0;i:1;i:1;i:7;}");
        assert_eq!(version.check(NEW), stale(2, merged));
        version.0.expect(NEWER);
        assert_eq!(version.check(NEW), stale(2, NEWER));
    }
}
