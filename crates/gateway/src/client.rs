//! A client, from the door to the worker.
//!
//! Two tasks, one after the other: [`arrive`] does the handshake, waits for a
//! worker to be there, and takes the client into the table; [`read`] then waits
//! for its bytes and passes its messages on. The second is all that an idle
//! client costs, so it is kept small.

use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use gatewayworker_protocol::CloseReason;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tracing::debug;

use crate::order::Arrival;
use crate::shard::{Key, NewClient, Route, Shard};
use crate::socket::{Fresh, Socket, is_passing};
use crate::websocket::decode::{Decoder, Event, ProtocolError, Step, is_control};
use crate::websocket::encode;
use crate::websocket::handshake::{self, Refusal, Upgrade};
use crate::workers::WorkerLink;

/// Does the handshake with a client and takes it in, or answers why not.
pub(crate) async fn arrive(shard: Rc<Shard>, stream: TcpStream, arrival: Arrival) {
    let Arrival { peer, door, permit } = arrival;
    // Linux has it from the listener.
    if !cfg!(target_os = "linux") {
        gatewayworker_net::tune(&stream);
    }
    let mut socket = Socket::Plain(stream);
    match admit(&shard, &mut socket).await {
        Err(refusal) => {
            debug!(client = %peer, %refusal, "a client was not let in");
            if let Some(answer) = refusal.response() {
                refuse(socket, answer.as_bytes()).await;
            }
        }
        // Nobody would close it any more, nor tell its worker.
        Ok(_) if shard.is_stopping() => refuse(socket, &goodbye()).await,
        Ok((upgrade, worker)) => {
            let client = NewClient {
                connection_id: shard.draw_connection_id(),
                seq: shard.shared.number(),
                address: ipv4(peer),
                door,
                worker,
                heard_ms: shard.now_ms(),
                permit,
            };
            enter(&shard, socket, client, peer, upgrade);
        }
    }
}

/// The handshake within its time, then a worker within its own, then the 101.
async fn admit(shard: &Shard, socket: &mut Socket) -> Result<(Upgrade, Arc<WorkerLink>), Refusal> {
    let config = &shard.shared.config;
    let limit = Duration::from_millis(config.handshake_timeout_ms);
    let reading = handshake::read_request(socket, config.max_header_bytes);
    let upgrade = timeout(limit, reading)
        .await
        .map_err(|_| Refusal::http("408 Request Timeout", "the handshake took too long"))??;
    let worker = find_worker(shard).await?;
    let answering = async {
        socket.write_all(&upgrade.response).await?;
        socket.flush().await
    };
    timeout(limit, answering).await.map_err(io::Error::from)??;
    Ok((upgrade, worker))
}

/// The worker for a new client. Where there is none, or none that reads what it
/// is sent, the client waits a while for one, before it is told that it is in: so
/// a cluster may start, and its workers restart, in any order, and what waits for
/// a worker that hangs stays bounded.
async fn find_worker(shard: &Shard) -> Result<Arc<WorkerLink>, Refusal> {
    let shared = &shard.shared;
    if let Some(worker) = shared.workers.choose(None)
        && !worker.writer.is_full()
    {
        return Ok(worker);
    }
    let busy = |reason| Refusal::http("503 Service Unavailable", reason);
    let _place =
        shared.waiting.try_acquire().map_err(|_| busy("no worker is there, and too many wait for one"))?;
    let limit = Duration::from_millis(shared.config.worker_wait_ms);
    timeout(limit, async {
        loop {
            match shared.workers.choose(None) {
                Some(worker) if worker.writer.is_full() => worker.writer.wait_for_room().await,
                Some(worker) => return worker,
                None => shared.workers.wait_for_one().await,
            }
            // What was waited for may be there while its other half is not yet.
            tokio::task::yield_now().await;
        }
    })
    .await
    .map_err(|_| busy("no worker is there"))
}

/// Answers, and waits a moment for the client to read it: closing with unread
/// bytes would reset the connection.
async fn refuse(mut socket: Socket, answer: &[u8]) {
    let _ = timeout(Duration::from_secs(2), async {
        socket.write_all(answer).await?;
        socket.shutdown().await?;
        tokio::io::copy(&mut socket, &mut tokio::io::sink()).await
    })
    .await;
}

/// What a client hears when the gateway stops.
pub(crate) fn goodbye() -> Bytes {
    encode::close(Some(1001), "the gateway stops")
}

