//! A client, from the listener to the worker.
//!
//! Two tasks, one after the other: [`accept`] does the handshake, waits for a
//! worker to be there, and takes the client into the table; [`read`](reading::read) then waits
//! for its bytes and passes its messages on. The second is all that an idle
//! client costs, so it is kept small.

mod reading;
mod reject;
#[cfg(test)]
mod tests;
mod worker_wait;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::rc::Rc;
use std::sync::Arc;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tracing::debug;

pub(crate) use reject::reject_over_limit;
use worker_wait::find_worker;

use crate::access::proxy_header;
use crate::access::rejections::RejectReason;
use crate::closing;
use crate::core::client::NewClient;
use crate::core::inbox::Inbox;
use crate::core::outbox::Outbox;
use crate::listener::{ConnectionPermit, Listener};
use crate::shard::{ClientConnection, NewConnection, ShardThread};
use crate::socket::Socket;
use crate::tls::TlsSocket;
use crate::websocket::handshake::{self, Upgrade};
use crate::websocket::rejection::Rejection;
use crate::workers::WorkerLink;

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
    let task = tokio::task::spawn_local(reading::read(shard.clone(), socket, key, inbox));
    shard.set_reader(key, task.abort_handle());
}

/// The address as it fits into a frame: 0.0.0.0 for what is not IPv4.
fn ipv4(address: SocketAddr) -> SocketAddrV4 {
    let ip = match address.ip().to_canonical() {
        IpAddr::V4(ip) => ip,
        IpAddr::V6(_) => Ipv4Addr::UNSPECIFIED,
    };
    SocketAddrV4::new(ip, address.port())
}
