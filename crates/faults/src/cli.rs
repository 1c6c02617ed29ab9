//! The command line.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use gatewayworker_control as control;
use gatewayworker_faults::clients::LoadShape;
use gatewayworker_faults::cluster::Programs;
use gatewayworker_faults::stage::Settings;
use gatewayworker_faults::timing::Timing;
use gatewayworker_faults::{application, self_check};

/// Accounts for every message while daemons die and links are cut
#[derive(Parser)]
#[command(name = "faults", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
// One value, read once.
#[allow(clippy::large_enum_variant)]
enum Command {
    /// Show that this program sees what it looks for; the status is 1 if it does not
    SelfCheck(LoadFlags),
    /// Be the worker under test
    #[command(hide = true)]
    Businessworker(gatewayworker_businessworker::Cli),
    /// Be a gateway
    #[command(hide = true)]
    Gateway(gatewayworker_gateway::Cli),
    /// Be a register
    #[command(hide = true)]
    Register(gatewayworker_register::Cli),
    /// Start a cluster
    #[command(hide = true)]
    Start(control::StartFlags),
    /// Replace the worker of a cluster
    #[command(hide = true)]
    Reload(control::ReloadFlags),
    /// Start a cluster again
    #[command(hide = true)]
    Restart(control::RestartFlags),
    /// Stop a cluster
    #[command(hide = true)]
    Stop(control::StopFlags),
}

/// The load, and what it is put on.
#[derive(Debug, Clone, clap::Args)]
struct LoadFlags {
    /// The number of clients [default: 100, with --short 16]
    #[arg(long, value_name = "N")]
    clients: Option<u32>,
    /// How many messages each client has under way
    #[arg(long, value_name = "N", default_value_t = 4)]
    under_way: u32,
    /// Take seconds for a row instead of minutes: shorter cuts, and shorter time-outs where they can be set
    #[arg(long)]
    short: bool,
    /// Run the gateway, the register and the control tool of this folder [default: those built into this program]
    #[arg(long, value_name = "DIR")]
    bin: Option<PathBuf>,
    /// How long a soak takes, in seconds [default: 3600, with --short 8]
    #[arg(long, value_name = "SECONDS")]
    soak: Option<u64>,
}

impl LoadFlags {
    fn settings(&self) -> anyhow::Result<Settings> {
        let timing = if self.short { Timing::SHORT } else { Timing::LONG };
        let (clients, soak) = if self.short { (16, 8) } else { (100, 3600) };
        let shape = LoadShape {
            clients: self.clients.unwrap_or(clients),
            under_way: self.under_way,
            churn: true,
            patience: None,
            settle: timing.settle,
        };
        let programs = Programs::new(self.bin.as_deref())?;
        Ok(Settings { timing, shape, programs, soak: Duration::from_secs(self.soak.unwrap_or(soak)) })
    }
}

/// Runs the program.
pub(crate) fn main() -> ExitCode {
    match Cli::parse().command {
        Command::SelfCheck(flags) => conclude(check_self(&flags)),
        Command::Businessworker(cli) => application::run(cli),
        Command::Gateway(cli) => gatewayworker_gateway::run(cli),
        Command::Register(cli) => gatewayworker_register::run(cli),
        Command::Start(flags) => control::start(&flags),
        Command::Reload(flags) => control::reload(&flags),
        Command::Restart(flags) => control::restart(&flags),
        Command::Stop(flags) => control::stop(&flags),
    }
}

/// Status 0 if all was well, 1 if a promise was broken, 2 if that cannot be said.
fn conclude(well: anyhow::Result<bool>) -> ExitCode {
    match well {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?)
}

fn check_self(flags: &LoadFlags) -> anyhow::Result<bool> {
    let mut settings = flags.settings()?;
    // What is lost on purpose is not worth a wait.
    settings.timing.settle = Duration::from_secs(1);
    settings.shape.settle = settings.timing.settle;
    let show = |check: &self_check::Check| {
        let self_check::Check { name, made, found, others } = check;
        let verdict = if check.is_right() { "right" } else { "WRONG" };
        println!("{name:<14} made {made:>5}, found {found:>5}, other violations {others}: {verdict}");
    };
    let checks = runtime()?.block_on(self_check::run(&settings, show))?;
    Ok(checks.iter().all(self_check::Check::is_right))
}
