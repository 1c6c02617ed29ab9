//! A daemon as a process of its own: started with a configuration file, sent signals, killed. Its log is in a file.
//!
//! It runs with `--supervised`: it says when it listens, answers for its stats, and ends when this program does.

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use gatewayworker_daemon::child_protocol::{ChildMessage, ChildStatus, SupervisorMessage};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

/// How long a daemon may take to listen, and to answer.
const TIMEOUT: Duration = Duration::from_secs(20);

/// How many log lines an error shows.
const LAST_LINES: usize = 8;

/// How to start a daemon.
#[derive(Debug, Clone)]
pub struct Launch {
    /// The name in errors, and of the files of the daemon.
    pub name: String,
    /// The program with its first arguments.
    pub program: Vec<OsString>,
    /// The daemon's configuration file.
    pub config: String,
    /// The folder for its files.
    pub directory: PathBuf,
    /// The process whose network namespace it runs in.
    pub host: Option<u32>,
    /// The most files that it may have open.
    pub open_files: Option<u32>,
    /// By how many seconds its monotonic clock is ahead of this program's.
    pub clock_ahead: Option<u32>,
    /// Where its log goes.
    pub log: LogTo,
}

/// Where a daemon's log goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LogTo {
    /// To a file beside its configuration.
    #[default]
    File,
    /// To a disk that is full.
    FullDisk,
    /// Into a pipe that nobody reads.
    UnreadPipe,
}

/// A daemon's process. Dropping it kills the process.
#[derive(Debug)]
pub struct Process {
    /// How it was started: the same once more starts its successor.
    pub launch: Launch,
    /// The process id.
    pub pid: u32,
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    /// The reading end of its log, if nobody reads it.
    _unread: Option<std::io::PipeReader>,
}

impl Launch {
    fn path(&self, extension: &str) -> PathBuf {
        self.directory.join(&self.name).with_extension(extension)
    }

    /// The programs that run before the daemon and become it: each replaces itself, so the process id stays.
    fn wrappers(&self) -> Vec<OsString> {
        let mut words: Vec<String> = Vec::new();
        if let Some(host) = self.host {
            words.extend(["nsenter", "--target", &host.to_string(), "--net", "--"].map(str::to_owned));
        }
        if let Some(seconds) = self.clock_ahead {
            let seconds = seconds.to_string();
            let command = ["unshare", "--time", "--monotonic", &seconds, "--boottime", &seconds, "--"];
            words.extend(command.map(str::to_owned));
        }
        if let Some(limit) = self.open_files {
            words.extend(
                ["sh", "-c", "ulimit -n \"$0\" && exec \"$@\"", &limit.to_string()].map(str::to_owned),
            );
        }
        words.into_iter().map(OsString::from).collect()
    }

    fn command(&self) -> Result<(Command, Option<std::io::PipeReader>)> {
        let config = self.path("toml");
        std::fs::write(&config, &self.config)?;
        let mut words = self.wrappers();
        words.extend(self.program.iter().cloned());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).arg("--supervised").arg("--config").arg(config);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("GATEWAYWORKER_") {
                command.env_remove(name);
            }
        }
        let mut unread = None;
        let log: Stdio = match self.log {
            LogTo::File => File::options().create(true).append(true).open(self.path("log"))?.into(),
            LogTo::FullDisk => File::options().write(true).open("/dev/full")?.into(),
            LogTo::UnreadPipe => {
                let (reader, writer) = std::io::pipe()?;
                unread = Some(reader);
                // Enough lines to fill the pipe.
                command.env("RUST_LOG", "trace");
                writer.into()
            }
        };
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log).kill_on_drop(true);
        Ok((command, unread))
    }

    /// Starts the daemon, and waits until it listens.
    ///
    /// # Errors
    /// It does not start in time. The error shows its last log lines.
    pub async fn start(self) -> Result<Process> {
        let (mut command, unread) = self.command()?;
        let mut child = command.spawn().with_context(|| format!("cannot start {}", self.name))?;
        let pid = child.id().context("the process has no id")?;
        let input = child.stdin.take().context("the process has no input")?;
        let output = BufReader::new(child.stdout.take().context("the process has no output")?);
        let mut process = Process { launch: self, pid, child, input, output, _unread: unread };
        let is_ready = |message| matches!(message, ChildMessage::Ready { .. }).then_some(());
        process.answer(is_ready).await.context("it does not listen")?;
        Ok(process)
    }
}

