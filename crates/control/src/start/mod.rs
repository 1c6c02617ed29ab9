//! `start`: a register, a businessworker and a gateway as child processes, and where to
//! point the page; in the foreground until a signal, or in the background.

#[cfg(unix)]
mod background;
mod child;
mod child_reader;
#[cfg(unix)]
mod control_server;
#[cfg_attr(not(unix), allow(dead_code, reason = "nobody can ask there"))]
mod daemon_runner;
#[cfg_attr(not(unix), allow(dead_code, reason = "listeners cannot be passed on there"))]
mod held_listeners;
mod output;
#[cfg(unix)]
mod process_usage;
#[cfg_attr(not(unix), allow(dead_code, reason = "nobody can ask there"))]
mod readiness;
#[cfg_attr(not(unix), allow(dead_code, reason = "nobody can ask there"))]
mod supervisor;

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::Context;
use gatewayworker_daemon::{LogFormat, Signals, unknown_variables};
use tokio::sync::mpsc;
use tracing::{info, warn};

use crate::cluster_dirs::ClusterDirs;
use crate::print_error;
use child::Daemon;
use daemon_runner::OnReload;
use supervisor::{Plan, Request, supervise};

/// The flags of `start`.
#[derive(Debug, Clone, clap::Args)]
pub struct StartFlags {
    #[command(flatten)]
    pub(crate) dirs: ClusterDirs,

    /// Start PATH, an application's own businessworker [default: the chat that this tool has built in]
    #[arg(long, value_name = "PATH", env = "GATEWAYWORKER_BUSINESSWORKER")]
    pub(crate) businessworker: Option<PathBuf>,

    /// Start PATH, a gateway with protocols of its own [default: the one that this tool has built in]
    #[arg(long, value_name = "PATH", env = "GATEWAYWORKER_GATEWAY")]
    pub(crate) gateway: Option<PathBuf>,

    /// Start PATH as the register [default: the one that this tool has built in]
    #[arg(long, value_name = "PATH", env = "GATEWAYWORKER_REGISTER")]
    pub(crate) register: Option<PathBuf>,

    /// How all daemons and this tool write the log, on standard error or to the log file [default: text]
    #[arg(long, value_name = "FORMAT", env = "GATEWAYWORKER_LOG_FORMAT", value_enum)]
    pub(crate) log_format: Option<LogFormat>,

    /// Ask all daemons whether their configuration is valid, and end: status 0 if it is, 1 if not
    #[arg(long)]
    pub(crate) check_config: bool,

    /// Run in the background; returns when the cluster can do its work
    #[cfg(unix)]
    #[arg(short, long)]
    pub(crate) daemon: bool,

    /// In the background, append the log to FILE [default: gatewayworker.log in the run directory]
    #[cfg(unix)]
    #[arg(long, value_name = "FILE", env = "GATEWAYWORKER_LOG_FILE")]
    pub(crate) log_file: Option<PathBuf>,

    /// Be the one in the background
    #[cfg(unix)]
    #[arg(long, hide = true, conflicts_with = "daemon")]
    in_background: bool,
}

