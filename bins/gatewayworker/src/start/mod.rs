//! `start`: a register, a businessworker and a gateway as child processes, and where to
//! point the page; in the foreground until a signal, or in the background.

#[cfg(unix)]
mod background;
mod child;
#[cfg_attr(not(unix), allow(dead_code, reason = "nobody can ask there"))]
mod keeper;
mod output;
#[cfg_attr(not(unix), allow(dead_code, reason = "listeners cannot be passed on there"))]
mod ports;
#[cfg(unix)]
mod reachable;
#[cfg_attr(not(unix), allow(dead_code, reason = "nobody can ask there"))]
mod supervisor;
#[cfg(unix)]
mod usage;
mod words;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use gatewayworker_daemon::Signals;
use tokio::sync::mpsc;

use crate::complain;
use crate::place::Place;
use child::Daemon;
use keeper::OnReload;
use output::{print, tell};
use supervisor::{Plan, Request, supervise};

/// The flags of `start`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Flags {
    #[command(flatten)]
    pub(crate) place: Place,

    /// Start PATH, an application's own businessworker [default: the chat that this tool has built in]
    #[arg(long, value_name = "PATH", env = "GATEWAYWORKER_BUSINESSWORKER")]
    pub(crate) businessworker: Option<PathBuf>,

    /// Run in the background; returns when all daemons listen
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
pub(crate) fn run(flags: &Flags) -> ExitCode {
    let result = try_run(flags);
    output::finish();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(format_args!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

#[cfg(unix)]
fn try_run(flags: &Flags) -> anyhow::Result<()> {
    if flags.daemon {
        let started = background::start(flags)?;
        print(started);
        return Ok(());
    }
    if flags.in_background {
        background::leave_terminal()?;
    }
    let plan = plan(flags)?;
    let control = reachable::Control::take(flags)?;
    run_here(flags, plan, |ask| {
        if let Some(control) = control {
            control.serve(ask.clone())?;
        }
        reachable::obey_signals(ask)
    })
}

#[cfg(not(unix))]
fn try_run(flags: &Flags) -> anyhow::Result<()> {
    run_here(flags, plan(flags)?, |_| Ok(()))
}

/// Supervises from this process; `operate` lets others than this terminal's user ask, too.
fn run_here(
    flags: &Flags,
    plan: Plan,
    operate: impl FnOnce(mpsc::Sender<Request>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut signals = Signals::new().context("cannot listen for signals")?;
        let (ask, requests) = mpsc::channel(32);
        operate(ask.clone())?;
        tokio::spawn(async move {
            for now in [false, true] {
                let signal = signals.next().await;
                tell(format_args!("{}: ending all daemons", signal.name));
                let _ = ask.send(Request::Stop { now }).await;
            }
        });
        let mut listening = Listening::default();
        supervise(plan, requests, |name, addresses| {
            listening.add(name, addresses);
            if listening.is_all() && !flags.in_background() {
                print(listening.welcome(flags.page(), "Ctrl-C ends all."));
            }
        })
        .await
    })
}

impl Flags {
    #[cfg(unix)]
    fn in_background(&self) -> bool {
        self.in_background
    }

    #[cfg(not(unix))]
    fn in_background(&self) -> bool {
        false
    }

    /// The page belongs to the chat, not to an application of one's own.
    fn page(&self) -> Option<&'static Path> {
        self.businessworker.is_none().then_some(Path::new("examples/client.html"))
    }
}

/// Asks each daemon whether it could start.
///
/// # Errors
/// What is wrong with the configuration of the first that could not.
#[cfg(unix)]
pub(crate) fn check(flags: &Flags) -> anyhow::Result<()> {
    let Plan { register, others } = plan(flags)?;
    for daemon in std::iter::once(register).chain(others.into_iter().map(|(daemon, _)| daemon)) {
        let Daemon { name, program, arguments, .. } = daemon;
        let mut check = std::process::Command::new(&program);
        let output = check.args(arguments).arg("--check-config").stdin(std::process::Stdio::null()).output();
        let output = output.with_context(|| format!("cannot start the {name} ({})", program.display()))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            let said = said.lines().last().unwrap_or_default();
            anyhow::bail!("the {name}: {}", said.strip_prefix("error: ").unwrap_or(said));
        }
    }
    if flags.daemon {
        background::open_log(&flags.log_file(&flags.place.run_dir()?))?;
    }
    Ok(())
}

fn plan(flags: &Flags) -> anyhow::Result<Plan> {
    let this = std::env::current_exe().context("cannot find this program's own file")?;
    let configs = flags.place.configs()?;
    if configs.is_none() {
        tell("there is no directory ./config, all daemons run with their defaults");
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
                tell(format_args!("there is no {}, the {name} runs with its defaults", file.display()));
            }
        }
        // Without a slash it would be looked for in PATH.
        let program = own.map(|own| std::path::absolute(own).unwrap_or(own.clone()));
        Daemon { name, colour, program: program.unwrap_or(this.clone()), arguments }
    };
    Ok(Plan {
        register: daemon("register", 36, None),
        others: vec![
            (daemon("businessworker", 35, flags.businessworker.as_ref()), OnReload::Replace),
            (daemon("gateway", 32, None), OnReload::ReadFiles),
        ],
    })
}

/// What a person wants to know once all daemons listen.
#[derive(Debug, Default)]
struct Listening {
    daemons: usize,
    lines: Vec<String>,
}

impl Listening {
    /// The daemon of this name listens on these addresses.
    fn add(&mut self, name: &str, addresses: &[String]) {
        self.daemons += 1;
        for address in addresses {
            match name {
                "gateway" => self.lines.push(format!("clients connect to  {}", for_a_client(address))),
                "businessworker" => self.lines.push(format!("calls over HTTP at  {address}")),
                _ => {}
            }
        }
    }

    fn is_all(&self) -> bool {
        self.daemons == 3
    }

    /// `end` is how it comes to its end.
    fn welcome(&mut self, page: Option<&Path>, end: &str) -> String {
        // Clients first, whoever was ready first.
        self.lines.sort_by_key(|line| !line.starts_with("clients"));
        if let Some(Ok(page)) = page.map(std::path::absolute)
            && page.is_file()
        {
            self.lines.push(format!("open in a browser   {}", page.display()));
        }
        let lines: String = self.lines.iter().map(|line| format!("    {line}\n")).collect();
        format!("\n  GatewayWorker is running.\n\n{lines}\n  {end}\n")
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
        flags: Flags,
    }

    fn flags(arguments: &[&str]) -> Flags {
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
        assert!(said(Some(&page)).contains(&format!("open in a browser   {}\n", page.display())));
    }

    #[test]
    fn each_daemon_reads_its_own_file() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("gateway.toml"), "").unwrap();
        let config_dir = directory.path().to_str().unwrap();
        let flags = flags(&["--config-dir", config_dir, "--businessworker", "/opt/my-worker"]);
        let Plan { register, others } = plan(&flags).unwrap();
        assert_eq!(register.arguments, ["register"], "it has no file");
        assert_eq!(others[0].0.program, Path::new("/opt/my-worker"));
        assert!(others[0].0.arguments.is_empty(), "an application's own program has no subcommands");
        assert_eq!(others[0].1, OnReload::Replace);
        let file = directory.path().join("gateway.toml").into_os_string();
        assert_eq!(others[1].0.arguments, ["gateway".into(), "--config".into(), file]);
    }
}
