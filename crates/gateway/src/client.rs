//! A client, from the listener to the worker.
//!
//! Two tasks, one after the other: [`accept`] does the handshake, waits for a
//! worker to be there, and takes the client into the table; [`read`] then waits
//! for its bytes and passes its messages on. The second is all that an idle
//! client costs, so it is kept small.

use std::future::poll_fn;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Duration;

use gatewayworker_net::LinkWriter;
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tracing::debug;

use crate::access::proxy_header;
use crate::access::rejections::RejectReason;
use crate::closing;
use crate::core::client::NewClient;
use crate::core::events::Route;
use crate::core::inbox::Inbox;
use crate::core::outbox::Outbox;
use crate::core::ports::Directory;
use crate::core::reading::Reading;
use crate::core::table::Key;
use crate::listener::{ConnectionPermit, Listener};
use crate::shard::{ClientConnection, NewConnection, SCRATCH, ShardThread};
use crate::socket::{ReadOutcome, Socket, is_transient};
use crate::tls::TlsSocket;
use crate::websocket::handshake::{self, Rejection, Upgrade};
use crate::workers::WorkerLink;

/// The most that is read of a client that waits for a worker, in bytes: so many may wait.
const MAX_SAID: usize = 4 * 1024;

/// How often to look whether one has left that has said more than that.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// How long to wait for the request of one who finds no place.
const REJECT_TIMEOUT: Duration = Duration::from_secs(2);

/// The most that is read of the request of one who finds no place, in bytes.
const MAX_REJECTED_HEAD: usize = 16 * 1024;

/// Does the handshake with a client and takes it in, or answers why not.
pub(crate) async fn accept(shard: Rc<ShardThread>, stream: TcpStream, new: NewConnection) {
    let NewConnection { peer, mut permit } = new;
    // Linux has it from the listener.
    if !cfg!(target_os = "linux") {
        gatewayworker_net::tune(&stream);
    }
    let limit = Instant::now() + permit.handshake_timeout;
    let mut from = peer;
    let mut socket = match open(stream, &permit, limit, &mut from).await {
        Ok(socket) => socket,
        // There is nothing yet that an answer could be said in.
        Err(refusal) => return note_rejected(&shard, from, &refusal),
    };
    match check_access(&shard, &mut socket, &mut permit, limit, &mut from).await {
        Err(Rejection::HealthCheck(check)) => {
            let mut outbox = Outbox::of(check.response(shard.can_serve()).into());
            closing::end(&socket, &mut outbox, false, false).await;
        }
        Err(refusal) => {
            note_rejected(&shard, from, &refusal);
            if let Some(answer) = refusal.response().filter(|_| permit.policy.is_websocket()) {
                let mut outbox = Outbox::of(answer.into());
                closing::end(&socket, &mut outbox, false, false).await;
            }
        }
        // Nobody would close it any more, nor tell its worker.
        Ok(_) if shard.is_stopping() => {
            let last = permit.policy.stop_frame();
            let with_close_frame = last.is_some();
            let mut outbox = Outbox::of(last.unwrap_or_default());
            closing::end(&socket, &mut outbox, with_close_frame, false).await;
        }
        Ok(ready) => spawn_client(&shard, socket, permit, ipv4(from), ready),
    }
}

fn note_rejected(shard: &ShardThread, from: SocketAddr, refusal: &Rejection) {
    let (why, said) = match refusal {
        Rejection::Io(_) => (RejectReason::Left, None),
        Rejection::Http { why, said, .. } => (*why, said.as_deref()),
        Rejection::HealthCheck(_) => return,
    };
    debug!(client = %from, %refusal, "a client was not let in");
    shard.shared.refusals.note(why, from, said);
}

/// What comes before the client's first word: a proxy says whom it brings, which `from`
/// becomes, and TLS; where the listener has either.
async fn open(
    mut stream: TcpStream,
    listener: &Listener,
    limit: Instant,
    from: &mut SocketAddr,
) -> Result<Socket, Rejection> {
    *from = resolve_proxied_peer(&mut stream, listener, *from).await?;
    let Some(certificate) = &listener.certificate else { return Ok(Socket::Plain(stream)) };
    let accepting = TlsSocket::accept(stream, certificate.current());
    match timeout_at(limit, accepting).await {
        Err(_) => Err(Rejection::of(RejectReason::TooSlow, "the TLS handshake took too long")),
        Ok(Err(error)) => Err(Rejection::of(RejectReason::Tls, error.to_string())),
        Ok(Ok(socket)) => Ok(Socket::Tls(Box::new(socket))),
    }
}

