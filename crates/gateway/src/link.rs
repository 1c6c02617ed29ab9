//! The task of one inner link, of a worker or a client library.
//!
//! It reads bytes, from which the core's [`LinkState`] parses commands and questions, hands commands
//! to the shards in order (`core::commands` executes them), and answers questions. A link that sends
//! WORKER_CONNECT becomes a worker's: shards then write events to its buffer themselves. The task
//! must not execute a part of a link's commands on some shards and drop the rest: where a shard has
//! ended, the link ends. `shard::run` starts it.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use gatewayworker_net::LinkWriter;
use gatewayworker_protocol::{Command, Features, Question, frame_answer};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::{Instant, timeout_at};
use tracing::{debug, info, warn};

use crate::core::link::{LinkEvent, LinkProtocolError, LinkState};
use crate::core::questions::{AskShards, Gather, answer_with};
use crate::shard::{ShardMessage, ShardThread};
use crate::workers::WorkerLink;

/// The time limit for a hello with the secret key, where one is set.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);

/// The time limit for the end of a link: for the peer to read its last events, or for the gateway to
/// read the peer's last commands.
const FINISH_TIMEOUT: Duration = Duration::from_secs(5);

/// Why the gateway ends a link.
#[derive(Debug, thiserror::Error)]
enum LinkError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Protocol(#[from] LinkProtocolError),
    #[error("it showed no secret_key within {} s", HELLO_TIMEOUT.as_secs())]
    Silent,
    #[error("shard {0} has ended, and the gateway ends next")]
    ShardGone(usize),
}

/// A link.
struct Link {
    shard: Rc<ShardThread>,
    peer: SocketAddr,
    writer: Arc<LinkWriter>,
    state: LinkState,
    /// Received bytes that are not a complete frame yet.
    buffer: BytesMut,
    worker: Option<Arc<WorkerLink>>,
}

/// Serves a link until it ends.
pub(crate) async fn run(
    shard: Rc<ShardThread>,
    stream: std::net::TcpStream,
    peer: SocketAddr,
    _permit: OwnedSemaphorePermit,
) {
    let Ok(stream) = TcpStream::from_std(stream) else { return };
    gatewayworker_net::tune(&stream);
    let (mut reading, writing) = stream.into_split();
    let shared = &shard.shared;
    let writer = Arc::new(LinkWriter::new(writing, shared.config.link_outbox_bytes));
    let secret_key = shared.config.secret_key.clone();
    let state = LinkState::new(secret_key, shared.max_frame_len, shared.shards.len());
    let mut link = Link { shard, peer, writer: writer.clone(), state, buffer: BytesMut::new(), worker: None };
    let ended = link.serve(&mut reading).await;
    link.log_end(&ended);
    // Only now: the last frame may have been its WORKER_CONNECT.
    let worker = link.worker.take();
    if let Some(worker) = &worker {
        link.shard.shared.workers.leave(worker);
    }
    if ended.is_ok() {
        // The peer has ended its side and may still read: a draining worker gets the events that
        // were on their way.
        writer.finish();
        let _ = tokio::time::timeout(FINISH_TIMEOUT, async {
            writer.drive().await?;
            // Where the gateway ended the link, the peer may still send: closing with unread bytes
            // would reset the link and lose the last events.
            if worker.is_some() {
                tokio::io::copy(&mut reading, &mut tokio::io::sink()).await?;
            }
            io::Result::Ok(())
        })
        .await;
    }
    writer.close(io::ErrorKind::ConnectionAborted);
}

impl Link {
    /// Reads and writes until the link ends. `Ok` where the peer ended its side or the gateway
    /// stops.
    async fn serve(&mut self, socket: &mut OwnedReadHalf) -> Result<(), LinkError> {
        let writer = self.writer.clone();
        let stopping = self.shard.shared.stopping.clone();
        let ended = tokio::select! {
            ended = self.read(socket) => ended,
            ended = writer.drive() => ended.map_err(LinkError::Io),
            () = stopping.cancelled() => Ok(()),
        };
        if let (Err(_), Some(worker)) = (&ended, &self.worker) {
            // From now on, its clients' events go to other workers.
            self.shard.shared.workers.leave(worker);
        }
        if let Err(LinkError::Io(_)) = &ended {
            // The commands that a broken peer had sent before still take effect.
            let _ = tokio::time::timeout(FINISH_TIMEOUT, self.read(socket)).await;
        }
        let handed_over = self.hand_over().await;
        ended.and(handed_over)
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

    /// Reads frames and carries them out until the peer ends its side. Begins with frames that a
    /// cancelled call has read.
    ///
    /// Cancel safe, except for the answer to a question.
    async fn read(&mut self, socket: &mut OwnedReadHalf) -> Result<(), LinkError> {
        let hello_until = Instant::now() + HELLO_TIMEOUT;
        loop {
            while let Some(event) = self.next()? {
                self.carry_out(event).await?;
            }
            self.hand_over().await?;
            self.buffer.reserve(64 * 1024);
            let reading = socket.read_buf(&mut self.buffer);
            let bytes = if self.state.is_authorized() {
                reading.await?
            } else {
                timeout_at(hello_until, reading).await.map_err(|_| LinkError::Silent)??
            };
            if bytes == 0 {
                return Ok(());
            }
        }
    }

    fn next(&mut self) -> Result<Option<LinkEvent>, LinkProtocolError> {
        let shared = &self.shard.shared;
        self.state.next(&mut self.buffer, || shared.next_seq())
    }

    async fn carry_out(&mut self, event: LinkEvent) -> Result<(), LinkError> {
        match event {
            LinkEvent::Worker { key, features, greeting } => self.join(&key, features, greeting),
            LinkEvent::Draining => {
                if let Some(worker) = &self.worker {
                    self.shard.shared.workers.drain(worker, self.shard.shared.shards.len());
                }
            }
            LinkEvent::Publish(message) => self.shard.shared.workers.publish(message),
            LinkEvent::Question(question) => self.answer(question).await?,
            LinkEvent::Ignored(error) => {
                let peer = self.peer;
                let log = move |times| warn!(%peer, error, times, "ignored a frame");
                self.shard.shared.logs.frame_ignored.log(log);
            }
        }
        Ok(())
    }

    fn join(&mut self, key: &str, features: Features, greeting: Option<Command>) {
        let workers = &self.shard.shared.workers;
        if let Some(greeting) = greeting {
            let _ = self.writer.push_over(|out| greeting.encode(out));
        }
        if let Some(worker) = self.worker.take() {
            workers.leave(&worker);
        }
        let key = format!("{}:{key}", self.peer.ip());
        info!(worker = %key, peer = %self.peer, "a worker is linked");
        self.worker = Some(workers.join(&key, self.writer.clone(), features));
    }

    /// Hands the pending commands to the shards: executes those of its own shard at once, and sends
    /// the others as messages.
    ///
    /// Cancel safe: commands that were not handed over wait for the next call.
    ///
    /// # Errors
    /// When a shard has ended: later commands must not take effect on some shards only.
    async fn hand_over(&mut self) -> Result<(), LinkError> {
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
}
