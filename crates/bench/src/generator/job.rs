//! What the generator does for one command: a job. Plain data without sockets and clocks.
//!
//! `generator` tells a job what its clients have received, and what time it is, and carries out the actions that the
//! job returns. Each kind of job has a file of its own.

use std::time::Duration;

use super::protocol::Outcome;
use crate::wire::{self, opcode};

/// Something to do with a client.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Action {
    /// Connect the client. A passing one comes from the second source address.
    Open { client: u32, passing: bool },
    /// Send these bytes, encoded frames.
    Send { client: u32, frames: Vec<u8> },
    /// Send a close frame. The client ends when the server ends the connection.
    Close { client: u32 },
}

/// The work for one command. A time is since the start of the machine, the same in all processes.
pub(super) trait Job {
    /// Does what is due. Called at the start, at [`Job::next_deadline`], and after each round of input.
    ///
    /// # Errors
    /// Something has taken too long. The text says what.
    fn tick(&mut self, now: Duration, actions: &mut Vec<Action>) -> Result<(), String>;

    /// A client has received a message that is no ping.
    fn on_message(&mut self, client: u32, payload: &[u8], now: Duration, actions: &mut Vec<Action>);

    /// The connection of a client has ended. Returns whether the job expects that.
    fn on_ended(&mut self, _client: u32) -> bool {
        false
    }

    /// When to call [`Job::tick`] next, if at a certain time.
    fn next_deadline(&self) -> Option<Duration>;

    /// How far the job is.
    fn progress(&self) -> u64;

    /// The result, once it is complete.
    fn outcome(&mut self) -> Option<Outcome>;
}

/// Encodes text messages, one after the other.
pub(super) fn frames(messages: &[&str]) -> Vec<u8> {
    let mut out = Vec::new();
    messages.iter().for_each(|message| wire::encode(opcode::TEXT, message.as_bytes(), &mut out));
    out
}

/// The number between `head` and the next space of a message, or `None` if it is another message.
pub(super) fn number_after(payload: &[u8], head: &[u8]) -> Option<u64> {
    let rest = payload.strip_prefix(head)?;
    let digits = rest.split(|&byte| byte == b' ').next()?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}
