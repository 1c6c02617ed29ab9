//! [`Shared`]: what the tasks of a federation have in common.

use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use async_nats::Client;
use async_nats::client::PublishErrorKind;
use async_nats::connection::State;
use bytes::Bytes;
use futures_util::FutureExt;
use gatewayworker_client::federation::Destination;
use gatewayworker_client::{ClusterName, Unreached};
use gatewayworker_protocol::interest::Name;
use tokio::sync::watch;
use tokio::task::unconstrained;
use tokio::time::sleep_until;
use tracing::warn;

use crate::asking::Waiting;
use crate::budget::Budget;
use crate::core::{
    Bundle, ClockCheck, Clusters, Content, DurableInbound, Envelope, HeardNames, Inbound, KeptCalls, Key,
    NamesUpdate, OpenError, Outbound, Partition, Rejection, Said, SendContent, Slot, Slots, Subjects,
};
use crate::durable::Durable;
use crate::faults::Faults;
use crate::names::SharedNames;
use crate::stats::Counts;

/// So many bytes may wait in the NATS client.
const BUDGET: u64 = 16 * 1024 * 1024;

pub(crate) struct Shared {
    pub(crate) client: Client,
    pub(crate) key: Key,
    pub(crate) subjects: Subjects,
    /// The cluster of this process.
    pub(crate) own: ClusterName,
    /// This process, at random.
    pub(crate) process: u64,
    pub(crate) connected: watch::Receiver<bool>,
    pub(crate) counts: Arc<Counts>,
    /// What is wrong with NATS.
    pub(crate) faults: Arc<Faults>,
    /// So many partitions no worker of the own cluster takes, though one should.
    pub(crate) unheld: AtomicUsize,
    /// This process was to serve other clusters, and does not any more.
    pub(crate) has_ended_serving: AtomicBool,
    /// The questions that wait for answers.
    pub(crate) waiting: Waiting,
    /// Which clusters have a group or uid.
    pub(crate) names: SharedNames,
    /// If sends go through JetStream.
    pub(crate) durable: Option<Durable>,
    clusters: RwLock<Clusters>,
    outbound: Mutex<Outgoing>,
    inbound: Mutex<Inbound>,
    durable_inbound: Mutex<DurableInbound>,
    clock: Mutex<ClockCheck>,
    budget: Budget,
    started: Instant,
}

/// What this process has said.
#[derive(Debug)]
struct Outgoing {
    numbers: Outbound,
    /// Calls that have left clusters out a moment ago.
    kept: KeptCalls,
}

impl Shared {
    pub(crate) fn new(
        client: Client,
        key: Key,
        subjects: Subjects,
        own: ClusterName,
        connected: watch::Receiver<bool>,
        counts: Arc<Counts>,
        faults: Arc<Faults>,
    ) -> Self {
        Self {
            client,
            key,
            subjects,
            process: rand::random(),
            connected,
            counts,
            faults,
            unheld: AtomicUsize::new(0),
            has_ended_serving: AtomicBool::new(false),
            waiting: Waiting::default(),
            names: SharedNames::default(),
            durable: None,
            clusters: RwLock::new(Clusters::new(own.clone())),
            outbound: Mutex::new(Outgoing { numbers: Outbound::new(), kept: KeptCalls::default() }),
            inbound: Mutex::new(Inbound::new(own.clone())),
            durable_inbound: Mutex::new(DurableInbound::new(own.clone())),
            clock: Mutex::default(),
            own,
            budget: Budget::new(BUDGET),
            started: Instant::now(),
        }
    }

    /// Milliseconds of a clock that only goes forward.
    pub(crate) fn now_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    /// When this time of [`now_ms`](Self::now_ms) is.
    pub(crate) fn instant(&self, at_ms: u64) -> tokio::time::Instant {
        (self.started + Duration::from_millis(at_ms)).into()
    }

