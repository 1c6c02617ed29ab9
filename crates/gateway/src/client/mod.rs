//! A new client, from its accepted connection to its place in the shard's table.
//!
//! [`accept`] checks who may connect, does the handshake of TLS, reads that of WebSocket, and waits for a
//! worker (`worker_wait`). It must not leave a client in the table that no worker was told of. Then
//! it inserts the client into the shard, with the answer to its handshake, and starts the task that
//! reads from it (`reading`). `reject` answers connections over a limit.
//!
//! The acceptors (`server::acceptors`) and the shards (`shard::run`) call this.

mod opening;
mod reading;
mod reject;
mod relay;
#[cfg(test)]
mod tests;
mod worker_wait;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use gatewayworker_protocol::close_code::SERVICE_RESTART;
use gatewayworker_protocol::{ClientId, MAX_MESSAGE_LEN, TraceContext};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tracing::debug;

pub(crate) use opening::{resume, resume_relayed};
use reading::Reader;
pub(crate) use reject::reject_over_limit;
pub(crate) use relay::carry;
use worker_wait::find_worker;

use crate::access::proxy_header;
use crate::access::rejections::RejectReason;
use crate::closing;
use crate::core::client::NewClient;
use crate::core::inbox::Inbox;
use crate::core::outbox::Outbox;
use crate::core::resumption::ResumePolicy;
use crate::core::resumption::control::{self, Lost, Resume};
use crate::core::table::Key;
use crate::core::websocket::compression::Compression;
use crate::core::websocket::decode::Decoder;
use crate::gateway_state::GatewayState;
use crate::identity::{self, Checked};
use crate::listener::{ConnectionPermit, Listener, Place};
use crate::resume_token::{ResumeToken, Secret};
use crate::shard::{ClientConnection, NewConnection, ReturningConnection, ShardThread};
use crate::socket::Socket;
use crate::tls::TlsSocket;
use crate::websocket::handshake::{self, Upgrade};
use crate::websocket::rejection::Rejection;
use crate::workers::WorkerLink;

/// Makes a client of an accepted connection, or rejects it with an answer that says why.
pub(crate) async fn accept(shard: Rc<ShardThread>, stream: TcpStream, new: NewConnection) {
    let NewConnection { peer, mut place } = new;
    // On Linux the stream inherits its options from the listener.
    if !cfg!(target_os = "linux") {
        gatewayworker_net::tune(&stream);
    }
    let deadline = Instant::now() + place.handshake_timeout;
    let mut client_address = peer;
    let mut socket = match open(stream, &place, deadline, &mut client_address).await {
        Ok(socket) => socket,
        // There is no TLS yet in which the client could read an answer.
        Err(rejection) => return note_rejected(&shard, client_address, &rejection),
    };
    match check_access(&shard, &mut socket, &mut place, deadline, &mut client_address).await {
        Err(Rejection::HealthCheck(check)) => {
            let mut outbox = Outbox::of(check.response(shard.can_serve()).into());
            closing::end(&socket, &mut outbox, false, false).await;
        }
        Err(Rejection::Opened(rejection)) => {
            reject(&shard, &socket, &place, client_address, &rejection, true).await;
        }
        Err(rejection) => reject(&shard, &socket, &place, client_address, &rejection, false).await,
        // The shard has closed its clients already, and would not close this one.
        Ok(Accepted::New(admissible)) if shard.is_stopping() => {
            if admissible.resumable.is_some() {
                return end_stopping(&socket, &place).await;
            }
            let stop_frame = place.policy.stop_frame();
            let with_close_frame = stop_frame.is_some();
            let mut outbox = Outbox::of(admissible.response.into());
            outbox.push(stop_frame.unwrap_or_default());
            closing::end(&socket, &mut outbox, with_close_frame, false).await;
        }
        Ok(Accepted::New(admissible)) => match place.into_permit() {
            Ok(permit) => spawn_client(&shard, socket, permit, ipv4(client_address), admissible),
            Err((place, limit)) => {
                let is_opened = admissible.resumable.is_some();
                reject(&shard, &socket, &place, client_address, &limit.into(), is_opened).await;
            }
        },
        Ok(Accepted::Returning(resume, client)) => {
            let address = ipv4(client_address);
            let returning = ReturningConnection { socket, place, address, resume, client };
            Box::pin(opening::resume(shard, Box::new(returning))).await;
        }
    }
}

/// Answers a connection that does not become a client. One that `is_opened` has got its 101, and gets a close frame.
async fn reject(
    shard: &ShardThread,
    socket: &Socket,
    listener: &Listener,
    client_address: SocketAddr,
    rejection: &Rejection,
    is_opened: bool,
) {
    note_rejected(shard, client_address, rejection);
    let answer = match is_opened {
        true => rejection.close_frame(),
        false => rejection.response().filter(|_| listener.policy.is_websocket()).map(Into::into),
    };
    if let Some(answer) = answer {
        closing::end(socket, &mut Outbox::of(answer), is_opened, false).await;
    }
}

