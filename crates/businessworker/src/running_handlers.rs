//! The handlers that run for long, for the reports to gateways.
//!
//! Two kinds of handlers may hang, and each is seen in its own way:
//!
//! - One that waits, at an `.await`, is listed when it has run for a second. `handler` has a timer there anyway, so
//!   shorter ones cost nothing.
//! - One that computes or blocks never gives its thread back, and no timer can fire. Each thread that polls handlers
//!   notes which one it polls, with plain stores to a cell of its own.
//!
//! `handler` notes, `reports` reads. Nothing here waits for a handler.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use gatewayworker_client::ClientId;
use gatewayworker_protocol::report::RunningHandler;

use crate::timings::{Handler, OF_EVENTS};

/// After this long a handler runs for long.
pub(crate) const LONG: Duration = Duration::from_secs(1);

/// The cells of all threads of this process that have polled a handler.
static CELLS: Mutex<Vec<Weak<Cell>>> = Mutex::new(Vec::new());

/// The number of the next worker of this process.
static NEXT_WORKER: AtomicU32 = AtomicU32::new(1);

thread_local! {
    static CELL: Arc<Cell> = Cell::register();
}

/// The handlers of a worker that run for long.
#[derive(Debug)]
pub(crate) struct RunningHandlers {
    /// Tests have several workers in one process.
    worker: u32,
    /// Those that wait, in the order of being listed, which is nearly that of their starts.
    listed: Mutex<Listed>,
}

#[derive(Debug, Default)]
struct Listed {
    next: u64,
    handlers: BTreeMap<u64, Mark>,
}

/// What is known of a handler that runs, as the numbers that a cell takes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mark {
    /// When it began, by the worker's clock, plus 1: 0 stands for none.
    started: u64,
    /// The gateway's address, and the [`Handler`].
    gateway_and_event: u64,
    /// The client's connection, and the worker.
    connection_and_worker: u64,
}

/// The handler that a thread polls now. One thread writes it.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Cell {
    /// 0 while it polls none.
    started: AtomicU64,
    gateway_and_event: AtomicU64,
    connection_and_worker: AtomicU64,
}

/// A handler as a future that notes on its thread when it is polled.
#[derive(Debug)]
pub(crate) struct Noted<F> {
    handler: F,
    mark: Option<Mark>,
}

/// Takes a handler off the list when it is dropped.
#[derive(Debug)]
pub(crate) struct ListedGuard<'a> {
    running: &'a RunningHandlers,
    number: u64,
}

impl RunningHandlers {
    pub(crate) fn new() -> Self {
        let worker = NEXT_WORKER.fetch_add(1, Ordering::Relaxed);
        Self { worker, listed: Mutex::default() }
    }

    fn listed(&self) -> MutexGuard<'_, Listed> {
        // Every change is complete when a panic could poison the lock.
        self.listed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the mark of a handler that begins now; `None` for one that is no event's.
    #[inline]
    pub(crate) fn mark(&self, handler: Handler, client: Option<ClientId>, now_ms: u64) -> Option<Mark> {
        let client = client?;
        let gateway = client.gateway();
        let address = u64::from(gateway.ip().to_bits()) << 32 | u64::from(gateway.port()) << 16;
        Some(Mark {
            started: now_ms + 1,
            gateway_and_event: address | handler as u64,
            connection_and_worker: u64::from(client.connection_id()) << 32 | u64::from(self.worker),
        })
    }

    /// Lists a handler that has run for [`LONG`], until what is returned is dropped.
    pub(crate) fn list(&self, mark: Option<Mark>) -> Option<ListedGuard<'_>> {
        let mark = mark?;
        let mut listed = self.listed();
        let number = listed.next;
        listed.next += 1;
        listed.handlers.insert(number, mark);
        Some(ListedGuard { running: self, number })
    }

    /// Returns those that have run for longest, at most so many; the longest first.
    pub(crate) fn longest(&self, at_most: usize, now_ms: u64) -> Vec<RunningHandler> {
        let waiting: Vec<Mark> = self.listed().handlers.values().take(at_most).copied().collect();
        let cells = CELLS.lock().unwrap_or_else(PoisonError::into_inner);
        let polled = cells.iter().filter_map(|cell| cell.upgrade()?.read());
        let mut all: Vec<Mark> = polled.filter(|mark| mark.worker() == self.worker).chain(waiting).collect();
        drop(cells);
        // A handler may be listed and polled. No two of the same client run side by side.
        all.sort_unstable_by_key(|mark| (mark.gateway_and_event, mark.connection_and_worker, mark.started));
        all.dedup_by_key(|mark| (mark.gateway_and_event, mark.connection_and_worker));
        all.sort_by_key(|mark| mark.started);
        let long_ms = LONG.as_millis() as u64;
        all.iter().map(|mark| mark.report(now_ms)).take_while(|one| one.ms >= long_ms).take(at_most).collect()
    }
}

impl Drop for ListedGuard<'_> {
    fn drop(&mut self) {
        self.running.listed().handlers.remove(&self.number);
    }
}

impl Mark {
    fn worker(self) -> u32 {
        self.connection_and_worker as u32
    }

