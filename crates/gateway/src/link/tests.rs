//! The tasks of an epoch's two links, on one shard of two: the other shard is its channel.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use gatewayworker_net::{LinkPeer, LinkSocket, LinkStream, LinkWriter};
use gatewayworker_protocol::{Command, Features, Frame, Hello, MAX_FRAME_LEN, PingBody, Question, SecretKey};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::{JoinHandle, LocalSet};

use super::error::LinkError;
use super::keepalive::Keepalive;
use super::{Link, LinkEnd};
use crate::config::Config;
use crate::core::link::LinkState;
use crate::core::worker_link::Gone;
use crate::epochs::Epoch;
use crate::shard::{ShardMessage, ShardThread, testing};

const PROCESS: u64 = 1;

/// Starts the task of a link on this shard, and returns it with the peer's end.
async fn link(shard: &Rc<ShardThread>) -> (JoinHandle<()>, TcpStream) {
    let (ours, theirs) = testing::connection().await;
    let permit = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
    let peer = LinkPeer::Tcp(theirs.local_addr().unwrap());
    let ours = LinkSocket::from(ours).detach().unwrap();
    let running = super::run(shard.clone(), ours, peer, permit);
    (tokio::task::spawn_local(running), theirs)
}

async fn say(stream: &mut TcpStream, commands: impl IntoIterator<Item = Command>) {
    let mut out = BytesMut::new();
    commands.into_iter().for_each(|command| command.encode(&mut out));
    stream.write_all(&out).await.unwrap();
}

fn hello() -> Command {
    let (worker_key, secret_key) = (Some("W:0".into()), Some(SecretKey::default()));
    let (features, process) = (Some(Features::ALL), Some(PROCESS));
    Command::WorkerConnect(Hello { worker_key, secret_key, features, process })
}

/// Says hello, and returns the epoch that the gateway names.
async fn begin(stream: &mut TcpStream) -> u32 {
    say(stream, [hello()]).await;
    let mut buffer = BytesMut::new();
    loop {
        if let Some(frame) = Frame::parse(&mut buffer, MAX_FRAME_LEN).unwrap() {
            let Command::Ping(body) = Command::decode(frame).unwrap() else { panic!("no answer") };
            let Some(PingBody::Welcome { pairing, .. }) = PingBody::parse(&body) else { panic!("{body:?}") };
            return pairing.unwrap().epoch;
        }
        assert!(stream.read_buf(&mut buffer).await.unwrap() > 0);
    }
}

/// A shard, and the channel of another one.
fn shards() -> (Rc<ShardThread>, Vec<mpsc::Receiver<ShardMessage>>) {
    testing::shard_and_channels(Config { shards: 2, ..Config::default() })
}

async fn run(test: impl Future<Output = ()>) {
    LocalSet::new().run_until(tokio::time::timeout(Duration::from_secs(60), test)).await.expect("an end");
}

