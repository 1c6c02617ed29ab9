//! A gateway that loses a part without which it cannot serve ends with an error.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use gatewayworker_daemon::Reload;
use gatewayworker_net::{LinkPeer, LinkSocket};
use gatewayworker_protocol::{Command, Question};
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::LocalSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{BoundListeners, Parts, serve_here};
use crate::config::Config;
use crate::error::Error;
use crate::gateway_state::GatewayState;
use crate::shard::{ShardMessage, ShardThread, testing};

const LIMIT: Duration = Duration::from_secs(20);

/// Returns a gateway with two shards and two listeners on any port, which would close its clients
/// over an hour.
async fn gateway() -> (BoundListeners, Arc<GatewayState>, Vec<mpsc::Receiver<ShardMessage>>) {
    let text = "listen = ['websocket://127.0.0.1:0', 'text://127.0.0.1:0']\n\
        lan_port = 0\nshards = 2\nshutdown_spread_ms = 3600000\nregister_address = '127.0.0.1:1'";
    let config = toml::from_str::<Config>(text).unwrap().validated().unwrap();
    let listeners = BoundListeners::bind(&config).await.unwrap();
    let (shared, channels) = testing::shared(config);
    (listeners, shared, channels)
}

/// Returns the result of a gateway to which `harm` is done.
async fn end(harm: impl AsyncFnOnce(&Arc<GatewayState>, [SockRef<'static>; 3])) -> Result<(), Error> {
    let (listeners, shared, channels) = gateway().await;
    let sockets = [&listeners.clients[0], &listeners.clients[1], &listeners.inner];
    // Leaked, as the borrow has to outlive the test.
    let sockets = sockets.map(|socket| {
        let socket = SockRef::from(socket).try_clone().unwrap();
        SockRef::from(&*Box::leak(Box::new(socket)))
    });
    let parts = Parts {
        listeners,
        unix_links: None,
        channels,
        reload: Reload::never(),
        metrics: None,
        draining: CancellationToken::new(),
    };
    let serving = serve_here(shared.clone(), parts, CancellationToken::new());
    let test = async { tokio::join!(serving, harm(&shared, sockets)).0 };
    timeout(LIMIT, LocalSet::new().run_until(test)).await.expect("a gateway that goes on")
}

#[tokio::test]
async fn the_end_of_a_shard_ends_the_gateway() {
    for index in [0, 1] {
        let ended = end(async |shared, _| shared.shards[index].send(ShardMessage::End).await.ok().unwrap());
        assert_eq!(ended.await.unwrap_err().to_string(), format!("shard {index} has ended"));
    }
}

#[tokio::test]
async fn the_end_of_an_acceptor_ends_the_gateway() {
    for (index, acceptor) in
        [(0, "of websocket://127.0.0.1:0"), (1, "of text://127.0.0.1:0"), (2, "of the inner port")]
    {
        let ended = end(async |_, sockets| {
            sockets[index].shutdown(std::net::Shutdown::Both).unwrap();
        });
        assert_eq!(ended.await.unwrap_err().to_string(), format!("the acceptor {acceptor} has ended"));
    }
}

#[tokio::test]
async fn a_gateway_whose_shard_ends_closes_the_other_clients_at_once() {
    let since = Instant::now();
    let ended = end(async |shared, sockets| {
        let listener = sockets[1].local_addr().unwrap().as_socket().unwrap();
        let (_worker, _peer) = testing::worker(shared, 1000).await;
        // One for each shard, in either order.
        let mut clients = Vec::new();
        for _ in 0..2 {
            clients.push(TcpStream::connect(listener).await.unwrap());
        }
        while shared.clients.load(Ordering::Relaxed) < 2 {
            tokio::task::yield_now().await;
        }
        shared.shards[1].send(ShardMessage::End).await.ok().unwrap();
        for client in &mut clients {
            let read = timeout(LIMIT, client.read(&mut [0])).await.expect("an end");
            assert!(matches!(read, Ok(0) | Err(_)));
        }
    });
    assert!(ended.await.is_err());
    assert!(since.elapsed() < LIMIT);
}

#[tokio::test]
async fn a_question_gets_no_answer_rather_than_one_without_the_part_of_a_shard() {
    let (_, shared, mut channels) = gateway().await;
    // The other shard is gone.
    let _first = channels.remove(0);
    channels.clear();
    let (ours, mut theirs) = testing::connection().await;
    let links = Arc::new(Semaphore::new(1));
    let permit = links.clone().try_acquire_owned().unwrap();
    let peer = LinkPeer::Tcp(theirs.local_addr().unwrap());
    let ours = LinkSocket::from(ours).detach().unwrap();
    let link = crate::link::run(ShardThread::new(0, shared), ours, peer, permit);
    let mut question = bytes::BytesMut::new();
    Command::Ask(Question::Count(None)).encode(&mut question);
    theirs.write_all(&question).await.unwrap();
    let mut answer = Vec::new();
    let asking = async { tokio::join!(link, theirs.read_to_end(&mut answer)).1 };
    let read = timeout(LIMIT, LocalSet::new().run_until(asking)).await.expect("an end");
    assert!(read.is_err() || answer.is_empty(), "{answer:?}");
    assert_eq!(links.available_permits(), 1);
}
