//! An inner link: a worker's, or a client library's.
//!
//! Reads commands, hands them to the shards in order, and answers questions. A
//! link that says WORKER_CONNECT also gets client events, which shards write to
//! its outbox themselves.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use gatewayworker_net::LinkWriter;
use gatewayworker_protocol::{
    Command, Features, Frame, FrameError, Hello, MAX_FRAME_LEN, PingBody, Question, SecretKey, frame_answer,
};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::{Instant, timeout_at};
use tracing::{debug, info, warn};

use crate::answer;
use crate::order::{Mail, Order, Orders};
use crate::shard::Shard;
use crate::workers::WorkerLink;

/// How long a link may take to show the key, where there is one.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);

/// The longest frame before that, in bytes: a hello is a little JSON.
const MAX_HELLO_LEN: usize = 64 * 1024;

/// How long a link may take to end: its peer to read what is left for it, or we
/// what it left for us.
const FINISH_TIMEOUT: Duration = Duration::from_secs(5);

/// Why the gateway ends a link.
#[derive(Debug, thiserror::Error)]
enum LinkError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("it sent what is no frame: {0}")]
    Frame(#[from] FrameError),
    #[error("it showed no secret_key within {} s", HELLO_TIMEOUT.as_secs())]
    Silent,
    #[error("its secret_key is not the one configured here")]
    WrongKey,
    #[error("it sent command {0} before its secret_key")]
    Unauthorized(u8),
    #[error("shard {0} has ended, and the gateway ends next")]
    ShardGone(usize),
}

/// One link.
struct Link {
    shard: Rc<Shard>,
    peer: SocketAddr,
    writer: Arc<LinkWriter>,
    authorized: bool,
    /// What has been read and is no whole frame yet.
    buffer: BytesMut,
    worker: Option<Arc<WorkerLink>>,
    /// Orders that wait for the end of the batch, a list for each shard.
    pending: Vec<Vec<Order>>,
}

