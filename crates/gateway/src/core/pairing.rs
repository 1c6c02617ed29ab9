//! The epochs of a gateway: which event link and which call link of a worker belong together.
//!
//! An epoch begins when a worker of ours says WORKER_CONNECT on an event link ([`begin`]), which is
//! answered with the epoch's number. The worker says the number with ATTACH on its call link
//! ([`attach`]). Only then is the worker linked, and given events. The epoch ends with either link
//! ([`end`]), and its number is not used again while the gateway runs.
//!
//! Plain data, generic over what the owner keeps of an epoch. The links' tasks (`link`) share one
//! table, as two links of a worker may be served by two threads.
//!
//! A worker with the same key in another process has an epoch of its own. The worker table then makes
//! the older one drain.
//!
//! [`begin`]: Pairings::begin
//! [`attach`]: Pairings::attach
//! [`end`]: Pairings::end

use std::collections::BTreeMap;

/// The epochs that are not over.
#[derive(Debug)]
pub struct Pairings<E> {
    /// The number of the last epoch.
    last: u32,
    open: BTreeMap<u32, Pairing<E>>,
}

#[derive(Debug)]
struct Pairing<E> {
    worker: String,
    process: u64,
    is_attached: bool,
    epoch: E,
}

/// Why an ATTACH is of no use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AttachError {
    /// The epoch is over, or is another gateway's.
    #[error("it names epoch {0}, which is over or was never here")]
    Over(u32),
    /// The epoch is another process's.
    #[error("it names epoch {0} of another process")]
    OtherProcess(u32),
    /// The epoch has a call link.
    #[error("it names epoch {0}, which has a call link already")]
    Taken(u32),
}

impl<E: Clone> Pairings<E> {
    /// A table without epochs. The first one has the number behind `last`, which is best drawn at
    /// random: what a worker says to a gateway that has just been replaced then names no epoch of the
    /// new one.
    pub fn new(last: u32) -> Self {
        Self { last, open: BTreeMap::new() }
    }

    /// Begins an epoch of the worker with this key and process. Returns what `epoch` makes of its
    /// number, and the epochs of the same worker process that are over by this: it has given
    /// them up.
    pub fn begin(&mut self, worker: &str, process: u64, epoch: impl FnOnce(u32) -> E) -> (E, Vec<E>) {
        let is_older = |open: &Pairing<E>| open.worker == worker && open.process == process;
        let replaced = self.open.iter().filter(|(_, open)| is_older(open));
        let replaced: Vec<u32> = replaced.map(|(number, _)| *number).collect();
        let replaced = replaced.iter().filter_map(|number| self.open.remove(number));
        let replaced = replaced.map(|open| open.epoch).collect();
        let number = self.next_number();
        let epoch = epoch(number);
        let worker = worker.to_owned();
        let begun = Pairing { worker, process, is_attached: false, epoch: epoch.clone() };
        self.open.insert(number, begun);
        (epoch, replaced)
    }

    /// Gives an epoch its call link, and returns the epoch.
    ///
    /// # Errors
    /// As [`check`](Self::check).
    pub fn attach(&mut self, number: u32, process: u64) -> Result<E, AttachError> {
        self.check(number, process)?;
        let open = self.open.get_mut(&number).ok_or(AttachError::Over(number))?;
        open.is_attached = true;
        Ok(open.epoch.clone())
    }

    /// Checks that an epoch of this process waits for its call link.
    ///
    /// # Errors
    /// When it does not.
    pub fn check(&self, number: u32, process: u64) -> Result<(), AttachError> {
        match self.open.get(&number) {
            None => Err(AttachError::Over(number)),
            Some(open) if open.process != process => Err(AttachError::OtherProcess(number)),
            Some(open) if open.is_attached => Err(AttachError::Taken(number)),
            Some(_) => Ok(()),
        }
    }

    /// Ends an epoch. Nothing attaches to it any more. Does nothing where it is over.
    pub fn end(&mut self, number: u32) {
        self.open.remove(&number);
    }

    /// Returns how many epochs have both links.
    pub fn attached(&self) -> usize {
        self.open.values().filter(|open| open.is_attached).count()
    }

    /// 0 stands for no epoch.
    fn next_number(&mut self) -> u32 {
        loop {
            self.last = self.last.wrapping_add(1);
            if self.last != 0 && !self.open.contains_key(&self.last) {
                return self.last;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairings() -> Pairings<u32> {
        Pairings::new(6)
    }

    #[test]
    fn a_call_link_attaches_to_the_epoch_of_its_process_once() {
        let mut pairings = pairings();
        let (epoch, replaced) = pairings.begin("worker:0", 1, |epoch| epoch);
        assert_eq!((epoch, replaced), (7, vec![]));
        assert_eq!(pairings.attached(), 0);
        assert_eq!(pairings.attach(epoch, 2), Err(AttachError::OtherProcess(7)));
        assert_eq!(pairings.attach(epoch, 1), Ok(7));
        assert_eq!(pairings.attach(epoch, 1), Err(AttachError::Taken(7)));
        assert_eq!(pairings.attached(), 1);
    }

    #[test]
    fn nothing_attaches_to_an_epoch_that_is_over() {
        let mut pairings = pairings();
        assert_eq!(pairings.attach(7, 1), Err(AttachError::Over(7)));
        let (epoch, _) = pairings.begin("worker:0", 1, |epoch| epoch);
        pairings.end(epoch);
        assert_eq!(pairings.attach(epoch, 1), Err(AttachError::Over(epoch)));
        let (next, _) = pairings.begin("worker:0", 1, |epoch| epoch);
        assert_ne!(next, epoch);
    }

    #[test]
    fn a_process_that_pairs_again_ends_its_older_epochs_only() {
        let mut pairings = pairings();
        let (older, _) = pairings.begin("worker:0", 1, |epoch| epoch);
        pairings.attach(older, 1).unwrap();
        let (other, _) = pairings.begin("worker:1", 1, |epoch| epoch);
        let (newer, replaced) = pairings.begin("worker:0", 1, |epoch| epoch);
        assert_eq!(replaced, [older]);
        assert_eq!(pairings.attach(older, 1), Err(AttachError::Over(older)));
        assert_eq!(pairings.attach(newer, 1), Ok(newer));
        assert_eq!(pairings.attach(other, 1), Ok(other));
    }

    #[test]
    fn another_process_with_the_same_key_leaves_the_older_epoch_as_it_is() {
        let mut pairings = pairings();
        let (older, _) = pairings.begin("worker:0", 1, |epoch| epoch);
        pairings.attach(older, 1).unwrap();
        let (newer, replaced) = pairings.begin("worker:0", 2, |epoch| epoch);
        assert!(replaced.is_empty());
        assert_eq!(pairings.attach(newer, 2), Ok(newer));
        assert_eq!(pairings.attached(), 2);
    }

    #[test]
    fn no_epoch_has_the_number_0_or_that_of_another() {
        let mut pairings = Pairings::new(u32::MAX);
        let (first, _) = pairings.begin("worker:0", 1, |epoch| epoch);
        assert_eq!(first, 1);
        pairings.last = 0;
        assert_eq!(pairings.begin("worker:1", 1, |epoch| epoch).0, 2);
    }
}
