//! `start --daemon`: starts the same command once more, without a terminal and with its lines in a log. This
//! process returns when the cluster can do its work; it asks the other one over the control socket.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use super::output::last_error;
use super::welcome::ListenAddresses;
use super::{StartFlags, readiness};
use crate::control_socket::{self, Request};
use crate::report::ClusterReport;
use crate::run_dir::{Holder, RunDir};

/// How long the daemons may take until they listen, before this process waits no more.
const READY_TIMEOUT: Duration = Duration::from_secs(60);

/// The cluster says within this time whether it can do its work.
const ABLE_TIMEOUT: Duration = Duration::from_secs(readiness::TIMEOUT.as_secs() + 10);

/// How long a cluster that listens may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// How long to wait between two looks whether the cluster is there.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// How much of the log of a cluster that did not start is searched for the reason, in bytes.
const SEARCHED_LOG_BYTES: u64 = 64 * 1024;

/// Starts a cluster in the background, and returns the message for the person who did so.
///
/// # Errors
/// When one runs there already, does not start, or not in time; when it runs, but its daemons do not find each
/// other: then it runs on.
pub(super) fn start(flags: &StartFlags) -> anyhow::Result<String> {
    let run_dir = flags.dirs.run_dir()?;
    run_dir.make()?;
    // A cluster that runs there already is told here; otherwise only the log would have it.
    drop(run_dir.lock()?);
    let path = flags.log_file(&run_dir);
    let name = path.display();
    let log = open_log(&path)?;
    let before = log.metadata().map(|log| log.len()).unwrap_or_default();
    let mut child = Command::new(std::env::current_exe().context("cannot find this program's own file")?)
        .args(flags.for_background())
        // Whoever waits for the start of the cluster waits for this process.
        .env_remove("NOTIFY_SOCKET")
        // Not among its arguments, where other users of the machine would see it.
        .envs(
            flags
                .admin
                .admin_token
                .as_ref()
                .map(|token| ("GATEWAYWORKER_ADMIN_TOKEN", token.expose().to_owned())),
        )
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .context("cannot start a process")?;
    if !is_ready_in_time(&mut child, &run_dir)? {
        let why = last_error_in(&path, before).unwrap_or_else(|| "it gave no reason".into());
        bail!("{why} (not started; the log is in {name})");
    }
    if let Err(error) = control_socket::ask::<()>(&run_dir.socket(), Request::Able, ABLE_TIMEOUT) {
        bail!(
            "the cluster runs, as process {}, but cannot do its work: {error:#} (see status, or stop it; \
             the log is in {name})",
            child.id()
        );
    }
    let report: ClusterReport = control_socket::ask(&run_dir.socket(), Request::Status, ANSWER_TIMEOUT)?;
    let mut addresses = ListenAddresses::default();
    for daemon in &report.daemons {
        let of_daemon = daemon.processes.first().map(|process| process.listens.as_slice());
        addresses.add(&daemon.name, of_daemon.unwrap_or_default());
    }
    let next = format!("Process {}, log in {name}.\n  Next: status, reload, stop.", report.process_id);
    addresses.set_page(report.page);
    Ok(addresses.welcome(flags.page(), &next))
}

/// Opens the log to append to it.
///
/// # Errors
/// When that is not possible.
pub(super) fn open_log(path: &Path) -> anyhow::Result<File> {
    let log = OpenOptions::new().create(true).append(true).mode(0o600).open(path);
    log.with_context(|| format!("cannot write to {} (--log-file)", path.display()))
}

/// Waits until all daemons listen; returns `false` if the cluster has ended before.
fn is_ready_in_time(child: &mut Child, run_dir: &RunDir) -> anyhow::Result<bool> {
    let holder = Holder::Process(child.id().to_string());
    let deadline = Instant::now() + READY_TIMEOUT;
    loop {
        if child.try_wait().context("lost sight of the process")?.is_some() {
            return Ok(false);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            bail!(
                "not all daemons listen after {} s; process {} goes on, see status, or stop it",
                READY_TIMEOUT.as_secs(),
                child.id()
            );
        }
        // The socket of a cluster before, or after, may be in the directory.
        if run_dir.holder()? == holder
            && control_socket::ask::<()>(&run_dir.socket(), Request::Ready, left).is_ok()
        {
            return Ok(true);
        }
        std::thread::sleep(LOOK_INTERVAL);
    }
}

/// Returns the last error in the log behind `before`.
fn last_error_in(log: &Path, before: u64) -> Option<String> {
    let mut log = File::open(log).ok()?;
    let len = log.metadata().ok()?.len();
    log.seek(SeekFrom::Start(before.max(len.saturating_sub(SEARCHED_LOG_BYTES)))).ok()?;
    let mut text = Vec::new();
    log.take(SEARCHED_LOG_BYTES).read_to_end(&mut text).ok()?;
    text.split(|byte| *byte == b'\n').rev().find_map(last_error)
}

/// Leaves the terminal's session: the end of the terminal does not reach this process any more.
///
/// # Errors
/// When the system refuses.
pub(super) fn leave_terminal() -> anyhow::Result<()> {
    rustix::process::setsid().map(drop).context("cannot leave the terminal")
}
