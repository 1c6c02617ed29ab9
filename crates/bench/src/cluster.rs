//! The servers of the cases `mesh`, `scale` and `federation`: processes that this program starts and ends. Their binaries
//! are beside its own. `nats` starts its servers by [`Daemon`] too.
//!
//! They run supervised: each prints `ready` to standard output when it listens, and drains when its standard input
//! ends, which happens also when this program is killed. Each gateway and the register has a loopback address of its
//! own, and none is 127.0.0.1, and links are TCP's: so they ping each other as across hosts, and `sockets` counts links by
//! address.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fs::File;
use std::io::Write;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStderr, ChildStdout, Command};

use crate::procfs::Processes;

/// How long a server may take to listen, and to drain.
const TIMEOUT: Duration = Duration::from_secs(20);

/// How many log lines an error shows.
const LAST_LINES: usize = 8;

/// The last byte of the register's address. Gateways count from 1.
const REGISTER: u8 = 254;

/// The last byte of the address of all nats-servers.
const NATS: u8 = 255;

/// One server process.
pub(crate) struct Daemon {
    name: String,
    child: Child,
    pid: u32,
    out: BufReader<ChildStdout>,
    log_tail: Rc<RefCell<VecDeque<String>>>,
}

/// A gateway, and the address of its inner port.
pub(crate) struct Gateway {
    pub(crate) daemon: Daemon,
    pub(crate) lan_ip: Ipv4Addr,
}

/// The settings of a cluster that are not the daemons' defaults.
#[derive(Clone, Debug, Default)]
pub(crate) struct Setup {
    /// How many clusters, and gateways in them, this run has started before: they have their addresses.
    pub(crate) before: (usize, usize),
    /// Further flags of each gateway, and of each worker.
    pub(crate) gateway_flags: Vec<String>,
    pub(crate) worker_flags: Vec<String>,
    /// The workers' program, instead of `bench_worker`.
    pub(crate) worker_program: Option<&'static str>,
    /// The directory for the daemons' logs, if they are wanted.
    pub(crate) logs: Option<PathBuf>,
}

/// A register with gateways and workers.
pub(crate) struct Cluster {
    setup: Setup,
    pub(crate) register: Daemon,
    register_address: String,
    pub(crate) gateways: Vec<Gateway>,
    pub(crate) workers: Vec<Daemon>,
}

impl Daemon {
    /// Starts `binary`, a path relative to the directory of this program. Its log goes to a file in `logs` too, if given.
    pub(crate) fn start(name: String, binary: &str, flags: &[String], logs: Option<&Path>) -> Result<Self> {
        let own = std::env::current_exe().context("the path of this program is unknown")?;
        let path = own.with_file_name(binary);
        let mut command = Command::new(&path);
        for (key, _) in std::env::vars_os() {
            if key.to_string_lossy().starts_with("GATEWAYWORKER_") {
                command.env_remove(key);
            }
        }
        // Not a flag, which programs of earlier versions would refuse.
        command.env("GATEWAYWORKER_UNIX_LINKS", "false").arg("--supervised").args(flags);
        Self::spawn(name, command, logs)
    }

