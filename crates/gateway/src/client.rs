//! A client, from the door to the worker.
//!
//! Two tasks, one after the other: [`arrive`] does the handshake, waits for a
//! worker to be there, and takes the client into the table; [`read`] then waits
//! for its bytes and passes its messages on. The second is all that an idle
//! client costs, so it is kept small.

use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;
use tracing::debug;

use crate::close_reason::CloseReason;
use crate::order::Arrival;
use crate::shard::{Key, NewClient, Route, Shard};
use crate::websocket::decode::{Decoder, Event, ProtocolError, Step, is_control};
use crate::websocket::encode;
use crate::websocket::handshake::{self, Refusal, Upgrade};
use crate::workers::WorkerLink;

/// Does the handshake with a client and takes it in, or answers why not.
pub(crate) async fn arrive(shard: Rc<Shard>, arrival: Arrival) {
    let Arrival { stream, peer, door, permit } = arrival;
    let Ok(mut stream) = TcpStream::from_std(stream) else { return };
    gatewayworker_net::tune(&stream);
    match admit(&shard, &mut stream).await {
        Err(refusal) => {
            debug!(client = %peer, %refusal, "a client was not let in");
            if let Some(answer) = refusal.response() {
                refuse(stream, &answer).await;
            }
        }
        Ok((upgrade, worker)) => {
            let client = NewClient {
                connection_id: shard.draw_connection_id(),
                seq: shard.shared.number(),
                address: ipv4(peer),
                door,
                worker,
                heard_ms: shard.now_ms(),
            };
            enter(&shard, stream, client, peer, upgrade, permit);
        }
    }
}

/// The handshake within its time, then a worker within its own, then the 101.
async fn admit(shard: &Shard, stream: &mut TcpStream) -> Result<(Upgrade, Arc<WorkerLink>), Refusal> {
    let config = &shard.shared.config;
    let limit = Duration::from_millis(config.handshake_timeout_ms);
    let reading = handshake::read_request(stream, config.max_header_bytes);
    let upgrade = timeout(limit, reading)
        .await
        .map_err(|_| Refusal::http("408 Request Timeout", "the handshake took too long"))??;
    let worker = find_worker(shard).await?;
    timeout(limit, stream.write_all(&upgrade.response)).await.map_err(io::Error::from)??;
    Ok((upgrade, worker))
}

/// The worker for a new client. Where there is none the client waits a while
/// for one, before it is told that it is in: so a cluster may start, and its
/// workers restart, in any order.
async fn find_worker(shard: &Shard) -> Result<Arc<WorkerLink>, Refusal> {
    let shared = &shard.shared;
    if let Some(worker) = shared.workers.choose(None) {
        return Ok(worker);
    }
    let busy = |reason| Refusal::http("503 Service Unavailable", reason);
    let _place =
        shared.waiting.try_acquire().map_err(|_| busy("no worker is there, and too many wait for one"))?;
    let limit = Duration::from_millis(shared.config.worker_wait_ms);
    timeout(limit, async {
        loop {
            shared.workers.wait_for_one().await;
            if let Some(worker) = shared.workers.choose(None) {
                return worker;
            }
        }
    })
    .await
    .map_err(|_| busy("no worker is there"))
}

/// Answers, and waits a moment for the client to read it: closing with unread
/// bytes would reset the connection.
async fn refuse(mut stream: TcpStream, answer: &str) {
    let _ = timeout(Duration::from_secs(2), async {
        stream.write_all(answer.as_bytes()).await?;
        stream.shutdown().await?;
        tokio::io::copy(&mut stream, &mut tokio::io::sink()).await
    })
    .await;
}

fn enter(
    shard: &Rc<Shard>,
    stream: TcpStream,
    client: NewClient,
    peer: SocketAddr,
    upgrade: Upgrade,
    permit: OwnedSemaphorePermit,
) {
    let (reading, writing) = stream.into_split();
    let port = client.door.port;
    let key = shard.insert(client, writing);
    shard.tell_arrived(key, &upgrade.to_php(peer, port));
    let inbox = Inbox { partial: upgrade.rest, ..Inbox::default() };
    let task = tokio::task::spawn_local(read(shard.clone(), reading, key, inbox, permit));
    shard.set_reader(key, task.abort_handle());
}

/// Passes a client's messages on until it is gone, which it sees to itself;
/// aborted when somebody else closes the client.
async fn read(
    shard: Rc<Shard>,
    mut socket: OwnedReadHalf,
    key: Key,
    mut inbox: Inbox,
    _permit: OwnedSemaphorePermit,
) {
    let mut fresh = 0;
    loop {
        let stop = inbox.advance(&shard, key, &mut shard.scratch.borrow_mut()[..fresh]);
        fresh = 0;
        match stop {
            Stop::Starved => match fill(&shard, &mut socket).await {
                Ok(bytes @ 1..) => {
                    fresh = bytes;
                    shard.heard(key);
                }
                _ => return shard.close(key, CloseReason::ClientLeft, None),
            },
            Stop::Paused(route) => wait(&shard, key, route).await,
            Stop::Closed(reason, last) => return shard.close(key, reason, last),
        }
    }
}

