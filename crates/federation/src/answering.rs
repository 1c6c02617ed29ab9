//! Answering the questions of other clusters.
//!
//! `serving.rs` hands each message to [`Answering::begin`]. All workers of a cluster are in one queue group, so one of them answers.

use std::sync::Arc;

use bytes::Bytes;
use gatewayworker_client::federation::{OwnCluster, Unanswered};
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use crate::asking::MAX_PARTS;
use crate::core::{Accepted, Content, Rejection};
use crate::shared::{Shared, unix_ms};

/// So many questions are answered at once. An asker beyond that is told so.
const AT_ONCE: usize = 64;

/// The longest answer, in bytes. A longer one is refused: the asker names this cluster as missing.
const MAX_ANSWER: usize = 8 * 1024 * 1024;

/// Whether an answer of so many bytes in so many parts is given.
fn may_be_given(len: usize, parts: usize) -> bool {
    len <= MAX_ANSWER && parts <= MAX_PARTS
}

/// The questions that are being answered.
pub(crate) struct Answering {
    shared: Arc<Shared>,
    own: OwnCluster,
    permits: Arc<Semaphore>,
    tasks: TaskTracker,
}

impl Answering {
    pub(crate) fn new(shared: Arc<Shared>, own: OwnCluster) -> Self {
        Self { shared, own, permits: Arc::new(Semaphore::new(AT_ONCE)), tasks: TaskTracker::new() }
    }

    /// Begins to answer a question.
    pub(crate) fn begin(&self, message: Bytes) {
        let Some(envelope) = self.shared.open(message) else { return };
        let (asker, number) = (envelope.process, envelope.number);
        if self.shared.clusters().overlaps(&envelope.cluster) {
            return self.shared.counts.note(Rejection::Overlapping);
        }
        let accepted = self.shared.inbound().accept_question(envelope, unix_ms());
        let Accepted { reply, within, question } = match accepted {
            Ok(accepted) => accepted,
            Err(rejection) => return self.shared.counts.note(rejection),
        };
        let asked = Asked { reply, asker, number };
        let Ok(permit) = self.permits.clone().try_acquire_owned() else {
            return asked.refuse(&self.shared);
        };
        let (shared, own) = (self.shared.clone(), self.own.clone());
        self.tasks.spawn(async move {
            let _permit = permit;
            match own.answer(question, within).await {
                Ok(answer) => asked.answer(&shared, &answer),
                // The cluster is one that has not answered, not one without clients.
                Err(Unanswered::NoGateways) => asked.refuse(&shared),
                Err(Unanswered::Unreadable) => shared.counts.unreadable.add_one(),
            }
        });
    }

    /// Waits for the answers under way.
    pub(crate) async fn finish(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// Who has asked what.
struct Asked {
    reply: String,
    asker: u64,
    number: u64,
}

impl Asked {
    /// Answers in as many parts as NATS wants.
    fn answer(&self, shared: &Shared, answer: &Bytes) {
        let len = shared.max_call_len().max(1);
        let parts = answer.len().div_ceil(len).max(1);
        if !may_be_given(answer.len(), parts) {
            return self.refuse(shared);
        }
        for part in 0..parts {
            let bytes = answer.slice(part * len..answer.len().min((part + 1) * len));
            if !self.publish(shared, part, parts, bytes) {
                return self.refuse(shared);
            }
        }
        shared.counts.questions.add_one();
    }

    /// Says that there is no answer.
    fn refuse(&self, shared: &Shared) {
        // Who gets not even this waits until its time is over.
        let _ = self.publish(shared, 0, 0, Bytes::new());
    }

    fn publish(&self, shared: &Shared, part: usize, parts: usize, answer: Bytes) -> bool {
        let Self { reply, asker, number } = self;
        // Both are below MAX_PARTS.
        let (part, parts) = (part as u16, parts as u16);
        let content = Content::Answer { asker: *asker, question: *number, part, parts, answer };
        shared.publish_long(reply.clone(), content)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_answer_is_refused() {
        assert!(may_be_given(MAX_ANSWER, MAX_PARTS));
        assert!(!may_be_given(MAX_ANSWER + 1, 1));
        assert!(!may_be_given(1, MAX_PARTS + 1));
    }
}
