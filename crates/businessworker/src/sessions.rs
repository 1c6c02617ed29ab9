//! Which sessions were last written here, so that no handler sees an older one.
//!
//! An event carries the session as it was when the event left the gateway. With two
//! events of a client under way, the second still carries the session from before
//! the first one's handler wrote. The rule: **a handler never reads, and never
//! writes back, a session older than its own client's last write.**
//!
//! So of a client whose session a handler wrote, a mark is kept: a hash of what was
//! written (the original keeps a checksum). An event whose session has that
//! hash carries the write. With any other the gateway is asked, over the link that
//! the write went out on, so that it answers from after the write; the answer's
//! hash becomes the mark.
//!
//! The bytes themselves, written or answered, are kept until an event is seen to carry
//! them. They stand in where the gateway can no longer be asked: the client has closed,
//! and its last events left before the write came.

use bytes::Bytes;
use dashmap::DashMap;
use foldhash::fast::RandomState;
use gatewayworker_client::{ClientId, php};
use gatewayworker_protocol::MAX_FRAME_LEN;
use std::collections::HashSet;
use std::hash::BuildHasher;
use std::net::SocketAddrV4;

use crate::session::normal;

/// The marks, by client.
#[derive(Debug, Default)]
pub(crate) struct Marks {
    marks: DashMap<ClientId, Mark, RandomState>,
    hasher: RandomState,
}

#[derive(Debug, Default)]
struct Mark {
    /// Of the session last written or answered; `None` where it is not known what
    /// a merge has made of it.
    hash: Option<u64>,
    /// The session last written or answered, until an event carries it.
    unconfirmed: Option<Bytes>,
    /// Counts writes, so that an answer from before one is not taken for newer.
    writes: u64,
}

/// What an event's session is worth.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Worth {
    /// This is the session.
    Known(Bytes),
    /// The gateway has to be asked. Where it cannot say, `otherwise` is the newest
    /// that is known.
    Ask { writes: u64, otherwise: Bytes },
}

impl Marks {
    fn hash(&self, session: &[u8]) -> u64 {
        self.hasher.hash_one(normal(session))
    }

    /// Holds the session that came with an event of `id` against the mark.
    pub(crate) fn judge(&self, id: ClientId, session: &Bytes) -> Worth {
        let Some(mut mark) = self.marks.get_mut(&id) else { return Worth::Known(session.clone()) };
        if mark.hash == Some(self.hash(session)) {
            mark.unconfirmed = None;
            return Worth::Known(session.clone());
        }
        let otherwise = mark.unconfirmed.as_ref().unwrap_or(session).clone();
        Worth::Ask { writes: mark.writes, otherwise }
    }

    /// Notes what the gateway answered, unless there was a write since it was asked.
    pub(crate) fn answered(&self, id: ClientId, writes: u64, session: &[u8]) {
        if let Some(mut mark) = self.marks.get_mut(&id).filter(|mark| mark.writes == writes) {
            mark.hash = Some(self.hash(session));
            mark.unconfirmed = Some(Bytes::copy_from_slice(session));
        }
    }

    /// Notes a write.
    pub(crate) fn written(&self, id: ClientId, session: &[u8]) {
        let mut mark = self.marks.entry(id).or_default();
        mark.hash = Some(self.hash(session));
        mark.unconfirmed = Some(Bytes::copy_from_slice(session));
        mark.writes += 1;
    }

    /// Notes that the gateway was told to merge.
    pub(crate) fn merged(&self, id: ClientId, with: &php::Array) {
        let with = php::serialize(&php::Value::Array(with.clone()));
        let mut mark = self.marks.entry(id).or_default();
        mark.hash = None;
        let known = mark.unconfirmed.take();
        mark.unconfirmed =
            known.and_then(|known| php::merge_sessions(&known, &with, MAX_FRAME_LEN).ok()).map(Bytes::from);
        mark.writes += 1;
    }

