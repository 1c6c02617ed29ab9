//! A shard's data: its table of clients, their groups and their outboxes.

#![allow(missing_docs, clippy::unwrap_used)]

use bytes::Bytes;
use gatewayworker_gateway::internals::{Clients, Outbox};
use gatewayworker_microbench::Suite;

const CLIENTS: u32 = 1000;

fn main() {
    // Sockets want one, though nobody reads or writes them.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _within = runtime.enter();
    let mut suite = Suite::default();
    let frame = Bytes::from(vec![b'x'; 64]);
    for (name, frames) in [("outbox/1 frame", 1), ("outbox/2 frames", 2), ("outbox/16 frames", 16)] {
        let (frame, mut outbox) = (frame.clone(), Outbox::default());
        suite.add(name, move || {
            for _ in 0..frames {
                outbox.push(frame.clone());
            }
            outbox.written();
        });
    }

    let (mut clients, mut id) = (Clients::connected(CLIENTS), 0);
    suite.add("table/look up", move || {
        id = id % CLIENTS + 1;
        clients.find(id)
    });

    let room = Bytes::from_static(b"room");
    let (mut clients, mut id) = (Clients::connected(CLIENTS), 0);
    (1..=CLIENTS).for_each(|id| clients.join(id, &room));
    suite.add("group/leave and join again", {
        let room = room.clone();
        move || {
            id = id % CLIENTS + 1;
            clients.leave(id, &room);
            clients.join(id, &room);
        }
    });

    let (mut clients, mut id) = (Clients::connected(CLIENTS), 0);
    let own = room.clone();
    suite.add("group/make and drop", move || {
        id = id % CLIENTS + 1;
        clients.join(id, &own);
        clients.leave(id, &own);
    });

    let mut clients = Clients::connected(CLIENTS);
    (1..=CLIENTS).for_each(|id| clients.join(id, &room));
    suite.add("group/a frame to each of 1000", move || clients.send_to_group(&room, &frame));
    suite.measure();
}
