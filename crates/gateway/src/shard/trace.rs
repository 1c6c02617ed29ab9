//! The traces of a shard: what the core has seen goes into the queue of the operator's link.
//!
//! `run` begins and ends them for links (`link::trace`). A trace whose reader is gone is ended by the next frame that
//! it sees, if the message that ends it had no room in the shard's channel.

use std::rc::Rc;
use std::time::{SystemTime, UNIX_EPOCH};

use gatewayworker_protocol::inspect::TracedFrame;

use super::{NewTrace, ShardThread};
use crate::core::trace::{Seen, SeenFrame, TraceId, Traced};

impl ShardThread {
    /// Begins a trace, and reports whether there is such a client.
    pub(super) fn begin_trace(self: &Rc<Self>, new: NewTrace) {
        let NewTrace { id, connection_id, payloads, queue, begun } = new;
        let is_there = self.input(|core| core.begin_trace(id, connection_id, payloads));
        if is_there {
            self.traces.borrow_mut().push((id, queue));
        }
        if begun.send(is_there).is_err() {
            // The link has ended.
            self.end_trace(id);
        }
    }

    /// Ends a trace, which may have ended.
    pub(super) fn end_trace(self: &Rc<Self>, id: TraceId) {
        self.traces.borrow_mut().retain(|(trace, _)| *trace != id);
        // Not as an input: `carry_traced` comes here with effects left, and each would carry out the next one.
        self.core.borrow_mut().end_trace(id);
    }

    /// Takes what a trace has seen to its reader.
    pub(super) fn carry_traced(self: &Rc<Self>, traced: Traced) {
        let Traced { trace, seen } = traced;
        let queue = self.traces.borrow().iter().find(|(id, _)| *id == trace).map(|(_, queue)| queue.clone());
        let Some(queue) = queue.filter(|queue| !queue.is_closed()) else { return self.end_trace(trace) };
        match seen {
            Seen::Frame(SeenFrame { direction, kind, bytes, code, preview }) => {
                let (at_ms, bytes) = (unix_ms(), bytes as u64);
                queue.push(TracedFrame { at_ms, direction, kind, bytes, code, preview });
            }
            Seen::Closed(reason) => {
                queue.end(format!("client closed: {reason}"));
                self.end_trace(trace);
            }
        }
    }
}

/// Returns the time in milliseconds since 1970.
pub(super) fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
