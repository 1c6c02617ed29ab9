//! The task of one inner link, of a worker or a client library.
//!
//! It reads bytes, from which the core's [`LinkState`] parses commands and questions, hands commands
//! to the shards in order (`core::commands` executes them), and answers questions. A link that sends
//! WORKER_CONNECT becomes a worker's: shards then write events to its buffer themselves. A worker of
//! ours has two links, which are an epoch together: `epochs` has what their tasks share. The task
//! must not execute a part of a link's commands on some shards and drop the rest: where a shard has
//! ended, the link ends. `shard::run` starts it.
//!
//! - `keepalive`: pings, and the judgement that a worker is silent,
//! - `ending`: the end of a link, and of an epoch,
//! - `relayed`: a connection that is none: another gateway's, for a client that has come back there,
//! - `trace`: the trace that an operator has asked for on a link of its own,
//! - `error`: why a link ends.

mod ending;
mod error;
mod keepalive;
mod relayed;
#[cfg(test)]
mod tests;
mod trace;

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use gatewayworker_net::{DetachedLinkSocket, LinkPeer, LinkReader, LinkStream, LinkWriter};
use gatewayworker_protocol::inspect::InspectRequest;
use gatewayworker_protocol::presence::PresenceReport;
use gatewayworker_protocol::{Command, Features, Question, frame_answer};
use tokio::io::AsyncReadExt;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::DropGuard;
use tokio_util::task::AbortOnDropHandle;
use tracing::{info, warn};

use crate::capacity::MIN_LINKS;
use crate::core::close::Closer;
use crate::core::link::{LinkEvent, LinkProtocolError, LinkState};
use crate::core::questions::{AskShards, Gather, answer_with};
use crate::core::worker_reports::NewReport;
use crate::inspect::{self, ShardGone};
use crate::interest::{self, Hold, Subscription};
use crate::presence;
use crate::shard::{ShardMessage, ShardThread};
use crate::workers::WorkerLink;
use error::LinkError;
use keepalive::Keepalive;
use trace::TraceRequest;

/// The time limit for a hello with the secret key, where one is set, and for the call link of a worker
/// whose event link is there.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);

/// How much is read at once, in bytes.
const READ: usize = 64 * 1024;

/// A link.
struct Link {
    shard: Rc<ShardThread>,
    peer: LinkPeer,
    writer: Arc<LinkWriter>,
    state: LinkState,
    /// Received bytes that are not a complete frame yet.
    buffer: BytesMut,
    /// The worker whose only link this is: one of the original, or one of ours that does not
    /// acknowledge events.
    worker: Option<Arc<WorkerLink>>,
    /// It knows the epoch, where the link belongs to one.
    keepalive: Rc<Keepalive>,
    /// The link is the call link of its epoch.
    call_link: Option<DropGuard>,
    /// Joins among the commands that wait to be handed over.
    holds: Vec<Hold>,
    /// The link is an interest link.
    subscription: Option<Subscription>,
    /// The place of the link among those that `max_links` allows.
    permit: OwnedSemaphorePermit,
}

/// How a link has ended without an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LinkEnd {
    /// The peer has ended its side.
    ByPeer,
    /// The gateway has ended its side, behind all that it had to write.
    Finished,
    /// The epoch of the link is over.
    EpochOver,
    /// The gateway stops.
    Stopping,
}

/// Serves a link until it ends.
pub(crate) async fn run(
    shard: Rc<ShardThread>,
    socket: DetachedLinkSocket,
    peer: LinkPeer,
    permit: OwnedSemaphorePermit,
) {
    let Ok(socket) = socket.attach() else { return };
    socket.tune();
    let shared = &shard.shared;
    let _counted = shared.link_counts.count(socket.by_ref().transport());
    let accepted = tokio::select! {
        accepted = LinkStream::accept(socket, shared.link_tls.as_ref()) => accepted,
        () = shared.stopping.cancelled() => return,
    };
    let stream = match accepted {
        Ok(stream) => stream,
        Err(error) => {
            return shared
                .logs
                .link_closed
                .log(move |times| warn!(%peer, %error, times, "a link was closed"));
        }
    };
    let (mut reading, writing) = stream.into_split();
    let mut buffer = BytesMut::new();
    let must_hurry = !shared.config.secret_key.is_empty();
    let first = tokio::select! {
        first = relayed::read_first(&mut reading, &mut buffer, must_hurry) => first,
        () = shared.stopping.cancelled() => return,
    };
    let first = match first {
        Ok(Some(request)) => {
            let served = relayed::serve(&shard, reading, writing, request).await;
            return served.unwrap_or_else(|error| {
                let log =
                    move |times| warn!(%peer, %error, times, "a connection of another gateway was closed");
                shared.logs.link_closed.log(log);
            });
        }
        first => first.map(|_| ()),
    };
    let writer = Arc::new(LinkWriter::new(writing, shared.config.link_outbox_bytes));
    let mut state =
        LinkState::new(shared.config.secret_key.clone(), shared.max_frame_len, shared.shards.len())
            .with_interest(shared.config.interest);
    state.set_caller(Closer::call(&peer.to_string()));
    let keepalive = Rc::new(Keepalive::new(shard.clone(), writer.clone()));
    let mut link = Link {
        shard,
        peer,
        writer,
        state,
        buffer,
        worker: None,
        keepalive,
        call_link: None,
        holds: Vec::new(),
        subscription: None,
        permit,
    };
    let ended = match first {
        Ok(()) => link.serve(&mut reading).await,
        Err(error) => Err(error),
    };
    link.end(reading, ended).await;
}

