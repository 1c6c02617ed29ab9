//! What the connections of a register share: the roster behind a lock, its clock, and the
//! publications.
//!
//! The lock is never held over a wait. `server` runs [`publish`](Register::publish); `connection`
//! calls the rest.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use gatewayworker_net::{LinkTls, LogLimiter};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until};
use tracing::info;

use crate::Config;
use crate::rejections::Rejections;
use crate::request::{CloseCause, Request};
use crate::roster::{PeerId, Roster};

/// A limiter for each kind of log line about connections.
#[derive(Debug, Default)]
pub(crate) struct Logs {
    pub(crate) failed: LogLimiter,
    pub(crate) closed: LogLimiter,
    /// Connections over a limit.
    pub(crate) refused: LogLimiter,
}

/// A running register.
#[derive(Debug)]
pub(crate) struct Register {
    pub(crate) config: Config,
    pub(crate) tls: Option<LinkTls>,
    pub(crate) logs: Logs,
    pub(crate) rejections: Rejections,
    roster: Mutex<Roster>,
    /// The roster's clock begins here.
    started: Instant,
    /// The roster may have another deadline.
    changed: Notify,
    /// The version of the list that was published last.
    published: watch::Sender<u64>,
}

impl Register {
    pub(crate) fn new(config: Config, tls: Option<LinkTls>) -> Self {
        Self {
            tls,
            logs: Logs::default(),
            rejections: Rejections::default(),
            roster: Mutex::new(Roster::new(config.secret_key.clone(), &config.limits, 0)),
            config,
            started: Instant::now(),
            changed: Notify::new(),
            published: watch::Sender::default(),
        }
    }

    pub(crate) fn roster(&self) -> MutexGuard<'_, Roster> {
        self.roster.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn connected(&self, peer: PeerId) {
        self.roster().connected(peer, self.now_ms());
    }

    pub(crate) fn disconnected(&self, peer: PeerId) {
        let unlisted = self.roster().disconnected(peer);
        if let Some(address) = unlisted {
            info!(%address, "a gateway is gone");
            self.changed.notify_one();
        }
    }

    pub(crate) fn received(&self, peer: PeerId, line: &[u8]) -> Result<Request, CloseCause> {
        let request = self.roster().received(peer, line, self.now_ms())?;
        if let Request::Announce(_) = request {
            self.changed.notify_one();
        }
        Ok(request)
    }

    /// The longest line that the peer may send next, and until when it must.
    pub(crate) fn expects(&self, peer: PeerId) -> (usize, Option<Instant>) {
        let roster = self.roster();
        (roster.max_line_len(peer), roster.peer_deadline(peer).map(|at_ms| self.instant(at_ms)))
    }

    /// Whether the peer has asked for the list.
    pub(crate) fn follows(&self, peer: PeerId) -> bool {
        self.roster().follows(peer)
    }

    /// # Errors
    /// Why the peer is to be closed, if its deadline has passed.
    pub(crate) fn check_deadline(&self, peer: PeerId) -> Result<(), CloseCause> {
        self.roster().timed_out(peer, self.now_ms()).map_or(Ok(()), Err)
    }

    pub(crate) fn next_line(&self, peer: PeerId) -> Option<Bytes> {
        self.roster().next_line(peer)
    }

    /// Changes with each publication from now on.
    pub(crate) fn publications(&self) -> watch::Receiver<u64> {
        self.published.subscribe()
    }

    /// Publishes the list whenever it is due; runs until it is dropped.
    pub(crate) async fn publish(&self) {
        loop {
            let deadline = self.roster().next_deadline();
            let wait = async {
                match deadline {
                    Some(at_ms) => sleep_until(self.instant(at_ms)).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                // The deadline may be earlier now.
                () = self.changed.notified() => continue,
                () = wait => {}
            }
            let published = self.roster().deadline(self.now_ms());
            if let Some(version) = published {
                self.published.send_replace(version);
            }
        }
    }

    fn now_ms(&self) -> u64 {
        self.started.elapsed().as_millis().try_into().unwrap_or(u64::MAX)
    }

    /// The instant of a time of the roster; one that no clock reaches is a day away, and is looked
    /// at again then.
    fn instant(&self, at_ms: u64) -> Instant {
        let day = Duration::from_secs(24 * 60 * 60);
        self.started.checked_add(Duration::from_millis(at_ms)).unwrap_or_else(|| Instant::now() + day)
    }
}