/// Runs a cluster until a signal or a request ends it (status 0), or one of its daemons
/// does not start (status 1).
pub fn run(flags: &StartFlags) -> ExitCode {
    if flags.check_config {
        return say_whether_valid(flags);
    }
    #[cfg(unix)]
    if flags.daemon {
        return conclude(background::start(flags).map(crate::commands::print));
    }
    if let Err(error) = output::start(flags.log_format()) {
        return conclude(Err(error));
    }
    let result = run_here(flags);
    output::finish(result.as_ref().err());
    if result.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn conclude(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            print_error(format_args!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

#[cfg(unix)]
fn run_here(flags: &StartFlags) -> anyhow::Result<()> {
    if flags.in_background {
        background::leave_terminal()?;
    }
    unknown_variables().iter().for_each(|warning| warn!("{warning}"));
    let plan = plan(flags)?;
    let control = control_server::Control::take(flags)?;
    supervise_here(flags, plan, |ask| {
        if let Some(control) = control {
            control.serve(ask.clone())?;
        }
        control_server::obey_signals(ask)
    })
}

#[cfg(not(unix))]
fn run_here(flags: &StartFlags) -> anyhow::Result<()> {
    unknown_variables().iter().for_each(|warning| warn!("{warning}"));
    supervise_here(flags, plan(flags)?, |_| Ok(()))
}

/// Supervises from this process; `operate` lets others than this terminal's user ask, too.
fn supervise_here(
    flags: &StartFlags,
    plan: Plan,
    operate: impl FnOnce(mpsc::Sender<Request>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut signals = Signals::new().context("cannot listen for signals")?;
        let (ask, requests) = mpsc::channel(32);
        operate(ask.clone())?;
        let stop = ask.clone();
        tokio::spawn(async move {
            for now in [false, true] {
                let signal = signals.next().await;
                info!("{}: ending all daemons", signal.name);
                let _ = stop.send(Request::Stop { now }).await;
            }
        });
        let mut listening = Listening::default();
        supervise(plan, requests, |name, addresses| {
            listening.add(name, addresses);
            if listening.is_all() && !flags.in_background() {
                let listening = std::mem::take(&mut listening);
                tokio::spawn(welcome(ask.clone(), listening, flags.clone()));
            }
        })
        .await
    })
}

/// Says where clients connect to once the cluster can do its work, and why it cannot where that
/// takes long.
async fn welcome(ask: mpsc::Sender<Request>, listening: Listening, flags: StartFlags) {
    let mut told = Vec::new();
    while let Err(problems) = readiness::wait(&ask, readiness::WAIT).await {
        if ask.is_closed() {
            return;
        }
        if problems != told {
            warn!("the cluster cannot do its work: {}", problems.join("; "));
            told = problems;
        }
    }
    match flags.log_format() {
        LogFormat::Text => output::print(listening.welcome(flags.page(), "Ctrl-C ends all.")),
        LogFormat::Json => info!(listens = listening.listens(), "GatewayWorker is running"),
    }
}

impl StartFlags {
    #[cfg(unix)]
    fn in_background(&self) -> bool {
        self.in_background
    }

    #[cfg(not(unix))]
    fn in_background(&self) -> bool {
        false
    }

    pub(crate) fn log_format(&self) -> LogFormat {
        self.log_format.unwrap_or_default()
    }

    /// The page belongs to the chat, not to an application of one's own.
    fn page(&self) -> Option<&'static Path> {
        self.businessworker.is_none().then_some(Path::new("examples/client.html"))
    }
}

/// Says of each daemon what is wrong with its configuration.
fn say_whether_valid(flags: &StartFlags) -> ExitCode {
    let problems = match check(flags) {
        Ok(problems) => problems,
        Err(error) => return conclude(Err(error)),
    };
    for warning in unknown_variables() {
        let _ = writeln!(io::stderr(), "warning: {warning}");
    }
    for problem in &problems {
        print_error(problem);
    }
    if !problems.is_empty() {
        return ExitCode::FAILURE;
    }
    // That nobody reads it is no failure.
    let _ = writeln!(io::stdout(), "configuration is valid");
    ExitCode::SUCCESS
}

/// Asks each daemon whether its configuration is valid; returns what is wrong.
///
/// # Errors
/// When there is no such configuration.
pub(crate) fn check(flags: &StartFlags) -> anyhow::Result<Vec<String>> {
    let Plan { register, others } = plan(flags)?;
    let daemons = std::iter::once(register).chain(others.into_iter().map(|(daemon, _)| daemon));
    let mut problems: Vec<_> = daemons.filter_map(|daemon| check_daemon(&daemon)).collect();
    #[cfg(unix)]
    if flags.daemon
        && let Err(error) = background::open_log(&flags.log_file(&flags.dirs.run_dir()?))
    {
        problems.push(format!("{error:#}"));
    }
    Ok(problems)
}

/// Asks a daemon whether its configuration is valid; returns what is wrong.
fn check_daemon(daemon: &Daemon) -> Option<String> {
    let Daemon { name, program, arguments, .. } = daemon;
    let mut check = Command::new(program);
    check.args(arguments).args(["--check-config", "--log-format", "text"]).stdin(Stdio::null());
    let output = match check.output() {
        Ok(output) => output,
        Err(error) => return Some(format!("cannot start the {name} ({}): {error}", program.display())),
    };
    if output.status.success() {
        return None;
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
    let error = said.lines().find_map(|line| line.strip_prefix("error: ")).unwrap_or(last);
    Some(format!("the {name}: {error}"))
}

fn plan(flags: &StartFlags) -> anyhow::Result<Plan> {
    let this = std::env::current_exe().context("cannot find this program's own file")?;
    let configs = flags.dirs.configs()?;
    if configs.is_none() {
        warn!("there is no directory ./config, all daemons run with their defaults");
    }
    let daemon = |name: &'static str, colour, own: Option<&PathBuf>| {
        let mut arguments: Vec<OsString> = Vec::new();
        if own.is_none() {
            arguments.push(name.into());
        }
        if let Some(directory) = configs {
            let file = directory.join(name).with_extension("toml");
            if file.is_file() {
                arguments.extend(["--config".into(), file.into()]);
            } else {
                warn!("there is no {}, the {name} runs with its defaults", file.display());
            }
        }
        // Without a slash it would be looked for in PATH.
        let program = own.map(|own| std::path::absolute(own).unwrap_or(own.clone()));
        let program = program.unwrap_or(this.clone());
        Daemon { name, colour, program, arguments, log_format: flags.log_format() }
    };
    let worker = daemon("businessworker", 35, flags.businessworker.as_ref());
    let gateway = daemon("gateway", 32, flags.gateway.as_ref());
    Ok(Plan {
        register: daemon("register", 36, flags.register.as_ref()),
        others: vec![(worker, OnReload::Replace), (gateway, OnReload::ReadFiles)],
    })
}

/// What a person wants to know once all daemons listen.
#[derive(Debug, Default)]
struct Listening {
    daemons: usize,
    /// Where clients connect to, as they write it.
    clients: Vec<String>,
    /// Where calls over HTTP are taken.
    calls: Vec<String>,
}

impl Listening {
    /// The daemon of this name listens on these addresses.
    fn add(&mut self, name: &str, addresses: &[String]) {
        self.daemons += 1;
        match name {
            "gateway" => self.clients.extend(addresses.iter().map(|address| for_a_client(address))),
            "businessworker" => self.calls.extend_from_slice(addresses),
            _ => {}
        }
    }

    fn is_all(&self) -> bool {
        self.daemons == 3
    }

    /// All of it, in a line for machines.
    fn listens(&self) -> String {
        self.clients.iter().chain(&self.calls).map(String::as_str).collect::<Vec<_>>().join(" ")
    }

    /// `end` is how it comes to its end.
    fn welcome(&self, page: Option<&Path>, end: &str) -> String {
        let clients = self.clients.iter().map(|address| format!("    clients connect to  {address}\n"));
        let calls = self.calls.iter().map(|address| format!("    calls over HTTP at  {address}\n"));
        let page = page.and_then(|page| self.link(page));
        let page = page.map(|page| format!("    open in a browser   {page}\n"));
        let lines: String = clients.chain(calls).chain(page).collect();
        format!("\n  GatewayWorker is running.\n\n{lines}\n  {end}\n")
    }

    /// Returns the address of a page that is here, which it connects to the first listener for
    /// browsers.
    fn link(&self, page: &Path) -> Option<String> {
        let page = std::path::absolute(page).ok().filter(|page| page.is_file())?;
        let is_for_browsers = |url: &&String| url.starts_with("ws://") || url.starts_with("wss://");
        let page =
            page.to_str()?.replace('%', "%25").replace(' ', "%20").replace('?', "%3F").replace('#', "%23");
        Some(match self.clients.iter().find(is_for_browsers) {
            Some(url) => format!("file://{page}?url={url}"),
            None => format!("file://{page}"),
        })
    }
}

/// A listener's address as a client on this machine writes it.
fn for_a_client(address: &str) -> String {
    let address = match address.strip_prefix("websocket://") {
        Some(rest) => format!("ws://{rest}"),
        None => address.to_owned(),
    };
    address.replacen("//0.0.0.0:", "//127.0.0.1:", 1).replacen("//[::]:", "//[::1]:", 1)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        flags: StartFlags,
    }

    fn flags(arguments: &[&str]) -> StartFlags {
        Cli::parse_from([&["start"], arguments].concat()).flags
    }

    #[test]
    fn addresses_are_shown_as_a_client_writes_them() {
        for (listener, client) in [
            ("websocket://127.0.0.1:8289", "ws://127.0.0.1:8289"),
            ("websocket://0.0.0.0:80", "ws://127.0.0.1:80"),
            ("websocket://[::]:80", "ws://[::1]:80"),
            ("text://10.0.0.1:9000", "text://10.0.0.1:9000"),
        ] {
            assert_eq!(for_a_client(listener), client);
        }
    }

    #[test]
    fn all_that_listens_is_named_and_the_page_where_it_exists() {
        let directory = tempfile::tempdir().unwrap();
        let page = directory.path().join("client.html");
        let said = |page| {
            let mut listening = Listening::default();
            for (name, address) in [
                ("register", "127.0.0.1:1236"),
                ("businessworker", "http://127.0.0.1:80"),
                ("gateway", "websocket://0.0.0.0:8289"),
            ] {
                assert!(!listening.is_all());
                listening.add(name, &[address.to_owned()]);
            }
            assert!(listening.is_all());
            listening.welcome(page, "That is all.")
        };
        let text = "
  GatewayWorker is running.

    clients connect to  ws://127.0.0.1:8289
    calls over HTTP at  http://127.0.0.1:80

  That is all.
";
        assert_eq!(said(None), text);
        assert_eq!(said(Some(&page)), text, "there is no such page");
        std::fs::write(&page, "").unwrap();
        let link = format!("open in a browser   file://{}?url=ws://127.0.0.1:8289\n", page.display());
        assert!(said(Some(&page)).contains(&link), "{}", said(Some(&page)));
    }

    #[test]
    fn each_daemon_reads_its_own_file() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("gateway.toml"), "").unwrap();
        let config_dir = directory.path().to_str().unwrap();
        let own = ["--businessworker", "/opt/my-worker", "--gateway", "/opt/my-gateway"];
        let flags = flags(&[&["--config-dir", config_dir][..], &own].concat());
        let Plan { register, others } = plan(&flags).unwrap();
        assert_eq!(register.arguments, ["register"], "it has no file");
        assert_eq!(others[0].0.program, Path::new("/opt/my-worker"));
        assert!(others[0].0.arguments.is_empty(), "an application's own program has no subcommands");
        assert_eq!(others[0].1, OnReload::Replace);
        let file = directory.path().join("gateway.toml").into_os_string();
        assert_eq!(others[1].0.program, Path::new("/opt/my-gateway"));
        assert_eq!(others[1].0.arguments, ["--config".into(), file]);
    }
}
