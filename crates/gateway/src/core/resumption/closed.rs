//! What is left of clients that the application has closed while they were away: what they had not received, and the
//! close. A client that comes back is told both.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use gatewayworker_protocol::close_code::NORMAL;
use gatewayworker_protocol::inspect::FrameKind;

use super::super::sent_frames;
use super::super::websocket::encode;
use super::kept::Kept;
use super::{control, is_same};

/// The clients, in a shard.
#[derive(Debug, Default)]
pub(super) struct ClosedClients {
    by_id: BTreeMap<u32, ClosedClient>,
    /// Until when each is kept whose time has begun, the first one first.
    ends: BTreeSet<(u64, u32)>,
}

#[derive(Debug)]
struct ClosedClient {
    secret: [u8; 16],
    resume_ms: u64,
    kept: Kept,
    code: u16,
    reason: String,
}

/// The last bytes for a client: messages, and a close frame.
struct LastWords {
    messages: Vec<Bytes>,
    code: u16,
    reason: String,
}

impl ClosedClients {
    /// When the next one is forgotten, in ms.
    pub(super) fn next_ms(&self) -> Option<u64> {
        self.ends.first().map(|(at_ms, _)| *at_ms)
    }

    pub(super) fn contains(&self, id: u32) -> bool {
        self.by_id.contains_key(&id)
    }

    /// Keeps one, with its secret, for so many ms from when it is [dated](Self::date). `last` is what it would have been
    /// sent at the end; `bytes` counts what is kept.
    pub(super) fn insert(
        &mut self,
        id: u32,
        (secret, resume_ms): ([u8; 16], u64),
        mut kept: Kept,
        last: Option<&Bytes>,
        bytes: &mut usize,
    ) {
        let LastWords { messages, code, reason } = LastWords::of(last);
        messages.into_iter().for_each(|message| kept.push(message));
        *bytes += kept.bytes();
        self.by_id.insert(id, ClosedClient { secret, resume_ms, kept, code, reason });
    }

    /// Lets the time of one begin, if it is here.
    pub(super) fn date(&mut self, id: u32, now_ms: u64) {
        if let Some(closed) = self.by_id.get(&id) {
            self.ends.insert((now_ms + closed.resume_ms, id));
        }
    }

    /// Returns what one is sent that comes back: what it has missed behind number `got`, if that is all there, what has
    /// become of it, and a close frame. It stays, as this may be lost again.
    pub(super) fn last_words(&self, id: u32, secret: &[u8; 16], got: u64) -> Option<Vec<Bytes>> {
        let closed = self.by_id.get(&id).filter(|closed| is_same(&closed.secret, secret))?;
        let ClosedClient { kept, code, reason, .. } = closed;
        let missed = kept.frames_behind(got).into_iter().flatten().cloned();
        let end = [control::closed(*code, reason), encode::close(Some(*code), reason)];
        Some(missed.chain(end).collect())
    }

    /// How many are kept, and what is kept for them, in bytes.
    #[cfg(any(test, feature = "internals"))]
    pub(super) fn sizes(&self) -> (usize, usize) {
        (self.by_id.len(), self.by_id.values().map(|closed| closed.kept.bytes()).sum())
    }

    /// Forgets those whose time is over.
    pub(super) fn forget_old(&mut self, now_ms: u64, bytes: &mut usize) {
        while let Some((until_ms, id)) = self.ends.first().copied()
            && until_ms <= now_ms
        {
            self.ends.pop_first();
            if let Some(closed) = self.by_id.remove(&id) {
                *bytes -= closed.kept.bytes();
            }
        }
    }
}

impl LastWords {
    /// Takes the last bytes apart.
    fn of(last: Option<&Bytes>) -> Self {
        let mut words = Self { messages: Vec::new(), code: NORMAL, reason: String::new() };
        let Some(last) = last else { return words };
        for frame in sent_frames::websocket_frames(last) {
            match (frame.kind, frame.code) {
                (_, Some(code)) => {
                    words.code = code;
                    words.reason = String::from_utf8_lossy(&frame.payload).into_owned();
                }
                (FrameKind::Text | FrameKind::Binary, None) => {
                    words.messages.push(encode::message(frame.kind == FrameKind::Binary, &frame.payload));
                }
                _ => {}
            }
        }
        words
    }
}
