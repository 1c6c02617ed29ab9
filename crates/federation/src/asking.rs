//! Asking other clusters: a question to each, and the parts of their answers.
//!
//! `federation.rs` calls [`ask`]. One task ([`follow_answers`]) reads all answers of the process and gives each to the question that
//! waits for it. In the other cluster `answering.rs` answers.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::{StatusCode, Subscriber};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use futures_util::future::join_all;
use gatewayworker_client::federation::ClusterAnswer;
use gatewayworker_client::{ClusterName, Unreached};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::core::{Content, Envelope, LISTEN_MS};
use crate::shared::{Shared, at_once};

/// An answer has so many parts at most; each is as long as NATS takes.
pub(crate) const MAX_PARTS: usize = 64;

/// The questions that wait, by their numbers.
#[derive(Debug, Default)]
pub(crate) struct Waiting(Mutex<HashMap<u64, mpsc::Sender<Reply>>>);

/// What comes for a question.
#[derive(Debug)]
enum Reply {
    /// A signed message, perhaps of another cluster.
    Signed(Envelope),
    /// Nobody takes the question, says NATS. This is not signed.
    NoResponders,
}

/// A question that waits, until it is dropped.
struct Wait<'a> {
    waiting: &'a Waiting,
    number: u64,
    replies: mpsc::Receiver<Reply>,
}

impl Waiting {
    fn begin(&self, number: u64) -> Wait<'_> {
        let (sender, replies) = mpsc::channel(MAX_PARTS);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(number, sender);
        Wait { waiting: self, number, replies }
    }

    fn deliver(&self, number: u64, reply: Reply) {
        let waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = waiting.get(&number) {
            // There is room for all parts of an honest answer.
            let _ = sender.try_send(reply);
        }
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        self.waiting.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.number);
    }
}

/// Gives answers to the questions that wait. Never returns while the connection is kept.
pub(crate) async fn follow_answers(shared: Arc<Shared>, mut answers: Subscriber) {
    while let Some(message) = answers.next().await {
        let number = message.subject.rsplit('.').next().and_then(|number| number.parse().ok());
        let Some(number) = number else { continue };
        if message.status == Some(StatusCode::NO_RESPONDERS) {
            shared.waiting.deliver(number, Reply::NoResponders);
        } else if let Some(envelope) = shared.open(message.payload) {
            // Only what is signed takes the room of an answer's parts.
            shared.waiting.deliver(number, Reply::Signed(envelope));
        }
    }
}

/// Asks this cluster, or all that are known.
pub(crate) async fn ask(
    shared: Arc<Shared>,
    to: Option<ClusterName>,
    question: Bytes,
    within: Duration,
) -> Vec<ClusterAnswer> {
    let deadline = Instant::now() + within;
    let clusters = match to {
        Some(cluster) => vec![cluster],
        None => match known(&shared, deadline).await {
            Ok(clusters) => clusters,
            Err(why) => return vec![ClusterAnswer { cluster: ClusterName::unknown(), answer: Err(why) }],
        },
    };
    let asking = clusters.into_iter().map(async |cluster| {
        let answer = timeout_at(deadline, ask_one(&shared, &cluster, question.clone(), deadline)).await;
        ClusterAnswer { cluster, answer: answer.unwrap_or(Err(Unreached::TimedOut)) }
    });
    join_all(asking).await
}

/// The other clusters. Waits until all that there are were heard. Without NATS they are those that were heard before; an error where
/// none ever was.
async fn known(shared: &Shared, deadline: Instant) -> Result<Vec<ClusterName>, Unreached> {
    // A process that has just begun may still be connecting.
    let begun = shared.instant(2 * LISTEN_MS);
    let mut connected = shared.connected.clone();
    let _ = timeout_at(begun.min(deadline), connected.wait_for(|connected| *connected)).await;
    let all_heard_at_ms = shared.clusters().all_heard_at_ms();
    if let Some(at_ms) = all_heard_at_ms {
        sleep_until(shared.instant(at_ms).min(deadline)).await;
    }
    let clusters = shared.clusters();
    let others: Vec<_> = clusters.others().cloned().collect();
    if others.is_empty() && !clusters.is_connected() { Err(Unreached::NotConnected) } else { Ok(others) }
}

