//! The heartbeats of the worker: a thread that shows every gateway that this process lives.
//!
//! Handlers may hold up every thread of the runtimes. This thread runs none, and never waits for a
//! socket: it tries to write. `serve` starts it, links register with it. It judges nobody.

use std::io;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;
use std::time::Duration;

use gatewayworker_client::worker::WorkerHandle;
use gatewayworker_net::LinkWriter;
use gatewayworker_protocol::{Command, PingBody};

type Links = Arc<Mutex<Vec<Weak<LinkWriter>>>>;

/// The heartbeats of a worker. Dropping them ends the thread.
#[derive(Debug)]
pub(crate) struct Heartbeats {
    event_links: Links,
    _stop: mpsc::Sender<()>,
}

impl Heartbeats {
    /// Starts the thread, which writes to each event link and each attached call link of `worker` once
    /// in an `interval`.
    pub(crate) fn start(worker: WorkerHandle, interval: Duration) -> io::Result<Self> {
        let event_links = Links::default();
        let links = event_links.clone();
        let (stop, stopped) = mpsc::channel::<()>();
        thread::Builder::new().name("heartbeats".into()).spawn(move || {
            while stopped.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
                beat(&links);
                worker.ping_links();
            }
        })?;
        Ok(Self { event_links, _stop: stop })
    }

    /// Writes heartbeats to an event link until it is dropped.
    pub(crate) fn add(&self, link: &Arc<LinkWriter>) {
        self.event_links.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(link));
    }
}

fn beat(links: &Links) {
    links.lock().unwrap_or_else(PoisonError::into_inner).retain(|link| {
        let Some(link) = link.upgrade() else { return false };
        // What waits is a sign of life, too; and where the gateway reads nothing, no pings pile up.
        if link.written() == link.pushed() {
            let _ = link.push_over(|out| Command::Ping(PingBody::Empty.encode()).encode(out));
        }
        link.flush_directly();
        true
    });
}
