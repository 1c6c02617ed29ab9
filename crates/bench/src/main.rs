//! `bench`: a load generator for a GatewayWorker system, the original's or this one.
//!
//! It is: a case for each thing that is measured, over one lean WebSocket client on one thread, with the servers' CPU
//! and memory read from `/proc`. It is not: a test of correctness (though it counts every message and fails on a lost
//! one), nor a server. The servers' business code must speak the benchmark protocol: greet each client, send a
//! text message that begins with `E` back to its sender, and one that begins with `B` to everybody. For groups: join at
//! `J<group> `, leave at `L<group> `, send `G<group> …` to the group; for listings, answer `S` with `S` and a number. One case starts servers of its own instead, a whole mesh of them.

mod address;
mod args;
mod case;
mod client;
mod client_set;
mod cluster;
mod histogram;
mod open;
mod pace;
mod procfs;
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
