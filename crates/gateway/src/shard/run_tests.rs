//! How a shard ends: when it is told to, and when one of its tasks panics. How it closes clients.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use gatewayworker_net::{LinkPeer, LinkSocket};
use gatewayworker_protocol::Command;
use tokio::io::AsyncWriteExt;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::LocalSet;
use tokio::time::timeout;

use super::{ShardMessage, ShardThread, testing};
use crate::config::Config;

/// Returns the result of a shard with this ping interval, to which `harm` is done.
async fn ends(ping_interval: f64, harm: impl AsyncFnOnce(&Rc<ShardThread>)) -> anyhow::Result<()> {
    let config = Config { shards: 1, ping_interval, ..Config::default() };
    let (shard, mut channels) = testing::shard_and_channels(config);
    let test = async {
        let running = tokio::task::spawn_local(shard.clone().run(channels.remove(0)));
        // Until all its tasks wait.
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        harm(&shard).await;
        timeout(Duration::from_secs(10), running).await.expect("a shard that goes on").unwrap()
    };
    LocalSet::new().run_until(test).await
}

/// Returns the error of a shard without a heartbeat, to which `harm` is done.
async fn failure(harm: impl AsyncFnOnce(&Rc<ShardThread>)) -> String {
    format!("{:#}", ends(0.0, harm).await.expect_err("a failure"))
}

async fn send(shard: &Rc<ShardThread>, message: ShardMessage) {
    assert!(shard.shared.shards[0].send(message).await.is_ok());
}

/// Makes every later borrow of the shard's core panic.
fn lock_state(shard: &Rc<ShardThread>) {
    std::mem::forget(shard.core.borrow_mut());
}

#[tokio::test]
async fn a_shard_ends_without_an_error_when_it_is_told_to() {
    ends(55.0, async |shard| send(shard, ShardMessage::End).await).await.unwrap();
}

#[tokio::test]
async fn a_panic_of_the_flush_task_ends_the_shard() {
    let failure = failure(async |shard| {
        lock_state(shard);
        shard.schedule_flush();
    });
    let failure = failure.await;
    assert!(failure.starts_with("the flush task has panicked: "), "{failure}");
}

#[tokio::test]
async fn a_panic_of_the_timer_task_ends_the_shard() {
    let failure = failure(async |shard| {
        lock_state(shard);
        shard.deadline_changed.notify_one();
    });
    let failure = failure.await;
    assert!(failure.starts_with("the timer task has panicked: "), "{failure}");
}

#[tokio::test]
async fn a_panic_of_a_link_ends_the_shard() {
    let failure = failure(async |shard| {
        lock_state(shard);
        let (ours, mut theirs) = testing::connection().await;
        let permit = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        let mut command = BytesMut::new();
        Command::Destroy(1).encode(&mut command);
        theirs.write_all(&command).await.unwrap();
        let peer = LinkPeer::Tcp(theirs.local_addr().unwrap());
        let ours = LinkSocket::from(ours).detach().unwrap();
        send(shard, ShardMessage::Link(ours, peer, permit)).await;
    });
    assert_eq!(failure.await, "the task of a link has panicked");
}

#[tokio::test]
async fn a_panic_of_the_reader_of_messages_ends_the_shard_and_its_question_gets_no_answer() {
    let (reply, answer) = oneshot::channel();
    let failure = failure(async |shard| {
        lock_state(shard);
        send(
            shard,
            ShardMessage::Ask(Box::new(|core| {
                let _ = reply.send(core.len());
            })),
        )
        .await;
    })
    .await;
    assert!(failure.starts_with("the reader of messages has panicked: "), "{failure}");
    assert!(answer.await.is_err());
}

#[tokio::test(start_paused = true)]
async fn clients_are_closed_evenly_when_the_gateway_stops() {
    const SPREAD: Duration = Duration::from_secs(100);
    // Without a heartbeat, as they are silent all the time.
    let shard = testing::shard(Config { ping_interval: 0.0, ..Config::default() });
    let (worker, _peer) = testing::worker(&shard.shared, 1_000_000).await;
    let mut clients = Vec::new();
    for id in 1..=100 {
        clients.push(testing::client(&shard, id, &worker).await);
    }
    let test = async {
        let (done, stopped) = oneshot::channel();
        tokio::task::spawn_local(shard.clone().stop(SPREAD, Duration::ZERO, done));
        for closed in 0..100 {
            let left = shard.look(|core| core.len());
            assert!(left.abs_diff(100 - closed) <= 1, "{left} are left when {closed} are to be gone");
            tokio::time::sleep(SPREAD / 100).await;
        }
        stopped.await.unwrap();
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test(start_paused = true)]
async fn a_gateway_with_a_single_client_stops_as_soon_as_it_is_closed() {
    let shard = testing::shard(Config::default());
    let (worker, _peer) = testing::worker(&shard.shared, 1000).await;
    let (_, client) = testing::client(&shard, 1, &worker).await;
    drop(client);
    let test = async {
        let (done, stopped) = oneshot::channel();
        let stop = shard.clone().stop(Duration::from_secs(3600), Duration::ZERO, done);
        timeout(Duration::from_secs(10), stop).await.expect("a stop that waits for nobody");
        stopped.await.unwrap();
    };
    LocalSet::new().run_until(test).await;
}