    /// Notes what should have come of a merge.
    pub(crate) fn expected(&self, id: ClientId, session: Bytes) {
        if let Some(mut mark) = self.marks.get_mut(&id).filter(|mark| mark.hash.is_none()) {
            mark.unconfirmed = Some(session);
        }
    }

    pub(crate) fn contains(&self, id: ClientId) -> bool {
        self.marks.contains_key(&id)
    }

    /// The client is gone, or new.
    pub(crate) fn forget(&self, id: ClientId) {
        self.marks.remove(&id);
    }

    /// A gateway's clients are no longer this worker's, but for those that are `busy`.
    pub(crate) fn forget_gateway(&self, gateway: SocketAddrV4, busy: &HashSet<ClientId>) {
        self.marks.retain(|id, _| id.gateway() != gateway || busy.contains(id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: Bytes = Bytes::from_static(b"a:1:{i:0;i:0;}");
    const NEW: Bytes = Bytes::from_static(b"a:1:{i:0;i:1;}");
    const NEWER: Bytes = Bytes::from_static(b"a:1:{i:0;i:2;}");

    fn id() -> ClientId {
        "7f00000108fc00000001".parse().unwrap()
    }

    #[test]
    fn without_a_write_the_event_is_believed() {
        assert_eq!(Marks::default().judge(id(), &OLD), Worth::Known(OLD));
    }

    #[test]
    fn after_a_write_only_an_event_that_carries_it_is_believed() {
        let marks = Marks::default();
        marks.written(id(), &NEW);
        assert_eq!(marks.judge(id(), &OLD), Worth::Ask { writes: 1, otherwise: NEW });
        assert_eq!(marks.judge(id(), &NEW), Worth::Known(NEW));
        assert_eq!(
            marks.judge(id(), &NEWER),
            Worth::Ask { writes: 1, otherwise: NEWER },
            "somebody else's write"
        );
    }

    #[test]
    fn an_answer_is_the_new_measure_unless_there_was_a_write_meanwhile() {
        let marks = Marks::default();
        marks.written(id(), &NEW);
        marks.answered(id(), 1, &NEWER);
        let worth = marks.judge(id(), &OLD);
        assert_eq!(
            worth,
            Worth::Ask { writes: 1, otherwise: NEWER },
            "no older one where nobody answers now"
        );
        assert_eq!(marks.judge(id(), &NEWER), Worth::Known(NEWER));
        marks.written(id(), &OLD);
        marks.answered(id(), 1, &NEWER);
        assert_eq!(marks.judge(id(), &NEWER), Worth::Ask { writes: 2, otherwise: OLD });
    }

    #[test]
    fn an_empty_array_confirms_no_session() {
        let marks = Marks::default();
        marks.written(id(), b"");
        assert_eq!(
            marks.judge(id(), &Bytes::from_static(b"a:0:{}")),
            Worth::Known(Bytes::from_static(b"a:0:{}"))
        );
    }

    #[test]
    fn what_a_merge_makes_is_asked_for_and_guessed_where_nobody_answers() {
        let marks = Marks::default();
        marks.written(id(), &NEW);
        marks.merged(id(), &[(1, 7)].into_iter().collect());
        let merged = Bytes::from_static(b"a:2:{i:0;i:1;i:1;i:7;}");
        assert_eq!(marks.judge(id(), &NEW), Worth::Ask { writes: 2, otherwise: merged });
        marks.expected(id(), NEWER);
        assert_eq!(marks.judge(id(), &NEW), Worth::Ask { writes: 2, otherwise: NEWER });
    }

    #[test]
    fn a_gateway_is_forgotten_with_all_its_clients() {
        let marks = Marks::default();
        marks.written(id(), &NEW);
        marks.forget_gateway("127.0.0.1:2301".parse().unwrap(), &HashSet::new());
        assert!(marks.contains(id()));
        marks.forget_gateway(id().gateway(), &HashSet::from([id()]));
        assert!(marks.contains(id()), "it has events that wait");
        marks.forget_gateway(id().gateway(), &HashSet::new());
        assert!(!marks.contains(id()));
    }
}
