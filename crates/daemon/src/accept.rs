//! Accepts connections, for a daemon's listeners, and does nothing else: the handler spawns a task for what takes
//! time, otherwise one slow peer keeps all others waiting.

use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::task::{Context, Poll};
use std::time::Duration;

use gatewayworker_net::{Backoff, LinkSocket, LogLimiter, UnixLinkListener};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, warn};

/// Passes each new connection and its peer's address to `handle` until `shutdown` is cancelled.
///
/// Where the system has no descriptor or memory left, it logs that at most once a second and tries again after a
/// wait of 10 ms to 1 s: connections that end meanwhile make room, and new ones stay in the backlog. Where the
/// listener itself is broken, it logs that and returns.
pub async fn accept_loop(
    listener: &TcpListener,
    shutdown: &CancellationToken,
    mut handle: impl FnMut(TcpStream, SocketAddr),
) {
    accept_each(|cx| listener.poll_accept(cx), shutdown, |(stream, peer)| handle(stream, peer)).await;
}

/// Passes each new link over the Unix socket to `handle`, as [`accept_loop`] does with connections over TCP.
pub async fn accept_unix_links(
    listener: &UnixLinkListener,
    shutdown: &CancellationToken,
    handle: impl FnMut(LinkSocket),
) {
    accept_each(|cx| listener.poll_accept(cx), shutdown, handle).await;
}

async fn accept_each<T>(
    mut accept: impl FnMut(&mut Context<'_>) -> Poll<io::Result<T>>,
    shutdown: &CancellationToken,
    mut handle: impl FnMut(T),
) {
    let mut backoff = Backoff::new(Duration::from_millis(10), Duration::from_secs(1));
    let failures = LogLimiter::default();
    loop {
        let accepted = tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            accepted = poll_fn(&mut accept) => accepted,
        };
        match accepted {
            Ok(accepted) => {
                backoff.reset();
                handle(accepted);
            }
            Err(error) if is_of_one_connection(&error) => {
                debug!(%error, "a peer closed its connection before it was accepted")
            }
            Err(error) if is_of_the_listener(&error) => {
                return error!(%error, "a listener is broken and accepts no more connections: restart this daemon");
            }
            Err(error) => {
                let wait = backoff.next_wait();
                failures.log(
                    move |times| warn!(%error, times, "cannot accept connections for now, trying again"),
                );
                tokio::select! {
                    () = shutdown.cancelled() => return,
                    () = tokio::time::sleep(wait) => {}
                }
            }
        }
    }
}

/// Whether the error is one connection's: Linux returns an error of the new connection from `accept`.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionAborted
            | ErrorKind::ConnectionReset
            | ErrorKind::ConnectionRefused
            | ErrorKind::Interrupted
    )
}

/// Whether the error is the listener's: it listens no more, or is no socket, and no other connection will be accepted.
fn is_of_the_listener(error: &io::Error) -> bool {
    #[cfg(unix)]
    if error.raw_os_error() == Some(rustix::io::Errno::BADF.raw_os_error()) {
        return true;
    }
    error.kind() == ErrorKind::InvalidInput
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[tokio::test]
    async fn a_listener_that_is_broken_is_given_up() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        rustix::net::shutdown(&listener, rustix::net::Shutdown::Both).unwrap();
        let shutdown = CancellationToken::new();
        let accepting = accept_loop(&listener, &shutdown, |_, _| unreachable!());
        tokio::time::timeout(Duration::from_secs(10), accepting).await.expect("an end");
    }

    #[tokio::test]
    async fn connections_are_handed_on_until_shutdown() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let mut peers = Vec::new();
        let client = async {
            let first = TcpStream::connect(address).await.unwrap();
            let second = TcpStream::connect(address).await.unwrap();
            [first, second].map(|stream| stream.local_addr().unwrap())
        };
        let accepting = accept_loop(&listener, &shutdown, |_, peer| {
            peers.push(peer);
            if peers.len() == 2 {
                shutdown.cancel();
            }
        });
        let ((), clients) = tokio::join!(accepting, client);
        assert_eq!(peers, clients);
    }
}