    /// Starts a program that prints `ready`, and ends when its standard input does.
    ///
    /// # Errors
    /// It cannot be started.
    pub(crate) fn spawn(name: String, mut command: Command, logs: Option<&Path>) -> Result<Self> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().with_context(|| {
            format!("{name} cannot be started from {}", command.as_std().get_program().display())
        })?;
        let pid = child.id().context("the process has no id")?;
        let (out, log) = (
            child.stdout.take().context("the process has no output")?,
            child.stderr.take().context("the process has no log")?,
        );
        let log_tail = Rc::new(RefCell::new(VecDeque::new()));
        let file = match logs.map(|logs| logs.join(format!("{}.log", name.replace(' ', "-")))) {
            Some(path) => Some(File::create(&path).with_context(|| format!("creating {}", path.display()))?),
            None => None,
        };
        tokio::task::spawn_local(keep_log_tail(log, log_tail.clone(), file));
        Ok(Daemon { name, child, pid, out: BufReader::new(out), log_tail })
    }

    /// Waits until the server listens, and returns its first address, if it has one.
    ///
    /// # Errors
    /// The server has ended or does not listen in time. The error shows its last log lines.
    pub(crate) async fn ready(&mut self) -> Result<String> {
        let mut line = String::new();
        let read = tokio::time::timeout(TIMEOUT, self.out.read_line(&mut line)).await;
        match (read, line.trim().strip_prefix("ready")) {
            (Ok(Ok(_)), Some(addresses)) => {
                Ok(addresses.split_ascii_whitespace().next().unwrap_or_default().into())
            }
            (Err(_), _) => Err(self.error(&format!("did not start within {} s", TIMEOUT.as_secs()))),
            _ => Err(self.error("did not start")),
        }
    }

    /// Checks that the server runs.
    ///
    /// # Errors
    /// The server has ended. The error shows its last log lines.
    pub(crate) fn check(&mut self) -> Result<()> {
        match self.child.try_wait().context("the state of a process is unknown")? {
            Some(status) => Err(self.error(&format!("has ended ({status})"))),
            None => Ok(()),
        }
    }

    /// Returns an error about the server, with its last log lines. `how` is a verb: "has ended".
    pub(crate) fn error(&self, how: &str) -> anyhow::Error {
        let log_tail: String = self.log_tail.borrow().iter().map(|line| format!("\n    {line}")).collect();
        let log_tail = if log_tail.is_empty() { "\n    (no log lines)".into() } else { log_tail };
        anyhow!("{} (process {}) {how}:{log_tail}", self.name, self.pid)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Sends the signal to drain.
    ///
    /// # Errors
    /// The signal cannot be sent.
    #[cfg(target_os = "linux")]
    pub(crate) fn terminate(&self) -> Result<()> {
        use nix::sys::signal::{Signal, kill};
        let pid = nix::unistd::Pid::from_raw(self.pid.try_into()?);
        kill(pid, Signal::SIGTERM).with_context(|| format!("ending {}", self.name))
    }

    #[cfg(not(target_os = "linux"))]
    pub(crate) fn terminate(&self) -> Result<()> {
        Err(anyhow!("{} cannot be sent a signal on this system", self.name))
    }

    /// Ends the process by the end of its standard input, and waits for that.
    pub(crate) async fn end(mut self) {
        drop(self.child.stdin.take());
        self.wait_for_end().await;
    }

    /// Waits for the end of the process, and kills it after the time limit.
    pub(crate) async fn wait_for_end(mut self) {
        if tokio::time::timeout(TIMEOUT, self.child.wait()).await.is_err() {
            let _ = self.child.kill().await;
        }
    }
}

/// Reads a log, and keeps its last lines, and all lines in a file, if given.
async fn keep_log_tail(log: ChildStderr, log_tail: Rc<RefCell<VecDeque<String>>>, mut file: Option<File>) {
    let mut lines = BufReader::new(log).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        if let Some(file) = &mut file {
            // A full disk takes nothing from the measurement.
            let _ = writeln!(file, "{line}");
        }
        let mut log_tail = log_tail.borrow_mut();
        if log_tail.len() == LAST_LINES {
            log_tail.pop_front();
        }
        log_tail.push_back(line);
    }
}

impl Setup {
    /// Has all daemons send to groups and uids everywhere, unless they are to use interest, their default.
    pub(crate) fn interest(mut self, interest: bool) -> Self {
        if !interest {
            for flags in [&mut self.gateway_flags, &mut self.worker_flags] {
                flags.push("--interest=false".into());
            }
        }
        self
    }
}

impl Cluster {
    /// Starts a register with further settings for the others, and waits until it listens.
    ///
    /// # Errors
    /// It does not start.
    pub(crate) async fn start_with(setup: Setup) -> Result<Self> {
        let place = u8::try_from(setup.before.0).ok().and_then(|before| REGISTER.checked_sub(before));
        let listen = format!("{}:0", loopback(place.context("too many clusters")?));
        let name = match setup.before.0 {
            0 => "the register".into(),
            before => format!("register {}", before + 1),
        };
        let flags = ["--listen".into(), listen];
        let mut register = Daemon::start(name, "register", &flags, setup.logs.as_deref())?;
        let register_address = register.ready().await?;
        Ok(Cluster { setup, register, register_address, gateways: Vec::new(), workers: Vec::new() })
    }