/// Reads into the shard's buffer. What is there has to be dealt with before the
/// next await: then another client's bytes may stand there.
///
/// Cancel safe.
async fn fill(shard: &Shard, socket: &mut OwnedReadHalf) -> io::Result<usize> {
    poll_fn(|cx| {
        let mut scratch = shard.scratch.borrow_mut();
        let mut buffer = ReadBuf::new(&mut scratch);
        Pin::new(&mut *socket).poll_read(cx, &mut buffer).map_ok(|()| buffer.filled().len())
    })
    .await
}

/// Stops reading until the client's events can go somewhere again: the client
/// feels that as a socket that takes no more.
async fn wait(shard: &Shard, key: Key, route: Route) {
    shard.pause(key, true);
    match route {
        Route::Full(link) => link.writer.wait_for_room().await,
        Route::NoWorker => shard.shared.workers.wait_for_one().await,
        Route::Open | Route::Gone => {}
    }
    shard.pause(key, false);
}

/// What a client has sent and nobody has dealt with: mostly nothing.
#[derive(Default)]
struct Inbox {
    decoder: Decoder,
    partial: Vec<u8>,
    /// No frame is whole while `partial` has fewer bytes than this.
    wanted: usize,
}

/// Why no more frames are taken.
enum Stop {
    /// There is no whole one.
    Starved,
    /// Their events have nowhere to go.
    Paused(Route),
    /// There will be none.
    Closed(CloseReason, Option<Bytes>),
}

impl Inbox {
    /// Deals with `fresh` bytes, behind what was left before.
    fn advance(&mut self, shard: &Rc<Shard>, key: Key, fresh: &mut [u8]) -> Stop {
        if self.partial.is_empty() {
            // The usual case: whole frames, passed on from where they were read to.
            let (taken, stop) = self.take_frames(shard, key, fresh);
            self.partial.extend_from_slice(&fresh[taken..]);
            return stop;
        }
        self.partial.extend_from_slice(fresh);
        if self.partial.len() < self.wanted {
            return Stop::Starved;
        }
        let mut partial = std::mem::take(&mut self.partial);
        let (taken, stop) = self.take_frames(shard, key, &mut partial);
        if taken < partial.len() {
            partial.drain(..taken);
            self.partial = partial;
        }
        stop
    }

    /// Takes whole frames off the front of `buffer`, and says how many bytes.
    fn take_frames(&mut self, shard: &Rc<Shard>, key: Key, buffer: &mut [u8]) -> (usize, Stop) {
        self.wanted = 0;
        let limit = shard.shared.config.max_message_bytes;
        let mut taken = 0;
        loop {
            if taken == buffer.len() {
                return (taken, Stop::Starved);
            }
            let front = &mut buffer[taken..];
            // Control frames are between the client and us: they need no worker.
            if !is_control(front[0]) {
                match shard.route(key) {
                    Route::Open => {}
                    Route::Gone => return (taken, Stop::Closed(CloseReason::ClientLeft, None)),
                    elsewhere => return (taken, Stop::Paused(elsewhere)),
                }
            }
            let (len, event) = match self.decoder.step(front, limit) {
                Ok(Step::Frame { len, event }) => (len, event),
                Ok(Step::Incomplete(wanted)) => {
                    self.wanted = wanted;
                    return (taken, Stop::Starved);
                }
                Err(error) => return (taken, failed(error)),
            };
            let told = match event {
                Event::Message { binary, payload } => shard.tell_message(key, binary, &front[payload]),
                Event::Assembled { binary, payload } => shard.tell_message(key, binary, &payload),
                Event::Ping(payload) => {
                    shard.send_frame(key, encode::pong(&front[payload]));
                    Ok(())
                }
                Event::Pong | Event::Fragment => Ok(()),
                Event::Close(code) => {
                    return (taken, Stop::Closed(CloseReason::ClientLeft, Some(encode::close(code, ""))));
                }
            };
            if told.is_err() {
                return (taken, failed(ProtocolError::TooLarge));
            }
            taken += len;
        }
    }
}

fn failed(error: ProtocolError) -> Stop {
    let reason = match error {
        ProtocolError::TooLarge => CloseReason::TooLarge,
        ProtocolError::Malformed(_) | ProtocolError::NotUtf8 => CloseReason::ProtocolError,
    };
    Stop::Closed(reason, Some(encode::close(Some(error.close_code()), &error.to_string())))
}

/// The address as it fits into a frame: 0.0.0.0 for what is not IPv4.
fn ipv4(address: SocketAddr) -> SocketAddrV4 {
    let ip = match address.ip().to_canonical() {
        IpAddr::V4(ip) => ip,
        IpAddr::V6(_) => Ipv4Addr::UNSPECIFIED,
    };
    SocketAddrV4::new(ip, address.port())
}
