//! A cluster that the control tool runs: `start -d`, `reload` and `restart`, as a person would.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tempfile::TempDir;
use tokio::process::Command;
use tokio::time::timeout;

use crate::journal::Books;
use crate::plan::Programs;
use crate::process::help;
use crate::timing::Timing;

/// How long a command may take.
const LIMIT: Duration = Duration::from_secs(60);

/// A cluster of the control tool. Dropping it stops the cluster.
#[derive(Debug)]
pub struct Site {
    /// Where clients connect.
    pub listener: SocketAddr,
    control: PathBuf,
    directory: TempDir,
}

impl Site {
    /// Starts a cluster with the application.
    ///
    /// # Errors
    /// The cluster does not start.
    pub async fn start(programs: &Programs, timing: Timing, books: &Books) -> Result<Self> {
        let [.., high, low] = std::process::id().to_be_bytes();
        let address = Ipv4Addr::new(127, 64 | (high & 0x3f), low, 9);
        let listener = SocketAddr::from((address, 8289));
        let directory = tempfile::Builder::new().prefix("faults-").tempdir()?;
        let journal = books.read_journal(directory.path())?;
        let site = Self { listener, control: programs.control.clone(), directory };
        let at = format!("register_address = '{address}:1236'\n");
        site.write("register.toml", &format!("listen = '{address}:1236'\n"))?;
        let settings = timing.settings(&help(&programs.gateway)?);
        let gateway = format!(
            "{at}lan_ip = '{address}'\nlan_port = 2300\nlisten = ['websocket://{listener}']\nping_interval = 0\n"
        );
        site.write("gateway.toml", &format!("{gateway}{settings}"))?;
        let settings = timing.settings(&help(&programs.worker)?);
        let app = format!("[app]\njournal = '{}'\nhandler_ms = 40\n", journal.display());
        site.write("businessworker.toml", &format!("{at}{settings}{app}"))?;
        // The tool starts a program without arguments before the flags.
        let words: Vec<_> = programs.worker.iter().map(|word| format!("'{}'", word.display())).collect();
        site.write("worker", &format!("#!/bin/sh\nexec {} \"$@\"\n", words.join(" ")))?;
        fs::set_permissions(site.directory.path().join("worker"), fs::Permissions::from_mode(0o700))?;
        site.run("start").await?;
        Ok(site)
    }

    fn write(&self, file: &str, text: &str) -> Result<()> {
        Ok(fs::write(self.directory.path().join(file), text)?)
    }

    fn command(&self, command: &str) -> std::process::Command {
        let mut tool = std::process::Command::new(&self.control);
        let directory = self.directory.path();
        tool.arg(command).arg("--config-dir").arg(directory).arg("--run-dir").arg(directory.join("run"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("GATEWAYWORKER_") {
                tool.env_remove(name);
            }
        }
        tool.stdin(Stdio::null());
        tool
    }

    /// Runs a command of the control tool to its end.
    ///
    /// # Errors
    /// It fails, or takes too long.
    pub async fn run(&self, command: &str) -> Result<()> {
        let mut tool = self.command(command);
        if command == "start" {
            tool.arg("--daemon").arg("--businessworker").arg(self.directory.path().join("worker"));
        }
        if command == "restart" {
            tool.arg("--daemon");
        }
        let output = timeout(LIMIT, Command::from(tool).output()).await;
        let output = output.with_context(|| format!("{command} takes over {LIMIT:?}"))??;
        if !output.status.success() {
            bail!("{command}: {}\n{}", String::from_utf8_lossy(&output.stderr), self.log());
        }
        Ok(())
    }

    /// Returns the log of the cluster.
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("run/gatewayworker.log")).unwrap_or_default()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = self.command("stop").arg("--now").output();
    }
}