/// Ends a connection that has got its 101 while the gateway stops.
async fn end_stopping(socket: &Socket, listener: &Listener) {
    let frame = listener.policy.close_frame(SERVICE_RESTART, "the gateway stops").unwrap_or_default();
    closing::end(socket, &mut Outbox::of(frame), true, false).await;
}

/// Counts a rejection, and logs it where a setting may be the cause.
fn note_rejected(shard: &ShardThread, client_address: SocketAddr, rejection: &Rejection) {
    let (reason, value) = match rejection {
        Rejection::Io(_) => (RejectReason::Left, None),
        Rejection::Http { reason, value, .. } => (*reason, value.as_deref()),
        Rejection::HealthCheck(_) | Rejection::Opened(_) => return,
    };
    debug!(client = %client_address, %rejection, "a connection was rejected");
    shard.shared.rejections.note(reason, client_address, value);
}

/// Does what comes before a client's first byte, where the listener asks for it: reads the PROXY
/// header, which sets `client_address`, and does the TLS handshake.
async fn open(
    mut stream: TcpStream,
    listener: &Listener,
    deadline: Instant,
    client_address: &mut SocketAddr,
) -> Result<Socket, Rejection> {
    *client_address = resolve_proxied_peer(&mut stream, listener, *client_address).await?;
    let Some(certificate) = &listener.certificate else { return Ok(Socket::Plain(stream)) };
    let accepting = TlsSocket::accept(stream, certificate.current());
    match timeout_at(deadline, accepting).await {
        Err(_) => Err(Rejection::of(RejectReason::TooSlow, "the TLS handshake took too long")),
        Ok(Err(error)) => Err(Rejection::of(RejectReason::Tls, error.to_string())),
        Ok(Ok(socket)) => Ok(Socket::Tls(Box::new(socket))),
    }
}

/// A client that has passed all checks and has a worker, but is not in the table yet.
struct AdmissibleClient {
    opening: Opening,
    /// The 101 for a WebSocket client, which is to be sent first.
    response: Vec<u8>,
    worker: Arc<WorkerLink>,
    /// It speaks `gw.1`: its first message was that it is new, or another client is lost, for this reason.
    resumable: Option<Option<Lost>>,
}

/// What is known of a client when its handshake is done, and where it speaks `gw.1` its first message has come.
#[derive(Default)]
pub(crate) struct Opening {
    /// The body of ON_WEBSOCKET_CONNECT, for a WebSocket client.
    handshake: Option<Bytes>,
    /// Bytes received behind that, and what decodes them.
    received: Vec<u8>,
    decoder: Decoder,
    /// What the handshake has agreed on about compression.
    compression: Compression,
    /// What its token says, where it came with one.
    checked: Option<Checked>,
    /// The client's own span, where the listener accepts one.
    trace_parent: Option<TraceContext>,
}

/// A connection that has passed all checks.
enum Accepted {
    /// It is a new client's.
    New(AdmissibleClient),
    /// It is of a client that comes back.
    Returning(Resume, Opening),
}

/// Checks the limit of the client's address, does the WebSocket handshake where the listener
/// speaks it, and waits for a worker. A trusted proxy's header sets `client_address`.
async fn check_access(
    shard: &ShardThread,
    socket: &mut Socket,
    place: &mut Place,
    deadline: Instant,
    client_address: &mut SocketAddr,
) -> Result<Accepted, Rejection> {
    // A proxy's client is counted when its request has named the client's address.
    if !place.access.trusts(client_address.ip()) {
        place.count_address(client_address.ip())?;
    }
    if place.policy.is_websocket() {
        return upgrade(shard, socket, place, deadline, client_address).await;
    }
    let mut opening = Opening::default();
    let worker = find_worker(shard, socket, &mut opening.received).await?;
    Ok(Accepted::New(AdmissibleClient { opening, response: Vec::new(), worker, resumable: None }))
}

/// Returns the address of the client behind `peer`, which is a proxy where the listener has
/// `proxy_protocol`; else `peer` itself.
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