#[tokio::test(start_paused = true)]
async fn an_event_link_that_gets_no_call_link_is_closed() {
    run(async {
        let (shard, _channels) = shards();
        let (task, mut events) = link(&shard).await;
        say(&mut events, [hello()]).await;
        task.await.unwrap();
        let mut said = Vec::new();
        events.read_to_end(&mut said).await.unwrap();
        assert!(!said.is_empty(), "the gateway's answer");
        assert_eq!(shard.shared.workers.len(), 0);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_has_arrived_counts_though_nobody_has_read_it_when_the_time_is_over() {
    run(async {
        let (shard, _channels) = shards();
        let writer = async || {
            let (ours, theirs) = testing::connection().await;
            (Arc::new(LinkWriter::new(ours.into_split().1, 1000)), theirs)
        };
        let ((events, _event_peer), (calls, mut call_peer)) = (writer().await, writer().await);
        let epoch = shard.shared.epochs.begin("W:0".into(), PROCESS, Features::ALL, events);
        let keepalive = Keepalive::new(shard.clone(), calls);
        keepalive.set_epoch(epoch);
        call_peer.write_all(b"x").await.unwrap();
        // The timer of a thread that is held up fires before anything is read: the first deadline passes.
        let watching = keepalive.watch();
        tokio::pin!(watching);
        let early = tokio::time::timeout(Duration::from_secs(15), &mut watching).await;
        assert!(early.is_err(), "{early:?}");
        let mut unread = [0];
        let socket = keepalive.writer.socket();
        assert_eq!(socket.try_read(&mut unread).unwrap(), 1);
        assert!(matches!(watching.await, LinkError::Silent(_)));
    })
    .await;
}

#[tokio::test]
async fn shards_execute_what_came_on_both_links_before_they_hear_that_the_worker_is_gone() {
    run(async {
        let (shard, mut channels) = shards();
        let mut other = channels.remove(1);
        let mut own = channels.remove(0);
        let (event_task, mut events) = link(&shard).await;
        let epoch = begin(&mut events).await;
        let (call_task, mut calls) = link(&shard).await;
        say(&mut calls, [Command::Attach { epoch, process: PROCESS }]).await;
        while shard.shared.workers.len() == 0 {
            tokio::task::yield_now().await;
        }
        // The other shard is busy, so that the call link's task waits with what it has read.
        while shard.shared.shards[1].try_send(ShardMessage::Ask(Box::new(|_| ()))).is_ok() {}
        let session = |n: u32| Command::SetSession { connection_id: 2 * n + 1, session: Bytes::from("x") };
        say(&mut calls, (0..1000).map(session)).await;
        tokio::task::yield_now().await;
        drop(events);
        // Until both tasks have noticed.
        while shard.shared.workers.len() > 0 {
            tokio::task::yield_now().await;
        }
        let mut executed = 0;
        let how = loop {
            match other.recv().await.unwrap() {
                ShardMessage::Commands(commands) => executed += commands.len(),
                ShardMessage::WorkerGone(_, how, _) => break how,
                _ => {}
            }
        };
        assert_eq!((executed, how), (1000, Gone::Ended));
        // The own shard hears of it through its channel, too: other links' commands may wait there.
        assert!(matches!(own.recv().await, Some(ShardMessage::WorkerGone(..))));
        event_task.await.unwrap();
        call_task.await.unwrap();
        assert_eq!(shard.shared.epochs.len(), 0);
    })
    .await;
}

#[tokio::test]
async fn a_worker_that_stops_before_its_call_link_is_attached_drains_when_it_is() {
    run(async {
        let (shard, mut channels) = shards();
        let (_event_task, mut events) = link(&shard).await;
        let epoch = begin(&mut events).await;
        let draining = Command::Ping(PingBody::Draining.encode());
        say(&mut events, [draining, Command::Ask(Question::IsOnline(0))]).await;
        assert!(events.read(&mut [0; 64]).await.unwrap() > 0, "the answer: DRAINING has been read");
        let (_call_task, mut calls) = link(&shard).await;
        let session = Command::SetSession { connection_id: 1, session: Bytes::from("x") };
        say(&mut calls, [Command::Attach { epoch, process: PROCESS }, session]).await;
        let (mut drains, mut executed) = (0, 0);
        while drains < 2 || executed < 1 {
            let [own, other] = &mut channels[..] else { unreachable!("two shards") };
            let message =
                tokio::select! { message = own.recv() => message, message = other.recv() => message };
            match message.unwrap() {
                ShardMessage::Commands(commands) => executed += commands.len(),
                ShardMessage::WorkerDrains(worker) => {
                    assert!(worker.is_draining() && !worker.buffer.is_closed());
                    drains += 1;
                }
                _ => {}
            }
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_gateway_that_stood_still_waits_anew_for_a_call_link() {
    run(async {
        let (shard, _channels) = shards();
        let (_ours, theirs) = testing::connection().await;
        let writer = Arc::new(LinkWriter::new(theirs.into_split().1, 1000));
        let epochs = &shard.shared.epochs;
        let epoch = epochs.begin("W:0".into(), PROCESS, Features::ALL, writer.clone());
        let keepalive = Keepalive::new(shard.clone(), writer);
        keepalive.set_epoch(epoch);
        let watching = keepalive.watch();
        tokio::pin!(watching);
        tokio::time::timeout(Duration::ZERO, &mut watching).await.expect_err("it waits");
        tokio::time::advance(Duration::from_secs(30)).await;
        tokio::time::timeout(Duration::ZERO, &mut watching)
            .await
            .expect_err("ATTACH may have come meanwhile");
        let since = tokio::time::Instant::now();
        assert!(matches!(watching.await, LinkError::NoCallLink));
        assert!(since.elapsed() >= super::HELLO_TIMEOUT, "{:?}", since.elapsed());
    })
    .await;
}

#[tokio::test]
async fn commands_behind_an_attach_that_fails_take_effect() {
    run(async {
        let (shard, mut channels) = shards();
        let (event_task, mut events) = link(&shard).await;
        let epoch = begin(&mut events).await;
        drop(events);
        event_task.await.unwrap();
        let (call_task, mut calls) = link(&shard).await;
        let session = |n: u32| Command::SetSession { connection_id: 2 * n + 1, session: Bytes::from("x") };
        let attach = Command::Attach { epoch, process: PROCESS };
        say(&mut calls, std::iter::once(attach).chain((0..1000).map(session))).await;
        call_task.await.unwrap();
        let mut executed = 0;
        while let Ok(ShardMessage::Commands(commands)) = channels[1].try_recv() {
            executed += commands.len();
        }
        assert_eq!(executed, 1000);
    })
    .await;
}

#[tokio::test]
async fn a_worker_that_says_it_stops_and_ends_at_once_has_stopped() {
    run(async {
        let (shard, mut channels) = shards();
        let shared = shard.shared.clone();
        let (ours, mut events) = testing::connection().await;
        let peer = LinkPeer::Tcp(events.local_addr().unwrap());
        let (reading, writing) = LinkStream::accept(ours, None).await.unwrap().into_split();
        let writer = Arc::new(LinkWriter::new(writing, 1000));
        let number =
            shared.epochs.begin("W:0".into(), PROCESS, Features::ALL, writer.clone()).pairing().epoch;
        let join = |epoch: &Epoch| shared.workers.join("W:0", writer.clone(), epoch.peer());
        let epoch = shared.epochs.attach(number, PROCESS, join).unwrap();
        let keepalive = Rc::new(Keepalive::new(shard.clone(), writer.clone()));
        keepalive.set_epoch(epoch.clone());
        let state = LinkState::new(SecretKey::default(), MAX_FRAME_LEN, 2);
        let buffer = BytesMut::new();
        let (holds, subscription) = (Vec::new(), None);
        let worker = None;
        let link = Link {
            shard,
            peer,
            writer,
            state,
            buffer,
            worker,
            keepalive,
            call_link: None,
            holds,
            subscription,
            permit: Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap(),
        };
        // The end of the call link is noticed before DRAINING is read on the event link.
        say(&mut events, [Command::Ping(PingBody::Draining.encode())]).await;
        epoch.end(Gone::Ended, "it has ended its call link".into());
        drop(epoch.call_link());
        let mut other = channels.remove(1);
        // The own shard is not served.
        drop(channels);
        let heard = async {
            match other.recv().await {
                Some(ShardMessage::WorkerGone(_, how, _)) => how,
                _ => panic!("something else came first"),
            }
        };
        let (how, ()) = tokio::join!(heard, link.end(reading, Ok(LinkEnd::EpochOver)));
        assert_eq!(how, Gone::Stopped);
    })
    .await;
}
