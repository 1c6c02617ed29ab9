//! The command line: flags, their defaults, and what goes together. Bad flags end the program with status 2.

use std::path::PathBuf;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use serde::Serialize;

use crate::address::{Peer, Url, duration};

/// Measures what a GatewayWorker system costs per message, per idle client and per open.
#[derive(Debug, Parser)]
#[command(name = "bench", version)]
pub(crate) struct Cli {
    /// What to measure.
    #[command(subcommand)]
    pub(crate) case: Case,
}

/// The measurements.
#[derive(Debug, Serialize, Subcommand)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Case {
    /// Each client sends `E…` and gets it back: cost per echo and latency.
    Echo(Echo),
    /// Senders broadcast `B…` to every client: cost per delivery, every delivery counted.
    Fanout(Fanout),
    /// Clients are in groups, and senders send `G…` to their own: cost per delivery, every delivery counted.
    Group(Group),
    /// Clients open and stay silent: memory per client, and what remains when they have gone.
    Idle(Idle),
    /// Clients open, are greeted, and close: cost per open.
    Connect(Connect),
    /// Clients leave and join their groups over and over: cost per leaving and joining.
    Join(Join),
    /// One client echoes at a fixed rate while others disturb: its latency without and with them.
    Fair(Fair),
    /// Many clients open within a moment and all leave: latency of another client's echo meanwhile, and what memory remains.
    Burst(Burst),
    /// Starts many gateways and workers, and ends them: time until all are linked, cost of a link, of an idle mesh, of a
    /// message that crosses it, and of a gateway that comes and goes.
    Mesh(Mesh),
}

/// Flags of every case.
#[derive(Args, Debug, Serialize)]
pub(crate) struct Common {
    /// The system to load.
    #[arg(long, value_name = "ws[s]://HOST:PORT[/PATH]")]
    pub(crate) url: Url,
    /// A server process to measure (repeatable); none: no cost is shown.
    #[arg(long, value_name = "PID")]
    pub(crate) pid: Vec<u32>,
    /// Count the descendants of the given processes too.
    #[arg(long)]
    pub(crate) pid_tree: bool,
    /// What to call it in the table.
    #[arg(long, default_value = "")]
    pub(crate) name: String,
    /// Another system to load in turn with the first (repeatable): medians and the first's ratio to each are shown.
    #[arg(long, value_name = "[NAME=]ws[s]://HOST:PORT[/PATH][,PID…]")]
    pub(crate) against: Vec<Peer>,
    /// How often each system is measured [default: 1; with --against 5, but 1 for idle and burst, whose first round alone meets fresh processes].
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) rounds: Option<u32>,
    /// Write every figure of every round here as JSON.
    #[arg(long, value_name = "FILE")]
    #[serde(skip)]
    pub(crate) json: Option<PathBuf>,
    /// The system does not greet: a client counts as open after its handshake.
    #[arg(long)]
    pub(crate) no_greeting: bool,
    /// How many clients may be opening at once.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) parallel: u32,
}

/// Flags of the cases that run for a time.
#[derive(Args, Debug, Serialize)]
pub(crate) struct Load {
    /// How long to measure, such as 5s, 500ms or 1m.
    #[arg(long, default_value = "5s", value_parser = duration)]
    pub(crate) duration: Duration,
    /// How long to load before measuring.
    #[arg(long, default_value = "1s", value_parser = duration)]
    pub(crate) warmup: Duration,
    /// Bytes in a message.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(16..=60_000))]
    pub(crate) size: u32,
}

/// Flags of `echo`.
#[derive(Args, Debug, Serialize)]
pub(crate) struct Echo {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(flatten)]
    pub(crate) load: Load,
    /// How many clients.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) clients: u32,
    /// Messages that each client keeps on their way.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(crate) in_flight: u32,
    /// Offer so many messages a second, all clients together, whatever comes back (then --in-flight does not count).
    #[arg(long, value_name = "PER_SECOND", conflicts_with = "in_flight", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub(crate) rate: Option<u32>,
}

