//! A NATS server that stands still: it keeps the connection and reads nothing. A worker stops nevertheless, and a sender is told.

#![allow(clippy::unwrap_used, reason = "a test fails where it unwraps")]

use std::time::Duration;

use bytes::Bytes;
use gatewayworker_client::federation::{Destination, Federation as _, OwnCluster};
use gatewayworker_client::{ClusterName, Gateway, SecretKey, Unreached};
use gatewayworker_federation::{Federation, Options};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

const INFO: &[u8] = b"INFO {\"server_id\":\"1\",\"version\":\"2.10.0\",\"proto\":1,\"headers\":true,\"max_payload\":1048576}\r\n";

/// The subscription of a worker for the last part of what is sent to its cluster.
const PARTITION: &[u8] = b"SUB gatewayworker.federation.*.15.";

/// The subscription of a process for answers.
const ANSWERS: &[u8] = b"SUB gatewayworker.federation.answer.";

/// Accepts one connection, and reads it until there is this subscription; then nothing more.
async fn stand_still_after(subscription: &[u8], listener: TcpListener, stands_still: watch::Sender<bool>) {
    let (socket, _) = listener.accept().await.unwrap();
    let (read, mut write) = socket.into_split();
    let mut read = BufReader::new(read);
    write.write_all(INFO).await.unwrap();
    let mut line = Vec::new();
    while !line.starts_with(subscription) {
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
    let _server = tokio_util::task::AbortOnDropHandle::new(tokio::spawn(stand_still_after(
        PARTITION,
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

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_is_told_within_seconds_that_nats_reads_nothing() {
    let socket = TcpSocket::new_v4().unwrap();
    // What the kernel keeps is written, for the client.
    socket.set_recv_buffer_size(64 * 1024).unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let url = format!("nats://{}", listener.local_addr().unwrap());
    let (stands_still, mut stalled) = watch::channel(false);
    let server = tokio::spawn(stand_still_after(ANSWERS, listener, stands_still));
    let _server = tokio_util::task::AbortOnDropHandle::new(server);
    let options = Options::new([url], "sh-1".parse().unwrap(), SecretKey::new("a key of sixteen"));
    let federation = Federation::join(options).await.unwrap();
    timeout(Duration::from_secs(30), stalled.wait_for(|stalled| *stalled)).await.unwrap().unwrap();

    let call = Bytes::from(vec![b'x'; 64 * 1024]);
    let mut pace = interval(Duration::from_millis(20));
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut taken = 0;
    let unreached = loop {
        pace.tick().await;
        match federation.publish(Destination::All, call.clone()) {
            Ok(()) => taken += call.len(),
            Err(unreached) => break unreached,
        }
    };
    assert!(federation.stats().is_connected);
    assert_eq!(unreached, [(ClusterName::unknown(), Unreached::Overloaded)]);
    assert!(taken < 16 * 1024 * 1024, "{taken} bytes: it was told by the time, not by the room");
}

#[tokio::test]
async fn a_task_that_has_ended_is_a_problem_and_so_is_a_nats_that_is_away() {
    // Nobody listens there.
    let options =
        Options::new(["nats://127.0.0.1:1"], "sh-1".parse().unwrap(), SecretKey::new("a key of sixteen"));
    let federation = Federation::join(options).await.unwrap();
    let is_problem = |words: &str| federation.stats().problems.iter().any(|problem| problem.contains(words));
    let deadline = Instant::now() + Duration::from_secs(10);
    while !is_problem("127.0.0.1:1: IO error: Connection refused") {
        assert!(Instant::now() < deadline, "{:?}", federation.stats().problems);
        tokio::task::yield_now().await;
    }
    let gateway = Gateway::builder(["127.0.0.1:1"]).question_timeout(Duration::from_millis(100)).connect();
    let serve = |stop| {
        let (federation, own) = (federation.clone(), OwnCluster::of(&gateway));
        async move { federation.serve(own, stop).await }
    };
    let stop = CancellationToken::new();
    stop.cancel();
    serve(stop).await.unwrap();
    assert!(!is_problem("has ended"), "it was told to end");
    drop(timeout(Duration::from_millis(10), serve(CancellationToken::new())).await);
    assert!(is_problem("a task of it has ended"));
}
