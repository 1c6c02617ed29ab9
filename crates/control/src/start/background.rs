//! `start --daemon`: the same command once more, without a terminal, its lines in a log;
//! this one returns when the cluster can do its work.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};

use super::output::last_error;
use super::{Listening, StartFlags, readiness};
use crate::control_socket::{self, Request};
use crate::run_dir::{Holder, RunDir};
use crate::status::Report;

/// How long the daemons may take until they listen, before this one is not waited for.
const READY: Duration = Duration::from_secs(60);

/// It says within this time whether the cluster can do its work.
const ABLE: Duration = Duration::from_secs(readiness::WAIT.as_secs() + 10);

/// A cluster that listens answers at once.
const ANSWER: Duration = Duration::from_secs(10);

/// How often to look whether it is there.
const LOOK: Duration = Duration::from_millis(20);

/// So much of what a cluster that did not start has said is looked through, in bytes.
const LAST_WORDS: u64 = 64 * 1024;

impl StartFlags {
    /// Where the log goes in the background.
    pub(super) fn log_file(&self, run_dir: &RunDir) -> PathBuf {
        let file = self.log_file.clone().unwrap_or_else(|| run_dir.log());
        std::path::absolute(&file).unwrap_or(file)
    }

    /// The same command line for the one in the background. What comes from the
    /// environment comes from there again.
    fn for_background(&self) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = vec!["start".into(), "--in-background".into()];
        let paths = [
            ("--config-dir", &self.dirs.config_dir),
            ("--run-dir", &self.dirs.run_dir),
            ("--register", &self.register),
            ("--businessworker", &self.businessworker),
            ("--gateway", &self.gateway),
            ("--log-file", &self.log_file),
        ];
        for (flag, path) in paths {
            if let Some(path) = path {
                arguments.extend([flag.into(), path.into()]);
            }
        }
        if let Some(format) = self.log_format {
            arguments.extend(["--log-format".into(), format.name().into()]);
        }
        arguments
    }
}

/// Starts a cluster in the background, and returns what to say to whoever did so.
///
/// # Errors
/// When one runs there already, it does not start, or not in time; when it runs, but its
/// daemons do not find each other: then it goes on.
pub(super) fn start(flags: &StartFlags) -> anyhow::Result<String> {
    let run_dir = flags.dirs.run_dir()?;
    run_dir.make()?;
    // Otherwise it would be in the log only.
    drop(run_dir.lock()?);
    let path = flags.log_file(&run_dir);
    let name = path.display();
    let log = open_log(&path)?;
    let before = log.metadata().map(|log| log.len()).unwrap_or_default();
    let mut child = Command::new(std::env::current_exe().context("cannot find this program's own file")?)
        .args(flags.for_background())
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .context("cannot start a process")?;
    if !is_ready_in_time(&mut child, &run_dir)? {
        let why = last_error_in(&path, before).unwrap_or_else(|| "it has not said why".into());
        bail!("{why} (not started; the log is in {name})");
    }
    if let Err(error) = control_socket::ask::<()>(&run_dir.socket(), Request::Able, ABLE) {
        bail!(
            "the cluster runs, as process {}, but cannot do its work: {error:#} (see status, or stop it; \
             the log is in {name})",
            child.id()
        );
    }
    let report: Report = control_socket::ask(&run_dir.socket(), Request::Status, ANSWER)?;
    let mut listening = Listening::default();
    for daemon in &report.daemons {
        let addresses = daemon.processes.first().map(|process| process.listens.as_slice());
        listening.add(&daemon.name, addresses.unwrap_or_default());
    }
    let end = format!("Process {}, log in {name}.\n  Next: status, reload, stop.", report.process_id);
    Ok(listening.welcome(flags.page(), &end))
}

/// Opens the log to append to it.
///
/// # Errors
/// When that is not possible.
pub(super) fn open_log(path: &Path) -> anyhow::Result<File> {
    let log = OpenOptions::new().create(true).append(true).mode(0o600).open(path);
    log.with_context(|| format!("cannot write to {} (--log-file)", path.display()))
}

/// Waits until all listens; whether it has not ended before.
fn is_ready_in_time(child: &mut Child, run_dir: &RunDir) -> anyhow::Result<bool> {
    let holder = Holder::Process(child.id().to_string());
    let deadline = std::time::Instant::now() + READY;
    loop {
        if child.try_wait().context("lost sight of the process")?.is_some() {
            return Ok(false);
        }
        let patience = deadline.saturating_duration_since(std::time::Instant::now());
        if patience.is_zero() {
            bail!(
                "not all daemons listen after {} s; process {} goes on, see status, or stop it",
                READY.as_secs(),
                child.id()
            );
        }
        // Another one's socket may still be there, or already.
        if run_dir.holder()? == holder
            && control_socket::ask::<()>(&run_dir.socket(), Request::Ready, patience).is_ok()
        {
            return Ok(true);
        }
        std::thread::sleep(LOOK);
    }
}

/// The last error in the log behind `before`.
fn last_error_in(log: &Path, before: u64) -> Option<String> {
    let mut log = File::open(log).ok()?;
    let len = log.metadata().ok()?.len();
    log.seek(SeekFrom::Start(before.max(len.saturating_sub(LAST_WORDS)))).ok()?;
    let mut said = Vec::new();
    log.take(LAST_WORDS).read_to_end(&mut said).ok()?;
    said.split(|byte| *byte == b'\n').rev().find_map(last_error)
}

/// Makes this process one that no terminal's end reaches.
///
/// # Errors
/// When the system refuses.
pub(super) fn leave_terminal() -> anyhow::Result<()> {
    rustix::process::setsid().map(drop).context("cannot leave the terminal")
}

#[cfg(test)]
mod tests {
    use clap::{Args, FromArgMatches};

    use super::*;

    #[test]
    fn the_one_in_the_background_is_told_everything() {
        let command = StartFlags::augment_args(clap::Command::new("start"));
        let given = command.get_arguments().filter(|flag| flag.get_action().takes_values());
        let value = |flag: &clap::Arg| flag.get_possible_values().last().map(|one| one.get_name().to_owned());
        let given: Vec<_> = given
            .map(|flag| (flag.get_long().unwrap(), value(flag).unwrap_or("here".into())))
            .map(|(name, value)| format!("--{name}={value}"))
            .collect();
        assert!(given.len() >= 7, "{given:?}");
        let matches = command.get_matches_from([&["start".to_owned()], given.as_slice()].concat());
        let flags = StartFlags::from_arg_matches(&matches).unwrap();
        let passed_on = flags.for_background();
        for flag in given {
            let (name, value) = flag.split_once('=').unwrap();
            let at = passed_on.iter().position(|word| word == name);
            assert!(at.is_some_and(|at| passed_on[at + 1] == value), "{flag}: {passed_on:?}");
        }
    }
}
