//! Flags that several cases share.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use crate::address::{Peer, Url, duration};

/// Flags of every case that loads running servers.
#[derive(Args, Debug, Serialize)]
pub(crate) struct Common {
    /// The URL of the system under load. With #gw.1 behind it, its clients keep their connection over cuts.
    #[arg(long, value_name = "ws[s]://HOST:PORT[/PATH][#gw.1]")]
    pub(crate) url: Url,
    /// A server process to measure (repeatable). Without one, no cost is shown.
    #[arg(long, value_name = "PID")]
    pub(crate) pid: Vec<u32>,
    /// Measure the descendants of the given processes too.
    #[arg(long)]
    pub(crate) pid_tree: bool,
    /// The name of the system in the table.
    #[arg(long, default_value = "")]
    pub(crate) name: String,
    /// Another system, loaded in turns with the first (repeatable): the table shows medians, and the first system's ratio to each.
    #[arg(long, value_name = "[NAME=]ws[s]://HOST:PORT[/PATH][#gw.1][,PID…]")]
    pub(crate) against: Vec<Peer>,
    /// How often each system is measured [default: 1; with --against 5, except for idle and burst, where only the first
    /// round meets fresh processes].
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) rounds: Option<u32>,
    /// Write all figures of all rounds to this file, as JSON.
    #[arg(long, value_name = "FILE")]
    #[serde(skip)]
    pub(crate) json: Option<PathBuf>,
    /// The system sends no greeting: a client counts as open after its handshake.
    #[arg(long)]
    pub(crate) no_greeting: bool,
    /// How many clients connect at the same time.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) parallel: u32,
}

/// Flags of the cases that run for a time.
#[derive(Args, Debug, Serialize)]
pub(crate) struct Load {
    /// How long to measure: 5s, 500ms or 1m.
    #[arg(long, default_value = "5s", value_parser = duration)]
    pub(crate) duration: Duration,
    /// How long to load the system before the measurement.
    #[arg(long, default_value = "1s", value_parser = duration)]
    pub(crate) warmup: Duration,
    /// The size of a message, in bytes.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(16..=60_000))]
    pub(crate) size: u32,
}

/// Flags of the cases in which some clients send to many.
#[derive(Args, Clone, Copy, Debug, Serialize)]
pub(crate) struct Sending {
    /// How many of the clients send. With groups, each sends to its own, and groups get senders in turns.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) senders: u32,
    /// How many messages each sender keeps in flight. A message is done when all its recipients have it.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(crate) in_flight: u32,
    /// Send this many messages a second, all senders together, without waiting for deliveries.
    #[arg(long, value_name = "PER_SECOND", conflicts_with = "in_flight", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub(crate) rate: Option<u32>,
    /// Write each message by itself. Otherwise, a sender that may send several messages writes them at once.
    #[arg(long)]
    pub(crate) separate_writes: bool,
}