impl Link {
    /// Reads and writes until the link ends.
    async fn serve(&mut self, socket: &mut LinkReader) -> Result<LinkEnd, LinkError> {
        let writer = self.writer.clone();
        let mut ended_otherwise = self.watch();
        tokio::select! {
            ended = self.read(socket) => ended.map(|()| LinkEnd::ByPeer),
            ended = writer.drive() => ended.map(|()| LinkEnd::Finished).map_err(LinkError::Io),
            ended = &mut ended_otherwise => ended.unwrap_or_else(|error| match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => Ok(LinkEnd::Stopping),
            }),
        }
    }

    /// Waits for an end of the link that neither reading nor writing notices. In a task of its own, so
    /// that a busy link does not poll it with each message.
    fn watch(&self) -> AbortOnDropHandle<Result<LinkEnd, LinkError>> {
        let keepalive = self.keepalive.clone();
        let stopping = self.shard.shared.stopping.clone();
        AbortOnDropHandle::new(tokio::task::spawn_local(async move {
            tokio::select! {
                error = keepalive.watch() => Err(error),
                () = keepalive.over() => Ok(LinkEnd::EpochOver),
                () = stopping.cancelled() => Ok(LinkEnd::Stopping),
            }
        }))
    }

    /// Reads frames and carries them out until the peer ends its side. Begins with frames that a
    /// cancelled call has read.
    ///
    /// Cancel safe, except for the answer to a question.
    async fn read(&mut self, socket: &mut LinkReader) -> Result<(), LinkError> {
        let hello_until = Instant::now() + HELLO_TIMEOUT;
        loop {
            while let Some(event) = self.next()? {
                match event {
                    LinkEvent::Question(Question::Inspect(InspectRequest::Trace {
                        id,
                        payloads,
                        seconds,
                    })) => {
                        let request = TraceRequest { id, payloads, seconds };
                        // Boxed: hardly any link has one.
                        if Box::pin(self.trace(request, socket)).await? {
                            return Ok(());
                        }
                    }
                    event => self.carry_out(event).await?,
                }
            }
            self.hand_over().await?;
            self.buffer.reserve(READ);
            let reading = socket.read_buf(&mut self.buffer);
            let bytes = if self.state.is_authorized() {
                reading.await?
            } else {
                timeout_at(hello_until, reading).await.map_err(|_| LinkError::NoKey)??
            };
            if bytes == 0 {
                return Ok(());
            }
            self.keepalive.heard();
        }
    }

    fn next(&mut self) -> Result<Option<LinkEvent>, LinkProtocolError> {
        let shared = &self.shard.shared;
        self.state.next(&mut self.buffer, || shared.next_seq())
    }

    async fn carry_out(&mut self, event: LinkEvent) -> Result<(), LinkError> {
        match event {
            LinkEvent::Worker { key, features, is_ours, process } => {
                let key = format!("{}:{key}", self.peer_ip());
                match process {
                    Some(process) => self.begin_epoch(key, process, features),
                    None => self.join(&key, features, is_ours),
                }
            }
            LinkEvent::Attach { epoch, process } => self.attach(epoch, process).await?,
            LinkEvent::Draining => self.drain().await,
            LinkEvent::Publish(message) => self.shard.shared.workers.publish(message),
            LinkEvent::Question(question) => self.answer(question).await?,
            LinkEvent::Subscribe => self.subscribe()?,
            LinkEvent::InterestReport(report) => {
                self.subscription.iter().for_each(|link| link.receive(report))
            }
            LinkEvent::Report { number, body } => self.take_report(number, &body),
            LinkEvent::Ignored(error) => self.log_ignored(error),
        }
        Ok(())
    }

    /// Returns the IP address of the peer. A process of this host has the one by which it finds the gateway,
    /// as over TCP.
    fn peer_ip(&self) -> IpAddr {
        match self.peer {
            LinkPeer::Tcp(address) => address.ip(),
            LinkPeer::Unix(_) => (*self.shard.shared.address.ip()).into(),
        }
    }

    fn log_ignored(&self, error: String) {
        let peer = self.peer;
        let log = move |times| warn!(%peer, error, times, "ignored a frame");
        self.shard.shared.logs.frame_ignored.log(log);
    }

    /// Answers a worker's report, and keeps it if the worker is linked.
    fn take_report(&mut self, number: u32, body: &[u8]) {
        // A worker that does not read gets no more answers than fit.
        if self.writer.push(|out| Command::Reported(number).encode(out)).is_ok() {
            self.writer.flush_soon();
        }
        let now_ms = self.shard.now_ms();
        match self.state.read_report(body, now_ms) {
            Ok(Some(NewReport { report, round_trip_us })) => {
                if let (Some(us), Some(timings)) = (round_trip_us, &self.shard.shared.timings) {
                    timings.round_trips.observe_us(us);
                }
                let of_epoch = self.keepalive.epoch().and_then(|epoch| epoch.worker.get());
                if let Some(worker) = self.worker.as_ref().or(of_epoch) {
                    worker.keep_report(report, now_ms);
                }
            }
            Ok(None) => {}
            Err(error) => self.log_ignored(error.to_string()),
        }
    }

    /// Links a worker whose only link this is.
    fn join(&mut self, key: &str, features: Features, is_ours: bool) {
        let workers = &self.shard.shared.workers;
        if is_ours {
            let greeting = self.state.greeting(None);
            let _ = self.writer.push_over(|out| greeting.encode(out));
        }
        if let Some(worker) = self.worker.take() {
            workers.leave(&worker);
        }
        info!(worker = %key, peer = %self.peer, "a worker is linked");
        self.state.set_caller(Closer::worker(key));
        let joined = workers.join_pair(key, self.writer.clone(), features.into());
        self.worker = Some(joined.link);
        self.drain_replaced(joined.replaced);
    }

    /// Makes a worker drain whose key another process has now.
    fn drain_replaced(&self, replaced: Option<Arc<WorkerLink>>) {
        let Some(older) = replaced.filter(|older| older.acknowledges() && older.is_open()) else { return };
        warn!(worker = %older.key(), "another process has the name and id of this worker: the older process drains");
        self.drain_apart(older);
    }

    /// Makes a worker drain, in a task of its own: the end of this link must not stop it half-way.
    fn drain_apart(&self, worker: Arc<WorkerLink>) {
        let shared = self.shard.shared.clone();
        self.shard.shared.links.spawn_local(async move { shared.drain(&worker).await });
    }

    /// Begins an epoch with this event link, and tells the worker its number. The worker is linked when
    /// a call link is [attached](Self::attach).
    fn begin_epoch(&mut self, key: String, process: u64, features: Features) {
        let epoch = self.shard.shared.epochs.begin(key, process, features, self.writer.clone());
        let greeting = self.state.greeting(Some(epoch.pairing()));
        let _ = self.writer.push_over(|out| greeting.encode(out));
        self.writer.flush_soon();
        self.keepalive.set_epoch(epoch);
    }

    /// Makes this the call link of an epoch: the worker has both links, and is linked.
    ///
    /// # Errors
    /// When no epoch of this process waits for its call link.
    async fn attach(&mut self, number: u32, process: u64) -> Result<(), LinkError> {
        let shared = self.shard.shared.clone();
        shared.epochs.check(number, process)?;
        if self.state.attach(number) {
            // Before the worker is given any event, the clients are gone that it has closed.
            self.hand_over().await?;
            self.barrier().await?;
        }
        let mut replaced = None;
        let epoch = shared.epochs.attach(number, process, |epoch| {
            let joined = shared.workers.join_pair(&epoch.key, epoch.events.clone(), epoch.peer());
            replaced = joined.replaced;
            joined.link
        })?;
        info!(worker = %epoch.key, peer = %self.peer, epoch = number, "a worker is linked");
        self.state.set_caller(Closer::worker(&epoch.key));
        self.call_link = Some(epoch.call_link());
        // Its event link may have been read first.
        let draining = epoch.worker.get().filter(|_| epoch.is_draining()).cloned();
        self.keepalive.set_epoch(epoch);
        self.drain_replaced(replaced);
        draining.into_iter().for_each(|worker| self.drain_apart(worker));
        Ok(())
    }

    /// The worker stops. One whose call link is not attached yet drains when it is.
    async fn drain(&self) {
        let shared = &self.shard.shared;
        let of_epoch = self.keepalive.epoch().and_then(|epoch| shared.epochs.set_draining(epoch));
        if let Some(worker) = self.worker.as_ref().or(of_epoch.as_ref()) {
            shared.drain(worker).await;
        }
    }

    /// Tells the peer from now on which groups and uids there are.
    ///
    /// # Errors
    /// When the last places are reached, which event links and call links may need: without an interest link everything
    /// is sent, without those nothing.
    fn subscribe(&mut self) -> Result<(), LinkError> {
        if self.permit.semaphore().available_permits() < MIN_LINKS {
            return Err(LinkError::NoPlace);
        }
        let greeting = self.state.greeting(None);
        let _ = self.writer.push_over(|out| greeting.encode(out));
        self.subscription = Some(self.shard.shared.interests.subscribe(self.writer.clone()));
        Ok(())
    }

    /// Waits until all subscribers know the names that the pending commands make clients members of.
    ///
    /// Cancel safe.
    async fn announce_joins(&mut self) {
        if !self.state.joined.is_empty() {
            let names = std::mem::take(&mut self.state.joined);
            self.holds.push(interest::announce(&self.shard.shared, names));
        }
        for hold in &self.holds {
            interest::announced(&self.shard.shared, hold).await;
        }
    }

    /// Hands the pending commands to the shards: executes those of its own shard at once, and sends
    /// the others as messages.
    ///
    /// Cancel safe: commands that were not handed over wait for the next call.
    ///
    /// # Errors
    /// When a shard has ended: later commands must not take effect on some shards only.
    async fn hand_over(&mut self) -> Result<(), LinkError> {
        self.announce_joins().await;
        for (index, pending) in self.state.pending.iter_mut().enumerate() {
            if pending.is_empty() {
                continue;
            }
            if index == self.shard.index {
                self.shard.input(|core| core.execute(pending.drain(..)));
            } else {
                let reserved = self.shard.shared.shards[index].reserve().await;
                let permit = reserved.map_err(|_| LinkError::ShardGone(index))?;
                permit.send(ShardMessage::Commands(std::mem::take(pending)));
            }
        }
        self.holds.clear();
        Ok(())
    }

    /// Answers a question, after all commands of this link before it have taken effect and before
    /// any later one.
    ///
    /// # Errors
    /// When a shard has ended: the peer gets no answer rather than one that lacks a part.
    async fn answer(&mut self, question: Question) -> Result<(), LinkError> {
        self.hand_over().await?;
        let answer = answer_with(question, self).await?;
        // A peer that asks and does not read waits here.
        self.writer.wait_for_room().await;
        // Where the link is closed nobody reads the answer, but later commands still take effect.
        let _ = self.writer.push_over(|out| frame_answer(&answer, out));
        self.writer.flush_soon();
        Ok(())
    }
}

