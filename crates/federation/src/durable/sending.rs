//! Publishing what is kept: one task of each process whose sends are durable.
//!
//! [`DurableQueue`](crate::core::DurableQueue) decides what is due. The task gives it to JetStream and waits for the answer.

use std::future::IntoFuture;
use std::pin::Pin;
use std::sync::Arc;

use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::publish::PublishAck;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::time::{Instant, timeout};
use tracing::{debug, warn};

use super::{ANSWER, Durable, RETRY};
use crate::core::{Bundle, Content, Due, Partition};
use crate::shared::{Shared, until};

/// What JetStream answers to a bundle that was published once.
type Acknowledging = Pin<Box<dyn Future<Output = Result<PublishAck, PublishError>> + Send>>;

/// The bundle under way, as it is published.
struct Message {
    subject: String,
    /// By this JetStream knows that it is given a bundle again.
    id: String,
    payload: Bytes,
}

/// Publishes until the process leaves the federation.
pub(crate) async fn send(shared: Arc<Shared>) {
    let Some(durable) = &shared.durable else { return };
    let mut connected = shared.connected.clone();
    let mut message = None;
    // A bundle is published again where an answer takes long. Any of the answers says that it is stored.
    let mut acknowledging = FuturesUnordered::<Acknowledging>::new();
    let mut is_open = false;
    let mut open_at = Instant::now();
    loop {
        if !is_open && Instant::now() >= open_at {
            // Also where there was no connection: its state is known a little after the event that wakes this task.
            open_at = Instant::now() + RETRY;
            is_open = shared.is_connected() && durable.open(&shared).await.is_some();
            if is_open {
                durable.queue().open();
            }
        }
        give_up_old(&shared, durable);
        let due = {
            let counted = shared.clusters().known_slots();
            durable.queue().publish_due(shared.max_sent_len(), counted, shared.now_ms())
        };
        if let Some(due) = due {
            match due {
                Due::New { number, bundle } => {
                    acknowledging.clear();
                    message = Some(seal(&shared, number, bundle));
                }
                Due::Again => shared.counts.published_again.add_one(),
            }
            if let Some(message) = &message {
                acknowledging.extend(publish(&shared, durable, message).await);
            }
        }
        let deadline = durable.queue().next_deadline(durable.max_age()).map(|at_ms| shared.instant(at_ms));
        let deadline = deadline.into_iter().chain((!is_open).then_some(open_at)).min();
        tokio::select! {
            () = durable.kept.notified() => {}
            changed = connected.changed() => {
                if changed.is_err() {
                    return;
                }
                acknowledging.clear();
                (is_open, open_at) = (false, Instant::now());
                durable.queue().disconnected();
            }
            Some(answer) = acknowledging.next(), if !acknowledging.is_empty() => match answer {
                Ok(_) => {
                    acknowledging.clear();
                    note_acknowledged(&shared, durable);
                }
                // A later one may still come. Whether the stream can be used is found next.
                Err(error) if error.kind() == PublishErrorKind::TimedOut && !acknowledging.is_empty() => {
                    durable.queue().close();
                    (is_open, open_at) = (false, Instant::now());
                }
                Err(error) => {
                    note_refused(durable, &error);
                    durable.queue().refused(shared.now_ms());
                    durable.queue().close();
                    (is_open, open_at) = (false, Instant::now());
                }
            },
            () = until(deadline) => {}
        }
    }
}

fn seal(shared: &Shared, number: u64, bundle: Bundle) -> Message {
    Message {
        subject: shared.subjects.durable(Partition::of(shared.process), bundle.slots()),
        id: format!("{:016x}-{number}", shared.process),
        payload: shared.seal(number, Content::Bundle(bundle)),
    }
}

/// Hands a message to the NATS client; `None` if it has no room: it is due again soon.
async fn publish(shared: &Shared, durable: &Durable, message: &Message) -> Option<Acknowledging> {
    let Message { subject, id, payload } = message;
    let outgoing = PublishMessage::build().payload(payload.clone()).message_id(id);
    let publish = durable.publishing.send_publish(subject.clone(), outgoing);
    match timeout(ANSWER, publish).await {
        Ok(Ok(acknowledgement)) => return Some(acknowledgement.into_future()),
        // As one that is longer than another server takes, to which the client is connected by now.
        Ok(Err(error)) => note_refused(durable, &error),
        Err(_) => debug!("the NATS client has not taken a bundle of calls: it is published again"),
    }
    durable.queue().refused(shared.now_ms());
    None
}

fn note_refused(durable: &Durable, error: &PublishError) {
    debug!(%error, "JetStream has not stored a bundle of calls: it is published again");
    // That it did not answer in time is no problem to mend, unless the stream cannot be used either, which is found next.
    if error.kind() != PublishErrorKind::TimedOut {
        let problem =
            format!("federation_durable: JetStream does not store what is sent to other clusters: {error}");
        let before = durable.stream().sending_problem.replace(problem);
        if before.is_none() {
            warn!(%error, "JetStream does not store what is sent to other clusters: it is published again");
        }
    }
}

fn note_acknowledged(shared: &Shared, durable: &Durable) {
    let calls = durable.queue().acknowledged() as u64;
    shared.counts.published.add(calls);
    shared.counts.acknowledged.add(calls);
    durable.acknowledged.send_replace(());
    durable.stream().sending_problem = None;
}

fn give_up_old(shared: &Shared, durable: &Durable) {
    let given_up = durable.queue().give_up(durable.max_age(), shared.now_ms());
    if given_up > 0 {
        warn!(
            given_up,
            "JetStream could not be given what was sent to other clusters before it was too old: it is lost"
        );
        shared.counts.given_up.add(given_up as u64);
        durable.acknowledged.send_replace(());
    }
}
