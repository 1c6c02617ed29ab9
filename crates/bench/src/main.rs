//! `bench`: a load generator for a GatewayWorker system, the original's or this one.
//!
//! Each case (`case`) measures one thing, over one lean WebSocket client on one thread (`client`), and reads the servers'
//! CPU and memory from `/proc` (`procfs`). It is no server and no test of correctness, though it counts every message
//! and fails on a lost one. `runner` runs a case, `report` prints it.
//!
//! The application of the servers must speak the benchmark protocol. It greets each client with a JSON object. It
//! returns a text message that begins with `E` to its sender, and sends one that begins with `B` to all. It joins a
//! group at `J<group> `, leaves it at `L<group> `, and sends `G<group> …` to the group. It answers `S` with `S` and the
//! number of sessions. The case `mesh` starts its servers itself, and also uses `I` and `T` of `bench_worker`. So does
//! the case `scale`, whose clients are in processes of their own (`generator`), and the case `federation`, which uses all
//! letters of `bench_worker` and starts nats-servers (`nats`), too. The case `webhook` starts the stock worker with the backend
//! `bench_backend`, and `bench_worker`.

mod address;
mod args;
mod case;
mod client;
mod client_set;
mod cluster;
#[cfg(target_os = "linux")]
mod generator;
mod histogram;
mod nats;
mod open;
mod pace;
mod procfs;
mod relay;
mod report;
mod runner;
mod segments;
mod sockets;
mod stream;
mod wire;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let cli = args::Cli::parse();
    if let Err(error) = cli.check() {
        error.exit();
    }
    match runner::run(&cli) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::from(1)
        }
    }
}