/// A client that may be taken into the table.
struct Ready {
    opening: Opening,
    worker: Arc<WorkerLink>,
}

/// What a client has said before it is in the table.
#[derive(Default)]
struct Opening {
    /// The body of ON_WEBSOCKET_CONNECT, if it has come by a WebSocket handshake.
    handshake: Option<Vec<u8>>,
    /// It has offered permessage-deflate in there.
    may_compress: bool,
    /// What came behind the handshake.
    said: Vec<u8>,
}

/// What stands before a client: how many are in from where it comes, the handshake, and
/// that there is a worker. `from` is the client, or becomes the one that it brings.
async fn check_access(
    shard: &ShardThread,
    socket: &mut Socket,
    permit: &mut ConnectionPermit,
    limit: Instant,
    from: &mut SocketAddr,
) -> Result<Ready, Rejection> {
    // One that a proxy brings is counted when it is known where it comes from.
    if !permit.access.trusts(from.ip()) {
        permit.take_from(from.ip())?;
    }
    if permit.policy.is_websocket() {
        return admit(shard, socket, permit, limit, from).await;
    }
    // There is no handshake, and nobody to read an answer in HTTP.
    let mut opening = Opening::default();
    let worker = find_worker(shard, socket, &mut opening.said).await?;
    Ok(Ready { opening, worker })
}

/// Whom `peer` brings, where the listener is for proxies that say so before all else.
async fn resolve_proxied_peer(
    stream: &mut TcpStream,
    listener: &Listener,
    peer: SocketAddr,
) -> Result<SocketAddr, Rejection> {
    if !listener.access.proxy_protocol {
        return Ok(peer);
    }
    if !listener.access.trusts(peer.ip()) {
        return Err(Rejection::of(RejectReason::ProxyHeader, "it is none of trusted_proxies"));
    }
    let client = timeout(listener.handshake_timeout, proxy_header::read(stream)).await;
    let client =
        client.map_err(|_| Rejection::of(RejectReason::ProxyHeader, "its PROXY header took too long"))?;
    let client = client.map_err(|error| Rejection::of(RejectReason::ProxyHeader, error.to_string()))?;
    Ok(client.unwrap_or(peer))
}

/// The handshake within its time, then a worker within its own, then the 101.
async fn admit(
    shard: &ShardThread,
    socket: &mut Socket,
    permit: &mut ConnectionPermit,
    limit: Instant,
    from: &mut SocketAddr,
) -> Result<Ready, Rejection> {
    let peer = *from;
    let reading = handshake::read_request(socket, permit, from);
    let Upgrade { response, handshake, rest: mut said, may_compress } =
        timeout_at(limit, reading)
            .await
            .map_err(|_| Rejection::of(RejectReason::TooSlow, "the handshake took too long"))??;
    if *from != peer {
        permit.take_from(from.ip())?;
    }
    let worker = find_worker(shard, socket, &mut said).await?;
    if socket.is_half_closed().await {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
    }
    let answering = async {
        socket.write_all(&response).await?;
        socket.flush().await
    };
    timeout(permit.handshake_timeout, answering).await.map_err(io::Error::from)??;
    Ok(Ready { opening: Opening { handshake: Some(handshake), may_compress, said }, worker })
}

