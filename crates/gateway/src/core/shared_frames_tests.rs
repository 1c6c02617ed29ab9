//! Broadcasts that wait together in outboxes: they arrive as if each were written by itself.

use std::sync::Arc;

use bytes::Bytes;
use gatewayworker_protocol::{Audience, Command, Features, Payload};

use super::close::Closer;
use super::commands::{self, Routed};
use super::testing::{self, MemoryConnection, MemoryLink, MemoryPorts};
use super::websocket::encode;
use super::worker_link::WorkerLink;
use super::{Key, Shard};

fn shard() -> (Shard<MemoryPorts>, Arc<WorkerLink<MemoryLink>>) {
    let (shard, workers) = testing::shard();
    (shard, workers.join("worker", 1000, Features::default()))
}

fn client(
    shard: &mut Shard<MemoryPorts>,
    id: u32,
    worker: &Arc<WorkerLink<MemoryLink>>,
) -> (Key, MemoryConnection) {
    testing::client(shard, id, worker, testing::policy())
}

fn send_to(shard: &mut Shard<MemoryPorts>, to: Audience, text: &str) {
    let command = Command::SendToAll { to, message: Payload::plain(text.to_owned()) };
    let caller = Closer::call("test");
    let Some(Routed::All(command)) = commands::route(command, &caller, || 0) else { panic!("a broadcast") };
    shard.execute([command]);
}

fn send(shard: &mut Shard<MemoryPorts>, text: &str) {
    send_to(shard, Audience::Everyone, text);
}

/// The frames of these messages, one behind the other.
fn frames(texts: &[&str]) -> Vec<u8> {
    texts.iter().flat_map(|text| encode::message(false, text.as_bytes())).collect()
}

/// How many buffers wait for a client.
fn waiting(shard: &Shard<MemoryPorts>, id: u32) -> usize {
    shard.table().client(id).unwrap().queue.frames().count()
}

#[test]
fn broadcasts_that_wait_together_are_one_buffer_that_all_clients_share() {
    let (mut shard, worker) = shard();
    let connections = [1, 2].map(|id| client(&mut shard, id, &worker).1);
    ["a", "b", "c"].iter().for_each(|text| send(&mut shard, text));
    let first = |id| shard.table().client(id).unwrap().queue.last().as_ptr();
    assert_eq!((waiting(&shard, 1), first(1)), (1, first(2)));
    assert!(!shard.flush());
    send(&mut shard, "d");
    assert!(!shard.flush());
    for connection in connections {
        assert_eq!(*connection.written.borrow(), frames(&["a", "b", "c", "d"]));
    }
}

#[test]
fn a_message_of_its_own_stays_in_its_place_between_broadcasts() {
    let (mut shard, worker) = shard();
    let (key, own) = client(&mut shard, 1, &worker);
    let (_, other) = client(&mut shard, 2, &worker);
    send(&mut shard, "a");
    shard.send_own_frame(key, encode::message(false, b"own"));
    ["b", "c"].iter().for_each(|text| send(&mut shard, text));
    while shard.flush() {}
    assert_eq!(*own.written.borrow(), frames(&["a", "own", "b", "c"]));
    assert_eq!(*other.written.borrow(), frames(&["a", "b", "c"]));
}

#[test]
fn a_client_that_is_left_out_of_one_gets_the_others() {
    let (mut shard, worker) = shard();
    let connections = [1, 2].map(|id| client(&mut shard, id, &worker).1);
    send(&mut shard, "a");
    send_to(&mut shard, Audience::Except(vec![2]), "b");
    send(&mut shard, "c");
    while shard.flush() {}
    assert_eq!(*connections[0].written.borrow(), frames(&["a", "b", "c"]));
    assert_eq!(*connections[1].written.borrow(), frames(&["a", "c"]));
}

#[test]
fn what_waits_for_a_full_socket_is_not_joined_and_is_counted() {
    let (mut shard, worker) = shard();
    let (key, connection) = client(&mut shard, 1, &worker);
    connection.room.set(1);
    ["a", "b"].iter().for_each(|text| send(&mut shard, text));
    assert!(!shard.flush());
    ["c", "d"].iter().for_each(|text| send(&mut shard, text));
    assert_eq!(waiting(&shard, 1), 3);
    shard.check().unwrap();
    connection.room.set(usize::MAX);
    shard.writable(key);
    assert_eq!(*connection.written.borrow(), frames(&["a", "b", "c", "d"]));
    assert_eq!(shard.blocked_bytes(), 0);
}

#[test]
fn a_shard_that_has_written_everything_keeps_no_message() {
    let (mut shard, worker) = shard();
    client(&mut shard, 1, &worker);
    let text = Bytes::from(vec![b'x'; 100]);
    let message = Payload { raw: true, ..Payload::plain(text) };
    let command = Command::SendToAll { to: Audience::Everyone, message };
    let Some(Routed::All(command)) = commands::route(command, &Closer::call("test"), || 0) else {
        panic!("one")
    };
    shard.execute([command]);
    let frame = shard.table().client(1).unwrap().queue.last().clone();
    assert!(!frame.is_unique());
    assert!(!shard.flush());
    assert!(frame.is_unique());
}
