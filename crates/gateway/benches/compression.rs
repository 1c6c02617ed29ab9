//! A broadcast of 4 KB of JSON to 900 clients, plain and compressed: what the compression costs, and what it saves.

#![allow(missing_docs, clippy::unwrap_used)]

use std::cell::RefCell;
use std::rc::Rc;

use bytes::BytesMut;
use gatewayworker_gateway::internals::{BusyShard, Window, deflated, inflated};
use gatewayworker_microbench::Suite;
use gatewayworker_protocol::{Audience, Command, Payload};

/// Each has a socket, and a process by default no more than 1024: one shard at a time.
const CLIENTS: u32 = 900;

/// Makes the shard of an operation.
type Make = fn() -> BusyShard;

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _within = runtime.enter();
    let mut suite = Suite::default();
    let items: String = (0..95).map(|n| format!(r#"{{"id":{n},"name":"client {n}","up":true}},"#)).collect();
    let json = format!("[{items}null]").into_bytes();
    let mut command = BytesMut::new();
    let message = Payload::plain(json.clone());
    Command::SendToAll { to: Audience::Everyone, message }.encode(&mut command);

    let current: Rc<RefCell<Option<(&str, BusyShard)>>> = Rc::default();
    let operations: [(&'static str, Make); 3] = [
        ("broadcast of 4 KB/plain", || BusyShard::connected(CLIENTS)),
        ("broadcast of 4 KB/compressed, level 1", || BusyShard::compressing(CLIENTS, 1)),
        ("broadcast of 4 KB/compressed, level 6", || BusyShard::compressing(CLIENTS, 6)),
    ];
    for (name, make) in operations {
        let (current, command) = (current.clone(), command.clone());
        suite.add(name, move || {
            let mut current = current.borrow_mut();
            current.take_if(|(of, _)| *of != name);
            current.get_or_insert_with(|| (name, make())).1.execute(&command);
        });
    }
    for (name, level) in [("deflate/level 1", 1), ("deflate/level 2", 2), ("deflate/level 6", 6)] {
        let json = json.clone();
        let short = deflated(&json, level, Window::Bits15).unwrap().len();
        println!("{name}: {} bytes become {short}", json.len());
        suite.add(name, move || deflated(&json, level, Window::Bits15));
    }
    let packed = deflated(&json, 1, Window::Bits15).unwrap();
    suite.add("inflate/of level 1", move || inflated(&packed, json.len()));
    suite.measure();
}
