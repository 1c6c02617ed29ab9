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
use tokio::sync::watch;
use tokio::task::unconstrained;
use tokio::time::sleep_until;
use tracing::warn;

use crate::asking::Waiting;
use crate::budget::Budget;
use crate::core::{
    Bundle, ClockCheck, Clusters, Content, DurableInbound, Envelope, Inbound, Key, OpenError, Outbound,
    Partition, SendContent, Slots, Subjects,
};
use crate::durable::Durable;
use crate::faults::Faults;
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
    /// If sends go through JetStream.
    pub(crate) durable: Option<Durable>,
    clusters: RwLock<Clusters>,
    outbound: Mutex<Outbound>,
    inbound: Mutex<Inbound>,
    durable_inbound: Mutex<DurableInbound>,
    clock: Mutex<ClockCheck>,
    budget: Budget,
    started: Instant,
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
            durable: None,
            clusters: RwLock::new(Clusters::new(own.clone())),
            outbound: Mutex::new(Outbound::new()),
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
            self.clock().hear(envelope.process, envelope.unix_ms, unix_ms(), self.now_ms());
        }
    }

    fn outbound(&self) -> MutexGuard<'_, Outbound> {
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

    /// Publishes a call. The number is given and the message handed over under one lock, so that the order is that of the numbers.
    pub(crate) fn publish_call(&self, to: Destination<'_>, call: Bytes) -> Result<(), Unreached> {
        if let Some(durable) = &self.durable {
            return self.publish_durable(durable, to, call);
        }
        if !self.is_connected() {
            return Err(Unreached::NotConnected);
        }
        let now_ms = self.now_ms();
        let (slots, counted) = {
            let clusters = self.clusters();
            (clusters.slots(to, now_ms), clusters.known_slots())
        };
        if slots == Slots::NONE {
            return Ok(());
        }
        let to = match to {
            Destination::One(cluster) => Some(cluster.clone()),
            Destination::All | Destination::Names(_) => None,
        };
        let mut outbound = self.outbound();
        let (number, counters) = outbound.prepare(slots, counted);
        let message = self.seal(number, Content::Send(SendContent { to, counters, call }));
        let message = self.budget.charge(message, now_ms).ok_or(Unreached::Overloaded)?;
        let subject = self.subjects.send(Partition::of(self.process), slots);
        match at_once(self.client.publish(subject, message)) {
            Some(Ok(())) => {
                outbound.commit(slots);
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
        self.outbound().next_number()
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

    /// Publishes a part of an answer, if there is a connection and room. Returns whether it was taken.
    pub(crate) fn publish_answer(&self, subject: String, content: Content) -> bool {
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
