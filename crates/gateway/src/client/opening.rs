//! The first message of a connection with the subprotocol `gw.1`: a new client, or one that comes back.
//!
//! `client` has answered the handshake. [`read_opening`] reads up to the end of the first message and not further: what
//! is behind it is the client's. [`resume`] attaches the connection to the client that it is of, on the shard that has
//! it; where there is none, it is a new client's, which is told so. A token is in no log.

use std::io;
use std::rc::Rc;

use bytes::Bytes;
use gatewayworker_protocol::relayed_resume::RelayedAnswer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tracing::debug;

use super::{AdmissibleClient, relay, spawn_client, spawn_reader};
use crate::access::rejections::RejectReason;
use crate::client::worker_wait::find_worker;
use crate::closing;
use crate::core::inbox::Inbox;
use crate::core::outbox::Outbox;
use crate::core::resumption::control::{self, ClientControl, Lost, MARK, Resume};
use crate::core::resumption::{Attached, Returning};
use crate::core::table::Key;
use crate::core::tokens::Grant;
use crate::core::websocket::compression::Compression;
use crate::core::websocket::decode::{Content, DecodeOptions, Decoder, Step};
use crate::shard::{RelayedConnection, ReturningConnection, ShardMessage, ShardThread};
use crate::socket::Socket;
use crate::websocket::rejection::Rejection;

/// The most that is read for the first message, in bytes.
const MAX_BYTES: usize = 8 * 1024;

/// Writes the 101, and reads the first message behind what was `received`. Leaves what is behind it there, for the decoder
/// that it returns.
///
/// Not cancel safe; the caller gives it a time limit and drops the socket.
///
/// # Errors
/// When the client leaves, or says something else first.
pub(super) async fn read_opening(
    socket: &mut Socket,
    response: &[u8],
    received: &mut Vec<u8>,
    compression: Compression,
) -> Result<(Option<Resume>, Decoder), Rejection> {
    socket.write_all(response).await?;
    socket.flush().await?;
    let wrong = || Rejection::of(RejectReason::NoHandshake, "the first message of gw.1 is start or resume");
    let mut decoder = Decoder::default();
    let options = DecodeOptions { limit: MAX_BYTES, compression };
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
                Content::Assembled { binary: false, payload, .. } => (len, Some(payload)),
                Content::Fragment | Content::Ping(_) | Content::Pong(_) => (len, None),
                _ => return Err(wrong()),
            },
        };
        received.drain(..len);
        let Some(message) = message else { continue };
        let Some((&MARK, json)) = message.split_first() else { return Err(wrong()) };
        return match control::read(json) {
            Ok(ClientControl::Start {}) => Ok((None, decoder)),
            Ok(ClientControl::Resume(resume)) => Ok((Some(resume), decoder)),
            _ => Err(wrong()),
        };
    }
}

/// Attaches a connection to the client that it is of. Any other shard hands it to the one that has the client first, and any
/// other gateway relays it.
pub(crate) async fn resume(shard: Rc<ShardThread>, returning: Box<ReturningConnection>) {
    let Some(token) = shard.shared.token_key.open(&returning.resume.token) else {
        return begin_anew(&shard, returning, Lost::Unknown).await;
    };
    if token.gateway != shard.shared.address {
        // It compresses unasked, and what it says next refers to what it has said here.
        if !returning.client.decoder.is_idle() {
            return begin_anew(&shard, returning, Lost::Unknown).await;
        }
        let relayed = relay::relay(&shard, returning, token.gateway).await;
        return match relayed {
            Ok(()) => {}
            Err((returning, why)) => begin_anew(&shard, returning, why).await,
        };
    }
    let owner = token.shard(shard.shared.shards.len());
    if owner != shard.index {
        let Ok(returning) = returning.try_map(Socket::detach) else { return };
        let _ = shard.shared.shards[owner].send(ShardMessage::Returning(Box::new(returning))).await;
        return;
    }
    let ReturningConnection { socket, place, address, resume, client } = *returning;
    let now_ms = shard.now_ms();
    let attaching = Returning {
        socket,
        connection_id: token.connection_id,
        secret: token.secret,
        attempt: resume.attempt,
        got: resume.got,
        address,
        handshake: client.handshake.clone().unwrap_or_default(),
        compression: client.compression,
        prefix: Bytes::new(),
        grant: client.checked.as_ref().map(|checked| checked.grant(now_ms)),
    };
    match shard.input(|core| core.attach(attaching, now_ms)) {
        Attached::Yes(key) => read_on(&shard, key, client.received, client.decoder),
        Attached::Lost(socket, why) => {
            let returning = ReturningConnection { socket, place, address, resume, client };
            begin_anew(&shard, Box::new(returning), why).await;
        }
        Attached::Ended(socket, frames) => end(&socket, frames).await,
    }
}