fn enter(shard: &Rc<Shard>, socket: Socket, client: NewClient, peer: SocketAddr, upgrade: Upgrade) {
    let socket = Rc::new(socket);
    let port = client.door.port;
    let key = shard.insert(client, socket.clone());
    shard.tell_arrived(key, &upgrade.to_php(peer, port));
    let inbox = Inbox { partial: upgrade.rest, ..Inbox::default() };
    let task = tokio::task::spawn_local(read(shard.clone(), socket, key, inbox));
    shard.set_reader(key, task.abort_handle());
}

/// Passes a client's messages on until it is gone, which it sees to itself;
/// aborted when somebody else closes the client.
async fn read(shard: Rc<Shard>, socket: Rc<Socket>, key: Key, mut inbox: Inbox) {
    let mut fresh = Fresh::default();
    loop {
        let stop = inbox.advance(&shard, key, &mut shard.scratch.borrow_mut()[..fresh.bytes]);
        if fresh.more {
            // It has more to say than fits: first the others, and what it said on its way.
            tokio::task::yield_now().await;
        }
        fresh = Fresh::default();
        match stop {
            Stop::Starved => match fill(&shard, &socket).await {
                Ok(read @ Fresh { bytes: 1.., .. }) => {
                    fresh = read;
                    shard.heard(key);
                }
                _ => return shard.close(key, CloseReason::ClientLeft, None),
            },
            // Boxed, as every idle client would have the place for it.
            Stop::Paused(route) => Box::pin(wait(&shard, key, route)).await,
            Stop::Closed(reason, last) => return shard.close(key, reason, last),
        }
    }
}

/// Reads into the shard's buffer. What is there has to be dealt with before the
/// next await: then another client's bytes may stand there.
///
/// Cancel safe.
async fn fill(shard: &Shard, socket: &Socket) -> io::Result<Fresh> {
    poll_fn(|cx| {
        loop {
            ready!(socket.poll_readable(cx))?;
            match socket.read(&mut shard.scratch.borrow_mut()) {
                Err(error) if is_passing(&error) => {}
                read => return Poll::Ready(read),
            }
        }
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
    // A link is woken for when it fails, too: let its own task hear of that.
    tokio::task::yield_now().await;
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
        // The buffer grew to what a message needed; what is left behind one needs less.
        self.partial = if taken == 0 { partial } else { partial[taken..].to_vec() };
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

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;
    use tokio::sync::Semaphore;
    use tokio::task::LocalSet;

    use super::*;
    use crate::config::Config;
    use crate::shard::testing;

    const UPGRADE: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

    /// What a client that asks to be upgraded gets until the connection ends.
    async fn answer(shard: &Rc<Shard>) -> Vec<u8> {
        let (ours, mut theirs) = testing::connection().await;
        let arrival = Arrival {
            peer: theirs.local_addr().unwrap(),
            door: Arc::new(testing::door()),
            permit: Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap(),
        };
        theirs.write_all(UPGRADE).await.unwrap();
        let reading = async {
            let mut answer = Vec::new();
            theirs.read_to_end(&mut answer).await.unwrap();
            drop(theirs);
            answer
        };
        let both = async { tokio::join!(arrive(shard.clone(), ours, arrival), reading).1 };
        timeout(Duration::from_secs(10), both).await.expect("the connection's end")
    }

    #[tokio::test]
    async fn a_client_that_comes_while_the_gateway_stops_is_sent_away_and_nobody_told() {
        let shard = testing::shard(Config::default());
        let (worker, _peer) = testing::worker(&shard, 1000).await;
        let test = async {
            let (done, stopped) = tokio::sync::oneshot::channel();
            shard.clone().stop(done).await;
            stopped.await.unwrap();
            let answer = answer(&shard).await;
            assert!(answer.starts_with(b"HTTP/1.1 101 ") && answer.ends_with(&goodbye()), "{answer:?}");
        };
        LocalSet::new().run_until(test).await;
        worker.writer.push(|out| assert!(out.is_empty())).unwrap();
    }

    #[tokio::test]
    async fn a_client_does_not_come_in_to_a_worker_that_does_not_read() {
        let shard = testing::shard(Config { worker_wait_ms: 1, ..Config::default() });
        let (worker, _peer) = testing::worker(&shard, 1000).await;
        worker.writer.push(|out| out.resize(1000, 0)).unwrap();
        let answer = LocalSet::new().run_until(answer(&shard)).await;
        assert!(answer.starts_with(b"HTTP/1.1 503 "), "{answer:?}");
    }
}
