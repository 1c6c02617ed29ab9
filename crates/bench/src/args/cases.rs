//! The flags of each case.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::shared::{Common, Load, Sending};
use crate::address::duration;

/// Flags of `echo`.
#[derive(Args, Debug, Serialize)]
pub(crate) struct Echo {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(flatten)]
    pub(crate) load: Load,
    /// How many clients connect.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) clients: u32,
    /// How many messages each client keeps in flight.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(crate) in_flight: u32,
    /// Send this many messages a second, all clients together, without waiting for echoes (instead of --in-flight).
    #[arg(long, value_name = "PER_SECOND", conflicts_with = "in_flight", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub(crate) rate: Option<u32>,
}

/// Flags of `webhook`.
#[derive(Args, Debug, Serialize)]
pub(crate) struct Webhook {
    #[command(flatten)]
    pub(crate) load: Load,
    /// How many clients connect.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) clients: u32,
    /// Send this many messages a second, all clients together.
    #[arg(long, value_name = "PER_SECOND", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub(crate) rate: u32,
    /// How often each is measured, in turns.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) rounds: u32,
    /// Write all figures of all rounds to this file, as JSON.
    #[arg(long, value_name = "FILE")]
    #[serde(skip)]
    pub(crate) json: Option<PathBuf>,
}

/// Flags of `fanout`.
#[derive(Args, Debug, Serialize)]
pub(crate) struct Fanout {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(flatten)]
    pub(crate) load: Load,
    /// How many clients connect.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) clients: u32,
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) sending: Sending,
}

/// Flags of `group`.
#[derive(Args, Debug, Serialize)]
pub(crate) struct Group {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(flatten)]
    pub(crate) load: Load,
    /// How many clients connect.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) clients: u32,
    /// How many clients make a group.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) group_size: u32,
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) sending: Sending,
}

/// Flags of `idle`.
#[derive(Args, Debug, Serialize)]
pub(crate) struct Idle {
    #[command(flatten)]
    pub(crate) common: Common,
    /// How many clients connect.
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) clients: u32,
    /// How long to wait before memory is read.
    #[arg(long, default_value = "2s", value_parser = duration)]
    pub(crate) settle: Duration,
    /// Each client first joins a group of this size.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) group_size: Option<u32>,
}

/// Flags of `connect`.
#[derive(Args, Debug, Serialize)]
pub(crate) struct Connect {
    #[command(flatten)]
    pub(crate) common: Common,
    /// How many clients connect, one after another in each place.
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) clients: u32,
}

/// Flags of `join`.
#[derive(Args, Debug, Serialize)]
pub(crate) struct Join {
    #[command(flatten)]
    pub(crate) common: Common,
    /// How many clients connect.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) clients: u32,
    /// How often each client leaves its group and joins it again.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) per_client: u32,
    /// The members of each group.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) group_size: u32,
}

/// Flags of `fair`.
#[derive(Args, Debug, Serialize)]
pub(crate) struct Fair {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(flatten)]
    pub(crate) load: Load,
    /// How many silent clients connect.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) clients: u32,
    /// The echoes of the one client, per second.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) rate: u32,
    /// The disturbance, which is repeated.
    #[arg(long, value_enum)]
    pub(crate) disturb: Disturb,
}

/// A disturbance of the one client's echoes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Disturb {
    /// A client asks for all sessions.
    Listing,
    /// A client broadcasts, again and again, each time after all have the message.
    Broadcast,
    /// A client echoes messages of a megabyte.
    Large,
    /// No disturbance.
    None,
}

/// Flags of `burst`.
#[derive(Args, Debug, Serialize)]
pub(crate) struct Burst {
    #[command(flatten)]
    pub(crate) common: Common,
    /// How many clients connect.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) clients: u32,
    /// The time in which all clients connect, evenly.
    #[arg(long, default_value = "1s", value_parser = duration)]
    pub(crate) over: Duration,
    /// The echoes of the one client that is connected before, per second.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) rate: u32,
    /// How long the system may take to return memory after all clients have left.
    #[arg(long, default_value = "20s", value_parser = duration)]
    pub(crate) settle: Duration,
}

/// Flags of `mesh`.
#[derive(Args, Debug, Serialize)]
pub(crate) struct Mesh {
    #[command(flatten)]
    pub(crate) load: Load,
    /// How many gateways run. One more joins at the end.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=200))]
    pub(crate) gateways: u32,
    /// How many workers run.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) workers: u32,
    /// How many clients connect to each gateway.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) clients: u32,
    /// How long to measure the idle mesh, whose daemons ping each other every 25 s.
    #[arg(long, default_value = "25s", value_parser = duration)]
    pub(crate) idle: Duration,
    /// Write all figures to this file, as JSON.
    #[arg(long, value_name = "FILE")]
    #[serde(skip)]
    pub(crate) json: Option<PathBuf>,
    /// On how many gateways the members of a group are: on as many as there are, if it is not given.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10))]
    pub(crate) group_gateways: Option<u32>,
    /// Whether workers send to groups and uids only where somebody may be.
    #[arg(long, value_name = "ON|OFF", default_value = "on", value_parser = on_or_off, action = clap::ArgAction::Set)]
    pub(crate) interest: bool,
}

fn on_or_off(text: &str) -> Result<bool, String> {
    match text {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err("it is on or off".into()),
    }
}
