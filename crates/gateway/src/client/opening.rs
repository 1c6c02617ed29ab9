//! The first message of a connection with the subprotocol `gw.1`: a new client, or one that comes back.
//!
//! `client` has answered the handshake. [`read_opening`] reads up to the end of the first message and not further: what
//! is behind it is the client's. [`resume`] attaches the connection to the client that it is of, on the shard that has
//! it; where there is none, it is a new client's, which is told so. A token is in no log.

use std::io;
use std::rc::Rc;

use bytes::Bytes;
use gatewayworker_protocol::close_code::{PROTOCOL_ERROR, SUPERSEDED};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tracing::debug;

use super::{AdmissibleClient, Opening, spawn_client, spawn_reader};
use crate::access::rejections::RejectReason;
use crate::client::worker_wait::find_worker;
use crate::closing;
use crate::core::inbox::Inbox;
use crate::core::outbox::Outbox;
use crate::core::resumption::control::{self, ClientControl, Lost, MARK, Resume};
use crate::core::resumption::{Attached, Returning};
use crate::core::websocket::decode::{Content, DecodeOptions, Decoder, Step};
use crate::core::websocket::encode;
use crate::shard::{ClientConnection, ReturningConnection, ShardMessage, ShardThread};
use crate::socket::Socket;
use crate::websocket::rejection::Rejection;

/// The most that is read for the first message, in bytes.
const MAX_BYTES: usize = 8 * 1024;

/// Writes the 101, and reads the first message behind what was `received`. Leaves what is behind it there.
///
/// Not cancel safe; the caller gives it a time limit and drops the socket.
///
/// # Errors
/// When the client leaves, or says something else first.
pub(super) async fn read_opening(
    socket: &mut Socket,
    response: &[u8],
    received: &mut Vec<u8>,
    may_compress: bool,
) -> Result<Option<Resume>, Rejection> {
    socket.write_all(response).await?;
    socket.flush().await?;
    let wrong = || Rejection::of(RejectReason::NoHandshake, "the first message of gw.1 is start or resume");
    let mut decoder = Decoder::default();
    let options = DecodeOptions { limit: MAX_BYTES, may_compress };
    loop {
        let (len, message) = match decoder.step(received, options).map_err(|_| wrong())? {
            Step::Incomplete(_) if received.len() >= MAX_BYTES => return Err(wrong()),
            Step::Incomplete(_) => {
                if socket.read_buf(received).await? == 0 {
                    return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
                }
                continue;
            }
            Step::Frame { len, content } => match content {
                Content::Message { binary: false, payload } => (len, Some(received[payload].to_vec())),
                Content::Assembled { binary: false, payload } => (len, Some(payload)),
                Content::Fragment | Content::Ping(_) | Content::Pong(_) => (len, None),
                _ => return Err(wrong()),
            },
        };
        received.drain(..len);
        let Some(message) = message else { continue };
        let Some((&MARK, json)) = message.split_first() else { return Err(wrong()) };
        return match control::read(json) {
            Ok(ClientControl::Start {}) => Ok(None),
            Ok(ClientControl::Resume(resume)) => Ok(Some(resume)),
            _ => Err(wrong()),
        };
    }
}

/// Attaches a connection to the client that it is of. Any other shard hands it to the one that has the client first.
pub(crate) async fn resume(shard: Rc<ShardThread>, returning: Box<ReturningConnection>) {
    let token = shard.shared.token_key.open(&returning.resume.token);
    let Some(token) = token.filter(|token| token.gateway == shard.shared.address) else {
        return begin_anew(&shard, returning, Lost::Unknown).await;
    };
    let owner = token.connection_id as usize % shard.shared.shards.len();
    if owner != shard.index {
        let Ok(returning) = returning.try_map(Socket::detach) else { return };
        let _ = shard.shared.shards[owner].send(ShardMessage::Returning(Box::new(returning))).await;
        return;
    }
    let ReturningConnection { socket, permit, address, resume, client, .. } = *returning;
    let policy = permit.policy.clone();
    let attaching = Returning {
        connection: ClientConnection::new(permit, socket),
        connection_id: token.connection_id,
        secret: token.secret,
        attempt: resume.attempt,
        got: resume.got,
        address,
        may_compress: client.may_compress,
        uid: client.checked.as_ref().map(|checked| checked.uid()),
    };
    let now_ms = shard.now_ms();
    let attached = shard.input(|core| core.attach(attaching, now_ms));
    match attached {
        Attached::Yes(key) => spawn_reader(&shard, key, Inbox::new(&policy, client.received)),
        Attached::Lost(connection, why) => {
            let ClientConnection { permit, socket: Some(socket), .. } = connection else { return };
            let returning = ReturningConnection { socket, permit, address, resume, client };
            begin_anew(&shard, Box::new(returning), why).await;
        }
        Attached::Closed(connection, frames) => end(connection, frames).await,
        Attached::Superseded(connection) => {
            let why = "another connection of this client is newer";
            end(connection, vec![encode::close(Some(SUPERSEDED), why)]).await;
        }
        Attached::NeverSent(connection) => {
            let why = "you have not been sent as many messages";
            end(connection, vec![encode::close(Some(PROTOCOL_ERROR), why)]).await;
        }
    }
}

/// Ends a connection that has never been a client's, with these frames.
async fn end(connection: ClientConnection, frames: Vec<Bytes>) {
    let Some(socket) = &connection.socket else { return };
    let mut outbox = Outbox::default();
    frames.into_iter().for_each(|frame| outbox.push(frame));
    closing::end(socket, &mut outbox, true, false).await;
}

/// Makes a new client of a connection whose client is lost.
async fn begin_anew(shard: &Rc<ShardThread>, returning: Box<ReturningConnection>, why: Lost) {
    let ReturningConnection { socket, permit, address, client, .. } = *returning;
    shard.shared.lost_counts.count(why);
    debug!(client = %address, why = why.name(), "a client that has come back is lost");
    let Opening { handshake, mut received, may_compress, checked, trace_parent } = client;
    let worker = match find_worker(shard, &socket, &mut received).await {
        Ok(worker) if !shard.is_stopping() => worker,
        Ok(_) => return super::end_stopping(&socket, &permit).await,
        Err(rejection) => {
            return super::reject(shard, &socket, &permit, address.into(), &rejection, true).await;
        }
    };
    let client = AdmissibleClient {
        handshake: Some(handshake),
        response: Vec::new(),
        may_compress,
        received,
        worker,
        checked,
        trace_parent,
        opening: Some(Some(why)),
    };
    spawn_client(shard, socket, permit, address, client);
}
