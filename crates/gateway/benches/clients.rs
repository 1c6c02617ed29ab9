//! A shard's data: its table of clients, their groups and their outboxes.

#![allow(missing_docs, clippy::unwrap_used)]

use std::cell::RefCell;
use std::rc::Rc;

use bytes::Bytes;
use gatewayworker_gateway::internals::{Clients, Outbox};
use gatewayworker_microbench::Suite;

/// Each has a socket, and a process by default no more than 1024.
const CLIENTS: u32 = 900;

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
    suite.add("group/a frame to each of 900", move || clients.borrow_mut().send_to_group(&everybody, &frame));
    suite.measure();
}