/// Serves a link until it ends.
pub(crate) async fn run(
    shard: Rc<Shard>,
    stream: std::net::TcpStream,
    peer: SocketAddr,
    _permit: OwnedSemaphorePermit,
) {
    let Ok(stream) = TcpStream::from_std(stream) else { return };
    gatewayworker_net::tune(&stream);
    let (mut reading, writing) = stream.into_split();
    let writer = Arc::new(LinkWriter::new(writing, shard.shared.config.link_outbox_bytes));
    let mut link = Link {
        authorized: shard.shared.config.secret_key.is_empty(),
        buffer: BytesMut::new(),
        pending: shard.shared.shards.iter().map(|_| Vec::new()).collect(),
        shard,
        peer,
        writer: writer.clone(),
        worker: None,
    };
    let ended = link.serve(&mut reading).await;
    link.log_end(&ended);
    // Only now, as what it said last may have been that it is a worker.
    let worker = link.worker.take();
    if let Some(worker) = &worker {
        link.shard.shared.workers.leave(worker);
    }
    if ended.is_ok() {
        // The peer has said all it will, and may still read: a worker that drains
        // gets the events that were on their way to it.
        writer.finish();
        let _ = tokio::time::timeout(FINISH_TIMEOUT, async {
            writer.drive().await?;
            // Where it was us who ended the link, the peer may still be speaking:
            // closing with unread bytes would take the last events with it.
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
    /// Reads and writes until the link ends; `Ok` where it ended in peace.
    async fn serve(&mut self, socket: &mut OwnedReadHalf) -> Result<(), LinkError> {
        let writer = self.writer.clone();
        let stopping = self.shard.shared.stopping.clone();
        let ended = tokio::select! {
            ended = self.read(socket) => ended,
            ended = writer.drive() => ended.map_err(LinkError::Io),
            () = stopping.cancelled() => Ok(()),
        };
        if let (Err(_), Some(worker)) = (&ended, &self.worker) {
            // Events go elsewhere from now on.
            self.shard.shared.workers.leave(worker);
        }
        if let Err(LinkError::Io(_)) = &ended {
            // What a dead peer had sent before still holds.
            let _ = tokio::time::timeout(FINISH_TIMEOUT, self.read(socket)).await;
        }
        let handed_over = self.hand_over().await;
        ended.and(handed_over)
    }

    fn log_end(&self, ended: &Result<(), LinkError>) {
        let peer = self.peer;
        match (&self.worker, ended) {
            (Some(worker), Ok(())) => info!(worker = worker.key(), %peer, "a worker's link is closed"),
            (Some(worker), Err(error)) => {
                warn!(worker = worker.key(), %peer, %error, "a worker's link is broken")
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

    /// Takes commands until the peer closes its side, and first those that a call
    /// that was cancelled had read.
    ///
    /// Cancel safe, but for the answer to a question.
    async fn read(&mut self, socket: &mut OwnedReadHalf) -> Result<(), LinkError> {
        let hello_until = Instant::now() + HELLO_TIMEOUT;
        loop {
            while let Some(frame) = self.next_frame()? {
                self.take(frame).await?;
            }
            self.hand_over().await?;
            self.buffer.reserve(64 * 1024);
            let reading = socket.read_buf(&mut self.buffer);
            let bytes = if self.authorized {
                reading.await?
            } else {
                timeout_at(hello_until, reading).await.map_err(|_| LinkError::Silent)??
            };
            if bytes == 0 {
                return Ok(());
            }
        }
    }

    fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        let limit = if self.authorized { self.shard.shared.max_frame_len } else { MAX_HELLO_LEN };
        Frame::parse(&mut self.buffer, limit)
    }

    async fn take(&mut self, frame: Frame) -> Result<(), LinkError> {
        let cmd = frame.cmd;
        let command = match Command::decode(frame) {
            Ok(command) => command,
            Err(error) if self.authorized => {
                let (peer, error) = (self.peer, error.to_string());
                let log = move |times| warn!(%peer, error, times, "ignored a frame");
                self.shard.shared.logs.frame_ignored.log(log);
                return Ok(());
            }
            Err(_) => return Err(LinkError::Unauthorized(cmd)),
        };
        match command {
            Command::WorkerConnect(hello) => self.welcome_worker(hello),
            Command::ClientConnect(hello) => self.check_key(hello.secret_key),
            _ if !self.authorized => Err(LinkError::Unauthorized(cmd)),
            Command::Ping(body) => {
                self.hear(&body);
                Ok(())
            }
            Command::Publish { topic, payload } => {
                self.shard.shared.workers.publish(topic, payload);
                Ok(())
            }
            Command::Ask(question) => self.answer(question).await,
            command => {
                let shared = &self.shard.shared;
                match Orders::of(command, || shared.number()) {
                    Some(orders) => self.queue(orders),
                    None => debug!(peer = %self.peer, cmd, "ignored a command"),
                }
                Ok(())
            }
        }
    }

    /// A missing or null key is a wrong one, as in the original.
    fn check_key(&mut self, key: Option<SecretKey>) -> Result<(), LinkError> {
        if key.as_ref() != Some(&self.shard.shared.config.secret_key) {
            return Err(LinkError::WrongKey);
        }
        self.authorized = true;
        Ok(())
    }

    fn welcome_worker(&mut self, hello: Hello) -> Result<(), LinkError> {
        self.check_key(hello.secret_key)?;
        let shared = &self.shard.shared;
        if hello.features.is_some() {
            // Only a worker that lists its features reads ours.
            let large_frames = shared.max_frame_len > MAX_FRAME_LEN;
            let features = Features { large_frames, ..Features::ALL };
            let ping = Command::Ping(PingBody::Features(features).encode());
            let _ = self.writer.push_over(|out| ping.encode(out));
        }
        let key = format!("{}:{}", self.peer.ip(), hello.worker_key.unwrap_or_default());
        if let Some(worker) = self.worker.take() {
            shared.workers.leave(&worker);
        }
        let features = hello.features.unwrap_or_default();
        info!(worker = %key, peer = %self.peer, "a worker is linked");
        self.worker = Some(shared.workers.join(&key, self.writer.clone(), features));
        Ok(())
    }

    /// A worker of ours that stops says so: it will close its side next, as one that
    /// dies does.
    fn hear(&self, ping: &[u8]) {
        if let (Some(worker), Some(PingBody::Draining)) = (&self.worker, PingBody::parse(ping)) {
            worker.drains();
        }
    }

    fn queue(&mut self, orders: Orders) {
        let shared = &self.shard.shared;
        match orders {
            Orders::One(connection_id, order) => self.pending[shared.shard_of(connection_id)].push(order),
            Orders::All(order) => self.pending.iter_mut().for_each(|pending| pending.push(order.clone())),
            Orders::Split(ids, message) => {
                let mut split: Vec<Vec<u32>> = self.pending.iter().map(|_| Vec::new()).collect();
                for id in ids {
                    split[shared.shard_of(id)].push(id);
                }
                for (pending, ids) in self.pending.iter_mut().zip(split) {
                    if !ids.is_empty() {
                        pending.push(Order::SendToSome(ids, message.clone()));
                    }
                }
            }
        }
    }

    /// Hands the batch to the shards: to our own at once, to the others by mail.
    ///
    /// Cancel safe: what is not handed over waits for the next call.
    ///
    /// # Errors
    /// When a shard is gone: what the peer says next must not take effect in part.
    async fn hand_over(&mut self) -> Result<(), LinkError> {
        for (index, pending) in self.pending.iter_mut().enumerate() {
            if pending.is_empty() {
                continue;
            }
            if index == self.shard.index {
                self.shard.obey(pending.drain(..));
            } else {
                let reserved = self.shard.shared.shards[index].reserve().await;
                let place = reserved.map_err(|_| LinkError::ShardGone(index))?;
                place.send(Mail::Orders(std::mem::take(pending)));
            }
        }
        Ok(())
    }

    /// Answers a question, after all that this link said before it has taken
    /// effect, and before anything that it says next.
    ///
    /// # Errors
    /// When a shard is gone: the peer gets no answer rather than one that lacks a part.
    async fn answer(&mut self, question: Question) -> Result<(), LinkError> {
        self.hand_over().await?;
        let parts = self.ask(&question).await?;
        let answer = answer::whole(&question, parts);
        // A peer that asks and does not read gets no further.
        self.writer.wait_for_room().await;
        // Where the link is closed there is nobody to read it; what follows still holds.
        let _ = self.writer.push_over(|out| frame_answer(&answer, out));
        self.writer.flush_soon();
        Ok(())
    }

    /// The parts of an answer, of every shard that may know something.
    async fn ask(&self, question: &Question) -> Result<Vec<answer::Part>, LinkError> {
        let shared = &self.shard.shared;
        // Of one connection only its shard knows anything.
        let only = match question {
            Question::IsOnline(id) | Question::Session(id) => Some(shared.shard_of(*id)),
            _ => None,
        };
        let shared_question = Arc::new(question.clone());
        let mut parts = Vec::new();
        let mut replies = Vec::new();
        for (index, shard) in shared.shards.iter().enumerate() {
            if only.is_some_and(|only| only != index) {
                continue;
            }
            if index == self.shard.index {
                parts.push(self.shard.answer(question));
            } else {
                let (reply, answer) = oneshot::channel();
                // Where the shard is gone, so is `reply`.
                let _ = shard.send(Mail::Ask(shared_question.clone(), reply)).await;
                replies.push((index, answer));
            }
        }
        for (index, reply) in replies {
            parts.push(reply.await.map_err(|_| LinkError::ShardGone(index))?);
        }
        Ok(parts)
    }
}
