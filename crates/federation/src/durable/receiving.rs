//! Receiving what JetStream keeps for the own cluster: a task of the one worker that holds the first partition.
//!
//! `serving.rs` starts and ends it. It begins behind what was acknowledged to the cluster's workers before ([`Progress`]), takes one message after
//! the other, so that they stay in order, and acknowledges a message when the links have written what it said to the own gateways.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, PullConsumer, pull};
use async_nats::jetstream::context::ConsumerInfoErrorKind;
use async_nats::jetstream::message::Acker;
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};
use gatewayworker_client::federation::{OwnCluster, Told};
use tokio::time::{interval, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::{debug, info};

use super::acknowledging::Acknowledging;
use super::{Durable, RETRY};
use crate::core::{AcceptedCalls, DeliveryOrder, Progress, Rejection, Standstill};
use crate::receiving::obey;
use crate::shared::{Shared, at_once, unix_ms};

/// So many messages are on the way to this worker at most. Each has 256 KiB, or one call.
const MAX_BATCH: usize = 64;

/// So many messages are given to a worker and not acknowledged at most: they come again when another one takes over.
const MAX_UNACKNOWLEDGED: i64 = 64;

/// JetStream gives a message again that is not acknowledged within this time; then a new consumer begins.
const ACKNOWLEDGE: Duration = Duration::from_secs(10);

/// How often JetStream says that there is nothing. After twice the time a new consumer begins.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// JetStream forgets a cluster that has not read for so long.
const FORGET: Duration = Duration::from_secs(24 * 60 * 60);

/// How often the links are asked whether they have written.
const WRITTEN: Duration = Duration::from_millis(1);

/// After this time a worker begins to read anew: with two workers that each begin, the consumers would go back and forth.
const PAUSE: Duration = Duration::from_millis(100);

/// How long a worker that stops waits until its links have written, and then for JetStream.
const LAST: Duration = Duration::from_millis(500);

/// How often a worker looks whether a gateway is there, before it begins.
const GATEWAY: Duration = Duration::from_millis(100);

/// The part of `serving.rs` in this: the task runs while the worker holds the first partition.
pub(crate) struct ServingDurable {
    shared: Arc<Shared>,
    own: OwnCluster,
    task: Option<(CancellationToken, AbortOnDropHandle<()>)>,
    has_ended: bool,
}

impl ServingDurable {
    pub(crate) fn new(shared: Arc<Shared>, own: OwnCluster) -> Self {
        Self { shared, own, task: None, has_ended: false }
    }

    /// Begins, or ends, as the worker holds the first partition, or does not.
    pub(crate) fn set_held(&mut self, is_held: bool) {
        let is_running = self.task.as_ref().is_some_and(|(_, task)| !task.is_finished());
        if !is_held {
            // Another worker has begun, so its consumer is gone.
            if self.task.take().is_some() {
                self.shared.durable.iter().for_each(|durable| durable.note_reading(None));
                self.shared.durable_inbound().stop_counting();
            }
        } else if !is_running && !self.has_ended && self.shared.durable.is_some() {
            let end = CancellationToken::new();
            let receive = receive(self.shared.clone(), self.own.clone(), end.clone());
            self.task = Some((end, AbortOnDropHandle::new(tokio::spawn(receive))));
        }
    }

    /// Ends for good: what has come is done and acknowledged, so that the next worker begins behind it.
    pub(crate) async fn end(&mut self) {
        self.has_ended = true;
        if let Some((end, task)) = self.task.take() {
            end.cancel();
            let _ = task.await;
        }
    }
}

/// Receives until `end` is cancelled, and what has come by then.
async fn receive(shared: Arc<Shared>, own: OwnCluster, end: CancellationToken) {
    let Some(durable) = &shared.durable else { return };
    let progress = Progress::default();
    let mut receiver =
        Receiver { shared: &shared, durable, own, progress, generation: unix_ms(), made: Vec::new() };
    let mut connected = shared.connected.clone();
    while end.run_until_cancelled(connected.wait_for(|connected| *connected)).await.is_some() {
        // Without a gateway a call would be told to nobody, and acknowledged.
        while !receiver.own.has_gateway() {
            if end.run_until_cancelled(sleep(GATEWAY)).await.is_none() {
                return;
            }
        }
        let Some(consumer) = end.run_until_cancelled(receiver.begin()).await else { return };
        durable.note_reading(consumer.as_ref().err().and_then(BeginError::problem));
        let pause = match consumer {
            Ok(consumer) => match receiver.read(&consumer, &end).await {
                Ended::Stopped => return,
                Ended::Broken => PAUSE,
            },
            Err(BeginError::Changed) => PAUSE,
            Err(BeginError::NoStream | BeginError::Refused(_)) => RETRY,
        };
        if end.run_until_cancelled(sleep(pause)).await.is_none() {
            return;
        }
    }
}

/// Why a worker has stopped to read from a consumer.
enum Ended {
    /// It is to stop.
    Stopped,
    /// A new consumer is needed: the connection was lost, or messages were, or another worker has begun.
    Broken,
}

/// Why a worker cannot begin.
enum BeginError {
    /// There is no stream, which is a problem by now.
    NoStream,
    /// The consumers of the cluster are others by now.
    Changed,
    /// JetStream refuses something, or does not answer.
    Refused(async_nats::Error),
}

impl BeginError {
    /// What an operator has to mend.
    fn problem(&self) -> Option<String> {
        match self {
            Self::NoStream | Self::Changed => None,
            Self::Refused(error) => Some(format!(
                "federation_durable: the worker cannot read from JetStream what other clusters have sent: {error}"
            )),
        }
    }
}

impl<E: Into<async_nats::Error>> From<E> for BeginError {
    fn from(error: E) -> Self {
        Self::Refused(error.into())
    }
}

struct Receiver<'a> {
    shared: &'a Shared,
    durable: &'a Durable,
    own: OwnCluster,
    progress: Progress,
    /// Grows with each consumer. It begins with the time, as a task of this process before may have left a consumer.
    generation: u64,
    /// The consumers that it has made and that may exist yet: `progress` knows what was acknowledged to them.
    made: Vec<String>,
}

