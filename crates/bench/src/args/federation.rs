//! The flags of `federation`.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde::{Serialize, Serializer};

use super::shared::Load;
use crate::address::duration;

/// Flags of `federation`.
#[derive(Args, Debug, Serialize)]
pub(crate) struct Federation {
    #[command(flatten)]
    pub(crate) load: Load,
    /// How many clusters NATS joins, each with its own register.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(2..=20))]
    pub(crate) clusters: u32,
    /// How many gateways run in each cluster.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=20))]
    pub(crate) gateways: u32,
    /// How many workers run in each cluster.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=20))]
    pub(crate) workers: u32,
    /// How many clients connect to each gateway [default: 100; with --fault 5].
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) clients: Option<u32>,
    /// How many clients make a group, or have one uid.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(2..=1000))]
    pub(crate) group_size: u32,
    /// In how many clusters the members of a group or uid are. The sender is one of them.
    #[arg(long, value_name = "N|all,…", value_delimiter = ',', default_values_t = [MembersIn::Some(1), MembersIn::Some(2), MembersIn::All])]
    pub(crate) members_in: Vec<MembersIn>,
    /// How many messages are under way, in the second of the two measurements.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) in_flight: u32,
    /// How often everything is measured, the clusters and the plain mesh in turn.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) rounds: u32,
    /// How long to measure the idle processes.
    #[arg(long, default_value = "5s", value_parser = duration)]
    pub(crate) idle: Duration,
    /// The nats-server to start, a path or a name in PATH.
    #[arg(long, value_name = "PATH", default_value = "nats-server")]
    pub(crate) nats_server: PathBuf,
    /// How many nats-servers run, as one NATS cluster [default: 1; with --fault nats-kill 3].
    #[arg(long, conflicts_with = "leaf", value_parser = clap::value_parser!(u32).range(1..=9))]
    pub(crate) nats_nodes: Option<u32>,
    /// Run two nats-servers, of which one is a leaf node of the other: the first half of the clusters is at one, the
    /// rest at the other.
    #[arg(long)]
    pub(crate) leaf: bool,
    /// Start the nats-servers with JetStream, in a temporary directory.
    #[arg(long, conflicts_with = "leaf")]
    pub(crate) jetstream: bool,
    /// Measure a fault under a steady load, and nothing else.
    #[arg(long, value_enum)]
    pub(crate) fault: Option<Fault>,
    /// How long the fault lasts [default: nats-kill 5s, nats-away 30s, leaf-cut 10s].
    #[arg(long, value_parser = duration, requires = "fault")]
    pub(crate) fault_time: Option<Duration>,
    /// The steady load beside a fault: messages a second to a group with members on all gateways, from all clusters
    /// together.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) rate: u32,
    /// How --fault leaf-cut cuts.
    #[arg(long, value_enum, default_value_t = Cut::Hold)]
    pub(crate) cut: Cut,
    /// A further flag of each gateway (repeatable).
    #[arg(long, value_name = "FLAG", allow_hyphen_values = true)]
    pub(crate) gateway_flag: Vec<String>,
    /// A further flag of each worker, also of the plain mesh (repeatable).
    #[arg(long, value_name = "FLAG", allow_hyphen_values = true)]
    pub(crate) worker_flag: Vec<String>,
    /// A further flag of each worker of the clusters alone (repeatable).
    #[arg(long, value_name = "FLAG", allow_hyphen_values = true)]
    pub(crate) federation_flag: Vec<String>,
    /// Write the log of each process to a file in this directory, which exists.
    #[arg(long, value_name = "DIR")]
    #[serde(skip)]
    pub(crate) logs: Option<PathBuf>,
    /// Write all figures to this file, as JSON.
    #[arg(long, value_name = "FILE")]
    #[serde(skip)]
    pub(crate) json: Option<PathBuf>,
}

/// In how many clusters the members of a group are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum MembersIn {
    Some(u32),
    All,
}

/// A fault.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Fault {
    /// Each nats-server in turn is killed, and started again.
    NatsKill,
    /// All nats-servers are killed, and started again.
    NatsAway,
    /// The connection between the two nats-servers of --leaf is cut, and healed.
    LeafCut,
}

/// How a connection is cut.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Cut {
    /// Nothing arrives any more, and neither end is told, as where packets are lost on the way. After the cut, everything
    /// goes on: TCP has kept what was sent.
    Hold,
    /// Both ends are closed, and nobody accepts a connection until the cut is healed.
    Close,
}

impl Federation {
    /// The clients on each gateway.
    pub(crate) fn clients(&self) -> u32 {
        self.clients.unwrap_or(if self.fault.is_some() { 5 } else { 100 })
    }

    /// All gateways of all clusters.
    pub(crate) fn all_gateways(&self) -> u32 {
        self.clusters * self.gateways
    }

    /// The number of nats-servers, unless there is a leaf node.
    pub(crate) fn nats_nodes(&self) -> u32 {
        self.nats_nodes.unwrap_or(if self.fault == Some(Fault::NatsKill) { 3 } else { 1 })
    }

    /// Whether one nats-server is a leaf node.
    pub(crate) fn has_leaf(&self) -> bool {
        self.leaf || self.fault == Some(Fault::LeafCut)
    }

    /// How long the fault lasts.
    pub(crate) fn fault_time(&self, fault: Fault) -> Duration {
        self.fault_time.unwrap_or(Duration::from_secs(match fault {
            Fault::NatsKill => 5,
            Fault::NatsAway => 30,
            Fault::LeafCut => 10,
        }))
    }

    /// Checks flags that depend on each other.
    ///
    /// # Errors
    /// What is wrong, and what to do.
    pub(crate) fn check(&self) -> Result<(), &'static str> {
        let many =
            |in_clusters: &MembersIn| in_clusters.count(self.clusters) > self.clusters.min(self.group_size);
        if self.load.size < 48 {
            Err("a message across clusters has --size 48 or more")
        } else if self.members_in.iter().any(many) {
            Err("--members-in is more than --clusters, or more than --group-size")
        } else if self.fault.is_none() && self.in_flight > self.all_gateways() * self.clients() {
            Err("--in-flight is more than there are clients: raise --clients")
        } else if self.fault == Some(Fault::NatsKill) && (self.leaf || self.nats_nodes() < 2) {
            Err("--fault nats-kill needs --nats-nodes 2 or more: with one, use --fault nats-away")
        } else if self.fault == Some(Fault::LeafCut) && self.nats_nodes.is_some() {
            Err("--fault leaf-cut has two nats-servers: leave --nats-nodes out")
        } else {
            Ok(())
        }
    }
}

impl MembersIn {
    /// The number of clusters, of `clusters`.
    pub(crate) fn count(self, clusters: u32) -> u32 {
        match self {
            MembersIn::Some(count) => count,
            MembersIn::All => clusters,
        }
    }
}

impl FromStr for MembersIn {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            _ if text == "all" => Ok(MembersIn::All),
            Ok(count @ 1..) => Ok(MembersIn::Some(count)),
            _ => Err("it is a number from 1 on, or all".into()),
        }
    }
}

impl fmt::Display for MembersIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MembersIn::Some(count) => write!(f, "{count}"),
            MembersIn::All => f.write_str("all"),
        }
    }
}

impl Serialize for MembersIn {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
