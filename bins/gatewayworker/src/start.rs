//! `start`: a register, a businessworker and a gateway as child processes, and
//! where to point the page.

use std::ffi::OsString;
use std::fmt::Display;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, ensure};
use gatewayworker_daemon::Signals;
use tokio::sync::mpsc;

use crate::child::Daemon;
use crate::supervisor::{Plan, supervise};

/// The flags of `start`.
#[derive(Debug, clap::Args)]
pub(crate) struct Flags {
    /// Read register.toml, gateway.toml and businessworker.toml from DIR [default: ./config, where it exists]
    #[arg(long, value_name = "DIR")]
    config_dir: Option<PathBuf>,

    /// Start PATH, an application's own businessworker [default: the chat that this tool has built in]
    #[arg(long, value_name = "PATH")]
    businessworker: Option<PathBuf>,
}

/// Runs a cluster until a signal ends it (status 0) or one of its daemons ends by
/// itself (status 1).
pub(crate) fn run(flags: &Flags) -> ExitCode {
    match try_run(flags) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tell(io::stderr(), format_args!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn try_run(flags: &Flags) -> anyhow::Result<()> {
    let plan = plan(flags)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut signals = Signals::new().context("cannot listen for signals")?;
        let (heard, hear) = mpsc::channel(2);
        tokio::spawn(async move {
            loop {
                let signal = signals.next().await;
                tell(io::stderr(), format_args!("{}: ending all daemons", signal.name));
                // Two are all that matter.
                let _ = heard.try_send(signal);
            }
        });
        supervise(plan, hear, |name, addresses| {
            if name == "gateway" {
                // The page belongs to the chat, not to an application of one's own.
                let page = flags.businessworker.is_none().then_some(Path::new("examples/client.html"));
                tell(io::stdout(), welcome(addresses, page));
            }
        })
        .await
    })
}

fn plan(flags: &Flags) -> anyhow::Result<Plan> {
    let this = std::env::current_exe().context("cannot find this program's own file")?;
    let configs = match &flags.config_dir {
        Some(directory) => {
            ensure!(directory.is_dir(), "--config-dir {}: no such directory", directory.display());
            Some(directory.as_path())
        }
        None => Some(Path::new("config")).filter(|directory| directory.is_dir()),
    };
    if configs.is_none() {
        tell(io::stderr(), "there is no directory ./config, all daemons run with their defaults");
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
                let file = file.display();
                tell(io::stderr(), format_args!("there is no {file}, the {name} runs with its defaults"));
            }
        }
        Daemon { name, colour, program: own.unwrap_or(&this).clone(), arguments }
    };
    Ok(Plan {
        register: daemon("register", 36, None),
        others: vec![
            daemon("businessworker", 35, flags.businessworker.as_ref()),
            daemon("gateway", 32, None),
        ],
    })
}

/// Says a line to whoever reads `to`. That nobody does any more (a pipe that is closed
/// early) is no reason to leave the daemons without their drain: `println!` would panic.
fn tell(mut to: impl Write, line: impl Display) {
    let _ = writeln!(to, "{line}");
}

/// What a person wants to know once the gateway listens on `addresses`.
fn welcome(addresses: &[String], page: Option<&Path>) -> String {
    let mut text = "\n  GatewayWorker is running.\n\n".to_owned();
    for address in addresses {
        text += &format!("    clients connect to  {}\n", for_a_client(address));
    }
    if let Some(Ok(page)) = page.map(std::path::absolute)
        && page.is_file()
    {
        text += &format!("    open in a browser   {}\n", page.display());
    }
    text + "\n  Ctrl-C ends all.\n"
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
    use super::*;

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
    fn the_page_is_named_where_it_exists() {
        let addresses = ["websocket://127.0.0.1:8289".to_owned()];
        let directory = tempfile::tempdir().unwrap();
        let page = directory.path().join("client.html");
        assert!(!welcome(&addresses, Some(&page)).contains("browser"));
        std::fs::write(&page, "").unwrap();
        assert!(welcome(&addresses, Some(&page)).contains(page.to_str().unwrap()));
    }

    #[test]
    fn each_daemon_reads_its_own_file() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("gateway.toml"), "").unwrap();
        let flags = Flags {
            config_dir: Some(directory.path().to_owned()),
            businessworker: Some("/opt/my-worker".into()),
        };
        let Plan { register, others } = plan(&flags).unwrap();
        assert_eq!(register.arguments, ["register"], "it has no file");
        assert_eq!(others[0].program, Path::new("/opt/my-worker"));
        assert!(others[0].arguments.is_empty(), "an application's own program has no subcommands");
        let file = directory.path().join("gateway.toml").into_os_string();
        assert_eq!(others[1].arguments, ["gateway".into(), "--config".into(), file]);
    }

    #[test]
    fn a_directory_that_was_named_must_exist() {
        let flags = Flags { config_dir: Some("/nowhere".into()), businessworker: None };
        assert!(plan(&flags).is_err());
    }
}
