//! The end of a link, and of an epoch.
//!
//! A link that belongs to no epoch ends by itself: what its peer had sent takes effect, and a worker
//! gets the events that were on their way. An epoch ends with either of its links. Both links' tasks
//! read out what has arrived, hand it to the shards, and close their sockets; then the event link's
//! task tells every shard that the worker is gone. A shard has executed all commands of both links by
//! then, as messages to a shard stay in their order.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use gatewayworker_net::{LinkReader, LinkWriter};
use tokio::io::copy;
use tokio::time::{Instant, timeout};
use tracing::{debug, info, warn};

use super::error::LinkError;
use super::{Link, LinkEnd};
use crate::core::link::LinkEvent;
use crate::core::ports::Directory;
use crate::core::worker_link::{Gone, TakenBack};
use crate::epochs::{Epoch, EpochEnd};
use crate::workers::WorkerLink;

/// The time limit for the end of a link: for the peer to read its last events, or for the gateway to
/// read the peer's last commands.
const FINISH_TIMEOUT: Duration = Duration::from_secs(5);

/// The most that is read of what has arrived when an epoch is over, in bytes.
const MAX_READ_OUT: usize = 16 * 1024 * 1024;

impl Link {
    /// Ends the link, which was served until `ended`.
    pub(super) async fn end(mut self, mut reading: LinkReader, ended: Result<LinkEnd, LinkError>) {
        match (self.subscription.take(), &ended) {
            // A link that is closed here, or that a write has found broken, reads an end as well.
            (Some(subscription), Ok(LinkEnd::ByPeer)) if !self.writer.has_ended() => {
                subscription.ended_by_peer();
            }
            // Otherwise the peer may not know yet: dropping it ends it so.
            (subscription, _) => drop(subscription),
        }
        match self.keepalive.epoch().cloned() {
            Some(epoch) if self.call_link.is_none() => self.end_event_link(&epoch, &mut reading, ended).await,
            Some(epoch) if !epoch.is_released() && !matches!(ended, Ok(LinkEnd::Stopping)) => {
                self.end_call_link(&epoch, &mut reading, ended).await;
            }
            _ => self.end_alone(&mut reading, ended).await,
        }
        self.writer.close(io::ErrorKind::ConnectionAborted);
    }

    /// Ends a link that belongs to no epoch, or whose epoch has let it go.
    async fn end_alone(&mut self, reading: &mut LinkReader, ended: Result<LinkEnd, LinkError>) {
        if let (Err(_), Some(worker)) = (&ended, &self.worker) {
            // From now on, its clients' events go to other workers.
            self.shard.shared.workers.leave(worker);
        }
        if let Err(LinkError::Io(_)) = &ended {
            // The commands that a broken peer had sent before still take effect.
            let _ = timeout(FINISH_TIMEOUT, self.read(reading)).await;
        }
        if let Err(LinkError::Attach(_)) = &ended {
            // So do those behind an ATTACH that failed: no event of its epoch has caused them.
            self.read_out(reading).await;
        }
        let handed_over = self.hand_over().await;
        let ended = ended.and(handed_over);
        self.log_end(&ended);
        // Only now: the last frame may have been its WORKER_CONNECT.
        let worker = self.worker.take();
        if let Some(worker) = &worker {
            self.shard.shared.workers.leave(worker);
        }
        if ended.is_ok() {
            finish(&self.writer, worker.is_some().then_some(reading)).await;
        }
    }

    fn log_end(&self, ended: &Result<(), LinkError>) {
        let peer = self.peer;
        match (&self.worker, ended) {
            (Some(worker), Ok(())) => info!(worker = %worker.key(), %peer, "a worker's link is closed"),
            (Some(worker), Err(error)) => {
                warn!(worker = %worker.key(), %peer, %error, "a worker's link is broken")
            }
            (None, Err(LinkError::Io(error))) => debug!(%peer, %error, "a link is broken"),
            (None, Err(error)) => {
                let error = error.to_string();
                self.shard.shared.logs.link_closed.log(move |times| {
                    warn!(%peer, error, times, "a link was closed");
                });
            }
            (None, Ok(())) => debug!(%peer, "a link is closed"),
        }
    }

    /// Ends the call link of an epoch, and with it the epoch.
    async fn end_call_link(
        &mut self,
        epoch: &Epoch,
        reading: &mut LinkReader,
        ended: Result<LinkEnd, LinkError>,
    ) {
        let (how, why) = describe(&ended, "call link");
        epoch.end(how, why);
        self.read_out(reading).await;
        self.writer.close(io::ErrorKind::ConnectionAborted);
        self.call_link = None;
    }

