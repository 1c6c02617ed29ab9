//! Plays rows, each in a process of its own, and several at a time: a row that needs hosts has a network namespace of
//! its own, and a row that hangs or dies takes no other along.
//!
//! The process is this program with the command `row`, which prints its [`Outcome`] as JSON.

use std::ffi::OsString;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::getpgrp;
use tokio::process::Command;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::outcome::Outcome;
use crate::rows::Row;

/// A row that was to be played.
#[derive(Debug)]
pub struct Played {
    /// The row.
    pub row: Row,
    /// What became of it, or why it could not be played.
    pub outcome: Result<Outcome>,
}

/// How rows are launched.
#[derive(Debug, Clone)]
pub struct Launcher {
    /// The flags that each row gets.
    pub flags: Vec<OsString>,
    /// How many rows are played at once.
    pub jobs: usize,
    /// How long one row may take.
    pub limit: Duration,
}

impl Launcher {
    /// Plays rows, each so many times, and reports each as it ends. Returns them in their order.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn play(&self, rows: &[Row], times: usize, mut report: impl FnMut(&Played)) -> Vec<Played> {
        let permits = Arc::new(Semaphore::new(self.jobs.max(1)));
        let mut running = JoinSet::new();
        let each = rows.iter().flat_map(|row| (1..=times).map(|nth| (*row, (times > 1).then_some(nth))));
        for (n, (row, nth)) in each.enumerate() {
            let (launcher, permits) = (self.clone(), permits.clone());
            running.spawn(async move {
                let _permit = permits.acquire().await;
                (n, Played { row, outcome: launcher.launch(row, nth).await })
            });
        }
        let mut played = Vec::new();
        while let Some(Ok((n, one))) = running.join_next().await {
            report(&one);
            played.push((n, one));
        }
        played.sort_by_key(|(n, _)| *n);
        played.into_iter().map(|(_, one)| one).collect()
    }

    async fn launch(&self, row: Row, nth: Option<usize>) -> Result<Outcome> {
        let this = std::env::current_exe().context("cannot find this program's own file")?;
        let mut command = match row.needs_hosts {
            true => {
                let mut command = Command::new("unshare");
                command.args(["--net", "--"]).arg(this);
                command
            }
            false => Command::new(this),
        };
        command.arg("row").arg(row.name).arg("--launched").args(&self.flags);
        if let Some(nth) = nth {
            command.arg("--nth").arg(nth.to_string());
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let mut row = command.spawn().context("cannot start a process")?;
        // Its end, also with this process, ends the row and its daemons.
        let _input = row.stdin.take();
        let output = timeout(self.limit, row.wait_with_output()).await;
        let output = output.with_context(|| format!("it has not ended in {:?}", self.limit))??;
        if !output.status.success() {
            bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
        }
        serde_json::from_slice(&output.stdout).context("its outcome is no JSON")
    }
}

/// Ends this process, which plays a row, and all that it has started, some of it frozen, when the launcher closes its
/// standard input or dies.
///
/// # Errors
/// The system has no thread left.
pub fn end_with_the_launcher() -> Result<()> {
    let watch = || {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        // The launcher has made it a group of its own.
        let _ = killpg(getpgrp(), Signal::SIGKILL);
    };
    std::thread::Builder::new().name("launcher".into()).spawn(watch)?;
    Ok(())
}
