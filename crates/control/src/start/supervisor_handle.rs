//! Requests to the supervisor, and a handle that makes them and waits for the answers. The control server, the
//! signals and the welcome message hold handles; `supervisor.rs` receives the requests.

use std::fmt;

use tokio::sync::{mpsc, oneshot};

use super::child_event::Reloaded;
use super::daemon_status::DaemonStatus;

/// A request to the supervisor.
#[derive(Debug)]
pub(super) enum Request {
    /// End the cluster: after a drain, or at once.
    Stop {
        /// At once.
        now: bool,
    },
    /// Put a new worker in the place of the old one, and have the other daemons read their files again. The answer
    /// comes when all is done.
    Reload(oneshot::Sender<Reloaded>),
    /// Ask all daemons for their status.
    Status(oneshot::Sender<Vec<DaemonStatus>>),
    /// Answer as soon as all daemons listen.
    Ready(oneshot::Sender<()>),
}

/// Makes requests. Clones reach the same supervisor.
#[derive(Debug, Clone)]
pub(super) struct SupervisorHandle(mpsc::Sender<Request>);

/// The supervisor has ended, or will not answer any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ending;

impl SupervisorHandle {
    /// Makes a handle, and the end that the supervisor has.
    pub(super) fn new() -> (Self, mpsc::Receiver<Request>) {
        let (requests, received) = mpsc::channel(32);
        (Self(requests), received)
    }

    /// Asks the cluster to end: at once, or after a drain. Returns when the supervisor will read it.
    ///
    /// # Errors
    /// When the supervisor has ended.
    pub(super) async fn stop(&self, now: bool) -> Result<(), Ending> {
        self.0.send(Request::Stop { now }).await.map_err(|_| Ending)
    }

    /// Reloads all daemons; returns when all is done, with what came of it.
    ///
    /// # Errors
    /// When the supervisor ends before that.
    pub(super) async fn reload(&self) -> Result<Reloaded, Ending> {
        self.ask(Request::Reload).await
    }

    /// Returns the status of all daemons. It takes a second where one of them does not answer.
    ///
    /// # Errors
    /// When the supervisor ends before that.
    pub(super) async fn status(&self) -> Result<Vec<DaemonStatus>, Ending> {
        self.ask(Request::Status).await
    }

    /// Waits until all daemons listen.
    ///
    /// # Errors
    /// When the supervisor ends before that.
    pub(super) async fn ready(&self) -> Result<(), Ending> {
        self.ask(Request::Ready).await
    }

    async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> Result<T, Ending> {
        let (reply, answer) = oneshot::channel();
        self.0.send(request(reply)).await.map_err(|_| Ending)?;
        answer.await.map_err(|_| Ending)
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the cluster is ending")
    }
}
