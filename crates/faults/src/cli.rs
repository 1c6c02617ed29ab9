//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Parser, Subcommand};
use gatewayworker_control as control;
use gatewayworker_faults::clients::LoadShape;
use gatewayworker_faults::launcher::{self, Launcher, Played};
use gatewayworker_faults::plan::Programs;
use gatewayworker_faults::rows::Row;
use gatewayworker_faults::stage::Settings;
use gatewayworker_faults::timing::Timing;
use gatewayworker_faults::{application, network, rows, self_check, table};

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
    /// List the rows, and what each promises
    List,
    /// Play rows; the status is 1 if one breaks its promise, 2 if one could not be played
    Run(RunFlags),
    /// Show that this program sees what it looks for; the status is 1 if it does not
    SelfCheck(LoadFlags),
    /// Play one row in this process, and print its outcome
    #[command(hide = true)]
    Row {
        /// The row
        name: String,
        /// End with the program that has started this one
        #[arg(long)]
        launched: bool,
        /// Name the files in the folder of the logs after this too
        #[arg(long, value_name = "N")]
        nth: Option<usize>,
        #[command(flatten)]
        load: LoadFlags,
    },
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

/// The flags of `run`.
#[derive(Debug, clap::Args)]
struct RunFlags {
    /// The rows to play [default: all]
    rows: Vec<String>,
    /// How often each row is played
    #[arg(long, value_name = "N", default_value_t = 1)]
    times: usize,
    /// How many rows are played at once
    #[arg(long, value_name = "N", default_value_t = 2)]
    jobs: usize,
    /// Write the outcomes to FILE, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the page with the table to FILE, as Markdown
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    #[command(flatten)]
    load: LoadFlags,
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
    /// How long a soak takes, in seconds [default: 3600, with --short 20]
    #[arg(long, value_name = "SECONDS")]
    soak: Option<u64>,
    /// Write the daemons' logs of each row, and a history of its events, to this folder
    #[arg(long, value_name = "DIR")]
    logs: Option<PathBuf>,
}

impl LoadFlags {
    /// The same flags for the process of a row.
    fn for_row(&self) -> Vec<OsString> {
        let Self { clients, under_way, short, bin, soak, logs } = self;
        let mut flags: Vec<OsString> = vec!["--under-way".into(), under_way.to_string().into()];
        if *short {
            flags.push("--short".into());
        }
        let clients = clients.map(|clients| OsString::from(clients.to_string()));
        let soak = soak.map(|soak| OsString::from(soak.to_string()));
        let (bin, logs) = (bin.as_ref().map(OsString::from), logs.as_ref().map(OsString::from));
        for (flag, value) in [("--clients", clients), ("--soak", soak), ("--bin", bin), ("--logs", logs)] {
            flags.extend(value.into_iter().flat_map(|value| [flag.into(), value]));
        }
        flags
    }

    fn settings(&self) -> anyhow::Result<Settings> {
        let timing = if self.short { Timing::SHORT } else { Timing::LONG };
        let (clients, soak) = if self.short { (16, 20) } else { (100, 3600) };
        let shape = LoadShape {
            clients: self.clients.unwrap_or(clients),
            under_way: self.under_way,
            churn: true,
            patience: None,
            settle: timing.settle,
            observed: false,
        };
        let programs = Programs::new(self.bin.as_deref())?;
        let soak = Duration::from_secs(self.soak.unwrap_or(soak));
        Ok(Settings { timing, shape, programs, soak, logs: self.logs.clone() })
    }
}

/// Runs the program.
pub(crate) fn main() -> ExitCode {
    match Cli::parse().command {
        Command::List => {
            for row in rows::all() {
                println!("{:<28} {}", row.name, row.promised);
            }
            ExitCode::SUCCESS
        }
        Command::Run(flags) => conclude(run(&flags)),
        Command::Row { name, launched, nth, load } => conclude(play(&name, launched, nth, &load)),
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

fn find(name: &str) -> anyhow::Result<Row> {
    rows::all()
        .into_iter()
        .find(|row| row.name == name)
        .with_context(|| format!("there is no row {name}: see list"))
}

/// How long a row may take, beside a soak.
const ROW_LIMIT: Duration = Duration::from_secs(600);

fn run(flags: &RunFlags) -> anyhow::Result<bool> {
    let rows = match flags.rows.as_slice() {
        [] => rows::all(),
        names => names.iter().map(|name| find(name)).collect::<anyhow::Result<_>>()?,
    };
    if rows.iter().any(|row| row.needs_hosts) && !network::is_available() {
        bail!("rows with hosts need network namespaces: root, and the programs ip, tc, unshare and nsenter");
    }
    let limit = ROW_LIMIT + flags.load.settings()?.soak;
    let launcher = Launcher { flags: flags.load.for_row(), jobs: flags.jobs, limit };
    let (playable, others): (Vec<_>, Vec<_>) = rows.into_iter().partition(|row| row.cannot_run.is_none());
    let mut played = runtime()?.block_on(launcher.play(&playable, flags.times, show));
    let outcomes: Vec<_> = played.iter().filter_map(|one| one.outcome.as_ref().ok()).collect();
    if let Some(file) = &flags.json {
        std::fs::write(file, serde_json::to_string_pretty(&outcomes)?).context("--json")?;
    }
    let kept = outcomes.iter().all(|outcome| outcome.broken.is_empty());
    let failed = played.len() - outcomes.len();
    let not_run =
        |row: Row| Played { row, outcome: Err(anyhow::anyhow!(row.cannot_run.unwrap_or_default())) };
    played.extend(others.into_iter().map(not_run));
    if let Some(file) = &flags.markdown {
        let command: Vec<_> = std::env::args().skip(1).collect();
        let LoadShape { clients, under_way, .. } = flags.load.settings()?.shape;
        let load = format!("{clients} clients, each with {under_way} messages under way, come and go");
        let page = table::page(&played, &format!("faults {}", command.join(" ")), &load);
        std::fs::write(file, page).context("--markdown")?;
    }
    if failed > 0 {
        bail!("{failed} rows could not be played");
    }
    Ok(kept)
}

/// Says in a line how a row has ended.
fn show(played: &Played) {
    let name = played.row.name;
    match &played.outcome {
        Err(error) => println!("{name:<28} NOT PLAYED: {error:#}"),
        Ok(outcome) => {
            let (messages, seconds) = (outcome.counts.messages, outcome.seconds);
            let verdict = match outcome.broken.as_slice() {
                [] => "kept".to_owned(),
                broken => format!("BROKEN: {}", broken.join(", ")),
            };
            println!("{name:<28} {messages:>7} messages in {seconds:>5.1} s: {verdict}");
            for line in outcome.report.iter().flat_map(|paragraph| paragraph.lines()) {
                println!("  {line}");
            }
        }
    }
}

fn play(name: &str, launched: bool, nth: Option<usize>, load: &LoadFlags) -> anyhow::Result<bool> {
    if launched {
        launcher::end_with_the_launcher()?;
    }
    let outcome = runtime()?.block_on(find(name)?.play(load.settings()?, nth))?;
    println!("{}", serde_json::to_string(&outcome)?);
    Ok(true)
}
