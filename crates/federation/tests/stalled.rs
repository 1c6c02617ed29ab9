//! A NATS server that stands still: it keeps the connection and reads nothing. A worker stops nevertheless.

#![allow(clippy::unwrap_used, reason = "a test fails where it unwraps")]

use std::time::Duration;

use bytes::Bytes;
use gatewayworker_client::federation::{Destination, Federation as _, OwnCluster};
use gatewayworker_client::{Gateway, SecretKey};
use gatewayworker_federation::{Federation, Options};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

const INFO: &[u8] = b"INFO {\"server_id\":\"1\",\"version\":\"2.10.0\",\"proto\":1,\"headers\":true,\"max_payload\":1048576}\r\n";

/// Accepts one connection, and reads it until there is a subscription for what is sent to the cluster; then nothing more.
async fn stand_still_after_a_subscription(listener: TcpListener, stands_still: watch::Sender<bool>) {
    let (socket, _) = listener.accept().await.unwrap();
    let (read, mut write) = socket.into_split();
    let mut read = BufReader::new(read);
    write.write_all(INFO).await.unwrap();
    let mut line = Vec::new();
    while !line.starts_with(b"SUB gatewayworker.federation.*.15.") {
        if line.starts_with(b"PING") {
            write.write_all(b"PONG\r\n").await.unwrap();
        }
        line.clear();
        // What is published comes as lines, too, and is not looked at.
        assert_ne!(read.read_until(b'\n', &mut line).await.unwrap(), 0);
    }
    stands_still.send_replace(true);
    // The connection is kept.
    std::future::pending::<()>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_stops_in_time_though_its_nats_client_is_full() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("nats://{}", listener.local_addr().unwrap());
    let (stands_still, mut stalled) = watch::channel(false);
    let _server = tokio_util::task::AbortOnDropHandle::new(tokio::spawn(stand_still_after_a_subscription(
        listener,
        stands_still,
    )));
    let options = Options::new([url], "sh-1".parse().unwrap(), SecretKey::new("a key of sixteen"));
    let federation = Federation::join(options).await.unwrap();
    // There is no register: the cluster has no gateway.
    let gateway = Gateway::builder(["127.0.0.1:1"]).question_timeout(Duration::from_millis(100)).connect();
    let stop = CancellationToken::new();
    let serving = tokio::spawn({
        let (federation, stop, own) = (federation.clone(), stop.clone(), OwnCluster::of(&gateway));
        async move { federation.serve(own, stop).await }
    });
    timeout(Duration::from_secs(30), stalled.wait_for(|stalled| *stalled)).await.unwrap().unwrap();

    // Until the client has taken nothing for a while: the buffers of the kernel are full, too.
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut taken_at = Instant::now();
    while taken_at.elapsed() < Duration::from_millis(500) {
        assert!(Instant::now() < deadline);
        match federation.publish(Destination::All, Bytes::from_static(b"x")) {
            Ok(()) => taken_at = Instant::now(),
            Err(_) => tokio::task::yield_now().await,
        }
    }
    assert!(federation.stats().is_connected);

    stop.cancel();
    let ended = timeout(Duration::from_secs(10), serving).await;
    ended.expect("it waits for NATS at most some seconds").unwrap().unwrap();
}
