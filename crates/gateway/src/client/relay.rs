//! A connection whose client another gateway has: its bytes go through, and nothing else is done with them here.
//!
//! `opening` calls [`relay`]. The other gateway is asked by a connection of its own to its inner port
//! ([`relayed_resume`](gatewayworker_protocol::relayed_resume)), so back-pressure is TCP's. The client's heartbeats, limits and
//! messages are the other gateway's; the connection keeps its place among the connections of this one.

use std::io;
use std::net::SocketAddrV4;
use std::rc::Rc;
use std::time::Duration;

use bytes::BytesMut;
use gatewayworker_net::LinkStream;
use gatewayworker_protocol::parse_answer;
use gatewayworker_protocol::relayed_resume::{
    MAX_RELAYED_LEN, RelayedAdmission, RelayedAnswer, RelayedResume,
};
#[cfg(target_os = "linux")]
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy, join, split};
use tokio::time::timeout;
use tracing::debug;

use crate::core::resumption::control::Lost;
use crate::listener::Place;
use crate::shard::{ReturningConnection, ShardThread};

/// How long the other gateway may take for its answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);

/// For how long a client may take nothing of what is on its way to it. Its own gateway has closed it long before, which is not
/// noticed here while a write waits.
#[cfg(target_os = "linux")]
const STUCK: Duration = Duration::from_secs(60);

/// For how long one direction goes on when the other has ended: an end may answer the other one's close frame.
const GRACE: Duration = Duration::from_secs(2);

/// Gives a connection to the gateway that has its client, and carries bytes until either side ends.
///
/// # Errors
/// The connection, and why the client is not to be had. A gateway that does not answer is taken for gone.
pub(super) async fn relay(
    shard: &Rc<ShardThread>,
    mut returning: Box<ReturningConnection>,
    gateway: SocketAddrV4,
) -> Result<(), (Box<ReturningConnection>, Lost)> {
    // It stays as long as a client of this gateway does.
    match returning.place.into_permit() {
        Ok(permit) => returning.place = Place::Counted(permit),
        Err((place, limit)) => {
            let address = returning.address.into();
            super::reject(shard, &returning.socket, &place, address, &limit.into(), true).await;
            return Ok(());
        }
    }
    let asked = timeout(ANSWER_TIMEOUT, ask(shard, &returning, gateway)).await;
    let (mut other, bytes) = match asked.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
        Ok(Asked::Attached(other, bytes)) => (other, bytes),
        Ok(Asked::Lost(why)) => return Err((returning, why)),
        Err(error) => {
            debug!(%gateway, %error, "the gateway that has a client does not answer: the client is lost");
            return Err((returning, Lost::Unknown));
        }
    };
    let ReturningConnection { mut socket, client, place: _place, .. } = *returning;
    #[cfg(target_os = "linux")]
    let _ = SockRef::from(socket.tcp()).set_tcp_user_timeout(Some(STUCK));
    let begin = async {
        socket.write_all(&bytes).await?;
        other.write_all(&client.received).await
    };
    if begin.await.is_ok() {
        let _counted = shard.shared.resume_counts.relay();
        tokio::select! {
            () = carry(&mut socket, &mut other) => {}
            () = shard.shared.stopping.cancelled() => {}
        }
    }
    Ok(())
}

/// What the other gateway says.
enum Asked<S> {
    /// It has the client: the connection to it, and bytes for the client that have come already.
    Attached(S, BytesMut),
    Lost(Lost),
}

async fn ask(
    shard: &ShardThread,
    returning: &ReturningConnection,
    gateway: SocketAddrV4,
) -> io::Result<Asked<impl AsyncRead + AsyncWrite + Unpin + use<>>> {
    let shared = &shard.shared;
    let (reading, writing) = LinkStream::connect(gateway, shared.link_tls.as_ref()).await?.into_split();
    let mut other = join(reading, writing);
    let now_ms = shard.now_ms();
    let grant = returning.client.checked.as_ref().map(|checked| checked.grant(now_ms));
    let request = RelayedResume {
        secret_key: shared.config.secret_key.clone(),
        token: returning.resume.token.clone(),
        attempt: returning.resume.attempt,
        got: returning.resume.got,
        address: returning.address,
        handshake: returning.client.handshake.clone().unwrap_or_default(),
        compression: returning.client.compression.number(),
        admission: grant.map(|grant| RelayedAdmission {
            uid: grant.uid.map(|uid| String::from_utf8_lossy(&uid).into_owned()),
            left_ms: grant.expires_ms.map(|at_ms| at_ms.saturating_sub(now_ms)),
        }),
    };
    let mut bytes = BytesMut::new();
    request.encode(&mut bytes);
    other.write_all(&bytes).await?;
    other.flush().await?;
    bytes.clear();
    let answer = loop {
        let answer = parse_answer(&mut bytes, MAX_RELAYED_LEN)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        if let Some(answer) = answer {
            break answer;
        }
        if other.read_buf(&mut bytes).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    };
    match RelayedAnswer::from_json(&answer) {
        Some(RelayedAnswer::Attached) => Ok(Asked::Attached(other, bytes)),
        Some(RelayedAnswer::Lost(why)) => {
            let why = Lost::ALL.into_iter().find(|known| known.name() == why);
            Ok(Asked::Lost(why.unwrap_or(Lost::Unknown)))
        }
        None => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// Carries bytes in both directions until one of them ends, and what the other one says to that.
///
/// Cancel safe in that it may be dropped with both sides.
pub(crate) async fn carry(
    one: impl AsyncRead + AsyncWrite + Unpin,
    other: impl AsyncRead + AsyncWrite + Unpin,
) {
    let (mut one_reading, mut one_writing) = split(one);
    let (mut other_reading, mut other_writing) = split(other);
    let mut there = std::pin::pin!(async {
        let _ = copy(&mut one_reading, &mut other_writing).await;
        let _ = other_writing.shutdown().await;
    });
    let mut back = std::pin::pin!(async {
        let _ = copy(&mut other_reading, &mut one_writing).await;
        let _ = one_writing.shutdown().await;
    });
    let rest = tokio::select! {
        () = &mut there => timeout(GRACE, back).await,
        () = &mut back => timeout(GRACE, there).await,
    };
    // The end of the other direction, or the end of the time for it.
    drop(rest);
}