impl Link {
    /// Waits until all shards have executed what was handed over before.
    ///
    /// # Errors
    /// When a shard has ended.
    async fn barrier(&self) -> Result<(), LinkError> {
        for (index, shard) in self.shard.shared.shards.iter().enumerate() {
            let (reply, passed) = oneshot::channel();
            let ask = ShardMessage::Ask(Box::new(move |_| {
                // The link may have ended.
                let _ = reply.send(());
            }));
            // Where the shard has ended, `reply` is dropped, which the receiver notices.
            let _ = shard.send(ask).await;
            passed.await.map_err(|_| LinkError::ShardGone(index))?;
        }
        Ok(())
    }
}

impl AskShards for Link {
    type Error = LinkError;

    async fn gather<Q: Gather>(&mut self, question: Q) -> Result<Bytes, LinkError> {
        let shards = &self.shard.shared.shards;
        let only = question.connection_id().map(|connection_id| connection_id as usize % shards.len());
        let question = Arc::new(question);
        let mut parts = Vec::new();
        let mut replies = Vec::new();
        for (index, shard) in shards.iter().enumerate() {
            if only.is_some_and(|only| only != index) {
                continue;
            }
            if index == self.shard.index {
                parts.push(self.shard.look(|core| question.part(core.table())));
                continue;
            }
            let (reply, part) = oneshot::channel();
            let asked = question.clone();
            let ask = ShardMessage::Ask(Box::new(move |core| {
                // The link may have ended.
                let _ = reply.send(asked.part(core.table()));
            }));
            // Where the shard has ended, `reply` is dropped, which the receiver notices below.
            let _ = shard.send(ask).await;
            replies.push((index, part));
        }
        for (index, part) in replies {
            parts.push(part.await.map_err(|_| LinkError::ShardGone(index))?);
        }
        Ok(question.whole(parts))
    }

    fn clock_start_ms(&self) -> u64 {
        self.shard.clock_start_ms()
    }

    async fn inspect(&mut self, request: InspectRequest) -> Result<Bytes, LinkError> {
        let answered = inspect::answer(request, &self.shard.shared, self.shard.now_ms()).await;
        answered.map_err(|ShardGone(index)| LinkError::ShardGone(index))
    }

    fn take_presence(&mut self, report: Option<PresenceReport>) -> Bytes {
        presence::answer(self.shard.shared.presence.as_ref(), report)
    }
}