/// Flags of the cases in which some clients send to many.
#[derive(Args, Clone, Copy, Debug, Serialize)]
pub(crate) struct Sending {
    /// How many of the clients send; of groups each to its own, in turn.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) senders: u32,
    /// Messages that each sender keeps on their way; one is done when all have it that it is for.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(crate) in_flight: u32,
    /// Offer so many messages a second, all senders together, whatever comes back.
    #[arg(long, value_name = "PER_SECOND", conflicts_with = "in_flight", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub(crate) rate: Option<u32>,
}

/// Flags of `fanout`.
#[derive(Args, Debug, Serialize)]
pub(crate) struct Fanout {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(flatten)]
    pub(crate) load: Load,
    /// How many clients.
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
    /// How many clients.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) clients: u32,
    /// How many of them make a group.
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
    /// How many clients.
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) clients: u32,
    /// How long to let memory settle before it is read.
    #[arg(long, default_value = "2s", value_parser = duration)]
    pub(crate) settle: Duration,
    /// Each joins a group of so many, and is silent then.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) group_size: Option<u32>,
}

/// Flags of `connect`.
#[derive(Args, Debug, Serialize)]
pub(crate) struct Connect {
    #[command(flatten)]
    pub(crate) common: Common,
    /// How many opens.
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) clients: u32,
}

/// Flags of `join`.
#[derive(Args, Debug, Serialize)]
pub(crate) struct Join {
    #[command(flatten)]
    pub(crate) common: Common,
    /// How many clients.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) clients: u32,
    /// How often each leaves its group and joins it again.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) per_client: u32,
    /// Members of each group.
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
    /// How many silent clients.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) clients: u32,
    /// Echoes a second of the one client.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) rate: u32,
    /// What disturbs it, over and over.
    #[arg(long, value_enum)]
    pub(crate) disturb: Disturb,
}

/// What disturbs an echo.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Disturb {
    /// A client asks for the sessions of all.
    Listing,
    /// A client sends to all; the next one goes when all have it.
    Broadcast,
    /// A client echoes a megabyte.
    Large,
    /// Nothing.
    None,
}

/// Flags of `burst`.
#[derive(Args, Debug, Serialize)]
pub(crate) struct Burst {
    #[command(flatten)]
    pub(crate) common: Common,
    /// How many clients.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) clients: u32,
    /// The time over which they open, evenly.
    #[arg(long, default_value = "1s", value_parser = duration)]
    pub(crate) over: Duration,
    /// Echoes a second of the one client that is open already.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) rate: u32,
    /// How long the system has to give memory back after everybody has left.
    #[arg(long, default_value = "20s", value_parser = duration)]
    pub(crate) settle: Duration,
}

/// Flags of `mesh`.
#[derive(Args, Debug, Serialize)]
pub(crate) struct Mesh {
    #[command(flatten)]
    pub(crate) load: Load,
    /// How many gateways; one more joins at the end.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=200))]
    pub(crate) gateways: u32,
    /// How many workers.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) workers: u32,
    /// Clients on each gateway.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) clients: u32,
    /// How long to watch the mesh do nothing; its pings go every 25 s.
    #[arg(long, default_value = "25s", value_parser = duration)]
    pub(crate) idle: Duration,
    /// Write every figure here as JSON.
    #[arg(long, value_name = "FILE")]
    #[serde(skip)]
    pub(crate) json: Option<PathBuf>,
}

impl Case {
    /// The flags that every case has which loads a system that runs already.
    pub(crate) fn common(&self) -> Option<&Common> {
        match self {
            Case::Echo(echo) => Some(&echo.common),
            Case::Fanout(fanout) => Some(&fanout.common),
            Case::Group(group) => Some(&group.common),
            Case::Idle(idle) => Some(&idle.common),
            Case::Connect(connect) => Some(&connect.common),
            Case::Join(join) => Some(&join.common),
            Case::Fair(fair) => Some(&fair.common),
            Case::Burst(burst) => Some(&burst.common),
            Case::Mesh(_) => None,
        }
    }

