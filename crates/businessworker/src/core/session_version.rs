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
//! `client_state` keeps the session itself beside it, as last written or answered. The handler gets
//! these bytes if the gateway can no longer answer: when the client has closed, and its last events
//! left the gateway before the write arrived.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;

/// What this worker knows of its last write of one client's session.
// Small, as each client that is the worker's has one.
#[derive(Debug, Default)]
pub(crate) struct SessionVersion {
    /// The hash of the session last written or answered, in two halves. 0 after a merge, whose result
    /// only the gateway knows, until the gateway has answered.
    hash: [u32; 2],
    /// [`UNWRITTEN`], [`CONFIRMED`], or more for each write since. If it has changed since the gateway
    /// was asked, the answer may be older than the last write and is ignored.
    writes: u32,
}

/// This worker has not written the session.
const UNWRITTEN: u32 = 0;

/// An event has contained the last write, and no older session can be taken for it.
const CONFIRMED: u32 = 1;

/// What the session in an event has to do with the last write.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Freshness {
    /// There was no write.
    Unwritten,
    /// The session contains the last write, and so does that of each event behind it.
    Confirmed,
    /// The session is the one last written. It may also be an older one that was the same.
    Same,
    /// The session may be older than the last write: ask the gateway, and say then how many writes
    /// there were before the question.
    MaybeStale(u32),
}

/// Hashes sessions with a key of this process, so that no client can choose a session with
/// a known hash. Hashes are compared for equality only.
#[derive(Debug, Default)]
pub(crate) struct SessionHasher(RandomState);

impl SessionHasher {
    fn hash(&self, session: &[u8]) -> [u32; 2] {
        let hash = self.0.hash_one(normalized(session)).max(1);
        [(hash >> 32) as u32, hash as u32]
    }
}

/// Returns the session; an empty PHP array becomes the empty session, because both mean "no
/// values".
pub(crate) fn normalized(session: &[u8]) -> &[u8] {
    if session == b"a:0:{}" { b"" } else { session }
}

impl SessionVersion {
    /// Compares the session in an event with the last write.
    pub(crate) fn check(&mut self, session: &[u8], hasher: &SessionHasher) -> Freshness {
        if self.is_unwritten() {
            return Freshness::Unwritten;
        }
        if self.hash != hasher.hash(session) {
            return Freshness::MaybeStale(self.writes);
        }
        // Of several writes that no event has confirmed, an earlier one, or what was there before, may
        // have been the same session.
        if self.writes > CONFIRMED + 1 {
            return Freshness::Same;
        }
        self.writes = CONFIRMED;
        Freshness::Confirmed
    }

    /// Notes the gateway's answer; false where there was a write since the gateway was asked.
    pub(crate) fn note_answer(&mut self, writes: u32, session: &[u8], hasher: &SessionHasher) -> bool {
        let is_newest = self.writes == writes && !self.is_unwritten();
        if is_newest {
            self.hash = hasher.hash(session);
        }
        is_newest
    }

    /// Notes that the gateway was told to replace the session.
    pub(crate) fn note_write(&mut self, session: &[u8], hasher: &SessionHasher) {
        self.hash = hasher.hash(session);
        self.count();
    }

    /// Notes that the gateway was told to merge something into the session.
    pub(crate) fn note_merge(&mut self) {
        self.hash = [0, 0];
        self.count();
    }

    fn count(&mut self) {
        self.writes = self.writes.checked_add(1).unwrap_or(CONFIRMED).max(CONFIRMED + 1);
    }

    /// Returns whether only the gateway knows the session, as the last write was a merge.
    pub(crate) fn is_merged(&self) -> bool {
        !self.is_unwritten() && self.hash == [0, 0]
    }

    /// Forgets the last write: the client is no longer this worker's, or its id now belongs to
    /// a new client.
    pub(crate) fn forget(&mut self) {
        *self = Self::default();
    }

    /// Returns whether this worker has not written the session.
    pub(crate) fn is_unwritten(&self) -> bool {
        self.writes == UNWRITTEN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &[u8] = b"a:1:{i:0;i:0;}";
    const NEW: &[u8] = b"a:1:{i:0;i:1;}";
    const NEWER: &[u8] = b"a:1:{i:0;i:2;}";

    /// A version with a hasher of its own.
    #[derive(Default)]
    struct Version(SessionVersion, SessionHasher);

    impl Version {
        fn check(&mut self, session: &[u8]) -> Freshness {
            self.0.check(session, &self.1)
        }

        fn note_write(&mut self, session: &[u8]) {
            self.0.note_write(session, &self.1);
        }

        fn note_answer(&mut self, writes: u32, session: &[u8]) -> bool {
            self.0.note_answer(writes, session, &self.1)
        }
    }

    fn writes_before(freshness: &Freshness) -> u32 {
        let Freshness::MaybeStale(writes) = freshness else { panic!("{freshness:?}") };
        *writes
    }

    #[test]
    fn without_a_write_there_is_nothing_to_compare() {
        assert_eq!(Version::default().check(OLD), Freshness::Unwritten);
    }

    #[test]
    fn after_a_write_only_an_event_that_contains_it_is_fresh() {
        let mut version = Version::default();
        version.note_write(NEW);
        assert!(matches!(version.check(OLD), Freshness::MaybeStale(_)));
        assert_eq!(version.check(NEW), Freshness::Confirmed);
        assert!(matches!(version.check(NEWER), Freshness::MaybeStale(_)), "somebody else's write");
    }

    #[test]
    fn each_write_is_confirmed_that_an_event_contains_before_the_next() {
        let mut version = Version::default();
        for session in [NEW, NEWER, NEW, OLD] {
            version.note_write(session);
            assert_eq!(version.check(session), Freshness::Confirmed);
        }
    }

    #[test]
    fn a_session_that_was_written_before_does_not_confirm_that_it_was_written_again() {
        let mut version = Version::default();
        version.note_write(NEW);
        version.note_write(OLD);
        // It may be the one from before both writes.
        assert_eq!(version.check(OLD), Freshness::Same);
        assert!(matches!(version.check(NEW), Freshness::MaybeStale(_)));
    }

    #[test]
    fn an_answer_replaces_the_last_write_unless_there_was_a_write_meanwhile() {
        let mut version = Version::default();
        version.note_write(NEW);
        let writes = writes_before(&version.check(OLD));
        assert!(version.note_answer(writes, NEWER));
        assert!(matches!(version.check(OLD), Freshness::MaybeStale(_)));
        assert_eq!(version.check(NEWER), Freshness::Confirmed);
        let writes = writes_before(&version.check(OLD));
        version.note_write(OLD);
        assert!(!version.note_answer(writes, NEWER));
        assert!(matches!(version.check(NEWER), Freshness::MaybeStale(_)));
    }

    #[test]
    fn an_empty_array_contains_the_write_of_an_empty_session() {
        let mut version = Version::default();
        version.note_write(b"");
        assert_eq!(version.check(b"a:0:{}"), Freshness::Confirmed);
    }

    #[test]
    fn after_a_merge_the_gateway_is_asked() {
        let mut version = Version::default();
        version.note_write(NEW);
        version.0.note_merge();
        assert!(version.0.is_merged());
        let writes = writes_before(&version.check(NEW));
        assert!(version.note_answer(writes, NEWER));
        assert_eq!(version.check(NEWER), Freshness::Same);
    }
}
