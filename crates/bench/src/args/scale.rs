//! The flags of `scale`, and of the processes of the load generator that it starts.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

use super::federation::MembersIn;
use crate::address::duration;

/// Flags of `scale`.
#[derive(Args, Debug, Serialize)]
pub(crate) struct Scale {
    /// How many clients connect, to all gateways together.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(10..=20_000_000))]
    pub(crate) clients: u32,
    /// The most clients of one gateway, and of one process of the load generator.
    #[arg(long, default_value_t = 19_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) per_process: u32,
    /// How many gateways run in each cluster [default: as few as --per-process allows].
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=200))]
    pub(crate) gateways: Option<u32>,
    /// How many workers run in each cluster.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=200))]
    pub(crate) workers: u32,
    /// How many clusters run, each with its own register. Without --federation they know nothing of each other.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=20))]
    pub(crate) clusters: u32,
    /// Join the clusters by a nats-server: groups have members in several clusters, and a broadcast goes to all.
    #[arg(long)]
    pub(crate) federation: bool,
    /// In how many clusters the members of a group are [default: all].
    #[arg(long, value_name = "N|all", requires = "federation")]
    pub(crate) members_in: Option<MembersIn>,
    /// The nats-server to start, a path or a name in PATH.
    #[arg(long, value_name = "PATH", default_value = "nats-server")]
    pub(crate) nats_server: PathBuf,
    /// What to measure besides opening and memory.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "PART,…", default_values_t = Part::ALL)]
    pub(crate) parts: Vec<Part>,
    /// How the gateways ping silent clients, and whether clients answer.
    #[arg(long, value_enum, default_value_t = Pings::Message)]
    pub(crate) pings: Pings,
    /// The gateways' ping_interval.
    #[arg(long, default_value = "55s", value_parser = duration)]
    pub(crate) ping_interval: Duration,
    /// How long to measure heartbeats [default: two ping intervals].
    #[arg(long, value_parser = duration)]
    pub(crate) idle: Option<Duration>,
    /// How long clients send to groups, twice, and how long they arrive.
    #[arg(long, default_value = "10s", value_parser = duration)]
    pub(crate) duration: Duration,
    /// How many messages to groups are under way, in the second of the two measurements.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) in_flight: u32,
    /// How many broadcasts are sent, one after another.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) broadcasts: u32,
    /// How many clients arrive per second, and leave, while the others stay.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) arrivals: u32,
    /// The size of a message, in bytes.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(64..=60_000))]
    pub(crate) size: u32,
    /// A further flag of each gateway, such as --gateway-flag=--shards=2 (repeatable).
    #[arg(long, value_name = "FLAG", allow_hyphen_values = true)]
    pub(crate) gateway_flag: Vec<String>,
    /// A further flag of each worker (repeatable).
    #[arg(long, value_name = "FLAG", allow_hyphen_values = true)]
    pub(crate) worker_flag: Vec<String>,
    /// Write the log of each daemon to a file in this directory, which exists.
    #[arg(long, value_name = "DIR")]
    #[serde(skip)]
    pub(crate) logs: Option<PathBuf>,
    /// Write all figures to this file, as JSON.
    #[arg(long, value_name = "FILE")]
    #[serde(skip)]
    pub(crate) json: Option<PathBuf>,
}

/// A part of the measurement.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Part {
    /// Clients are silent, and the gateways ping them.
    Heartbeats,
    /// Clients send to groups of ten, whose members are on different gateways.
    Groups,
    /// A client sends to all; one of each cluster, if they know nothing of each other.
    Broadcast,
    /// Clients arrive and leave, while the others stay.
    Arrivals,
}

impl Part {
    const ALL: [Part; 4] = [Part::Heartbeats, Part::Groups, Part::Broadcast, Part::Arrivals];
}

/// How gateways ping silent clients, and whether clients answer.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Pings {
    /// A ping is a message, and a client answers with a message, which the worker gets. The default of the original.
    Message,
    /// A ping is a WebSocket frame, and so is the answer, which the gateway keeps to itself.
    Frame,
    /// A ping is a message. Clients do not answer, and are not closed for it.
    Silent,
}