    /// Where figures go as JSON.
    pub(crate) fn json(&self) -> Option<&PathBuf> {
        match self {
            Case::Mesh(mesh) => mesh.json.as_ref(),
            _ => self.common()?.json.as_ref(),
        }
    }

    /// How often each system is measured.
    pub(crate) fn rounds(&self) -> u32 {
        let Some(common) = self.common() else { return 1 };
        let several = !common.against.is_empty() && !matches!(self, Case::Idle(_) | Case::Burst(_));
        common.rounds.unwrap_or(if several { 5 } else { 1 })
    }

    /// How many connections are open at once at most.
    pub(crate) fn connections(&self) -> u32 {
        match self {
            Case::Echo(echo) => echo.clients,
            Case::Fanout(fanout) => fanout.clients,
            Case::Group(group) => group.clients,
            Case::Idle(idle) => idle.clients,
            Case::Connect(connect) => connect.common.parallel,
            Case::Join(join) => join.clients,
            Case::Fair(fair) => fair.clients,
            Case::Burst(burst) => burst.clients,
            // And three pipes of every process.
            Case::Mesh(mesh) => mesh.gateways * mesh.clients + 3 * (mesh.gateways + mesh.workers + 2),
        }
    }
}

impl Cli {
    /// What clap cannot say by itself.
    ///
    /// # Errors
    /// More senders than clients, or messages too short for their heads.
    pub(crate) fn check(&self) -> Result<(), clap::Error> {
        let wrong = |text: &str| Err(Cli::command().error(ErrorKind::ValueValidation, text));
        match &self.case {
            Case::Fanout(fanout) if fanout.sending.senders > fanout.clients => {
                wrong("--senders is more than --clients")
            }
            Case::Group(group) if group.sending.senders > group.clients => {
                wrong("--senders is more than --clients")
            }
            Case::Group(group) if group.load.size < 32 => wrong("a message to a group has --size 32 or more"),
            Case::Mesh(mesh) if mesh.load.size < 48 => wrong("a message across a mesh has --size 48 or more"),
            Case::Mesh(mesh) if mesh.gateways * mesh.clients < 2 => {
                wrong("a message goes from one client to another")
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    fn parse(flags: &str) -> Result<Cli, clap::Error> {
        let cli = Cli::try_parse_from(flags.split_whitespace())?;
        cli.check().map(|()| cli)
    }

    #[test]
    fn more_senders_than_clients_are_refused() {
        for case in ["fanout", "group"] {
            let flags = format!("bench {case} --url ws://127.0.0.1:1 --clients 3 --senders");
            assert!(parse(&format!("{flags} 3")).is_ok());
            assert!(parse(&format!("{flags} 4")).is_err());
        }
    }

    #[test]
    fn a_rate_and_messages_in_flight_exclude_each_other() {
        for case in ["echo", "fanout", "group"] {
            let flags = format!("bench {case} --url ws://127.0.0.1:1 --rate");
            assert!(parse(&format!("{flags} 100")).is_ok());
            assert!(parse(&format!("{flags} 100 --in-flight 2")).is_err());
            assert!(parse(&format!("{flags} 0")).is_err());
        }
    }

    #[test]
    fn several_systems_are_measured_five_times_except_in_idle_and_burst() {
        let others = "--url ws://127.0.0.1:1 --against a=ws://127.0.0.1:2,7 --against ws://127.0.0.1:3";
        let rounds = |case: &str| parse(&format!("bench {case} {others}")).unwrap().case.rounds();
        assert_eq!(["echo", "idle", "burst"].map(rounds), [5, 1, 1]);
        let cli = parse(&format!("bench echo {others}")).unwrap();
        assert_eq!(cli.case.common().unwrap().against.len(), 2);
    }
}
