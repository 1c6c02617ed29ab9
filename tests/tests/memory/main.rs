//! The memory of an idle client, and of clients that send zip bombs (`bombs`): the bytes that the daemons have allocated.
//! Unlike what the system gives to a process, this number does not depend on the machine.
//!
//! The test binary counts allocations itself (`counting`). `daemons` runs the gateway on a thread of its own, and
//! `clients` are on the test's thread, whose allocations do not count. This prints what the bytes consist of:
//! `MEMORY_TABLE=1 cargo test -p gatewayworker-tests --test memory -- --nocapture`.

#![allow(clippy::unwrap_used, reason = "a test fails where it unwraps")]

mod bombs;
mod clients;
mod counting;
mod daemons;

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use clients::Clients;
use counting::{Counting, Live, Owner, count_for};
use daemons::Daemons;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// How many clients there are: as in the case `idle` of `crates/bench/compare`.
const CLIENTS: usize = 1500;

/// Clients that are there when the count begins, so that buffers which all clients share are there, too.
const FIRST: usize = 64;

/// What buffers that all clients share may have grown by meanwhile, in bytes: a link's holds as much as came at once, which
/// is more on a busy machine.
const SHARED: i64 = 32 * 1024;

/// How long the daemons may take to finish the clients' first events.
const LIMIT: Duration = Duration::from_secs(20);

/// Who has this may count: the count is the process's.
static COUNT: Mutex<()> = Mutex::new(());

/// How clients connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Plain,
    /// They have agreed on permessage-deflate, and have sent a compressed message.
    Compressing,
    /// They speak `gw.1`, and have acknowledged what they were sent.
    Resuming,
    Tls,
}

/// Asserts that an idle client has allocated at most so many bytes in the gateway, and in the worker.
fn assert_idle_client(way: Way, most_in_gateway: i64, most_in_worker: i64) {
    count_for(Owner::Clients);
    let daemons = Daemons::start(way);
    let _first = Clients::open(&daemons, FIRST);
    let before = [Owner::Gateway, Owner::Others].map(Live::of);
    let clients = Clients::open(&daemons, CLIENTS);
    let begun = Instant::now();
    let is_small = || {
        let small = |owner, before: &Live, most| {
            Live::of(owner).bytes() - before.bytes() <= most * CLIENTS as i64 + SHARED
        };
        small(Owner::Gateway, &before[0], most_in_gateway) && small(Owner::Others, &before[1], most_in_worker)
    };
    while !is_small() && begun.elapsed() < LIMIT {
        std::thread::yield_now();
    }
    let since = |owner, before| Live::of(owner).since(before).table(CLIENTS);
    let table = || {
        let [gateway, worker] = &before;
        format!("gateway:\n{}worker:\n{}", since(Owner::Gateway, gateway), since(Owner::Others, worker))
    };
    assert!(is_small(), "an idle client has allocated more than it should, {way:?}; {}", table());
    if std::env::var_os("MEMORY_TABLE").is_some() {
        println!("{way:?}; {}", table());
    }
    drop(clients);
}

#[test]
fn an_idle_client_has_allocated_little() {
    let _alone = COUNT.lock().unwrap_or_else(PoisonError::into_inner);
    assert_idle_client(Way::Plain, 700, 100);
    assert_idle_client(Way::Compressing, 700, 100);
    assert_idle_client(Way::Resuming, 860, 100);
    assert_idle_client(Way::Tls, 3180, 100);
}
