//! Shards, clients and workers without a gateway around them, for unit tests.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use gatewayworker_net::LinkWriter;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use gatewayworker_protocol::Features;

use super::{ClientConnection, ShardMessage, ShardThread};
use crate::capacity::Capacity;
use crate::config::{Config, ListenerConfig};
use crate::core::client::NewClient;
use crate::core::table::Key;
use crate::core::websocket::compression::Compression;
use crate::gateway_state::GatewayState;
use crate::listener::{ConnectionLimit, ConnectionPermit, Listener};
use crate::socket::Socket;
use crate::workers::WorkerLink;

/// Returns the only shard of a gateway. Nobody reads its messages.
pub(crate) fn shard(config: Config) -> Rc<ShardThread> {
    shard_and_channels(Config { shards: 1, ..config }).0
}

/// Returns the first shard of a gateway, and the channels of all shards.
pub(crate) fn shard_and_channels(config: Config) -> (Rc<ShardThread>, Vec<mpsc::Receiver<ShardMessage>>) {
    let (shared, channels) = shared(config);
    (ShardThread::new(0, shared), channels)
}

/// Returns the shared state of a gateway, and the channels of its shards.
pub(crate) fn shared(config: Config) -> (Arc<GatewayState>, Vec<mpsc::Receiver<ShardMessage>>) {
    let (senders, channels) = (0..config.shards).map(|_| super::channel()).unzip();
    let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 2300);
    let capacity = Capacity::new(&config, None).unwrap();
    (Arc::new(GatewayState::new(config, capacity, address, senders)), channels)
}

/// Returns both ends of a TCP connection, the gateway's first.
pub(crate) async fn connection() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let theirs = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    (listener.accept().await.unwrap().0, theirs)
}

/// Links a worker whose link buffer takes `limit` bytes. Returns the link and the worker's end.
pub(crate) async fn worker(shared: &GatewayState, limit: usize) -> (Arc<WorkerLink>, TcpStream) {
    let (ours, theirs) = connection().await;
    let writer = Arc::new(LinkWriter::new(ours.into_split().1, limit));
    (shared.workers.join("worker", writer, Features::default()), theirs)
}

/// Returns a permit of a listener for WebSocket with the default settings.
pub(crate) fn permit() -> ConnectionPermit {
    permit_at("websocket://127.0.0.1:8289", &Config::default())
}

/// Returns a permit of a listener with this URL and these settings.
pub(crate) fn permit_at(url: &str, config: &Config) -> ConnectionPermit {
    let listener = ListenerConfig::new(url.parse().unwrap());
    let listener = Listener::new(0, 8289, &listener, config, Arc::new(ConnectionLimit::new(1))).unwrap();
    ConnectionPermit::acquire(&Arc::new(listener)).unwrap()
}

/// Inserts a client without a reading task. Returns its key and the client's end.
pub(crate) async fn client(
    shard: &Rc<ShardThread>,
    connection_id: u32,
    worker: &Arc<WorkerLink>,
) -> (Key, TcpStream) {
    let (ours, theirs) = connection().await;
    let permit = permit_at("websocket://127.0.0.1:8289", &shard.shared.config);
    let client = NewClient {
        resume: None,
        connection_id,
        seq: connection_id.into(),
        address: SocketAddrV4::new(Ipv4Addr::LOCALHOST, 50000),
        connection: ClientConnection::new(permit, Socket::Plain(ours)),
        worker: worker.clone(),
        compression: Compression::Off,
        response: Bytes::new(),
    };
    (shard.insert(client), theirs)
}