async fn ask_one(
    shared: &Shared,
    cluster: &ClusterName,
    question: Bytes,
    deadline: Instant,
) -> Result<Bytes, Unreached> {
    if question.len() > shared.max_call_len() {
        return Err(Unreached::Overloaded);
    }
    // Clients of a cluster with an address of the own cluster would be taken for own ones.
    if !shared.is_connected() || shared.clusters().overlaps(cluster) {
        return Err(Unreached::NotConnected);
    }
    let number = shared.next_number();
    let mut wait = shared.waiting.begin(number);
    let reply = shared.subjects.answer(shared.process, number);
    let within_ms =
        deadline.saturating_duration_since(Instant::now()).as_millis().try_into().unwrap_or(u32::MAX);
    let message = shared.seal(number, Content::Question { reply: reply.clone(), within_ms, question });
    let published = shared.client.publish_with_reply(shared.subjects.ask(cluster), reply, message);
    match at_once(published) {
        Some(Ok(())) => {}
        Some(Err(_)) => return Err(Unreached::NotConnected),
        None => return Err(Unreached::Overloaded),
    }
    let mut answer = Parts::default();
    // The table has the sender as long as the question waits.
    while let Some(reply) = wait.replies.recv().await {
        let envelope = match reply {
            Reply::Signed(envelope) => envelope,
            Reply::NoResponders => return Err(Unreached::NotConnected),
        };
        let Content::Answer { asker, question, part, parts, answer: bytes } = envelope.content else {
            continue;
        };
        if (asker, question) != (shared.process, number) || envelope.cluster != *cluster {
            shared.counts.misplaced.add_one();
            continue;
        }
        if parts == 0 {
            return Err(Unreached::Overloaded);
        }
        if let Some(whole) = answer.add(envelope.process, (part, parts), bytes) {
            return Ok(whole);
        }
    }
    Err(Unreached::Lost)
}

/// The parts of an answer that have come.
#[derive(Debug, Default)]
struct Parts {
    /// The process that answers, and in how many parts: those of the first part. Parts of others are not put to it.
    from: Option<(u64, u16)>,
    parts: Vec<Option<Bytes>>,
}

impl Parts {
    /// Adds a part. Returns the answer when all are there.
    fn add(&mut self, process: u64, (part, parts): (u16, u16), bytes: Bytes) -> Option<Bytes> {
        if *self.from.get_or_insert((process, parts)) != (process, parts) {
            return None;
        }
        let (part, parts) = (usize::from(part), usize::from(parts));
        if self.parts.is_empty() {
            self.parts = vec![None; parts.min(MAX_PARTS)];
        }
        *self.parts.get_mut(part)? = Some(bytes);
        if !self.parts.iter().all(Option::is_some) {
            return None;
        }
        if let [Some(whole)] = &self.parts[..] {
            return Some(whole.clone());
        }
        let mut whole = BytesMut::new();
        self.parts.iter().flatten().for_each(|part| whole.extend_from_slice(part));
        Some(whole.freeze())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_put_together_of_its_parts_in_whatever_order() {
        let mut answer = Parts::default();
        assert_eq!(answer.add(7, (2, 3), "c".into()), None);
        assert_eq!(answer.add(7, (0, 3), "a".into()), None);
        assert_eq!(answer.add(7, (5, 3), "x".into()), None, "there is no such part");
        assert_eq!(answer.add(7, (1, 4), "x".into()), None, "of another answer");
        assert_eq!(answer.add(8, (1, 3), "x".into()), None, "of another process");
        assert_eq!(answer.add(7, (1, 3), "b".into()).unwrap(), "abc");
        assert_eq!(Parts::default().add(7, (0, 1), "a".into()).unwrap(), "a");
        assert_eq!(Parts::default().add(7, (u16::MAX, u16::MAX), "a".into()), None);
    }
}