impl Receiver<'_> {
    /// Makes a consumer behind all that was acknowledged, and deletes the others of the cluster.
    ///
    /// JetStream is not asked for what this worker has acknowledged itself: of three servers with one killed it may not answer for a consumer any
    /// more, although it still takes messages for the stream, makes other consumers and deletes this one (seen with nats-server 2.9).
    async fn begin(&mut self) -> Result<PullConsumer, BeginError> {
        let cluster = &self.shared.own;
        let stream = self.durable.open(self.shared).await.ok_or(BeginError::NoStream)?;
        self.progress.of_stream(stream.cached_info().created.unix_timestamp_nanos());
        let names: Vec<String> = stream.consumer_names().try_collect().await?;
        let before: Vec<_> =
            names.into_iter().filter(|name| Progress::is_consumer_of(cluster, name)).collect();
        self.made.retain(|name| before.contains(name));
        for name in before.iter().filter(|name| !self.made.contains(name)) {
            match stream.consumer_info(name).await {
                Ok(info) => {
                    let start = match info.config.deliver_policy {
                        DeliverPolicy::ByStartSequence { start_sequence } => start_sequence,
                        _ => 0,
                    };
                    self.progress.consumer_is_at(start, info.ack_floor.stream_sequence);
                }
                // Another worker has begun meanwhile, and knows what was acknowledged.
                Err(error) if error.kind() == ConsumerInfoErrorKind::NotFound => {
                    return Err(BeginError::Changed);
                }
                Err(error) => return Err(error.into()),
            }
        }
        let info = stream.get_info().await?;
        self.progress.of_stream(info.created.unix_timestamp_nanos());
        self.progress.stream_ends_with(info.state.last_sequence);
        self.generation += 1;
        let start_sequence = self.progress.start(stream.cached_info().state.last_sequence);
        let own_slot = self.shared.clusters().own_slot();
        let name = Progress::consumer(cluster, self.shared.process, self.generation);
        // It may be made although the answer is lost.
        self.progress.consumer_is_at(start_sequence, 0);
        self.made.push(name.clone());
        let consumer = stream
            .create_consumer(pull::Config {
                durable_name: Some(name),
                description: Some(format!("what cluster {cluster} has read")),
                // Not "new": as long as such a consumer has acknowledged nothing, it does not say where it has begun.
                deliver_policy: DeliverPolicy::ByStartSequence { start_sequence },
                ack_policy: AckPolicy::All,
                ack_wait: ACKNOWLEDGE,
                max_ack_pending: MAX_UNACKNOWLEDGED,
                filter_subject: self.shared.subjects.durable_to(own_slot),
                inactive_threshold: FORGET,
                ..pull::Config::default()
            })
            .await?;
        info!(start_sequence, "the worker reads from JetStream what other clusters send");
        for name in before {
            // If it stays, the next worker deletes it.
            let _ = stream.delete_consumer(&name).await;
        }
        Ok(consumer)
    }

    /// Does what the consumer gives, until `end` is cancelled or something is lost.
    async fn read(&mut self, consumer: &PullConsumer, end: &CancellationToken) -> Ended {
        let mut connected = self.shared.connected.clone();
        connected.mark_unchanged();
        let mut standstill = Standstill::new(self.shared.now_ms());
        let stream = consumer.stream().max_messages_per_batch(MAX_BATCH).heartbeat(HEARTBEAT);
        let mut messages = match end.run_until_cancelled(stream.messages()).await {
            None => return Ended::Stopped,
            Some(Err(_)) => return Ended::Broken,
            Some(Ok(messages)) => messages,
        };
        let mut order = DeliveryOrder::default();
        let mut acknowledging = Acknowledging::new();
        let mut looks = interval(Standstill::LOOK);
        loop {
            let message = tokio::select! {
                () = end.cancelled() => {
                    finish(acknowledging, &self.own).await;
                    return Ended::Stopped;
                }
                _ = connected.changed() => return Ended::Broken,
                message = messages.next(), if acknowledging.has_room() => Some(message),
                () = sleep(WRITTEN), if acknowledging.is_due() => None,
                _ = looks.tick() => None,
            };
            if standstill.is_over(self.shared.now_ms()) {
                debug!(
                    "the worker has stood still, and another one may have begun: it begins to read from JetStream anew"
                );
                return Ended::Broken;
            }
            if let Some(message) = message {
                let message = match message {
                    Some(Ok(message)) => message,
                    Some(Err(error)) => {
                        debug!(%error, "the worker begins to read from JetStream anew");
                        return Ended::Broken;
                    }
                    None => return Ended::Broken,
                };
                let Ok(info) = message.info() else { return Ended::Broken };
                let (number, times) = (info.consumer_sequence, info.delivered.unsigned_abs());
                let stream_sequence = info.stream_sequence;
                if !order.follows(number, times) {
                    debug!(
                        number,
                        times, "a message of JetStream was lost on its way: the worker begins to read anew"
                    );
                    return Ended::Broken;
                }
                let (message, acker) = message.split();
                let len = message.payload.len();
                self.take(message.payload);
                acknowledging.took(stream_sequence, len, acker);
            }
            let acknowledge = |acker: &Acker| at_once(acker.ack()).is_some_and(|acked| acked.is_ok());
            if let Some(number) = acknowledging.advance(|| self.own.told(), Told::is_written, acknowledge) {
                // Not when it is taken: if the worker begins anew, it begins behind this, and so does one that follows.
                self.progress.done_to(number);
            }
        }
    }

    fn take(&self, message: Bytes) {
        let Some(envelope) = self.shared.open(message) else { return };
        let cluster = envelope.cluster.clone();
        let max_age = self.durable.max_age();
        let accepted = self.shared.durable_inbound().accept(envelope, true, max_age, unix_ms());
        let AcceptedCalls { calls, stale } = match accepted {
            Ok(_) if self.shared.clusters().overlaps(&cluster) => {
                return self.shared.counts.note(Rejection::Overlapping);
            }
            Ok(accepted) => accepted,
            Err(rejection) => return self.shared.counts.note(rejection),
        };
        self.shared.counts.stale.add(stale as u64);
        calls.into_iter().for_each(|call| obey(self.shared, &self.own, &cluster, call));
    }
}

/// Acknowledges all that is done, and waits until JetStream knows it, for some time.
async fn finish(acknowledging: Acknowledging<Acker, Told>, own: &OwnCluster) {
    let Some(last) = acknowledging.into_last() else { return };
    let told = own.told();
    let written = async {
        while !told.is_written() {
            sleep(WRITTEN).await;
        }
    };
    if timeout(LAST, written).await.is_ok() {
        let _ = timeout(LAST, last.double_ack()).await;
    }
}
