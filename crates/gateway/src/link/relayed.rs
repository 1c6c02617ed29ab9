//! A connection to the inner port that is no link: another gateway's, for a client of this one that has come back there.
//!
//! `link` has [`read_first`] look at the beginning of every connection. One that begins with RESUME is given to the shard that
//! has the client ([`serve`]), and is the client's connection from then on; the other gateway only passes bytes on
//! (`client::relay`). It shows the secret key itself, as it says no hello.

use std::io;
use std::net::Ipv4Addr;
use std::rc::Rc;

use bytes::BytesMut;
use gatewayworker_net::{LinkReader, LinkSink, LinkStream};
use gatewayworker_protocol::relayed_resume::{MAX_RELAYED_LEN, RelayedAnswer, RelayedResume};
use gatewayworker_protocol::{Frame, HEADER_LEN, code};
use tokio::io::{AsyncReadExt, AsyncWriteExt, join};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::error::LinkError;
use super::{HELLO_TIMEOUT, READ};
use crate::client::{carry, resume_relayed};
use crate::core::link::LinkProtocolError;
use crate::core::resumption::control::Lost;
use crate::shard::{RelayedConnection, ShardMessage, ShardThread};
use crate::socket::Socket;

/// The place of the command's number in a frame.
const CMD: usize = 4;

/// Reads until it is known whether the connection is a link, and returns what it asks for where it is none.
///
/// Cancel safe: what was read is in `buffer`.
///
/// # Errors
/// When it says nothing in time, although it has to show the key, or RESUME is wrong.
pub(super) async fn read_first(
    reading: &mut LinkReader,
    buffer: &mut BytesMut,
    must_hurry: bool,
) -> Result<Option<RelayedResume>, LinkError> {
    // So that the beginning of a link comes with one read.
    buffer.reserve(READ);
    let first = async {
        while begins_with_resume(buffer).is_none() {
            if reading.read_buf(buffer).await? == 0 {
                break;
            }
        }
        Ok::<_, io::Error>(())
    };
    match must_hurry {
        true => timeout(HELLO_TIMEOUT, first).await.map_err(|_| LinkError::NoKey)??,
        false => first.await?,
    }
    if begins_with_resume(buffer) != Some(true) {
        return Ok(None);
    }
    let whole = async {
        loop {
            match Frame::parse(buffer, MAX_RELAYED_LEN).map_err(LinkProtocolError::from)? {
                Some(frame) => return Ok(RelayedResume::from_frame(&frame)),
                None if reading.read_buf(buffer).await? == 0 => return Ok(None),
                None => {}
            }
        }
    };
    let request: Result<_, LinkError> = timeout(HELLO_TIMEOUT, whole).await.map_err(|_| LinkError::NoKey)?;
    request?.map(Some).ok_or(LinkError::Protocol(LinkProtocolError::Unauthorized(code::RESUME)))
}

/// Whether this is the beginning of RESUME; `None` as long as that is not known. A length that RESUME cannot have says it.
fn begins_with_resume(buffer: &[u8]) -> Option<bool> {
    let len = buffer.first_chunk::<4>().map(|len| u32::from_be_bytes(*len))?;
    match buffer.get(CMD) {
        _ if !(HEADER_LEN..=MAX_RELAYED_LEN).contains(&(len as usize)) => Some(false),
        cmd => cmd.map(|cmd| *cmd == code::RESUME),
    }
}

/// Gives the connection to the shard that has the client.
///
/// # Errors
/// When the other gateway has another key, or its connection fails.
pub(super) async fn serve(
    shard: &Rc<ShardThread>,
    reading: LinkReader,
    writing: LinkSink,
    request: RelayedResume,
) -> Result<(), LinkError> {
    let shared = &shard.shared;
    if request.secret_key != shared.config.secret_key {
        return Err(LinkProtocolError::WrongKey.into());
    }
    let socket = match LinkStream::into_tcp(reading, writing) {
        Ok(tcp) => tcp,
        Err((reading, writing)) => beside_tls(reading, writing).await?,
    };
    let mut socket = Socket::Plain(socket);
    let token = shared.token_key.open(&request.token).filter(|token| token.gateway == shared.address);
    let Some(token) = token else {
        socket.write_all(&RelayedAnswer::Lost(Lost::Unknown.name().to_owned()).to_bytes()).await?;
        return Ok(());
    };
    let owner = token.shard(shared.shards.len());
    if owner == shard.index {
        resume_relayed(shard.clone(), RelayedConnection { socket, token, request }).await;
        return Ok(());
    }
    let relayed = RelayedConnection { socket: socket.detach()?, token, request };
    let sent = shared.shards[owner].send(ShardMessage::Relayed(Box::new(relayed))).await;
    sent.map_err(|_| LinkError::ShardGone(owner))
}

/// Returns a plain connection whose other end goes through TLS: a client's socket has TLS of another kind.
async fn beside_tls(reading: LinkReader, writing: LinkSink) -> io::Result<TcpStream> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let ours = TcpStream::connect(listener.local_addr()?).await?;
    let own_address = ours.local_addr()?;
    let theirs = loop {
        // Any process of this host may connect to it.
        let (stream, address) = listener.accept().await?;
        if address == own_address {
            break stream;
        }
    };
    gatewayworker_net::tune(&ours);
    gatewayworker_net::tune(&theirs);
    tokio::task::spawn_local(carry(theirs, join(reading, writing)));
    Ok(ours)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_beginning_of_a_link_is_told_from_a_resume_as_soon_as_it_can_be() {
        for (beginning, is_resume) in [
            (&[][..], None),
            (&[0, 0, 0], None),
            (&[0, 0, 0, 100], None),
            (&[0, 0, 0, 100, code::RESUME], Some(true)),
            (&[0, 0, 0, 100, code::WORKER_CONNECT], Some(false)),
            (&[0, 0, 0, 27], Some(false)),
            (&[0, 16, 0, 0], Some(false)),
            (b"GET ", Some(false)),
        ] {
            assert_eq!(begins_with_resume(beginning), is_resume, "{beginning:?}");
        }
    }
}
