//! The event link to one gateway: connects, says who the worker is, pairs with the call link where the
//! gateway acknowledges events, and ends with it.
//!
//! `serve` runs one for each gateway that the registers list. What is said on the link, and
//! what a gateway's frame means, is decided by `core`; `reader` takes events on to `event_queues`,
//! `pairing` begins and ends epochs, `loss` gives a gateway up that is gone.

mod loss;
mod pairing;
mod reader;

use std::io;
use std::net::SocketAddrV4;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use gatewayworker_client::ClientId;
use gatewayworker_client::worker::{GatewayFeatures, WorkerHandle};
use gatewayworker_net::{Backoff, LinkConnector, LinkStream, LinkWriter, RegisterLinks};
use gatewayworker_protocol::Features;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::{debug, info, warn};

use self::pairing::PairedLink;
use self::reader::Reader;
use crate::Events;
use crate::core::{EventLink, Identity};
use crate::event_queues::EventQueues;
use crate::heartbeats::Heartbeats;

/// After this long a link was a success, however it ended.
const SUCCESS: Duration = Duration::from_secs(10);

/// What may wait to be written on an event link, in bytes: pings, and little else.
const OUTBOX: usize = 4096;

/// How long a worker that stops waits for the gateway to name a pairing, on a link that is just made.
const PAIRING: Duration = Duration::from_secs(2);

/// What the event links of a worker have in common.
#[derive(Debug)]
pub(crate) struct EventLinks<E> {
    pub(crate) queues: Arc<EventQueues<E>>,
    pub(crate) identity: Identity,
    pub(crate) heartbeats: Heartbeats,
    pub(crate) registers: RegisterLinks,
    /// Connects to gateways.
    pub(crate) connector: LinkConnector,
    /// Asks for the end.
    pub(crate) stop: CancellationToken,
    pub(crate) limits: LinkLimits,
}

/// How long an event link waits for what.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LinkLimits {
    /// For a gateway that does not acknowledge events to close its side, when the worker stops.
    pub(crate) close: Duration,
    /// For a word of the gateway.
    pub(crate) silence: Duration,
    /// Until a gateway that is gone is lost.
    pub(crate) lost_after: Duration,
}

/// Keeps an event link to `address`, until the gateway is neither connected nor
/// listed and is known to be lost, or until the worker stops and has nothing left to do for the gateway.
pub(crate) async fn run<E: Events>(
    links: Arc<EventLinks<E>>,
    address: SocketAddrV4,
    mut listed: watch::Receiver<bool>,
) {
    let EventLinks { queues, stop, .. } = &*links;
    let mut backoff = Backoff::default();
    let has_answered = Arc::new(AtomicBool::new(false));
    let mut loss = None;
    loop {
        let is_listed = *listed.borrow_and_update();
        let is_undecided = queues.epochs.is_undecided(address);
        if !is_undecided {
            loss = None;
            if stop.is_cancelled() {
                return;
            }
            if !is_listed {
                debug!(gateway = %address, "the gateway is not linked, and no register lists it: it has stopped");
                return;
            }
        } else if loss.is_none() {
            let (queues, registers) = (queues.clone(), links.registers.clone());
            let watch =
                loss::watch(queues, registers, address, links.limits.lost_after, has_answered.clone());
            loss = Some(AbortOnDropHandle::new(tokio::spawn(watch)));
        }
        let connect = async {
            // Without a call link a handler could not even answer. Whether a gateway lives that no
            // register lists any more, an event link alone can tell.
            if is_listed {
                queues.handler.worker.gateway().connected(address).await;
            }
            links.connector.connect(address).await
        };
        let connected = tokio::select! {
            biased;
            () = stop.cancelled(), if !is_undecided => return,
            () = queues.epochs.decided(address), if is_undecided => continue,
            _ = listed.changed() => continue,
            connected = connect => connected,
        };
        match connected {
            Err(error) => {
                warn!(gateway = %address, %error, "the event link to the gateway could not be connected: it is tried again")
            }
            Ok(stream) => {
                let started = Instant::now();
                links.serve(address, stream, &has_answered).await;
                if started.elapsed() > SUCCESS {
                    backoff.reset();
                }
            }
        }
        let is_undecided = queues.epochs.is_undecided(address);
        tokio::select! {
            biased;
            () = stop.cancelled(), if !is_undecided => return,
            _ = listed.changed() => {}
            () = tokio::time::sleep(backoff.next_wait()) => {}
        }
    }
}

