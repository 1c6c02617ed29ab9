//! What `scale` says to a process of its load generator, and what the process answers: a JSON object in each line of
//! standard input and standard output.
//!
//! Plain data. `case/scale/generators` writes commands and reads replies, `generator` does the opposite.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::args::Pings;
use crate::histogram::Histogram;

/// A command. The process answers each with one [`Reply::Done`] or [`Reply::Failed`], after any number of
/// [`Reply::Progress`].
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) enum Command {
    /// The first command: where and how to connect.
    Setup(Setup),
    /// Opens clients, `at_once` at the same time, and keeps them.
    Open { clients: u32, at_once: u32 },
    /// Ends an unfinished [`Command::Open`]. The answer counts the clients that are open, unless another command ran.
    Halt,
    /// Counts the pings since the last such command.
    CountPings,
    /// Lets each client join its group of `size` neighbours.
    Join { size: u32, at_once: u32 },
    /// Sends messages of `bytes` bytes to groups for `time`: keeps `in_flight` under way, and groups take turns. Then
    /// waits for the last delivery.
    SendToGroups { size: u32, in_flight: u32, time: Duration, bytes: u32 },
    /// Waits until each client has broadcast `number`. Answered at once by a [`Reply::Progress`].
    ExpectBroadcast { number: u32 },
    /// Sends broadcast `number`, which this process expects already. It is answered by the end of that command alone.
    Broadcast { number: u32, bytes: u32 },
    /// Opens `per_second` clients a second for `time`, evenly, and closes each.
    Arrive { per_second: f64, time: Duration },
}

/// Where and how the clients of a process connect.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Setup {
    /// The number of this process. It makes the names of its groups unique.
    pub(crate) number: u32,
    /// The gateways. Client i connects to the one at `first_gateway` + i, and after the last one comes the first.
    pub(crate) gateways: Vec<SocketAddr>,
    pub(crate) first_gateway: u32,
    /// The address from which clients connect, and the one for those that arrive and leave: ports of the latter stay in
    /// use for a minute.
    pub(crate) sources: [Ipv4Addr; 2],
    /// How pings are answered.
    pub(crate) pings: Pings,
}

/// A reply.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) enum Reply {
    /// How far a command is: clients, messages or deliveries.
    Progress(u64),
    /// The result of a command.
    Done(Outcome),
    /// The command has failed, or a client has lost its connection. The text says why.
    Failed(String),
}

/// The result of a command, or of one command to many processes.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Outcome {
    /// Clients that have opened or joined, messages that all members have, or pings.
    pub(crate) count: u64,
    /// Messages that clients have received.
    pub(crate) deliveries: u64,
    /// Deliveries that did not arrive in time.
    pub(crate) missing: u64,
    /// Deliveries that nobody expected: duplicate, late, or of another group.
    pub(crate) unexpected: u64,
    /// The time of each opening, of each message to a group until the last member has it, or of each delivery of a
    /// broadcast.
    pub(crate) times: Histogram,
}

impl Outcome {
    /// A result of nothing yet.
    pub(crate) fn new() -> Self {
        Outcome { count: 0, deliveries: 0, missing: 0, unexpected: 0, times: Histogram::new() }
    }

    /// What went wrong with the deliveries, if anything did.
    pub(crate) fn fault(&self) -> Option<String> {
        let Outcome { missing, unexpected, .. } = self;
        (missing + unexpected > 0).then(|| {
            format!("{missing} deliveries are missing, and {unexpected} are duplicate, late, or at the wrong client")
        })
    }

    /// Adds the result of another process.
    pub(crate) fn merge(&mut self, other: &Outcome) {
        self.count += other.count;
        self.deliveries += other.deliveries;
        self.missing += other.missing;
        self.unexpected += other.unexpected;
        self.times.merge(&other.times);
    }
}
