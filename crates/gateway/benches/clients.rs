//! A shard's data: its table of clients, their groups and their outboxes.

#![allow(missing_docs, clippy::unwrap_used)]

use std::cell::RefCell;
use std::rc::Rc;

use bytes::{Bytes, BytesMut};
use gatewayworker_gateway::internals::{BusyShard, Clients, Peer, WrittenOutbox};
use gatewayworker_microbench::Suite;
use gatewayworker_protocol::{Audience, Command, EventCounts, Payload};

/// Each has a socket, and a process by default no more than 1024.
const CLIENTS: u32 = 900;

fn main() {
    // Sockets want one.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _within = runtime.enter();
    let mut suite = Suite::default();
    let frame = Bytes::from(vec![b'x'; 64]);
    for (name, frames) in [("outbox/1 frame", 1), ("outbox/2 frames", 2), ("outbox/16 frames", 16)] {
        let (frame, mut outbox) = (frame.clone(), WrittenOutbox::default());
        suite.add(name, move || {
            for _ in 0..frames {
                outbox.push(frame.clone());
            }
            outbox.written();
        });
    }

    let clients = Rc::new(RefCell::new(Clients::connected(CLIENTS)));
    let everybody = Bytes::from_static(b"everybody");
    (1..=CLIENTS).for_each(|id| clients.borrow_mut().join(id, &everybody));
    let mut each = |name, operation: fn(&mut Clients, u32, &Bytes), group: &Bytes| {
        let (clients, group, mut id) = (clients.clone(), group.clone(), 0);
        suite.add(name, move || {
            id = id % CLIENTS + 1;
            operation(&mut clients.borrow_mut(), id, &group);
        });
    };
    each("table/look up", |clients, id, _| assert!(clients.find(id)), &everybody);
    let again = |clients: &mut Clients, id, group: &Bytes| {
        clients.leave(id, group);
        clients.join(id, group);
    };
    each("group/leave one of 900 and join again", again, &everybody);
    let alone = |clients: &mut Clients, id, group: &Bytes| {
        clients.join(id, group);
        clients.leave(id, group);
    };
    each("group/join as the first, leave as the last", alone, &Bytes::from_static(b"alone"));
    messages(&mut suite);
    suite.measure();
}

/// The way of a message: up to a worker's link, and down to the clients' sockets.
fn messages(suite: &mut Suite) {
    let mut frame = vec![0x81, 0x80 | 64, 1, 2, 3, 4];
    frame.resize(frame.len() + 64, b'x');
    // Reading unmasks in place, so that every second time masks: both are ASCII.
    let mut shard = BusyShard::connected_to(1, Peer::default());
    let mut unmasked = frame.clone();
    suite.add("message/a frame into the link of a PHP worker", move || shard.receive(&mut unmasked));
    // Twice the one and once the other: the difference is what a DONE costs.
    let mut shard = BusyShard::connected(1);
    let done = |events| encoded(Command::Done { epoch: 1, counts: EventCounts(vec![(1, events)]) });
    let (one, two) = (done(1), done(2));
    let mut unmasked = frame.clone();
    suite.add("message/a frame into the worker's link, and its DONE", move || {
        shard.receive(&mut unmasked);
        shard.end_event(&one);
        assert_eq!(shard.unfinished(), 0);
    });
    let mut shard = BusyShard::connected(1);
    suite.add("message/two frames into the worker's link, and their DONE", move || {
        shard.receive(&mut frame);
        shard.receive(&mut frame);
        shard.end_event(&two);
        assert_eq!(shard.unfinished(), 0);
    });
    let message = || Payload::plain(vec![b'x'; 64]);
    let mut shard = BusyShard::connected(1);
    let reply = encoded(Command::SendToOne { to: 1, message: message() });
    suite.add("command/a reply into its flush", move || shard.execute(&reply));
    let mut shard = BusyShard::connected(CLIENTS);
    let broadcast = encoded(Command::SendToAll { to: Audience::Everyone, message: message() });
    suite.add("command/a broadcast into 900 flushes", {
        let broadcast = broadcast.clone();
        move || shard.execute(&broadcast)
    });
    // As often as the protocol asks for, each client says that it has the messages.
    let thirty_two = broadcast.repeat(32);
    let mut shard = BusyShard::connected(100);
    suite.add("command/32 broadcasts into 100 flushes", {
        let thirty_two = thirty_two.clone();
        move || shard.execute(&thirty_two)
    });
    let (mut shard, mut sent) = (BusyShard::resuming(100), 0);
    suite.add("command/32 broadcasts into 100 flushes of gw.1, and their acks", move || {
        shard.execute(&thirty_two);
        sent += 32;
        shard.acknowledge(sent);
    });
    let mut shard = BusyShard::connected(100);
    let eight = broadcast.repeat(8);
    suite.add("command/8 broadcasts into 100 flushes", move || shard.execute(&eight));
}

fn encoded(command: Command) -> BytesMut {
    let mut bytes = BytesMut::new();
    command.encode(&mut bytes);
    bytes
}
