//! [`Durable`]: sends to other clusters that go through JetStream.
//!
//! A call is kept ([`DurableQueue`]) and `sending.rs` publishes it until JetStream has stored it. In another cluster `receiving.rs` reads the stream and
//! acknowledges what the own gateways were told (`acknowledging.rs`). `stream.rs` finds the stream, or makes it. Questions and announcements do not go this way.

mod acknowledging;
mod receiving;
mod sending;
mod stream;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_nats::Client;
use async_nats::jetstream::Context;
use async_nats::jetstream::context::ContextBuilder;
use async_nats::jetstream::stream::Stream;
use bytes::Bytes;
use gatewayworker_client::federation::Destination;
use gatewayworker_client::{ClusterName, Unreached};
use tokio::sync::{Notify, watch};
use tokio::time::timeout;
use tracing::{error, info, warn};

pub(crate) use receiving::ServingDurable;
pub(crate) use sending::send;
use stream::{Limits, StreamError};

use crate::core::{Bundle, DurableQueue, Slots};
use crate::shared::Shared;

/// How long JetStream may take to answer. While servers elect a leader, requests are lost.
pub(crate) const ANSWER: Duration = Duration::from_secs(2);

/// How long an acknowledgement of what is published may take. What is published again meanwhile does not end the wait for it.
const ACKNOWLEDGEMENT: Duration = Duration::from_secs(10);

/// After this time what failed is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// A call that is older is not obeyed, where no stream says otherwise; a stream that this program makes keeps messages for so long.
pub(crate) const MAX_AGE: Duration = Duration::from_secs(5 * 60);

/// What a process has for sends through JetStream.
pub(crate) struct Durable {
    jetstream: Context,
    /// The same, with more time for an answer.
    publishing: Context,
    queue: Mutex<DurableQueue>,
    /// A call is kept while nothing is under way.
    kept: Notify,
    /// Changes whenever fewer calls are kept.
    acknowledged: watch::Sender<()>,
    stream: Mutex<StreamState>,
}

/// What is known of the stream.
#[derive(Default)]
struct StreamState {
    /// What it takes and keeps; `None` as long as it was never found.
    limits: Option<Limits>,
    /// Why it cannot be used now.
    problem: Option<String>,
    /// Why it does not take what this process sends.
    sending_problem: Option<String>,
    /// Why this worker cannot read from it.
    reading_problem: Option<String>,
    /// There is no JetStream.
    is_off: bool,
}

impl Durable {
    pub(crate) fn new(client: Client) -> Self {
        let context = |answer: Duration, client| {
            ContextBuilder::new().timeout(answer).ack_timeout(answer).build(client)
        };
        Self {
            jetstream: context(ANSWER, client.clone()),
            publishing: context(ACKNOWLEDGEMENT, client),
            queue: Mutex::new(DurableQueue::new()),
            kept: Notify::new(),
            acknowledged: watch::Sender::new(()),
            stream: Mutex::default(),
        }
    }

    fn queue(&self) -> MutexGuard<'_, DurableQueue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stream(&self) -> MutexGuard<'_, StreamState> {
        self.stream.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many calls are not acknowledged yet.
    pub(crate) fn kept(&self) -> usize {
        self.queue().len()
    }

    /// What an operator has to mend, each in a sentence.
    pub(crate) fn problems(&self) -> impl Iterator<Item = String> {
        let state = self.stream();
        [&state.problem, &state.sending_problem, &state.reading_problem]
            .map(Clone::clone)
            .into_iter()
            .flatten()
    }

    /// A call that is older is not obeyed.
    fn max_age(&self) -> Duration {
        self.stream().limits.map_or(MAX_AGE, |limits| limits.max_age)
    }

    /// Finds the stream, or makes it; `None` if neither is possible, which is a problem until it is.
    async fn open(&self, shared: &Shared) -> Option<Stream> {
        let opened = stream::open(&self.jetstream, &shared.subjects).await;
        let mut state = self.stream();
        match opened {
            Ok((stream, limits)) => {
                if state.problem.take().is_some() || state.limits.is_none() {
                    info!(stream = shared.subjects.stream(), "the federation uses a stream of JetStream");
                }
                (state.limits, state.is_off) = (Some(limits), false);
                Some(stream)
            }
            Err(error) => {
                // It may be behind a leaf node that is cut; then what is said is kept.
                state.is_off = matches!(error, StreamError::Off) && state.limits.is_none();
                let problem = format!("federation_durable: {error}");
                if state.problem.as_ref() != Some(&problem) {
                    error!("{problem}");
                }
                state.problem = Some(problem);
                None
            }
        }
    }

    /// Notes what keeps this worker from reading, or that nothing does.
    fn note_reading(&self, problem: Option<String>) {
        let mut state = self.stream();
        if let Some(problem) = problem.as_ref().filter(|_| problem != state.reading_problem) {
            warn!("{problem}: it tries again");
        }
        state.reading_problem = problem;
    }

    /// Waits until everything is acknowledged, for at most this time. Returns the clusters for which something is not; `None` among them for all.
    pub(crate) async fn finish(&self, within: Duration) -> Vec<Option<ClusterName>> {
        let mut acknowledged = self.acknowledged.subscribe();
        let all = async { while self.kept() > 0 && acknowledged.changed().await.is_ok() {} };
        // Without JetStream nothing will be acknowledged.
        let is_off = self.stream().is_off;
        let _ = timeout(if is_off { Duration::ZERO } else { within }, all).await;
        let left = self.kept();
        if left > 0 {
            warn!(left, "JetStream has not acknowledged all that was sent to other clusters: it may be lost");
        }
        self.queue().destinations()
    }
}

impl Shared {
    /// The longest call that may be sent, in bytes.
    pub(crate) fn max_sent_len(&self) -> usize {
        let of_server = self.max_call_len();
        let limits = self.durable.as_ref().and_then(|durable| durable.stream().limits);
        let of_stream = limits.and_then(|limits| limits.max_message_len);
        of_stream.map_or(of_server, |len| len.saturating_sub(Bundle::OVERHEAD).min(of_server))
    }

    /// Keeps a call until JetStream has acknowledged it.
    pub(crate) fn publish_durable(
        &self,
        durable: &Durable,
        to: Destination<'_>,
        call: Bytes,
    ) -> Result<(), Unreached> {
        if durable.stream().is_off {
            return Err(Unreached::NotConnected);
        }
        let now_ms = self.now_ms();
        let slots = self.clusters().slots(to, now_ms);
        if slots == Slots::NONE {
            return Ok(());
        }
        let to = match to {
            Destination::One(cluster) => Some(cluster.clone()),
            Destination::All | Destination::Names(_) => None,
        };
        let mut queue = durable.queue();
        if !queue.keep(to, slots, call, now_ms) {
            return Err(Unreached::Overloaded);
        }
        if !queue.is_under_way() {
            durable.kept.notify_one();
        }
        Ok(())
    }
}
