//! How a connection ends from the gateway's side, step by step, as `closing.rs` of the gateway has it.
//!
//! What is left is written; a close frame is waited for where one was sent; our side is ended, and then the
//! peer's is waited for. What the peer says meanwhile is read and dropped. Each step has a time limit.

use gatewayworker_gateway::internals::{Flushed, Outbox};

use crate::network::{ReadOutcome, Socket, Written};

/// All of it with a peer that reads slowly, in ms.
const SLOW_TIMEOUT_MS: u64 = 3_000;
/// The peer's close frame, in ms.
const CLOSE_TIMEOUT_MS: u64 = 500;
/// The end of the peer's side, in ms.
const END_TIMEOUT_MS: u64 = 200;

/// A connection that is being closed.
#[derive(Debug)]
pub(crate) struct Closing {
    outbox: Outbox,
    with_close_frame: bool,
    step: Step,
    /// When the step is given up.
    pub(crate) until_ms: u64,
    /// A peer that reads slowly has until then for everything.
    slow_until_ms: Option<u64>,
    tail: Vec<u8>,
    peer_has_ended: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Write,
    AwaitCloseFrame,
    AwaitEnd,
}

impl Closing {
    pub(crate) fn new(outbox: Outbox, with_close_frame: bool, is_slow: bool, now_ms: u64) -> Self {
        let limit_ms = now_ms + SLOW_TIMEOUT_MS;
        Self {
            outbox,
            with_close_frame,
            step: Step::Write,
            until_ms: limit_ms,
            slow_until_ms: is_slow.then_some(limit_ms),
            tail: Vec::new(),
            peer_has_ended: false,
        }
    }

    /// Goes on as far as it can; true when the socket is to be closed.
    pub(crate) fn advance(&mut self, socket: &Socket, now_ms: u64) -> bool {
        self.discard(socket);
        if self.step == Step::Write {
            match flush(socket, &mut self.outbox) {
                Flushed::Broken => return true,
                Flushed::Blocked => {
                    self.slow_until_ms.get_or_insert(self.until_ms);
                    return now_ms >= self.until_ms;
                }
                Flushed::Empty => self.begin(Step::AwaitCloseFrame, CLOSE_TIMEOUT_MS, now_ms),
            }
        }
        if self.step == Step::AwaitCloseFrame {
            let is_over = !self.with_close_frame
                || self.peer_has_ended
                || is_close_frame(&self.tail)
                || now_ms >= self.until_ms;
            if !is_over {
                return false;
            }
            socket.shutdown_write();
            self.begin(Step::AwaitEnd, END_TIMEOUT_MS, now_ms);
        }
        self.peer_has_ended || now_ms >= self.until_ms
    }

    fn begin(&mut self, step: Step, usual_ms: u64, now_ms: u64) {
        self.step = step;
        self.until_ms = self.slow_until_ms.unwrap_or(now_ms + usual_ms).max(now_ms + 1);
    }

    fn discard(&mut self, socket: &Socket) {
        let mut scratch = [0; 4096];
        while !self.peer_has_ended {
            match socket.try_read(&mut scratch) {
                ReadOutcome::Bytes(n) => {
                    self.tail.extend_from_slice(&scratch[n.saturating_sub(16)..n]);
                    let excess = self.tail.len().saturating_sub(16);
                    self.tail.drain(..excess);
                }
                ReadOutcome::Empty => return,
                ReadOutcome::End | ReadOutcome::Reset => self.peer_has_ended = true,
            }
        }
    }
}

/// Writes as much of an outbox as the socket takes.
pub(crate) fn flush(socket: &Socket, outbox: &mut Outbox) -> Flushed {
    while !outbox.is_empty() {
        match socket.try_write(outbox.first()) {
            Written::Bytes(n) => outbox.advance(n),
            Written::Blocked => return Flushed::Blocked,
            Written::Broken => return Flushed::Broken,
        }
    }
    Flushed::Empty
}

/// Says whether the last that a peer has said looks like a close frame, as a simulated client sends it: without
/// a payload, or with a code alone.
fn is_close_frame(tail: &[u8]) -> bool {
    let ends_with = |second: u8, len: usize| {
        tail.len().checked_sub(len).is_some_and(|start| tail[start..].starts_with(&[0x88, second]))
    };
    ends_with(0x80, 6) || ends_with(0x82, 8)
}
