//! Rejecting a connection over a limit, with an HTTP answer where the client would read one.
//!
//! The acceptor calls it for connections that have no permit; it must not wait on their account.

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

/// How long to wait for the request of one who finds no place.
const REJECT_TIMEOUT: Duration = Duration::from_secs(2);

/// The most that is read of the request of one who finds no place, in bytes.
const MAX_REJECTED_HEAD: usize = 16 * 1024;

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
