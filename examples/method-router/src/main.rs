//! The program of the live room: its worker, a demo with a whole cluster, or a tool that signs tickets.

mod demo;
mod ticket;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use gatewayworker::{Start, businessworker};
use method_router::App;
use method_router::settings::Settings;

/// A live room whose requests name a method. Without a command, runs its worker.
#[derive(Parser)]
#[command(
    name = "method-router",
    version = businessworker::version_with_library(env!("CARGO_PKG_VERSION")),
    args_conflicts_with_subcommands = true
)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    worker: businessworker::Cli,
}

#[derive(Subcommand)]
enum Command {
    /// Run the worker, a gateway and a register in one process, and print links to try them
    Demo(demo::Flags),
    /// Sign a ticket, and print it
    Auth(ticket::Flags),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match arguments.command {
        None => {
            return businessworker::run(arguments.worker, async |start: Start<Settings>| {
                Ok(App::new(&start.app.with_environment())?)
            });
        }
        Some(Command::Demo(flags)) => demo::run(&flags),
        Some(Command::Auth(flags)) => ticket::run(&flags),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }
}