impl<E: Events> EventLinks<E> {
    /// Serves one connection to its end, and does what its end demands.
    async fn serve(&self, address: SocketAddrV4, stream: LinkStream, has_answered: &AtomicBool) {
        let link = EventLink::default();
        let ended = self.hold(address, stream, &link, has_answered).await;
        match link.epoch() {
            Some(epoch) => self.end_epoch(epoch, ended.is_ok()),
            None => self.queues.forget_gateway(address),
        }
        note_features(&self.queues.handler.worker, address, Features::default());
        match ended {
            Ok(()) if !self.stop.is_cancelled() => {
                info!(gateway = %address, "the gateway has let this worker go, as another process has its name and id");
            }
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                info!(gateway = %address, "the gateway has closed the event link");
            }
            Err(error) => warn!(gateway = %address, %error, "the event link ended"),
        }
    }

    /// Holds one connection to its end. Returns without an error where the gateway has let this worker go, or
    /// does not acknowledge events and was left in peace.
    async fn hold(
        &self,
        address: SocketAddrV4,
        stream: LinkStream,
        link: &EventLink,
        has_answered: &AtomicBool,
    ) -> io::Result<()> {
        let started = Instant::now();
        let transport = stream.socket().transport();
        let (mut reading, writing) = stream.into_split();
        let writer = Arc::new(LinkWriter::new(writing, OUTBOX));
        let hello = self.identity.hello(self.stop.is_cancelled());
        writer.push(|out| hello.encode(out)).map_err(io::Error::other)?;
        writer.flush();
        let driven = writer.clone();
        // A task of its own, so that the reader is woken for nothing but events.
        let _driving = AbortOnDropHandle::new(tokio::spawn(async move { driven.drive().await }));
        let _linked = self.queues.linked(transport);
        info!(gateway = %address, %transport, "the worker is taking events");

        let paired = PairedLink::new(self, address, link, &writer);
        let reader = Reader { queues: &self.queues, address, link, closed: paired.closed() };
        let read = reader.read(&mut reading, |pairing| {
            has_answered.store(true, Ordering::Relaxed);
            paired.pair(pairing)
        });
        tokio::pin!(read);
        tokio::select! {
            ended = &mut read => return paired.explain(ended),
            () = self.stop.cancelled() => {}
        }
        if link.epoch().is_none() {
            // The gateway may be about to name a pairing, and would be left waiting.
            tokio::select! {
                ended = &mut read => return paired.explain(ended),
                () = self.paired_for_good(&paired, address) => {}
                () = sleep_until(started + PAIRING) => {}
            }
        }
        // Before anything is given back: an event that comes behind that is given back, too, and not begun.
        self.queues.epochs.drain();
        if let Some(command) = link.drain() {
            writer.push_over(|out| command.encode(out)).map_err(io::Error::other)?;
            writer.flush();
        }
        match link.epoch() {
            Some(epoch) => {
                self.queues.return_unbegun(epoch);
                paired.explain(read.await)
            }
            None => {
                // The gateway takes a worker whose side is closed off its list, and closes its own. What
                // it sent before that is still read: a drain loses no event that has left.
                writer.finish();
                timeout(self.limits.close, read).await.unwrap_or_else(|_| {
                    warn!(gateway = %address, "the gateway did not close the event link in time: events may be lost");
                    Ok(())
                })
            }
        }
    }

    /// Waits until the link is paired, and the gateway has heard so: an answer follows what was said before
    /// it. What comes on this link then, it takes for the epoch's.
    async fn paired_for_good(&self, paired: &PairedLink<'_, E>, address: SocketAddrV4) {
        paired.is_paired().await;
        // Without an answer the link ends by itself.
        let _ = self.queues.handler.worker.gateway().is_online(ClientId::new(address, 0)).await;
    }
}

/// Tells the worker's handle what a gateway can do; nothing beyond the original, when its
/// event link has ended.
fn note_features(worker: &WorkerHandle, gateway: SocketAddrV4, features: Features) {
    let features = GatewayFeatures::default()
        .with_passing_events_on(features.channel)
        .with_large_frames(features.large_frames)
        .with_interest(features.interest);
    worker.set_features(gateway, features);
}