/// Reads the upgrade request, has the client's token checked, and waits for a worker. Only then may the 101 be written.
async fn upgrade(
    shard: &ShardThread,
    socket: &mut Socket,
    place: &mut Place,
    deadline: Instant,
    client_address: &mut SocketAddr,
) -> Result<Accepted, Rejection> {
    let peer = *client_address;
    let reading = handshake::read_request(socket, place, client_address);
    let too_slow = |_| Rejection::of(RejectReason::TooSlow, "the handshake took too long");
    let Upgrade { response, handshake, rest: mut received, compression, token, trace_parent, is_resumable } =
        timeout_at(deadline, reading).await.map_err(too_slow)??;
    let (mut resume, mut decoder) = (None, Decoder::default());
    if is_resumable {
        let opening = opening::read_opening(socket, &response, &mut received, compression);
        let opened = timeout_at(deadline, Box::pin(opening)).await.map_err(too_slow);
        (resume, decoder) = opened.and_then(|opened| opened).map_err(Rejection::opened)?;
    }
    // From here on, one that is opened cannot be answered by HTTP.
    let rejected = |rejection: Rejection| if is_resumable { rejection.opened() } else { rejection };
    if *client_address != peer {
        place.count_address(client_address.ip()).map_err(|limit| rejected(limit.into()))?;
    }
    let checked = match &place.tokens {
        Some(places) if token.is_some() || places.is_required => {
            // One that comes back is among the clients of its uid already.
            let checking = identity::check(&shard.shared, token.as_deref(), resume.is_none());
            // Boxed: a connection without a token does not have the room for it.
            let checked =
                timeout_at(deadline, Box::pin(checking)).await.map_err(|late| rejected(too_slow(late)))?;
            Some(checked.map_err(|refusal| rejected(refusal.into()))?)
        }
        _ => None,
    };
    let mut opening =
        Opening { handshake: Some(handshake.into()), received, decoder, compression, checked, trace_parent };
    if let Some(resume) = resume {
        return Ok(Accepted::Returning(resume, opening));
    }
    let worker = find_worker(shard, socket, &mut opening.received).await.map_err(rejected)?;
    if socket.is_half_closed().await {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
    }
    let (response, resumable) = if is_resumable { (Vec::new(), Some(None)) } else { (response, None) };
    Ok(Accepted::New(AdmissibleClient { opening, response, worker, resumable }))
}

/// Inserts a client into the shard, tells its worker, and starts the task that reads from it.
fn spawn_client(
    shard: &Rc<ShardThread>,
    socket: Socket,
    permit: ConnectionPermit,
    address: SocketAddrV4,
    client: AdmissibleClient,
) {
    let AdmissibleClient { opening, mut response, worker, resumable } = client;
    let Opening { handshake, received, decoder, compression, checked, trace_parent } = opening;
    let inbox = Inbox::new(&permit.policy, received).with_decoder(decoder);
    let connection_id = shard.draw_connection_id();
    let resume = resumable.and_then(|lost| {
        let (greeting, resume) = greet(&shard.shared, &permit, connection_id, lost)?;
        response = greeting;
        Some(resume)
    });
    let key = shard.insert(NewClient {
        connection_id,
        seq: shard.shared.next_seq(),
        address,
        connection: ClientConnection::new(permit, socket),
        worker,
        compression,
        response: response.into(),
        resume,
    });
    let now_ms = shard.now_ms();
    let is_over_limit = checked.is_some_and(|checked| {
        let grant = checked.grant(now_ms);
        shard.input(|core| core.identify(key, grant, || shard.shared.next_seq(), now_ms)).is_err()
    });
    shard.input(|core| match trace_parent {
        None => core.tell_connected(key, handshake.as_deref(), now_ms),
        Some(parent) => core.tell_connected_within(parent, key, handshake.as_deref(), now_ms),
    });
    if is_over_limit {
        // Another client has taken the last place of its uid since its token was checked.
        return shard.input(|core| core.close_over_limit(key));
    }
    spawn_reader(shard, key, inbox);
}

/// Starts the task that reads from a client.
fn spawn_reader(shard: &Rc<ShardThread>, key: Key, inbox: Inbox) {
    let task = tokio::task::spawn_local(Reader::new(shard.clone(), key, inbox));
    shard.set_reader(key, task.abort_handle());
}

/// Returns what a new client of `gw.1` is told first, and by what it will be known when it comes back; `None` on a
/// listener without it.
fn greet(
    shared: &GatewayState,
    permit: &ConnectionPermit,
    connection_id: u32,
    lost: Option<Lost>,
) -> Option<(Vec<u8>, (ResumePolicy, Secret))> {
    let policy = permit.policy.resume?;
    let secret: Secret = rand::random();
    let token = ResumeToken { gateway: shared.address, connection_id, secret };
    let hello = control::Hello {
        client: &ClientId::new(shared.address, connection_id).to_string(),
        token: &shared.token_key.seal(&token),
        resume_ms: policy.resume_ms,
        ping_ms: policy.ping_ms,
        max_bytes: permit.policy.max_message_bytes.min(MAX_MESSAGE_LEN),
    };
    let lost = lost.map(control::lost).unwrap_or_default();
    Some(([lost, hello.frame()].concat(), (policy, secret)))
}

/// Returns the address as a frame carries it: 0.0.0.0 for an IPv6 address that maps no IPv4.
fn ipv4(address: SocketAddr) -> SocketAddrV4 {
    let ip = match address.ip().to_canonical() {
        IpAddr::V4(ip) => ip,
        IpAddr::V6(_) => Ipv4Addr::UNSPECIFIED,
    };
    SocketAddrV4::new(ip, address.port())
}
