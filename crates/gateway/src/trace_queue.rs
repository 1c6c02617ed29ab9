//! The lines of one trace between the shard that has the client and the link that the operator asks on.
//!
//! The shard pushes and never waits: lines that have no room are left out, and counted in the place where they would
//! stand. The link's task pops them (`link::trace`). Either side may end it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use gatewayworker_protocol::inspect::{TraceLine, TracedFrame};
use tokio::sync::Notify;

/// The most lines that wait.
const MAX_LINES: usize = 256;

/// The most that the payloads of these lines may have together, in bytes.
const MAX_BYTES: usize = 512 * 1024;

/// The lines that wait: plain data.
#[derive(Debug, Default)]
struct Lines {
    waiting: VecDeque<TracedFrame>,
    /// The bytes of their payloads.
    bytes: usize,
    /// Frames that were left out behind those.
    missed: u64,
    /// The last line, until it is read.
    end: Option<String>,
    /// Nothing is taken any more.
    has_ended: bool,
}

impl Lines {
    /// Takes a frame, or counts it as missed.
    fn push(&mut self, frame: TracedFrame) {
        if self.has_ended {
            return;
        }
        let bytes = self.bytes + payload_bytes(&frame);
        // Once frames are left out, all that wait are read first: one gap is better than many.
        if self.missed > 0 || self.waiting.len() >= MAX_LINES || bytes > MAX_BYTES {
            self.missed += 1;
            return;
        }
        self.bytes = bytes;
        self.waiting.push_back(frame);
    }

    fn pop(&mut self) -> Option<TraceLine> {
        if let Some(frame) = self.waiting.pop_front() {
            self.bytes -= payload_bytes(&frame);
            return Some(TraceLine::Frame(frame));
        }
        match std::mem::take(&mut self.missed) {
            0 => self.end.take().map(|end| TraceLine::End { end }),
            missed => Some(TraceLine::Missed { missed }),
        }
    }

    fn end(&mut self, why: impl Into<String>) {
        if !std::mem::replace(&mut self.has_ended, true) {
            self.end = Some(why.into());
        }
    }
}

/// The bytes that a frame's preview holds.
fn payload_bytes(frame: &TracedFrame) -> usize {
    let len = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    len(&frame.preview.payload) + len(&frame.preview.payload_base64)
}

/// The lines of a trace, for a shard and a link on any thread.
#[derive(Debug, Default)]
pub(crate) struct TraceQueue {
    lines: Mutex<Lines>,
    /// Wakes the reader: there is a line.
    more: Notify,
    /// Nobody reads any more.
    is_closed: AtomicBool,
}

impl TraceQueue {
    fn lines(&self) -> MutexGuard<'_, Lines> {
        // A panic elsewhere leaves no state half changed.
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a frame, or counts it as missed where there is no room.
    pub(crate) fn push(&self, frame: TracedFrame) {
        self.lines().push(frame);
        self.more.notify_one();
    }

    /// Ends the trace with this line, behind all others, unless it has ended.
    pub(crate) fn end(&self, why: impl Into<String>) {
        self.lines().end(why);
        self.more.notify_one();
    }

    /// Takes the next line; `None` where none waits.
    pub(crate) fn pop(&self) -> Option<TraceLine> {
        self.lines().pop()
    }

    /// Waits until a line may be there.
    ///
    /// Cancel safe.
    pub(crate) async fn changed(&self) {
        self.more.notified().await;
    }

    /// Says that nobody reads any more.
    pub(crate) fn close(&self) {
        self.is_closed.store(true, Ordering::Relaxed);
    }

    /// Whether nobody reads any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use gatewayworker_protocol::inspect::{Direction, FrameKind, Preview};

    use super::*;

    fn frame(at_ms: u64, payload: usize) -> TracedFrame {
        let preview = Preview::new(&vec![b'x'; payload], usize::MAX);
        let (direction, kind) = (Direction::In, FrameKind::Text);
        TracedFrame { at_ms, direction, kind, bytes: payload as u64, code: None, preview }
    }

    fn times(lines: &mut Lines) -> Vec<u64> {
        std::iter::from_fn(|| match lines.pop() {
            Some(TraceLine::Frame(frame)) => Some(frame.at_ms),
            Some(TraceLine::Missed { missed }) => Some(1_000_000 + missed),
            _ => None,
        })
        .collect()
    }

    #[test]
    fn frames_without_room_are_counted_where_they_would_stand() {
        let mut lines = Lines::default();
        (0..300).for_each(|n| lines.push(frame(n, 1)));
        for n in 0..200 {
            assert!(matches!(lines.pop(), Some(TraceLine::Frame(frame)) if frame.at_ms == n));
        }
        // There is room, but these come behind those that were left out.
        lines.push(frame(300, 1));
        let expected: Vec<u64> = (200..256).chain([1_000_045]).collect();
        assert_eq!(times(&mut lines), expected);
        lines.push(frame(301, 1));
        assert_eq!(times(&mut lines), [301]);
        assert_eq!(lines.bytes, 0);
    }

    #[test]
    fn payloads_have_a_limit_of_their_own() {
        let mut lines = Lines::default();
        for n in 0..200 {
            lines.push(frame(n, 4096));
            assert!(lines.bytes <= MAX_BYTES);
        }
        let expected: Vec<u64> = (0..128).chain([1_000_072]).collect();
        assert_eq!(times(&mut lines), expected);
    }

    #[test]
    fn the_end_comes_last_and_nothing_behind_it() {
        let queue = TraceQueue::default();
        queue.push(frame(1, 1));
        queue.end("first");
        queue.end("second");
        queue.push(frame(2, 1));
        assert!(matches!(queue.pop(), Some(TraceLine::Frame(_))));
        assert_eq!(queue.pop(), Some(TraceLine::End { end: "first".into() }));
        queue.end("third");
        assert_eq!(queue.pop(), None);
    }
}
