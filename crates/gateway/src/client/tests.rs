//! New clients that connect while the gateway stops, wait for a worker, or leave.

use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::LocalSet;
use tokio::time::timeout;

use super::accept;
use super::worker_wait::MAX_RECEIVED;
use crate::config::Config;
use crate::listener::{ConnectionPermit, Place};
use crate::shard::{NewConnection, ShardThread, testing};

const UPGRADE: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// Returns all bytes that a client receives after its upgrade request, up to the end of the
/// connection.
async fn answer(shard: &Rc<ShardThread>) -> Vec<u8> {
    let (ours, mut theirs) = testing::connection().await;
    let new = NewConnection { peer: theirs.local_addr().unwrap(), place: Place::Counted(testing::permit()) };
    theirs.write_all(UPGRADE).await.unwrap();
    let reading = async {
        let mut answer = Vec::new();
        let mut buffer = [0; 1024];
        // A client answers a close frame, and ends its side after the gateway has ended its own.
        while let Ok(read @ 1..) = theirs.read(&mut buffer).await {
            answer.extend_from_slice(&buffer[..read]);
            let _ = theirs.write_all(b"\x88\x80mask").await;
        }
        drop(theirs);
        answer
    };
    let both = async { tokio::join!(accept(shard.clone(), ours, new), reading).1 };
    timeout(Duration::from_secs(10), both).await.expect("the connection's end")
}

#[tokio::test]
async fn a_client_that_connects_while_the_gateway_stops_is_closed_and_no_worker_is_told() {
    let shard = testing::shard(Config::default());
    let (worker, _peer) = testing::worker(&shard.shared, 1000).await;
    let test = async {
        let (done, stopped) = tokio::sync::oneshot::channel();
        shard.clone().stop(Duration::ZERO, Duration::ZERO, done).await;
        stopped.await.unwrap();
        let answer = answer(&shard).await;
        assert!(
            answer.starts_with(b"HTTP/1.1 101 ")
                && answer.ends_with(&testing::permit().policy.stop_frame().unwrap()),
            "{answer:?}"
        );
    };
    LocalSet::new().run_until(test).await;
    worker.buffer.push(|out| assert!(out.is_empty())).unwrap();
}

/// Returns what a client of this listener sends before it leaves: a first message, two, and more
/// than is kept of a waiting client.
fn sent(url: &str) -> Vec<Vec<u8>> {
    let first = if url.starts_with("websocket") { UPGRADE } else { b"first\n" };
    let pipelined = [first, &client_frames(1)].concat();
    let much = [first, &client_frames(10 * MAX_RECEIVED)].concat();
    vec![first.to_vec(), pipelined, much]
}

/// Returns empty ping frames of a client, `bytes` or a few more.
fn client_frames(bytes: usize) -> Vec<u8> {
    b"\x89\x80mask".repeat(bytes.div_ceil(6))
}

/// How a client leaves.
#[derive(Debug, Clone, Copy)]
enum Leaves {
    Closing,
    HalfClosing,
    Resetting,
}

/// Lets a client leave while it waits for a worker, and checks that everything it held is
/// released, and that no worker hears of it.
async fn leave_while_waiting(url: &str, bytes: &[u8], how: Leaves) {
    let config = Config { max_waiting: 1, worker_wait_ms: 3_600_000, ..Config::default() };
    let shard = testing::shard(config);
    let (ours, mut theirs) = testing::connection().await;
    let permit = testing::permit_at(url, &shard.shared.config);
    let listener = permit.listener().clone();
    let new = NewConnection { peer: theirs.local_addr().unwrap(), place: Place::Counted(permit) };
    let accepting = accept(shard.clone(), ours, new);
    let leaving = async {
        theirs.write_all(bytes).await.unwrap();
        while shard.shared.waiting.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        match how {
            Leaves::Closing => drop(theirs),
            Leaves::HalfClosing => {
                theirs.shutdown().await.unwrap();
                let mut answer = Vec::new();
                // The end is a reset where the gateway had unread bytes.
                let _ = theirs.read_to_end(&mut answer).await;
                assert!(answer.is_empty(), "{answer:?}");
            }
            Leaves::Resetting => {
                socket2::SockRef::from(&theirs).set_linger(Some(Duration::ZERO)).unwrap();
                drop(theirs);
            }
        }
    };
    let tasks = LocalSet::new();
    let both = tasks.run_until(async { tokio::join!(accepting, leaving) });
    timeout(Duration::from_secs(10), both).await.unwrap_or_else(|_| {
        panic!("{url}: a client that left {how:?} after {} bytes still waits", bytes.len())
    });
    assert_eq!(shard.shared.rejections.to_string(), "left=1", "{url} {how:?}");
    assert_eq!(shard.shared.waiting.available_permits(), 1);
    assert!(ConnectionPermit::acquire(&listener).is_ok(), "{url} {how:?}: it keeps its permit");
    let (worker, _peer) = testing::worker(&shard.shared, 1000).await;
    worker.buffer.push(|out| assert!(out.is_empty())).unwrap();
}

#[tokio::test]
async fn a_client_that_leaves_while_it_waits_for_a_worker_is_gone_at_once() {
    for url in ["websocket://a:1", "text://a:1", "frame://a:1", "tcp://a:1"] {
        for bytes in sent(url) {
            for how in [Leaves::Closing, Leaves::HalfClosing, Leaves::Resetting] {
                leave_while_waiting(url, &bytes, how).await;
            }
        }
    }
}

#[tokio::test]
async fn a_client_is_rejected_where_the_only_worker_does_not_read() {
    let shard = testing::shard(Config { worker_wait_ms: 1, ..Config::default() });
    let (worker, _peer) = testing::worker(&shard.shared, 1000).await;
    worker.buffer.push(|out| out.resize(1000, 0)).unwrap();
    let answer = LocalSet::new().run_until(answer(&shard)).await;
    assert!(answer.starts_with(b"HTTP/1.1 503 "), "{answer:?}");
    assert_eq!(shard.shared.rejections.to_string(), "no-worker=1");
}