    pub(crate) fn clusters(&self) -> RwLockReadGuard<'_, Clusters> {
        self.clusters.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn clusters_mut(&self) -> RwLockWriteGuard<'_, Clusters> {
        self.clusters.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn inbound(&self) -> MutexGuard<'_, Inbound> {
        self.inbound.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn durable_inbound(&self) -> MutexGuard<'_, DurableInbound> {
        self.durable_inbound.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn clock(&self) -> MutexGuard<'_, ClockCheck> {
        self.clock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes the time that another process has said.
    pub(crate) fn hear_time(&self, envelope: &Envelope) {
        if envelope.process != self.process {
            self.clock().hear(envelope.process, envelope.number, envelope.unix_ms, unix_ms(), self.now_ms());
        }
    }

    fn outbound(&self) -> MutexGuard<'_, Outgoing> {
        self.outbound.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the NATS client has a connection. It would keep what is published without one, and publish it at any later time.
    pub(crate) fn is_connected(&self) -> bool {
        self.client.connection_state() == State::Connected
    }

    /// The longest call, in bytes.
    pub(crate) fn max_call_len(&self) -> usize {
        let overhead = if self.durable.is_some() { Bundle::OVERHEAD } else { SendContent::OVERHEAD };
        self.client.max_payload().saturating_sub(overhead)
    }

    /// Publishes a call, unless no cluster has a client that it concerns. The number is given and the message handed over under one lock,
    /// so that the order is that of the numbers.
    pub(crate) fn publish_call(&self, to: Destination<'_>, call: Bytes) -> Result<Published, Unreached> {
        if let Some(durable) = &self.durable {
            return self.publish_durable(durable, to, call).map(|()| Published::Kept);
        }
        if !self.is_connected() {
            return Err(Unreached::NotConnected);
        }
        // Under this lock nothing new is heard of names: what is decided here is decided before or after it.
        let mut outbound = self.outbound();
        let now_ms = self.now_ms();
        let (slots, known) = {
            let clusters = self.clusters();
            (self.slots(&clusters, to, now_ms), clusters.known_slots())
        };
        if let Destination::Names(names) = to {
            let without = known.without_all(slots);
            if without != Slots::NONE {
                outbound.kept.keep(names, call.clone(), without, now_ms);
            }
        }
        if slots == Slots::NONE {
            return Ok(Published::LeftOut);
        }
        let to = match to {
            Destination::One(cluster) => Some(cluster.clone()),
            Destination::All | Destination::Names(_) => None,
        };
        self.publish_to(&mut outbound.numbers, slots, known, to, call)?;
        Ok(Published::Sent)
    }

    /// Publishes a call for these slots, of which those in `known` have a cluster.
    fn publish_to(
        &self,
        numbers: &mut Outbound,
        slots: Slots,
        known: Slots,
        to: Option<ClusterName>,
        call: Bytes,
    ) -> Result<(), Unreached> {
        let (number, counters) = numbers.prepare(slots, known);
        let message = self.seal(number, Content::Send(SendContent { to, counters, call }));
        let message = self.budget.charge(message, self.now_ms()).ok_or(Unreached::Overloaded)?;
        let subject = self.subjects.send(Partition::of(self.process), slots);
        match at_once(self.client.publish(subject, message)) {
            Some(Ok(())) => {
                numbers.commit(slots);
                Ok(())
            }
            Some(Err(error)) if error.kind() == PublishErrorKind::MaxPayloadExceeded => {
                // The sender has checked it: the client is connected to another server since.
                warn!(%error, "a message to other clusters is longer than this nats-server takes: give all the same max_payload");
                Err(Unreached::Overloaded)
            }
            Some(Err(_)) => Err(Unreached::NotConnected),
            None => Err(Unreached::Overloaded),
        }
    }

    /// Notes what the announcing worker of a cluster says of its names, and publishes what has left the cluster out a moment ago and is for
    /// it after all. Returns whether the cluster is to be asked for everything.
    ///
    /// # Errors
    /// When it was said before.
    pub(crate) fn hear_names(
        &self,
        cluster: &ClusterName,
        said: Said,
        update: NamesUpdate,
    ) -> Result<bool, Rejection> {
        let mut outbound = self.outbound();
        let now_ms = self.now_ms();
        let mut known = self.names.known_mut();
        let heard = known.hear(cluster, said, update, self.names.is_used(), now_ms);
        let HeardNames::Taken { news, asks } = heard else { return Err(Rejection::Replayed) };
        let slot = Slot::of(cluster);
        let may_have = |names: &[Name]| known.may_have_now(cluster, &news, names, now_ms);
        let late = outbound.kept.take(slot, &news, may_have, now_ms);
        drop(known);
        if !late.is_empty() && self.is_connected() {
            let known = self.clusters().known_slots();
            for call in late {
                // It is late already: what NATS does not take now is missed.
                if self.publish_to(&mut outbound.numbers, Slots::of(cluster), known, None, call).is_ok() {
                    self.counts.published_late.add_one();
                }
            }
        }
        Ok(asks)
    }

