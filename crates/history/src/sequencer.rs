//! [`Sequencers`]: one at a time, a message is kept and then sent, so that members get messages in the order of positions.
//!
//! A group always has the same sequencer of this process: a task with a bounded queue. Sequencers of different groups work
//! side by side. The store decides about positions; among several workers, their sends are not ordered.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use gatewayworker_client::{Gateway, OutMessage};
use gatewayworker_protocol::GroupId;
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::AbortOnDropHandle;

use crate::store::Store;
use crate::{Entry, Error, Published};

/// How many sequencers there are.
const SEQUENCERS: usize = 16;

/// The most messages that wait for one of them.
const WAITING: usize = 128;

/// Makes the message that members get of one that was kept.
pub(crate) type Live = Box<dyn FnOnce(&Entry) -> OutMessage + Send>;

/// A message to be kept and sent.
pub(crate) struct Job {
    pub(crate) group: GroupId,
    pub(crate) message: bytes::Bytes,
    pub(crate) binary: bool,
    pub(crate) live: Live,
    pub(crate) gateway: Gateway,
}

type Waiting = (Job, oneshot::Sender<Result<Published, Error>>);

pub(crate) struct Sequencers {
    store: Arc<Store>,
    queues: Vec<mpsc::Sender<Waiting>>,
    hasher: RandomState,
    _tasks: Vec<AbortOnDropHandle<()>>,
}

impl Sequencers {
    /// Starts them.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub(crate) fn start(store: &Arc<Store>) -> Self {
        let start = |_| {
            let (queue, jobs) = mpsc::channel(WAITING);
            (queue, AbortOnDropHandle::new(tokio::spawn(run(store.clone(), jobs))))
        };
        let (queues, tasks) = (0..SEQUENCERS).map(start).unzip();
        Self { store: store.clone(), queues, hasher: RandomState::new(), _tasks: tasks }
    }

    /// Keeps and sends a message, after those of its group that came before.
    ///
    /// # Errors
    /// When the queue is full, or the message was not kept or not sent.
    pub(crate) async fn publish(&self, job: Job) -> Result<Published, Error> {
        let number = self.hasher.hash_one(&job.group) as usize % self.queues.len();
        let (done, outcome) = oneshot::channel();
        if self.queues[number].try_send((job, done)).is_err() {
            self.store.counts.count_publish(Err(&Error::Busy));
            return Err(Error::Busy);
        }
        outcome.await.unwrap_or(Err(Error::Busy))
    }
}

impl fmt::Debug for Sequencers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sequencers").finish_non_exhaustive()
    }
}

async fn run(store: Arc<Store>, mut jobs: mpsc::Receiver<Waiting>) {
    while let Some((job, done)) = jobs.recv().await {
        // Nobody waits for it any more, so nobody knows that it was to be done.
        if !done.is_closed() {
            let outcome = keep_and_send(&store, job).await;
            store.counts.count_publish(outcome.as_ref());
            let _ = done.send(outcome);
        }
    }
}

async fn keep_and_send(store: &Store, job: Job) -> Result<Published, Error> {
    let Job { group, message, binary, live, gateway } = job;
    // A handler whose event another worker may handle by now must not publish a second time.
    gateway.check_fence()?;
    let entry = store.append(&group, message, binary).await?;
    let (position, time_ms) = (entry.position, entry.time_ms);
    let live = catch_unwind(AssertUnwindSafe(|| live(&entry))).map_err(|_| Error::Panicked)?;
    match gateway.send_to_group([group], live).await {
        Ok(delivery) => Ok(Published { position, time_ms, delivery }),
        Err(error) => Err(Error::NotSent { position, error }),
    }
}