    /// Starts one more gateway. Does not wait for it.
    ///
    /// # Errors
    /// Its program cannot be started.
    pub(crate) fn add_gateway(&mut self) -> Result<()> {
        let number = self.setup.before.1 + self.gateways.len() + 1;
        let lan_ip =
            loopback(u8::try_from(number).ok().filter(|n| *n < REGISTER).context("too many gateways")?);
        let flags = [
            ("--listen", "websocket://127.0.0.1:0".into()),
            ("--lan-ip", lan_ip.to_string()),
            ("--lan-port", "0".into()),
            ("--register-address", self.register_address.clone()),
        ];
        let mut flags: Vec<_> =
            flags.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]).collect();
        flags.extend_from_slice(&self.setup.gateway_flags);
        let daemon =
            Daemon::start(format!("gateway {number}"), "gateway", &flags, self.setup.logs.as_deref())?;
        self.gateways.push(Gateway { daemon, lan_ip });
        Ok(())
    }

    /// Starts one more worker. Does not wait for it.
    ///
    /// # Errors
    /// Its program cannot be started.
    pub(crate) fn add_worker(&mut self) -> Result<()> {
        let name = match self.setup.before.0 {
            0 => format!("worker {}", self.workers.len() + 1),
            before => format!("worker {} of cluster {}", self.workers.len() + 1, before + 1),
        };
        let mut flags = vec!["--register-address".into(), self.register_address.clone()];
        flags.extend_from_slice(&self.setup.worker_flags);
        let logs = self.setup.logs.as_deref();
        let program = self.setup.worker_program.unwrap_or("examples/bench_worker");
        self.workers.push(Daemon::start(name, program, &flags, logs)?);
        Ok(())
    }

    fn daemons(&mut self) -> impl Iterator<Item = &mut Daemon> {
        let gateways = self.gateways.iter_mut().map(|gateway| &mut gateway.daemon);
        std::iter::once(&mut self.register).chain(gateways).chain(&mut self.workers)
    }

    /// Checks that all processes run.
    ///
    /// # Errors
    /// A process has ended. The error names it.
    pub(crate) fn check(&mut self) -> Result<()> {
        self.daemons().try_for_each(Daemon::check)
    }

    /// The processes by kind.
    pub(crate) fn kinds(&self) -> [(&'static str, usize, Processes); 3] {
        let gateways: Vec<_> = self.gateways.iter().map(|gateway| gateway.daemon.pid()).collect();
        let workers: Vec<_> = self.workers.iter().map(Daemon::pid).collect();
        [("register", vec![self.register.pid()]), ("gateway", gateways), ("worker", workers)]
            .map(|(name, pids)| (name, pids.len(), Processes::new(&pids, false)))
    }

    /// All processes.
    pub(crate) fn pids(&self) -> Vec<u32> {
        let gateways = self.gateways.iter().map(|gateway| &gateway.daemon);
        std::iter::once(&self.register).chain(gateways).chain(&self.workers).map(Daemon::pid).collect()
    }

    /// Ends all, workers first, and waits for that.
    pub(crate) async fn stop(mut self) {
        self.daemons().for_each(|daemon| drop(daemon.child.stdin.take()));
        for worker in self.workers {
            worker.wait_for_end().await;
        }
        for gateway in self.gateways {
            gateway.daemon.wait_for_end().await;
        }
        self.register.wait_for_end().await;
    }
}

/// One of two rows of loopback addresses for the clients of this run. They differ from those of its daemons.
pub(crate) fn own_address(row: u8, place: u8) -> Ipv4Addr {
    let [_, second, low, place] = loopback(place).octets();
    Ipv4Addr::new(127, second + 64 * (1 + (row & 1)), low, place)
}

/// The address of the nats-servers of this run.
pub(crate) fn nats_address() -> Ipv4Addr {
    loopback(NATS)
}

/// One of the addresses that this run has for itself, as far as that can be.
fn loopback(place: u8) -> Ipv4Addr {
    let [.., high, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, 64 | (high & 0x3f), low, place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_loopback_and_differ() {
        assert!(loopback(1).is_loopback() && loopback(1) != Ipv4Addr::LOCALHOST);
        assert_ne!(loopback(1), loopback(REGISTER));
        let own = [own_address(0, 1), own_address(1, 1), own_address(0, 2), loopback(1)];
        assert!(own.iter().all(Ipv4Addr::is_loopback));
        assert_eq!(std::collections::BTreeSet::from(own).len(), 4);
    }

    #[tokio::test]
    async fn a_missing_program_is_named() {
        let missing = Daemon::start("gateway 7".into(), "no such program", &[], None).err().unwrap();
        let text = format!("{missing:#}");
        assert!(text.contains("gateway 7") && text.contains("no such program"), "{text}");
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn a_daemon_that_does_not_start_is_named_with_its_last_lines() {
        let local = tokio::task::LocalSet::new();
        local
            .run_until(async {
                // Any program that takes these flags badly: this one is a test harness.
                let own = std::env::current_exe().unwrap();
                let binary = own.file_name().unwrap().to_string_lossy().into_owned();
                let mut daemon = Daemon::start("worker 3".into(), &binary, &["--what".into()], None).unwrap();
                let failed = daemon.ready().await.unwrap_err();
                while daemon.log_tail.borrow().is_empty() {
                    tokio::task::yield_now().await;
                }
                assert!(failed.to_string().contains("worker 3"), "{failed}");
                let text = daemon.error("did not start").to_string();
                assert!(text.contains("supervised"), "{text}");
                daemon.wait_for_end().await;
            })
            .await;
    }
}