    fn slots(&self, clusters: &Clusters, to: Destination<'_>, now_ms: u64) -> Slots {
        let Destination::Names(names) = to else { return clusters.slots(to, now_ms) };
        self.names.note_use();
        let known = self.names.known();
        clusters.slots_with(names, |cluster, names| known.may_have(cluster, names, now_ms), now_ms)
    }

    /// Whether the NATS client has written all that it was given.
    pub(crate) fn is_written(&self) -> bool {
        self.budget.is_empty()
    }

    /// All clusters, as missed for this reason.
    pub(crate) fn all_missed(&self, why: Unreached) -> Vec<(ClusterName, Unreached)> {
        let missed: Vec<_> = self.clusters().others().map(|cluster| (cluster.clone(), why)).collect();
        if missed.is_empty() { vec![(ClusterName::unknown(), why)] } else { missed }
    }

    /// These clusters, as missed for this reason; all that are known if `None` is among them.
    pub(crate) fn missed(
        &self,
        clusters: Vec<Option<ClusterName>>,
        why: Unreached,
    ) -> Vec<(ClusterName, Unreached)> {
        if clusters.contains(&None) {
            return self.all_missed(why);
        }
        clusters.into_iter().flatten().map(|cluster| (cluster, why)).collect()
    }

    /// A number for something that is not a call.
    pub(crate) fn next_number(&self) -> u64 {
        self.outbound().numbers.next_number()
    }

    /// Signs something that this process says.
    pub(crate) fn seal(&self, number: u64, content: Content) -> Bytes {
        self.key.seal(&Envelope {
            unix_ms: unix_ms(),
            process: self.process,
            number,
            cluster: self.own.clone(),
            content,
        })
    }

    /// Publishes something that is not a call, if there is a connection and room. It is not vital: it is said again, or somebody waits for it
    /// with a limit.
    pub(crate) fn publish(&self, subject: String, content: Content) {
        if self.is_connected() {
            let message = self.seal(self.next_number(), content);
            // What was handed over is no matter, and what was not is none either.
            let _ = at_once(self.client.publish(subject, message));
        }
    }

    /// Publishes something long that is not a call, as a part of an answer, if there is a connection and room. Returns whether it was taken.
    pub(crate) fn publish_long(&self, subject: String, content: Content) -> bool {
        if !self.is_connected() {
            return false;
        }
        let message = self.seal(self.next_number(), content);
        let Some(message) = self.budget.charge(message, self.now_ms()) else { return false };
        matches!(at_once(self.client.publish(subject, message)), Some(Ok(())))
    }

    /// Opens a message, and counts it if it is not signed or cannot be read.
    pub(crate) fn open(&self, message: Bytes) -> Option<Envelope> {
        match self.key.open(message) {
            Ok(envelope) => Some(envelope),
            Err(OpenError::Unsigned) => {
                self.counts.unsigned.add_one();
                None
            }
            Err(OpenError::Unreadable) => {
                self.counts.unreadable.add_one();
                None
            }
        }
    }
}

/// What has become of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Published {
    /// NATS has taken it.
    Sent,
    /// No other cluster has a client that it concerns.
    LeftOut,
    /// It is kept until JetStream has it.
    Kept,
}

/// What comes of handing something to the NATS client; `None` if it has no room. A task that has done much without a pause would be told that
/// there is none (tokio's budget).
pub(crate) fn at_once<T>(hand_over: impl Future<Output = T>) -> Option<T> {
    unconstrained(hand_over).now_or_never()
}

/// Waits until then, if there is such a time.
pub(crate) async fn until(at: Option<tokio::time::Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// The wall's time.
pub(crate) fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
