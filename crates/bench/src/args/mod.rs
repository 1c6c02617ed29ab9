//! The command line: the cases, their defaults, and the flags that depend on each other.
//!
//! `main` parses and checks it; an invalid flag ends the program with status 2. The flags of a case are in `cases`, the
//! flags that several cases share in `shared`.

mod cases;
mod federation;
mod scale;
mod shared;

use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand};
use serde::Serialize;

pub(crate) use cases::{Burst, Connect, Disturb, Echo, Fair, Fanout, Group, Idle, Join, Mesh, Webhook};
pub(crate) use federation::{Cut, Fault, Federation, MembersIn};
pub(crate) use scale::{Part, Pings, Scale};
pub(crate) use shared::{Common, Load, Sending};

/// Measures what a GatewayWorker system costs: per message, per idle client and per new client.
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
    /// Each client sends messages and receives them back: cost per echo, and latency.
    Echo(Echo),
    /// Senders broadcast to all clients: cost per delivery. Every delivery is counted.
    Fanout(Fanout),
    /// Clients are in groups, and senders send to their own group: cost per delivery. Every delivery is counted.
    Group(Group),
    /// Clients connect and stay silent: memory per client, and memory that remains after they have left.
    Idle(Idle),
    /// Clients connect, are greeted, and close: cost per new client.
    Connect(Connect),
    /// Clients leave their groups and join them again, repeatedly: cost per leave and join.
    Join(Join),
    /// One client echoes at a fixed rate, without and with a disturbance by others: its latency in both.
    Fair(Fair),
    /// Many clients connect within a short time and all leave: the latency of another client's echo meanwhile, and the memory
    /// that remains.
    Burst(Burst),
    /// Starts many gateways and workers, and ends them: the time until all are linked, and the cost of a link, of an idle
    /// mesh, of a message across it, and of a gateway that joins and leaves.
    Mesh(Mesh),
    /// Starts as many gateways as the clients need, up to a million clients and more, and ends them: memory, heartbeats, a
    /// message to a group and to all, and the time in which a client opens beside all others.
    Scale(Scale),
    /// Starts clusters that NATS joins, the plain mesh of the same gateways, and nats-servers, and ends them: the cost of a
    /// message to a group, to a uid and to all in both, and its way. With --fault, what a fault of NATS loses.
    Federation(Federation),
    /// Starts a register, a gateway and a worker, and ends them: the cost of an echo by a backend over HTTP (`bench_backend`), and
    /// by a handler in Rust.
    Webhook(Webhook),
    /// A process of the load generator of `scale`, which starts it.
    #[command(hide = true)]
    Generate,
}

impl Case {
    /// The common flags, or `None` for the case that starts its servers itself.
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
            Case::Mesh(_) | Case::Scale(_) | Case::Federation(_) | Case::Webhook(_) | Case::Generate => None,
        }
    }

    /// The file for the figures, as JSON.
    pub(crate) fn json(&self) -> Option<&PathBuf> {
        match self {
            Case::Mesh(mesh) => mesh.json.as_ref(),
            Case::Scale(scale) => scale.json.as_ref(),
            Case::Webhook(webhook) => webhook.json.as_ref(),
            Case::Federation(federation) => federation.json.as_ref(),
            _ => self.common()?.json.as_ref(),
        }
    }

    /// How often each system is measured: `--rounds`, or the case's default.
    pub(crate) fn rounds(&self) -> u32 {
        let Some(common) = self.common() else { return 1 };
        let several = !common.against.is_empty() && !matches!(self, Case::Idle(_) | Case::Burst(_));
        common.rounds.unwrap_or(if several { 5 } else { 1 })
    }

    /// The most connections that are open at the same time.
    pub(crate) fn connections(&self) -> u32 {
        match self {
            Case::Echo(echo) => echo.clients,
            Case::Fanout(fanout) => fanout.clients,
            Case::Group(group) => group.clients,
            Case::Idle(idle) => idle.clients,
            Case::Connect(connect) => connect.common.parallel,
            Case::Join(join) => join.clients,
            Case::Fair(fair) => fair.clients,
            // The daemons and the backend add three pipes each.
            Case::Webhook(webhook) => webhook.clients + 12,
            Case::Burst(burst) => burst.clients,
            // Each process adds three pipes.
            Case::Mesh(mesh) => mesh.gateways * mesh.clients + 3 * (mesh.gateways + mesh.workers + 2),
            // The clients of the clusters and of the plain mesh, and pipes.
            Case::Federation(federation) => {
                let processes = federation.clusters * (1 + federation.gateways + federation.workers);
                2 * (federation.all_gateways() * federation.clients() + 3 * processes + 30)
            }
            // Its own processes have the clients, and raise their limit themselves.
            Case::Scale(_) | Case::Generate => 0,
        }
    }
}

impl Cli {
    /// Checks what clap cannot: flags that depend on each other.
    ///
    /// # Errors
    /// There are more senders than clients, or messages are too short for their header.
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
                wrong("a mesh needs at least two clients: --gateways or --clients is too low")
            }
            Case::Federation(federation) => federation.check().or_else(wrong),
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

    #[test]
    fn what_a_federation_cannot_have_is_refused() {
        for good in
            ["", "--clusters 5 --members-in 1,5,all", "--fault nats-kill", "--fault leaf-cut --cut close"]
        {
            assert!(parse(&format!("bench federation {good}")).is_ok(), "{good}");
        }
        for bad in [
            "--members-in 3",
            "--members-in 0",
            "--clients 99",
            "--fault nats-kill --nats-nodes 1",
            "--fault leaf-cut --nats-nodes 3",
            "--leaf --nats-nodes 3",
            "--fault-time 5s",
            "--size 47",
        ] {
            assert!(parse(&format!("bench federation {bad}")).is_err(), "{bad}");
        }
    }
}
