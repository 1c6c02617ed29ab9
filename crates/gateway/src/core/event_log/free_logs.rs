//! Logs that are empty, kept so that the next event of some client costs no allocation.
//!
//! A shard has one [`FreeLogs`]. It takes the log of a client from it, and gives it back when it is empty.

use std::collections::VecDeque;

use super::EventLog;

/// An empty log keeps memory for so many bytes of bodies: a short message, and no handshake. There is one
/// after the other in a log, but many clients come at once and then say nothing.
const KEEP: usize = 512;
const KEEP_ENTRIES: usize = 32;

/// Empty logs that a shard keeps to be used again.
const KEEP_LOGS: usize = 128;

/// Empty logs, to be used again.
#[derive(Debug)]
#[allow(clippy::vec_box, reason = "a client has its log in a box, which is used again with it")]
pub(in crate::core) struct FreeLogs<B>(Vec<Box<EventLog<B>>>);

impl<B> Default for FreeLogs<B> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<B> FreeLogs<B> {
    /// Returns the log of a client, made at `now_ms` where there is none.
    #[inline]
    pub(in crate::core) fn log<'l>(
        &mut self,
        log: &'l mut Option<Box<EventLog<B>>>,
        now_ms: u64,
    ) -> &'l mut EventLog<B> {
        log.get_or_insert_with(|| {
            let mut log = self.0.pop().unwrap_or_default();
            log.since_ms = now_ms;
            log
        })
    }

    /// Takes the log from a client if it is empty.
    #[inline]
    pub(in crate::core) fn recycle(&mut self, log: &mut Option<Box<EventLog<B>>>) {
        if let Some(mut empty) = log.take_if(|log| log.is_empty())
            && self.0.len() < KEEP_LOGS
        {
            if empty.bodies.capacity() > KEEP {
                empty.bodies = Vec::new();
            }
            if empty.events.capacity() > KEEP_ENTRIES {
                empty.events = VecDeque::new();
            }
            empty.is_cut_short = false;
            empty.is_returned = false;
            empty.is_suspect_waiting = false;
            self.0.push(empty);
        }
    }
}

#[cfg(test)]
mod tests {
    use gatewayworker_protocol::code;

    use super::*;

    #[test]
    fn an_empty_log_is_used_again_without_the_memory_of_a_large_one() {
        let mut free = FreeLogs::<()>::default();
        let mut log = None;
        free.log(&mut log, 0).push(code::ON_MESSAGE, 0, b"x");
        free.recycle(&mut log);
        assert!(log.is_some(), "it holds something");
        for (bytes, is_kept) in [(KEEP, true), (2 * KEEP, false)] {
            let mut log = None;
            free.log(&mut log, 0).push_given(code::ON_MESSAGE, 0, &vec![0; bytes], 1);
            free.log(&mut log, 0).finish(1);
            free.recycle(&mut log);
            assert_eq!((log.is_none(), free.0.len()), (true, 1));
            assert_eq!(free.0[0].bodies.capacity() > 0, is_kept);
        }
    }
}
