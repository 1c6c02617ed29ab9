//! Broadcasts that wait together in outboxes: they arrive as if each were written by itself.

use std::sync::Arc;

use bytes::Bytes;
use gatewayworker_protocol::{Audience, Command, Features, Payload};
use proptest::collection::vec;
use proptest::prelude::*;

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

/// A step of a run with three clients.
#[derive(Debug, Clone)]
enum Step {
    ToAll(String),
    ToAllBut(u32, String),
    ToOne(u32, String),
    /// The socket of a client takes so many bytes from now on.
    Room(u32, usize),
    Flush,
}

fn step() -> impl Strategy<Value = Step> {
    let text = "[a-z]{0,40}";
    prop_oneof![
        6 => text.prop_map(Step::ToAll),
        2 => (1..=3_u32, text).prop_map(|(id, text)| Step::ToAllBut(id, text)),
        2 => (1..=3_u32, text).prop_map(|(id, text)| Step::ToOne(id, text)),
        1 => (1..=3_u32, 0..100_usize).prop_map(|(id, room)| Step::Room(id, room)),
        3 => Just(Step::Flush),
    ]
}

proptest! {
    #[test]
    fn each_client_gets_its_messages_whole_and_in_their_order(steps in vec(step(), 1..60)) {
        let (mut shard, worker) = shard();
        let clients = [1, 2, 3].map(|id| client(&mut shard, id, &worker));
        let mut expected = [const { Vec::new() }; 3];
        for step in steps {
            match step {
                Step::ToAll(text) => {
                    send(&mut shard, &text);
                    expected.iter_mut().for_each(|bytes| bytes.extend(frames(&[&text])));
                }
                Step::ToAllBut(id, text) => {
                    send_to(&mut shard, Audience::Except(vec![id]), &text);
                    let others = (1..).zip(&mut expected).filter(|(other, _)| *other != id);
                    others.for_each(|(_, bytes)| bytes.extend(frames(&[&text])));
                }
                Step::ToOne(id, text) => {
                    shard.send_own_frame(clients[id as usize - 1].0, encode::message(false, text.as_bytes()));
                    expected[id as usize - 1].extend(frames(&[&text]));
                }
                Step::Room(id, room) => clients[id as usize - 1].1.room.set(room),
                Step::Flush => _ = shard.flush(),
            }
            shard.check().unwrap();
        }
        for (_, connection) in &clients {
            connection.room.set(usize::MAX);
        }
        while shard.flush() {}
        for ((key, connection), expected) in clients.into_iter().zip(expected) {
            shard.writable(key);
            prop_assert_eq!(&*connection.written.borrow(), &expected);
        }
        prop_assert_eq!(shard.blocked_bytes(), 0);
    }
}
