//! The rejection of a connection over `max_connections`, of the gateway or of a listener.
//!
//! The acceptors call [`reject_over_limit`]. The connection has no permit, so it must not cost
//! much: a bounded number of connections is read from for a moment, so that the client gets its
//! answer; the others are answered without waiting.

use std::io::{self, Read, Write};
use std::rc::Rc;
use std::time::Duration;

use socket2::SockRef;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::access::rejections::RejectReason;
use crate::listener::Listener;
use crate::shard::ShardThread;
use crate::websocket::rejection::Rejection;

/// How long to wait for the request of a connection over the limit.
const REJECT_TIMEOUT: Duration = Duration::from_secs(2);

/// The most that is read of the request of a connection over the limit, in bytes.
const MAX_REJECTED_HEAD: usize = 16 * 1024;

/// Rejects a connection over the limit: with an HTTP answer where the client speaks plain
/// WebSocket, else by closing it. Where `rejection_permits` are used up, it writes the answer
/// without waiting for the request.
pub(crate) fn reject_over_limit(
    shard: &Rc<ShardThread>,
    stream: TcpStream,
    listener: &Listener,
    reason: RejectReason,
) {
    let speaks_plain_http =
        listener.policy.is_websocket() && !listener.access.proxy_protocol && listener.certificate.is_none();
    if !speaks_plain_http {
        return;
    }
    let answer = Rejection::from(reason).response().unwrap_or_default();
    let Ok(permit) = shard.shared.rejection_permits.clone().try_acquire_owned() else {
        return reject_at_once(&stream, answer.as_bytes());
    };
    tokio::task::spawn_local(async move {
        let _permit = permit;
        reject(stream, answer.as_bytes()).await;
    });
}

/// Writes the answer as soon as the request is there, and ends the connection.
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
    reject_at_once(&stream, answer);
}

/// Writes the answer without waiting. A client whose request is here already receives it, since
/// reading the request leaves nothing unread that would reset the connection.
fn reject_at_once(stream: &TcpStream, answer: &[u8]) {
    let socket = SockRef::from(stream);
    let _ = (&*socket).read(&mut [0; 4096]);
    let _ = (&*socket).write(answer);
    let _ = socket.shutdown(std::net::Shutdown::Write);
}