/// The worker for a new client. Where there is none, or none that reads what it
/// is sent, the client waits a while for one, before it is told that it is in: so
/// a cluster may start, and its workers restart, in any order, and what waits for
/// a worker that hangs stays bounded. What the client says meanwhile is added to `said`.
///
/// # Errors
/// When no worker comes in time, too many wait for one, or the client leaves: it holds no
/// place then, and no worker hears of it. Who ends only its own side has left, too, whatever
/// it speaks: nobody has promised it an answer yet.
async fn find_worker(
    shard: &ShardThread,
    socket: &Socket,
    said: &mut Vec<u8>,
) -> Result<Arc<WorkerLink>, Rejection> {
    let shared = &shard.shared;
    if let Some(worker) = shared.workers.choose(None)
        && !worker.buffer.is_full()
    {
        return Ok(worker);
    }
    let busy = |reason| Rejection::of(RejectReason::NoWorker, reason);
    let _permit =
        shared.waiting.try_acquire().map_err(|_| busy("no worker is there, and too many wait for one"))?;
    let limit = Duration::from_millis(shared.config.worker_wait_ms);
    let coming = timeout(limit, async {
        loop {
            match shared.workers.choose(None) {
                Some(worker) if worker.buffer.is_full() => worker.buffer.wait_for_room().await,
                Some(worker) => return worker,
                None => shared.workers.wait_for_one().await,
            }
            // What was waited for may be there while its other half is not yet.
            tokio::task::yield_now().await;
        }
    });
    tokio::select! {
        biased;
        error = left(shard, socket, said) => Err(error.into()),
        worker = coming => worker.map_err(|_| busy("no worker is there")),
    }
}