/// Attaches a connection to the client of this shard that it is of, which has come back to another gateway.
pub(crate) async fn resume_relayed(shard: Rc<ShardThread>, relayed: RelayedConnection) {
    let RelayedConnection { socket, token, request } = relayed;
    let now_ms = shard.now_ms();
    let prefix = RelayedAnswer::Attached.to_bytes().freeze();
    let attaching = Returning {
        socket,
        connection_id: token.connection_id,
        secret: token.secret,
        attempt: request.attempt,
        got: request.got,
        address: request.address,
        handshake: request.handshake,
        compression: Compression::of_number(request.compression),
        prefix: prefix.clone(),
        grant: request.admission.map(|admission| Grant {
            uid: admission.uid.map(Bytes::from),
            expires_ms: admission.left_ms.map(|left_ms| now_ms.saturating_add(left_ms)),
            ..Grant::default()
        }),
    };
    match shard.input(|core| core.attach(attaching, now_ms)) {
        Attached::Yes(key) => read_on(&shard, key, Vec::new(), Decoder::default()),
        Attached::Lost(mut socket, why) => {
            // Where it cannot be written, the other gateway is gone.
            let _ = socket.write_all(&RelayedAnswer::Lost(why.name().to_owned()).to_bytes()).await;
            let _ = socket.shutdown().await;
        }
        Attached::Ended(socket, mut frames) => {
            frames.insert(0, prefix);
            end(&socket, frames).await;
        }
    }
}

/// Starts to read from a client that has come back. Its listener is the one that it came to first.
fn read_on(shard: &Rc<ShardThread>, key: Key, received: Vec<u8>, decoder: Decoder) {
    let inbox = shard.look(|core| {
        core.connection_of(key)
            .map(|connection| Inbox::new(&connection.permit.policy, received).with_decoder(decoder))
    });
    if let Some(inbox) = inbox {
        spawn_reader(shard, key, inbox);
    }
}

/// Ends a connection that has never been a client's, with these frames.
async fn end(socket: &Socket, frames: Vec<Bytes>) {
    let mut outbox = Outbox::default();
    frames.into_iter().for_each(|frame| outbox.push(frame));
    closing::end(socket, &mut outbox, true, false).await;
}

/// Makes a new client of a connection whose client is lost.
async fn begin_anew(shard: &Rc<ShardThread>, returning: Box<ReturningConnection>, why: Lost) {
    let ReturningConnection { socket, place, address, mut client, .. } = *returning;
    shard.shared.resume_counts.lost(why);
    debug!(client = %address, why = why.name(), "a client that has come back is lost");
    let permit = match place.into_permit() {
        Ok(permit) => permit,
        Err((place, limit)) => {
            return super::reject(shard, &socket, &place, address.into(), &limit.into(), true).await;
        }
    };
    let worker = match find_worker(shard, &socket, &mut client.received).await {
        Ok(worker) if !shard.is_stopping() => worker,
        Ok(_) => return super::end_stopping(&socket, &permit).await,
        Err(rejection) => {
            return super::reject(shard, &socket, &permit, address.into(), &rejection, true).await;
        }
    };
    let client =
        AdmissibleClient { opening: client, response: Vec::new(), worker, resumable: Some(Some(why)) };
    spawn_client(shard, socket, permit, address, client);
}
