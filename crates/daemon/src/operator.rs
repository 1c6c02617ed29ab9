//! The operator of a daemon, as its `serve` sees them: a person with signals, or a supervisor. They may ask the
//! daemon to read its files again, and for its stats. `run.rs` makes an [`Operator`] and hands it to the daemon.

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

#[cfg(any(unix, test))]
use crate::ServiceManager;
use crate::{ListenerSource, Stats, Warnings, WatchedLoops};

/// What the operator may ask for while the daemon runs, and what they hold for it.
#[derive(Debug)]
pub struct Operator {
    /// Tells when to read files again.
    pub reload: Reload,
    /// Where the daemon registers its stats and problems.
    pub stats: Stats,
    /// Opens listeners that stay open when another process takes this one's place.
    pub listeners: ListenerSource,
    /// The event loops without which the process does not count as alive.
    pub loops: WatchedLoops,
    /// The warnings of the process's log.
    pub warnings: Warnings,
}

impl Operator {
    /// An operator who never asks for anything.
    pub fn absent() -> Self {
        Self {
            reload: Reload::never(),
            stats: Stats::default(),
            listeners: ListenerSource::default(),
            loops: WatchedLoops::default(),
            warnings: Warnings::default(),
        }
    }
}

/// The requests to read files again, by SIGHUP or by the supervisor. A daemon that has no files drops it; requests
/// are then answered as if all went well.
#[derive(Debug)]
pub struct Reload(mpsc::Receiver<ReloadRequest>);

/// A request to read files again. Answer it with [`ReloadRequest::done`].
#[derive(Debug)]
#[must_use]
pub struct ReloadRequest(Requester);

/// Where a request comes from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Requester {
    /// As the log names it.
    pub(crate) name: &'static str,
    /// Takes the result: an error is the reason why what was there before stays in use.
    pub(crate) reply: fn(Result<(), String>),
}

/// A person, who reads in the log what came of it, or the service manager.
#[cfg(any(unix, test))]
const SIGHUP: Requester = Requester { name: "SIGHUP", reply: |_| ServiceManager::of_process().reloaded() };

impl Reload {
    /// A source of no requests.
    pub fn never() -> Self {
        Self(mpsc::channel(1).1)
    }

    /// Makes both ends.
    pub(crate) fn new() -> (ReloadSender, Self) {
        let (sender, requests) = mpsc::channel(4);
        (ReloadSender(sender), Self(requests))
    }

    /// Waits for the next request. Cancel safe.
    pub async fn next(&mut self) -> ReloadRequest {
        match self.0.recv().await {
            Some(request) => request,
            None => std::future::pending().await,
        }
    }
}

impl ReloadRequest {
    /// Answers the request: an error says why what was there before stays in use.
    pub fn done(self, result: Result<(), String>) {
        (self.0.reply)(result);
    }
}

/// The sending end of a [`Reload`].
#[derive(Debug, Clone)]
pub(crate) struct ReloadSender(mpsc::Sender<ReloadRequest>);

impl ReloadSender {
    /// Asks the daemon to read its files again.
    pub(crate) fn request(&self, requester: Requester) {
        match self.0.try_send(ReloadRequest(requester)) {
            Ok(()) => {}
            Err(TrySendError::Full(request)) => {
                request.done(Err("it is still reading its files, ask again later".into()));
            }
            Err(TrySendError::Closed(request)) => {
                tracing::info!(
                    requester = requester.name,
                    "asked to reload, but there is nothing to load again"
                );
                request.done(Ok(()));
            }
        }
    }

    /// Sends a request at each SIGHUP, from a task of its own.
    ///
    /// # Errors
    /// When the system refuses.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    #[cfg(unix)]
    pub(crate) fn request_at_sighup(self) -> std::io::Result<()> {
        use tokio::signal::unix::{SignalKind, signal};
        let mut hangup = signal(SignalKind::hangup())?;
        tokio::spawn(async move {
            while hangup.recv().await.is_some() {
                ServiceManager::of_process().reloading();
                self.request(SIGHUP);
            }
        });
        Ok(())
    }

    /// Does nothing: this system has no such signal.
    ///
    /// # Errors
    /// None.
    #[cfg(not(unix))]
    pub(crate) fn request_at_sighup(self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn requests_that_come_too_often_are_not_queued_for_ever() {
        let (sender, mut reload) = Reload::new();
        for _ in 0..100 {
            sender.request(SIGHUP);
        }
        for _ in 0..4 {
            reload.next().await.done(Ok(()));
        }
        assert!(reload.0.is_empty());
    }

    #[tokio::test]
    async fn a_request_to_a_daemon_without_files_is_answered() {
        let (sender, reload) = Reload::new();
        drop(reload);
        sender.request(SIGHUP);
        assert!(sender.0.is_closed());
    }
}
