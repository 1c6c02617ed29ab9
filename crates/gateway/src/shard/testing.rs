//! A shard without a gateway around it, for the tests of its parts.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::rc::Rc;
use std::sync::Arc;

use gatewayworker_net::LinkWriter;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::{Key, NewClient, Shard, Shared};
use crate::capacity::Capacity;
use crate::config::Config;
use crate::door::{Door, Limit, Place};
use crate::listener::Listener;
use crate::order::Mail;
use crate::socket::Socket;
use crate::workers::{Features, WorkerLink};

/// The only shard of a gateway. Nobody reads its mailbox.
pub(crate) fn shard(config: Config) -> Rc<Shard> {
    shard_and_mailboxes(Config { shards: 1, ..config }).0
}

/// The first shard of a gateway, and the mailboxes of all.
pub(crate) fn shard_and_mailboxes(config: Config) -> (Rc<Shard>, Vec<mpsc::Receiver<Mail>>) {
    let (shared, mailboxes) = shared(config);
    (Shard::new(0, shared), mailboxes)
}

/// What the shards of a gateway share, and their mailboxes.
pub(crate) fn shared(config: Config) -> (Arc<Shared>, Vec<mpsc::Receiver<Mail>>) {
    let (senders, mailboxes) = (0..config.shards).map(|_| super::mailbox()).unzip();
    let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 2300);
    let capacity = Capacity::new(&config, None).unwrap();
    (Arc::new(Shared::new(config, capacity, address, senders)), mailboxes)
}

/// Both ends of a connection, ours first.
pub(crate) async fn connection() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let theirs = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    (listener.accept().await.unwrap().0, theirs)
}

/// A client's socket that nobody is behind.
pub(crate) async fn socket() -> Rc<Socket> {
    Rc::new(Socket::Plain(connection().await.0))
}

/// A worker's link whose outbox takes `limit` bytes, and the worker's end of it.
pub(crate) async fn worker(shared: &Shared, limit: usize) -> (Arc<WorkerLink>, TcpStream) {
    let (ours, theirs) = connection().await;
    let writer = Arc::new(LinkWriter::new(ours.into_split().1, limit));
    (shared.workers.join("worker", writer, Features::default()), theirs)
}

pub(crate) fn new_client(connection_id: u32, worker: &Arc<WorkerLink>) -> NewClient {
    NewClient {
        connection_id,
        seq: connection_id.into(),
        address: SocketAddrV4::new(Ipv4Addr::LOCALHOST, 50000),
        door: place(),
        worker: worker.clone(),
        heard_ms: 0,
    }
}

/// A place at a door of its own.
pub(crate) fn place() -> Place {
    place_at("websocket://127.0.0.1:8289", &Config::default())
}

pub(crate) fn place_at(url: &str, config: &Config) -> Place {
    let listener = Listener::new(url.parse().unwrap());
    let door = Door::new(8289, &listener, config, Arc::new(Limit::new(1))).unwrap();
    Place::take(&Arc::new(door)).unwrap()
}

/// Takes a client in that nobody reads from, and returns its end too.
pub(crate) async fn client(shard: &Shard, connection_id: u32, worker: &Arc<WorkerLink>) -> (Key, TcpStream) {
    let (ours, theirs) = connection().await;
    let door = place_at("websocket://127.0.0.1:8289", &shard.shared.config);
    let client = NewClient { door, ..new_client(connection_id, worker) };
    (shard.insert(client, Rc::new(Socket::Plain(ours))), theirs)
}
