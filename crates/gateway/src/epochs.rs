//! The epochs of the gateway: the pairs of links that workers of ours have with it.
//!
//! The core's [`Pairings`] says which link belongs to which; here it is behind a lock, as the two links
//! of a worker may be served by two shards. An [`Epoch`] is what both links' tasks share: the event
//! link's task begins it and settles it, the call link's task attaches to it, and either ends it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use gatewayworker_net::LinkWriter;
use gatewayworker_protocol::{Features, Pairing};
use tokio::sync::SetOnce;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::core::pairing::{AttachError, Pairings};
use crate::core::worker_link::{Gone, Peer};
use crate::workers::WorkerLink;

/// All epochs that are not over.
#[derive(Debug)]
pub(crate) struct Epochs {
    /// The id of this gateway's process.
    instance: u64,
    pairings: Mutex<Pairings<Arc<Epoch>>>,
}

/// One pairing of a worker's event link and call link.
#[derive(Debug)]
pub(crate) struct Epoch {
    number: u32,
    instance: u64,
    /// The worker's key, with its address before it.
    pub(crate) key: String,
    process: u64,
    features: Features,
    /// The writer of the event link.
    pub(crate) events: Arc<LinkWriter>,
    /// The linked worker, once both links are there.
    pub(crate) worker: SetOnce<Arc<WorkerLink>>,
    end: OnceLock<EpochEnd>,
    /// Both links have to end: cancelled by [`end`](Self::end).
    over: CancellationToken,
    /// All that has come on the call link is handed to the shards.
    call_settled: CancellationToken,
    is_released: AtomicBool,
    /// The worker has said that it stops. Set under the lock of the pairings.
    is_draining: AtomicBool,
}

/// How an epoch ended.
#[derive(Debug)]
pub(crate) struct EpochEnd {
    pub(crate) how: Gone,
    /// Why, for the log.
    pub(crate) why: String,
}

impl Epochs {
    /// The epochs of a gateway that starts: none.
    pub(crate) fn new() -> Self {
        let pairings = Mutex::new(Pairings::new(rand::random()));
        Self { instance: rand::random(), pairings }
    }

    /// Returns the id of this gateway's process.
    pub(crate) fn instance(&self) -> u64 {
        self.instance
    }

    fn pairings(&self) -> MutexGuard<'_, Pairings<Arc<Epoch>>> {
        // Every change is complete when a panic could poison the lock.
        self.pairings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins an epoch with a worker's event link. Older epochs of the same worker process are over.
    pub(crate) fn begin(
        &self,
        key: String,
        process: u64,
        features: Features,
        events: Arc<LinkWriter>,
    ) -> Arc<Epoch> {
        let instance = self.instance;
        let (epoch, replaced) = self.pairings().begin(&key.clone(), process, |number| {
            Arc::new(Epoch {
                number,
                instance,
                key,
                process,
                features,
                events,
                worker: SetOnce::new(),
                end: OnceLock::new(),
                over: CancellationToken::new(),
                call_settled: CancellationToken::new(),
                is_released: AtomicBool::new(false),
                is_draining: AtomicBool::new(false),
            })
        });
        for older in replaced {
            older.end(Gone::Replaced, "the worker has linked again".into());
        }
        epoch
    }

    /// Checks that an epoch of this process waits for its call link.
    ///
    /// # Errors
    /// When it does not.
    pub(crate) fn check(&self, number: u32, process: u64) -> Result<(), AttachError> {
        self.pairings().check(number, process)
    }

    /// Gives an epoch its call link, and sets its worker to what `join` returns. Where the epoch
    /// [is draining](Epoch::is_draining) already, the caller makes the worker drain.
    ///
    /// # Errors
    /// When no epoch of this process waits for its call link.
    pub(crate) fn attach(
        &self,
        number: u32,
        process: u64,
        join: impl FnOnce(&Epoch) -> Arc<WorkerLink>,
    ) -> Result<Arc<Epoch>, AttachError> {
        // Under the lock, so that `remove` sees the worker or this fails.
        let mut pairings = self.pairings();
        let epoch = pairings.attach(number, process)?;
        let _ = epoch.worker.set(join(&epoch));
        Ok(epoch)
    }

    /// Notes that the worker of an epoch stops. Returns the worker, which the caller makes drain; `None`
    /// where no call link is attached: whoever attaches one does that.
    pub(crate) fn set_draining(&self, epoch: &Epoch) -> Option<Arc<WorkerLink>> {
        // Under the lock, so that either this sees the worker or `attach` sees the flag.
        let _pairings = self.pairings();
        epoch.is_draining.store(true, Ordering::Release);
        epoch.worker.get().cloned()
    }

    /// Returns how many epochs have both links.
    pub(crate) fn len(&self) -> usize {
        self.pairings().attached()
    }

    /// Lets nothing attach to an epoch any more. Returns its worker, if both links have been there.
    pub(crate) fn remove(&self, epoch: &Epoch) -> Option<Arc<WorkerLink>> {
        self.pairings().end(epoch.number);
        epoch.worker.get().cloned()
    }
}

impl Epoch {
    /// Returns what the worker is told of it.
    pub(crate) fn pairing(&self) -> Pairing {
        Pairing { instance: self.instance, epoch: self.number }
    }

    /// Returns what the worker table has to know of the worker.
    pub(crate) fn peer(&self) -> Peer {
        Peer { features: self.features, epoch: self.number, process: Some(self.process) }
    }

    /// Ends the epoch: both links' tasks read out what has arrived, and end. The first call says how.
    pub(crate) fn end(&self, how: Gone, why: String) {
        let _ = self.end.set(EpochEnd { how, why });
        self.over.cancel();
    }

    /// Returns how the epoch has ended; `None` while it has not.
    pub(crate) fn ended(&self) -> Option<&EpochEnd> {
        self.end.get()
    }

    /// Waits until the epoch has ended.
    ///
    /// Cancel safe.
    pub(crate) async fn over(&self) {
        self.over.cancelled().await;
    }

    /// Lets the call link outlive the epoch: a worker that has drained may still have something to
    /// say.
    pub(crate) fn release(&self) {
        self.is_released.store(true, Ordering::Release);
    }

    /// Returns whether the call link outlives the epoch.
    pub(crate) fn is_released(&self) -> bool {
        self.is_released.load(Ordering::Acquire)
    }

    /// Returns whether the worker has said that it stops.
    pub(crate) fn is_draining(&self) -> bool {
        self.is_draining.load(Ordering::Acquire)
    }

    /// Returns a guard of the call link's task: dropped when all that has come on the link is handed to
    /// the shards.
    pub(crate) fn call_link(&self) -> DropGuard {
        self.call_settled.clone().drop_guard()
    }

    /// Waits until the call link's task has dropped its guard.
    ///
    /// Cancel safe.
    pub(crate) async fn call_link_settled(&self) {
        self.call_settled.cancelled().await;
    }
}
