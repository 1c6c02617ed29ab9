//! A handle to one child process of a daemon: starts it, asks it for its status or to read its files, tells it to
//! drain, kills it. `supervisor.rs` owns the handles. What happens to the process comes back as a `ChildEvent`.
//!
//! A child runs with `--supervised`, so it needs no signal to stop, never outlives the supervisor, and says by
//! itself where it listens: neither its configuration (flags, environment, port 0) nor a test connection (which it
//! would log as a client that left) could tell as well.

use std::collections::BTreeSet;
use std::io;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use gatewayworker_daemon::child_protocol::{ChildStatus, SupervisorMessage};
use gatewayworker_daemon::wants_colour;
use tokio::process::Command;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::child_event::{ChildEvent, ChildId, Reloaded};
use super::child_link::{self, Outgoing};
use super::child_process::{self, ChildProcess};
use super::child_reader::{ChildReader, WantedListeners};
use super::daemon::Daemon;
use super::held_listeners::{HeldListeners, ListenerKey};
use super::output::Source;
use super::pending_replies::PendingReplies;

/// How long a child may take to answer a question about its status.
const STATUS_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a child may take to read its files.
const RELOAD_TIMEOUT: Duration = Duration::from_secs(10);

/// A child process that was started. Dropped, it is killed.
#[derive(Debug)]
pub(super) struct Child {
    pub(super) process_id: u32,
    pub(super) since: Instant,
    outgoing: mpsc::Sender<Outgoing>,
    pending: PendingReplies,
    wanted: WantedListeners,
    drain: CancellationToken,
    kill: CancellationToken,
}

impl Child {
    /// Starts a process of `daemon`, which is known as `child` in its `events` and gets its listeners from `held`.
    ///
    /// # Errors
    /// When there is no such program, or the system refuses.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub(super) fn start(
        daemon: &Daemon,
        child: ChildId,
        held: Arc<HeldListeners>,
        events: mpsc::Sender<ChildEvent>,
    ) -> anyhow::Result<Self> {
        let (process, input, output) = child_link::spawn(command(daemon))
            .with_context(|| format!("cannot start the {} ({})", daemon.name, daemon.program.display()))?;
        let process_id = process.id().unwrap_or_default();
        let (outgoing, to_send) = mpsc::channel(8);
        let (drain, kill) = (CancellationToken::new(), CancellationToken::new());
        let pending = PendingReplies::default();
        let wanted = WantedListeners::default();
        let reader = ChildReader {
            child,
            events: events.clone(),
            outgoing: outgoing.clone(),
            pending: pending.clone(),
            held,
            wanted: wanted.clone(),
            is_ready: AtomicBool::new(false),
        };
        let (drained, killed) = (drain.clone(), kill.clone());
        let process =
            ChildProcess { process, input, output, outgoing: to_send, drain: drained, kill: killed };
        let source = Source { daemon: daemon.name, colour: daemon.colour };
        tokio::spawn(async move {
            let end = child_process::follow(process, reader, source).await;
            let _ = events.send(ChildEvent::Ended(child, end)).await;
        });
        Ok(Self { process_id, since: Instant::now(), outgoing, pending, wanted, drain, kill })
    }

    /// Tells it to drain, and then to end.
    pub(super) fn drain(&self) {
        self.drain.cancel();
    }

    /// Ends it at once.
    pub(super) fn kill(&self) {
        self.kill.cancel();
    }

    /// Whether it was told to drain.
    pub(super) fn is_draining(&self) -> bool {
        self.drain.is_cancelled()
    }

    /// Returns the listeners that it has asked for so far.
    pub(super) fn wanted_listeners(&self) -> BTreeSet<ListenerKey> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Asks it to read its files again.
    ///
    /// # Errors
    /// Why what it had before stays in use, or that it does not answer.
    pub(super) async fn reload(&self) -> Reloaded {
        let answer = self.pending.reload();
        let _ = self.outgoing.try_send(SupervisorMessage::Reload.into());
        match timeout(RELOAD_TIMEOUT, answer).await {
            Ok(Ok(result)) => result,
            _ => Err(format!("it has not read its files within {} s", RELOAD_TIMEOUT.as_secs())),
        }
    }

    /// Asks it for its status; returns `None` if it does not answer in time, an empty status if it drains: its
    /// input is closed then.
    pub(super) async fn status(&self) -> Option<ChildStatus> {
        if self.is_draining() {
            return Some(ChildStatus::default());
        }
        let answer = self.pending.status();
        let _ = self.outgoing.try_send(SupervisorMessage::Status.into());
        timeout(STATUS_TIMEOUT, answer).await.ok()?.ok()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill();
    }
}

fn command(daemon: &Daemon) -> Command {
    let mut command = Command::new(&daemon.program);
    command.args(&daemon.arguments).arg("--supervised").kill_on_drop(true);
    command.env("GATEWAYWORKER_LOG_FORMAT", daemon.log_format.name());
    // The supervisor tells the service manager how the cluster goes.
    for name in ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"] {
        command.env_remove(name);
    }
    command.envs(daemon.variables.iter().cloned());
    // Ctrl-C in a terminal reaches the whole process group; the children are told to end one after the other.
    #[cfg(unix)]
    command.process_group(0);
    if wants_colour(&io::stderr()) {
        command.env("CLICOLOR_FORCE", "1");
    }
    command
}