    fn report(self, now_ms: u64) -> RunningHandler {
        let ip = Ipv4Addr::from_bits((self.gateway_and_event >> 32) as u32);
        let gateway = SocketAddrV4::new(ip, (self.gateway_and_event >> 16) as u16);
        let client = ClientId::new(gateway, (self.connection_and_worker >> 32) as u32);
        let event =
            OF_EVENTS.get((self.gateway_and_event & 0xff) as usize).map_or("", |handler| handler.name());
        // It began one before `started`.
        let ms = (now_ms + 1).saturating_sub(self.started);
        RunningHandler { event: event.to_owned(), client: Some(client.to_string()), ms }
    }
}

impl Cell {
    fn register() -> Arc<Self> {
        let cell = Arc::new(Self::default());
        let mut cells = CELLS.lock().unwrap_or_else(PoisonError::into_inner);
        cells.retain(|cell| cell.strong_count() > 0);
        cells.push(Arc::downgrade(&cell));
        cell
    }

    #[inline]
    fn begin(&self, mark: Mark) {
        self.gateway_and_event.store(mark.gateway_and_event, Ordering::Relaxed);
        self.connection_and_worker.store(mark.connection_and_worker, Ordering::Relaxed);
        self.started.store(mark.started, Ordering::Release);
    }

    #[inline]
    fn end(&self) {
        self.started.store(0, Ordering::Release);
    }

    /// Returns the handler that is polled. One that has only begun may be read with the client of the one before: it
    /// does not run for long.
    fn read(&self) -> Option<Mark> {
        let started = Some(self.started.load(Ordering::Acquire)).filter(|started| *started > 0)?;
        let gateway_and_event = self.gateway_and_event.load(Ordering::Acquire);
        let connection_and_worker = self.connection_and_worker.load(Ordering::Acquire);
        let is_same = self.started.load(Ordering::Acquire) == started;
        is_same.then_some(Mark { started, gateway_and_event, connection_and_worker })
    }
}

impl<F: Future + Unpin> Noted<F> {
    pub(crate) fn new(handler: F, mark: Option<Mark>) -> Self {
        Self { handler, mark }
    }
}

impl<F: Future + Unpin> Future for Noted<F> {
    type Output = F::Output;

    /// The handler must not panic: the thread would go on polling it, as far as is known here.
    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let Some(mark) = self.mark else { return Pin::new(&mut self.handler).poll(cx) };
        // A thread that ends has no cell any more.
        let _ = CELL.try_with(|cell| cell.begin(mark));
        let polled = Pin::new(&mut self.handler).poll(cx);
        let _ = CELL.try_with(|cell| cell.end());
        polled
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use futures_util::FutureExt;

    use super::*;

    fn client(connection_id: u32) -> ClientId {
        ClientId::new(SocketAddrV4::new([10, 0, 0, 2].into(), 2300), connection_id)
    }

    fn named(event: &str, connection_id: u32, ms: u64) -> RunningHandler {
        RunningHandler { event: event.into(), client: Some(client(connection_id).to_string()), ms }
    }

    #[test]
    fn a_handler_that_waits_is_listed_until_it_ends() {
        let running = RunningHandlers::new();
        let guards: Vec<_> = (1..=7)
            .map(|n| running.list(running.mark(Handler::Message, Some(client(n)), u64::from(n) * 10)))
            .collect();
        let longest = running.longest(5, 2000);
        assert_eq!(longest.len(), 5);
        assert_eq!(longest[0], named("on_message", 1, 1990));
        assert_eq!(longest[4], named("on_message", 5, 1950));
        drop(guards);
        assert_eq!(running.longest(5, 2000), []);
    }

    #[test]
    fn a_handler_that_blocks_its_thread_is_seen_from_another_one() {
        let running = RunningHandlers::new();
        let mark = running.mark(Handler::Close, Some(client(7)), 500);
        let (blocks, is_blocked) = mpsc::channel();
        let (free, is_freed) = mpsc::channel::<()>();
        let thread = thread::spawn(move || {
            let mut handler = std::pin::pin!(async move {
                blocks.send(()).unwrap();
                is_freed.recv().unwrap();
            });
            Noted::new(handler.as_mut(), mark).now_or_never().unwrap();
            blocks_no_more()
        });
        fn blocks_no_more() -> bool {
            CELL.with(|cell| cell.read().is_none())
        }
        is_blocked.recv().unwrap();
        assert_eq!(running.longest(5, 1499), [], "it does not run for long");
        assert_eq!(running.longest(5, 4500), [named("on_close", 7, 4000)]);
        assert_eq!(RunningHandlers::new().longest(5, 4500), [], "it is another worker's");
        // One that waited before it blocked.
        let guard = running.list(mark);
        assert_eq!(running.longest(5, 4500).len(), 1);
        drop(guard);
        free.send(()).unwrap();
        assert!(thread.join().unwrap());
        assert_eq!(running.longest(5, 4500), []);
    }

    #[test]
    fn what_is_no_handler_of_an_event_is_not_noted() {
        let running = RunningHandlers::new();
        assert!(running.mark(Handler::WorkerStop, None, 0).is_none());
        assert!(running.list(None).is_none());
    }
}