impl Drop for Process {
    /// Kills the process, and waits until it has let go of its addresses: the next cluster listens on the same.
    fn drop(&mut self) {
        let Some(pid) = self.child.id() else { return };
        if self.child.start_kill().is_ok() {
            let pid = Pid::from_raw(pid.cast_signed());
            let _ = waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT);
        }
    }
}

impl Process {
    /// Waits for a message of the daemon.
    async fn answer<T>(&mut self, wanted: impl Fn(ChildMessage) -> Option<T>) -> Result<T> {
        let read = async {
            let mut line = String::new();
            loop {
                line.clear();
                if self.output.read_line(&mut line).await? == 0 {
                    bail!("it has ended");
                }
                if let Some(answer) = ChildMessage::parse(line.trim_end()).and_then(&wanted) {
                    return Ok(answer);
                }
            }
        };
        let answer = timeout(TIMEOUT, read).await.unwrap_or_else(|_| bail!("no answer in time"));
        answer.with_context(|| format!("{}, process {}:{}", self.launch.name, self.pid, self.last_lines()))
    }

    /// Asks for the daemon's stats.
    ///
    /// # Errors
    /// The daemon does not answer.
    pub async fn status(&mut self) -> Result<ChildStatus> {
        self.input.write_all(SupervisorMessage::Status.to_line().as_bytes()).await?;
        self.answer(|message| match message {
            ChildMessage::Status(status) => Some(status),
            _ => None,
        })
        .await
    }

    /// Asks for one of its counters; 0 if it has none of this name.
    ///
    /// # Errors
    /// The daemon does not answer.
    pub async fn stat(&mut self, name: &str) -> Result<u64> {
        Ok(self.status().await?.stats.get(name).and_then(serde_json::Value::as_u64).unwrap_or_default())
    }

    /// Sends a signal to the process.
    ///
    /// # Errors
    /// The process has ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = Pid::from_raw(self.pid.try_into()?);
        kill(pid, signal).with_context(|| format!("{} cannot be sent {signal}", self.launch.name))
    }

    /// Kills the process, and waits for its end.
    ///
    /// # Errors
    /// It has ended before.
    pub async fn kill(&mut self) -> Result<()> {
        self.signal(Signal::SIGKILL)?;
        self.child.wait().await?;
        Ok(())
    }

    /// Waits for the end of the process.
    ///
    /// # Errors
    /// It goes on after the limit.
    pub async fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let ended = timeout(limit, self.child.wait()).await;
        let ended = ended.with_context(|| format!("{} has not ended in {limit:?}", self.launch.name))?;
        Ok(ended?)
    }

    /// Whether the process has ended.
    pub fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Returns the log so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.launch.path("log")).unwrap_or_default()
    }

    fn last_lines(&self) -> String {
        let log = self.log();
        let lines: Vec<_> = log.lines().rev().take(LAST_LINES).collect();
        lines.iter().rev().map(|line| format!("\n    {line}")).collect()
    }
}

/// Returns what `program --help` prints.
///
/// # Errors
/// The program does not run.
pub fn help(program: &[OsString]) -> Result<String> {
    let shown = Path::new(&program[0]).display().to_string();
    let output = std::process::Command::new(&program[0]).args(&program[1..]).arg("--help").output();
    Ok(String::from_utf8_lossy(&output.with_context(|| format!("cannot run {shown}"))?.stdout).into_owned())
}
