//! What one connection of a client has sent and was answered, as the client itself knows it.
//!
//! `Ledger` enters what `clients` reports.

use std::collections::BTreeMap;
use std::time::Duration;

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The client has left with a close frame, with messages under way: it is owed no answers any more.
    Left,
    /// The client has left after the answers that it waited for, at the end of the load.
    Finished,
    /// The client got no answer for so long that it dropped the connection.
    GaveUp,
    /// The gateway has closed it with this code.
    Closed(u16),
    /// It broke, without a close frame.
    Broken,
}

/// The code with which a gateway closes a client that was not admitted within `admission_timeout_ms`.
const TRY_AGAIN_LATER: u16 = 1013;

/// One connection's messages and answers.
#[derive(Debug)]
pub(super) struct Sent {
    /// The index of its gateway.
    pub(super) gateway: usize,
    pub(super) opened: Duration,
    /// The number of the latest message, and so how many there are.
    pub(super) messages: u32,
    /// When each message was sent that has no answer.
    pub(super) unanswered: BTreeMap<u32, Duration>,
    pub(super) answers: u64,
    pub(super) longest_stall: Duration,
    /// The client has sent its close frame.
    pub(super) leaves: bool,
    pub(super) ended: Option<(Ending, Duration)>,
}

impl Sent {
    pub(super) fn to(gateway: usize, opened: Duration) -> Self {
        Self {
            gateway,
            opened,
            messages: 0,
            unanswered: BTreeMap::new(),
            answers: 0,
            longest_stall: Duration::ZERO,
            leaves: false,
            ended: None,
        }
    }

    pub(super) fn send(&mut self, number: u32, now: Duration) {
        self.messages = number;
        self.unanswered.insert(number, now);
    }

    /// Takes back the latest message: the system did not accept it.
    pub(super) fn not_accepted(&mut self, number: u32) {
        self.messages = number - 1;
        self.unanswered.remove(&number);
    }

    pub(super) fn answered(&mut self, number: u32, now: Duration) {
        if let Some(sent) = self.unanswered.remove(&number) {
            self.answers += 1;
            self.longest_stall = self.longest_stall.max(now.saturating_sub(sent));
        }
    }

    pub(super) fn end(&mut self, ending: Ending, now: Duration) {
        self.ended.get_or_insert((ending, now));
    }

    /// Returns the last message that was sent before `time` and has no answer; 0 for none.
    pub(super) fn last_before(&self, time: Duration) -> u32 {
        self.unanswered.iter().rev().find(|(_, sent)| **sent < time).map_or(0, |(number, _)| *number)
    }

    /// Whether the client has ended the connection, so that a gateway which lives has read all that was sent.
    pub(super) fn was_ended_by_client(&self) -> bool {
        matches!(self.ended, None | Some((Ending::Left | Ending::Finished | Ending::GaveUp, _)))
    }

    /// Whether no worker has admitted it in time: the gateway has told it to try again later.
    pub(super) fn was_not_admitted(&self) -> bool {
        self.answers == 0 && matches!(self.ended, Some((Ending::Closed(TRY_AGAIN_LATER), _)))
    }

    /// The longest wait for an answer, with those that never came: until the end of the connection.
    pub(super) fn longest_stall(&self, now: Duration) -> Duration {
        if matches!(self.ended, Some((Ending::Left, _))) {
            return self.longest_stall;
        }
        let until = self.ended.map_or(now, |(_, at)| at);
        let oldest =
            self.unanswered.values().next().map_or(Duration::ZERO, |sent| until.saturating_sub(*sent));
        self.longest_stall.max(oldest)
    }
}
