//! The control tool's command line. Each subcommand is a function of another crate: a daemon, or, for a whole cluster
//! and for calls, `gatewayworker-control`. The daemons are subcommands so that one file is all there is to ship.

mod documents;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use gatewayworker_control as control;

use documents::Program;

/// Gives the memory of clients that have left back to the system; the system's allocator keeps most of it.
#[cfg(all(unix, feature = "jemalloc"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// GatewayWorker: gateways hold the connections, businessworkers the logic, a register brings them together.
#[derive(Parser)]
#[command(name = "gatewayworker", version = gatewayworker_daemon::VERSION)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
// One value, read once.
#[allow(clippy::large_enum_variant)]
enum Command {
    /// Start a register, a businessworker and a gateway on this machine, and keep them running
    Start(control::StartFlags),
    /// Stop a cluster that was started: its daemons drain, the gateway first
    #[cfg(unix)]
    Stop(control::StopFlags),
    /// Stop a cluster if one runs, and start it: what is not given is as it was
    #[cfg(unix)]
    Restart(control::RestartFlags),
    /// Put a new process in the worker's place, and load the gateway's certificates again: no client notices
    #[cfg(unix)]
    Reload(control::ReloadFlags),
    /// Show what runs and how it goes; the status is 0 if all is ready, 1 if not, 3 if nothing runs
    #[cfg(unix)]
    Status(control::StatusFlags),
    /// Run a register: tells workers and client libraries where the gateways are
    Register(gatewayworker_register::Cli),
    /// Run a businessworker, with the built-in chat or your backend over HTTP: takes the events of clients from the gateways
    Businessworker(gatewayworker_businessworker::Cli),
    /// Run a gateway: holds the clients and stands between them and the businessworkers
    Gateway(gatewayworker_gateway::Cli),
    /// Make one call of the Gateway API: send to clients, bind, group and count them
    Call(control::CallCommand),
    /// List the clients of a running cluster, those first that matter most, or show one in full
    Connections(control::ConnectionsFlags),
    /// List the largest groups of a running cluster
    Groups(control::GroupsFlags),
    /// List the clients of a running cluster that have ended last: why, and at whose wish
    Closes(control::ClosesFlags),
    /// Show what one client of a running cluster says and is sent, as it happens
    Trace(control::TraceFlags),
    /// Show a running cluster on the whole terminal: its numbers, its gateways and workers
    #[cfg(unix)]
    Top(control::TopFlags),
    /// Make a token that admits a client to a gateway with [auth], or say what one is worth
    Token(control::TokenFlags),
    /// Print a script that completes this tool's commands and flags in a shell
    Completion {
        /// The shell that it is for
        #[arg(value_name = "SHELL")]
        shell: clap_complete::Shell,
        /// Print the script of another program
        #[arg(long, value_name = "PROGRAM", default_value = "gatewayworker")]
        program: Program,
    },
    /// Write the man pages of this tool and of the daemons' programs
    Man {
        /// The directory that they go into; it is made
        #[arg(value_name = "DIR")]
        directory: PathBuf,
    },
}

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Start(flags) => control::start(&flags.with_runs_chat(businessworker::runs_chat)),
        #[cfg(unix)]
        Command::Stop(flags) => control::stop(&flags),
        #[cfg(unix)]
        Command::Restart(flags) => control::restart(&flags.with_runs_chat(businessworker::runs_chat)),
        #[cfg(unix)]
        Command::Reload(flags) => control::reload(&flags),
        #[cfg(unix)]
        Command::Status(flags) => control::status(&flags),
        Command::Register(cli) => gatewayworker_register::run(cli),
        Command::Businessworker(cli) => businessworker::run(cli),
        Command::Gateway(cli) => gatewayworker_gateway::run(cli),
        Command::Call(command) => control::call(&command),
        Command::Connections(flags) => control::connections(&flags),
        Command::Groups(flags) => control::groups(&flags),
        Command::Closes(flags) => control::closes(&flags),
        Command::Trace(flags) => control::trace(&flags),
        #[cfg(unix)]
        Command::Top(flags) => control::top(&flags),
        Command::Token(flags) => control::token(&flags, gatewayworker_gateway::authenticator),
        Command::Completion { shell, program } => {
            // A pager that is closed early is no failure.
            let _ = std::io::stdout().write_all(&documents::completion(shell, program));
            ExitCode::SUCCESS
        }
        Command::Man { directory } => match documents::man(&directory) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                let _ = writeln!(
                    std::io::stderr(),
                    "error: cannot write man pages to {}: {error}",
                    directory.display()
                );
                ExitCode::FAILURE
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    /// Collects the variables of all commands.
    fn variables_of(command: &clap::Command, into: &mut BTreeSet<String>) {
        let variables = command.get_arguments().filter_map(|arg| arg.get_env()?.to_str());
        into.extend(variables.map(str::to_owned));
        command.get_subcommands().for_each(|command| variables_of(command, into));
    }

    #[test]
    fn the_daemons_know_all_variables_to_tell_a_mistyped_one() {
        let mut variables = BTreeSet::new();
        variables_of(&Cli::command(), &mut variables);
        assert_eq!(variables, gatewayworker_daemon::settings().collect());
    }
}
