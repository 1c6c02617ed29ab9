//! A question of a worker under way: its parts are gathered from the shards, as the gateway's core does it.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Poll, Waker};

use bytes::Bytes;
use gatewayworker_gateway::internals::{AskShards, Gather, answer_with};
use gatewayworker_protocol::Question;
use gatewayworker_protocol::inspect::InspectRequest;
use gatewayworker_protocol::presence::PresenceReport;

use crate::cluster::ports::Core;

/// A question under way.
pub(super) struct Gathering {
    answer: Pin<Box<dyn Future<Output = Bytes>>>,
    /// What shards are to be asked.
    pub(super) asks: Asks,
}

/// Questions to shards, with their numbers.
type Asks = Rc<RefCell<VecDeque<(usize, Box<dyn FnOnce(&Core)>)>>>;

/// Asks shards for the parts of an answer: what it asks for is in `asks`.
struct Asker {
    shards: usize,
    asks: Asks,
}

impl AskShards for Asker {
    type Error = ();

    async fn gather<Q: Gather>(&mut self, question: Q) -> Result<Bytes, ()> {
        let only = question.connection_id().map(|connection_id| connection_id as usize % self.shards);
        let question = Rc::new(question);
        let asked: Vec<usize> =
            (0..self.shards).filter(|shard| only.is_none_or(|only| only == *shard)).collect();
        let parts: Rc<RefCell<Vec<Q::Part>>> = Rc::default();
        for shard in &asked {
            let (question, parts) = (question.clone(), parts.clone());
            let ask = move |core: &Core| parts.borrow_mut().push(question.part(core.table()));
            self.asks.borrow_mut().push_back((*shard, Box::new(ask)));
        }
        std::future::poll_fn(|_| match parts.borrow().len() == asked.len() {
            true => Poll::Ready(()),
            false => Poll::Pending,
        })
        .await;
        let parts = parts.take();
        Ok(question.whole(parts))
    }

    fn clock_start_ms(&self) -> u64 {
        0
    }

    /// No worker asks that.
    async fn inspect(&mut self, _: InspectRequest) -> Result<Bytes, ()> {
        Err(())
    }

    /// No worker reports that.
    fn take_presence(&mut self, _: Option<PresenceReport>) -> Bytes {
        Bytes::new()
    }
}

impl Gathering {
    pub(super) fn new(question: Question, shards: usize) -> Self {
        let asks = Asks::default();
        let mut asker = Asker { shards, asks: asks.clone() };
        let answer =
            async move { answer_with(question, &mut asker).await.expect("no shard ends before its links") };
        Self { answer: Box::pin(answer), asks }
    }

    /// Returns the answer, once all parts are there.
    pub(super) fn poll(&mut self) -> Option<Bytes> {
        let mut context = std::task::Context::from_waker(Waker::noop());
        match self.answer.as_mut().poll(&mut context) {
            Poll::Ready(answer) => Some(answer),
            Poll::Pending => None,
        }
    }
}