    /// Ends the event link of an epoch, and with it the epoch.
    async fn end_event_link(
        &mut self,
        epoch: &Epoch,
        reading: &mut LinkReader,
        ended: Result<LinkEnd, LinkError>,
    ) {
        let shared = self.shard.shared.clone();
        let worker = shared.epochs.remove(epoch);
        match (worker, &ended) {
            (None, Ok(_)) => {
                debug!(worker = %epoch.key, peer = %self.peer, "an event link ended before its call link came");
                finish(&self.writer, Some(reading)).await;
            }
            (None, Err(error)) => {
                warn!(worker = %epoch.key, peer = %self.peer, %error, "the event link of a worker was closed");
            }
            (Some(worker), Ok(LinkEnd::Stopping)) => {
                info!(worker = %worker.key(), peer = %self.peer, "a worker's link is closed");
                shared.workers.leave(&worker);
                finish(&self.writer, Some(reading)).await;
            }
            // A worker that is let go may end its links before this task has seen that all is written.
            (Some(worker), ended) if worker.is_let_go() || matches!(ended, Ok(LinkEnd::Finished)) => {
                epoch.release();
                info!(worker = %worker.key(), peer = %self.peer, "a worker has drained: its link is closed");
                shared.worker_gone(&worker, Gone::Stopped).await;
                finish(&self.writer, Some(reading)).await;
            }
            (Some(worker), _) => {
                let (how, why) = describe(&ended, "event link");
                epoch.end(how, why);
                self.settle(epoch, &worker, reading).await;
            }
        }
    }

    /// Settles an epoch that is over, with the event link's task: when both links are read out, the
    /// shards give the unfinished events to other workers.
    async fn settle(&mut self, epoch: &Epoch, worker: &Arc<WorkerLink>, reading: &mut LinkReader) {
        let shared = self.shard.shared.clone();
        let clients = worker.clients();
        shared.workers.close(worker);
        self.read_out(reading).await;
        self.writer.close(io::ErrorKind::ConnectionAborted);
        epoch.call_link_settled().await;
        let Some(EpochEnd { how, why }) = epoch.ended() else { return };
        if epoch.is_draining() {
            // It may have been read only now, when the link drains no more.
            worker.set_said_stop();
        }
        let how = how.of_worker(worker.has_said_stop());
        let TakenBack { again, dropped } = shared.worker_gone(worker, how).await;
        let (worker, peer, gateway) = (worker.key(), self.peer, shared.address);
        match how {
            Gone::Replaced => info!(
                %worker, %peer, %gateway, clients, given_again = again, dropped,
                "a worker has linked again, and had not finished these events"
            ),
            Gone::Stopped => warn!(
                %worker, %peer, %gateway, why, clients, given_again = again, dropped,
                "a worker has stopped before it had finished these events: its clients go to other workers"
            ),
            Gone::Ended | Gone::Silent => warn!(
                %worker, %peer, %gateway, why, clients, given_again = again, dropped,
                "a worker is gone, and had not finished these events: its clients go to other workers"
            ),
        }
    }

    /// Reads what has arrived on a link that ends, and hands it to the shards. Nobody waits
    /// for more, and questions get no answer.
    async fn read_out(&mut self, reading: &mut LinkReader) {
        let until = Instant::now() + FINISH_TIMEOUT;
        let mut left = MAX_READ_OUT;
        loop {
            // First what a cancelled read has left.
            while let Ok(Some(event)) = self.next() {
                if matches!(event, LinkEvent::Publish(_) | LinkEvent::Ignored(_)) {
                    let _ = self.carry_out(event).await;
                } else if let (LinkEvent::Draining, Some(epoch)) = (event, self.keepalive.epoch()) {
                    self.shard.shared.epochs.set_draining(epoch);
                }
            }
            if self.hand_over().await.is_err() || left == 0 || Instant::now() >= until {
                return;
            }
            // Without asking the runtime, which may not know yet of the last bytes.
            let Ok(Some(bytes @ 1..)) = reading.try_read_directly(&mut self.buffer) else { return };
            left = left.saturating_sub(bytes);
            // Reading does not wait while there are bytes: let other tasks run.
            tokio::task::yield_now().await;
        }
    }
}

/// Writes what waits for the peer, and ends the gateway's side. A worker, which gets the events that
/// were on their way, may still send on `reading`: closing with unread bytes would reset the link and
/// lose the last events.
async fn finish(writer: &LinkWriter, reading: Option<&mut LinkReader>) {
    writer.finish();
    let _ = timeout(FINISH_TIMEOUT, async {
        writer.drive().await?;
        if let Some(reading) = reading {
            copy(reading, &mut tokio::io::sink()).await?;
        }
        io::Result::Ok(())
    })
    .await;
}

/// Returns what the end of one of its links says about a worker, and a text for the log.
fn describe(ended: &Result<LinkEnd, LinkError>, link: &str) -> (Gone, String) {
    match ended {
        Ok(_) => (Gone::Ended, format!("it has ended its {link}")),
        Err(LinkError::Silent(time)) => {
            (Gone::Silent, format!("nothing was heard on its {link} for {:.1} s", time.as_secs_f64()))
        }
        Err(error) => (error.how(), format!("its {link} was closed: {error}")),
    }
}