/// Waits until a client leaves, and adds to `said` what it says meanwhile, as long as that
/// is little: the rest stays in its socket.
///
/// Cancel safe.
async fn left(shard: &ShardThread, socket: &Socket, said: &mut Vec<u8>) -> io::Error {
    let end = || io::Error::from(io::ErrorKind::UnexpectedEof);
    while said.len() < MAX_SAID {
        match fill(shard, socket, MAX_SAID - said.len()).await {
            Ok(ReadOutcome { bytes: 0, .. }) => return end(),
            Ok(fresh) => said.extend_from_slice(&shard.scratch.borrow()[..fresh.bytes]),
            Err(error) => return error,
        }
    }
    // What is unread stands before the end: that there is one shows in the socket's state.
    while !socket.is_half_closed().await {
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
    end()
}

/// Sends away who found no place, with an answer where there is somebody to read one
/// who would know it from what comes before. Where too many come for that, the answer is as
/// good as it can be without waiting for anything.
pub(crate) fn reject_over_limit(
    shard: &Rc<ShardThread>,
    stream: TcpStream,
    listener: &Listener,
    why: RejectReason,
) {
    let speaks_first =
        listener.policy.is_websocket() && !listener.access.proxy_protocol && listener.certificate.is_none();
    if !speaks_first {
        return;
    }
    let answer = Rejection::from(why).response().unwrap_or_default();
    let Ok(permit) = shard.shared.rejecting.clone().try_acquire_owned() else {
        return refuse_at_once(&stream, answer.as_bytes());
    };
    tokio::task::spawn_local(async move {
        let _permit = permit;
        reject(stream, answer.as_bytes()).await;
    });
}

/// Answers as soon as there is a request, and ends the connection.
async fn reject(mut stream: TcpStream, answer: &[u8]) {
    let mut head = Vec::with_capacity(1024);
    let reading = async {
        while !head.ends_with(b"\r\n\r\n") && head.len() < MAX_REJECTED_HEAD {
            if stream.read_buf(&mut head).await? == 0 {
                break;
            }
        }
        io::Result::Ok(())
    };
    let _ = timeout(REJECT_TIMEOUT, reading).await;
    refuse_at_once(&stream, answer);
}

/// Answers without waiting: who has sent its request already gets the answer, as nothing
/// unread resets the connection.
fn refuse_at_once(stream: &TcpStream, answer: &[u8]) {
    let socket = SockRef::from(stream);
    let _ = (&*socket).read(&mut [0; 4096]);
    let _ = (&*socket).write(answer);
    let _ = socket.shutdown(std::net::Shutdown::Write);
}

/// Inserts a client into the shard, and starts the task that reads from it.
fn spawn_client(
    shard: &Rc<ShardThread>,
    socket: Socket,
    permit: ConnectionPermit,
    address: SocketAddrV4,
    ready: Ready,
) {
    let Ready { opening: Opening { handshake, may_compress, said }, worker } = ready;
    let socket = Rc::new(socket);
    let inbox = Inbox::new(&permit.policy, said, may_compress);
    let key = shard.insert(NewClient {
        connection_id: shard.draw_connection_id(),
        seq: shard.shared.number(),
        address,
        connection: ClientConnection::new(permit, socket.clone()),
        worker,
    });
    let now_ms = shard.now_ms();
    shard.input(|core| core.tell_connected(key, handshake.as_deref(), now_ms));
    let task = tokio::task::spawn_local(read(shard.clone(), socket, key, inbox));
    shard.set_reader(key, task.abort_handle());
}

/// Passes a client's bytes on until it is gone; aborted when somebody else closes the client.
async fn read(shard: Rc<ShardThread>, socket: Rc<Socket>, key: Key, mut inbox: Inbox) {
    let mut fresh = ReadOutcome::default();
    loop {
        let now_ms = shard.now_ms();
        let reading = match fresh.bytes {
            // It begins, or goes on behind a pause.
            0 => shard.input(|core| core.resume(key, &mut inbox, now_ms)),
            bytes => {
                let scratch = &mut shard.scratch.borrow_mut()[..bytes];
                shard.input(|core| core.receive(key, &mut inbox, scratch, now_ms))
            }
        };
        if fresh.more {
            // It has more to say than fits: first the others, and what it said on its way.
            tokio::task::yield_now().await;
        }
        fresh = ReadOutcome::default();
        match reading {
            Reading::More => match fill(&shard, &socket, SCRATCH).await {
                Ok(read @ ReadOutcome { bytes: 1.., .. }) => fresh = read,
                _ => return shard.input(|core| core.read_ended(key)),
            },
            // Boxed, as every idle client would have the place for it.
            Reading::Paused(route) => Box::pin(wait(&shard, route)).await,
            Reading::Closed => return,
        }
    }
}

/// Reads into the shard's buffer, `most` bytes at most. What is there has to be dealt with
/// before the next await: then another client's bytes may stand there.
///
/// Cancel safe.
async fn fill(shard: &ShardThread, socket: &Socket, most: usize) -> io::Result<ReadOutcome> {
    poll_fn(|cx| {
        loop {
            ready!(socket.poll_readable(cx))?;
            match socket.try_read(&mut shard.scratch.borrow_mut()[..most]) {
                Err(error) if is_transient(&error) => {}
                read => return Poll::Ready(read),
            }
        }
    })
    .await
}

/// Waits until a client's events can go somewhere again. It is not read from meanwhile: the client
/// feels that as a socket that takes no more.
async fn wait(shard: &ShardThread, route: Route<Arc<LinkWriter>>) {
    match route {
        Route::Full(link) => link.buffer.wait_for_room().await,
        Route::NoWorker => shard.shared.workers.wait_for_one().await,
        Route::Pending => shard.admission_resolved().await,
        Route::Open | Route::Gone => {}
    }
    // A link is woken for when it fails, too: let its own task hear of that.
    tokio::task::yield_now().await;
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
    use tokio::task::LocalSet;

    use super::*;
    use crate::config::Config;
    use crate::shard::testing;

    const UPGRADE: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

    /// What a client that asks to be upgraded gets until the connection ends.
    async fn answer(shard: &Rc<ShardThread>) -> Vec<u8> {
        let (ours, mut theirs) = testing::connection().await;
        let new = NewConnection { peer: theirs.local_addr().unwrap(), permit: testing::permit() };
        theirs.write_all(UPGRADE).await.unwrap();
        let reading = async {
            let mut answer = Vec::new();
            let mut buffer = [0; 1024];
            // A client answers a close frame, and ends its side when we have ended ours.
            while let Ok(read @ 1..) = theirs.read(&mut buffer).await {
                answer.extend_from_slice(&buffer[..read]);
                let _ = theirs.write_all(b"\x88\x80mask").await;
            }
            drop(theirs);
            answer
        };
        let both = async { tokio::join!(accept(shard.clone(), ours, new), reading).1 };
        timeout(Duration::from_secs(10), both).await.expect("the connection's end")
    }

    #[tokio::test]
    async fn a_client_that_comes_while_the_gateway_stops_is_sent_away_and_nobody_told() {
        let shard = testing::shard(Config::default());
        let (worker, _peer) = testing::worker(&shard.shared, 1000).await;
        let test = async {
            let (done, stopped) = tokio::sync::oneshot::channel();
            shard.clone().stop(Duration::ZERO, done).await;
            stopped.await.unwrap();
            let answer = answer(&shard).await;
            assert!(
                answer.starts_with(b"HTTP/1.1 101 ")
                    && answer.ends_with(&testing::permit().policy.stop_frame().unwrap()),
                "{answer:?}"
            );
        };
        LocalSet::new().run_until(test).await;
        worker.buffer.push(|out| assert!(out.is_empty())).unwrap();
    }

    /// What clients send before they leave, by their listener: something, then more than is
    /// kept of one that waits.
    fn sent(url: &str) -> Vec<Vec<u8>> {
        let first = if url.starts_with("websocket") { UPGRADE } else { b"first\n" };
        let pipelined = [first, &client_frames(1)].concat();
        let much = [first, &client_frames(10 * MAX_SAID)].concat();
        vec![first.to_vec(), pipelined, much]
    }

    /// Empty pings of a client, of so many bytes and a few more.
    fn client_frames(bytes: usize) -> Vec<u8> {
        b"\x89\x80mask".repeat(bytes.div_ceil(6))
    }

    /// How a client leaves.
    #[derive(Debug, Clone, Copy)]
    enum Leaves {
        Closing,
        HalfClosing,
        Resetting,
    }

    /// Has a client leave that waits for a worker, and checks that all that it held is free
    /// then, and that no worker hears of it.
    async fn leave_while_waiting(url: &str, bytes: &[u8], how: Leaves) {
        let config = Config { max_waiting: 1, worker_wait_ms: 3_600_000, ..Config::default() };
        let shard = testing::shard(config);
        let (ours, mut theirs) = testing::connection().await;
        let permit = testing::permit_at(url, &shard.shared.config);
        let listener = permit.listener().clone();
        let new = NewConnection { peer: theirs.local_addr().unwrap(), permit };
        let arriving = accept(shard.clone(), ours, new);
        let leaving = async {
            theirs.write_all(bytes).await.unwrap();
            while shard.shared.waiting.available_permits() > 0 {
                tokio::task::yield_now().await;
            }
            match how {
                Leaves::Closing => drop(theirs),
                Leaves::HalfClosing => {
                    theirs.shutdown().await.unwrap();
                    let mut answer = Vec::new();
                    // Where it had unread bytes the end is a reset.
                    let _ = theirs.read_to_end(&mut answer).await;
                    assert!(answer.is_empty(), "{answer:?}");
                }
                Leaves::Resetting => {
                    socket2::SockRef::from(&theirs).set_linger(Some(Duration::ZERO)).unwrap();
                    drop(theirs);
                }
            }
        };
        let tasks = LocalSet::new();
        let both = tasks.run_until(async { tokio::join!(arriving, leaving) });
        timeout(Duration::from_secs(10), both).await.unwrap_or_else(|_| {
            panic!("{url}: a client that left {how:?} behind {} bytes still waits", bytes.len())
        });
        assert_eq!(shard.shared.refusals.to_string(), "left=1", "{url} {how:?}");
        assert_eq!(shard.shared.waiting.available_permits(), 1);
        assert!(ConnectionPermit::take(&listener).is_ok(), "{url} {how:?}: it keeps its permit");
        let (worker, _peer) = testing::worker(&shard.shared, 1000).await;
        worker.buffer.push(|out| assert!(out.is_empty())).unwrap();
    }

    #[tokio::test]
    async fn a_client_that_leaves_while_it_waits_for_a_worker_is_gone_at_once() {
        for url in ["websocket://a:1", "text://a:1", "frame://a:1", "tcp://a:1"] {
            for bytes in sent(url) {
                for how in [Leaves::Closing, Leaves::HalfClosing, Leaves::Resetting] {
                    leave_while_waiting(url, &bytes, how).await;
                }
            }
        }
    }

    #[tokio::test]
    async fn a_client_does_not_come_in_to_a_worker_that_does_not_read() {
        let shard = testing::shard(Config { worker_wait_ms: 1, ..Config::default() });
        let (worker, _peer) = testing::worker(&shard.shared, 1000).await;
        worker.buffer.push(|out| out.resize(1000, 0)).unwrap();
        let answer = LocalSet::new().run_until(answer(&shard)).await;
        assert!(answer.starts_with(b"HTTP/1.1 503 "), "{answer:?}");
        assert_eq!(shard.shared.refusals.to_string(), "no-worker=1");
    }
}
