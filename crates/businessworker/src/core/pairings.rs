//! The gateways that this worker has been paired with: which epoch of each is the last, what became
//! of the one before, and for which clients of a lost gateway `on_close` has run.
//!
//! Plain data; the event link asks it when a gateway names a pairing. What follows from the answer for
//! the clients is done by [`Clients`](super::Clients).

use std::collections::BTreeMap;
use std::net::SocketAddrV4;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use gatewayworker_protocol::Pairing;

use super::epoch::{Epoch, Phase};

/// How many connections of lost gateways are remembered: 4 MB. Those that were lost first are forgotten
/// first; a gateway that came back later would keep these clients.
const MOST_CLOSED: usize = 1_000_000;

/// The epochs of a worker.
#[derive(Debug)]
pub struct Pairings {
    /// The last epoch with each gateway, until it is known what became of it.
    epochs: BTreeMap<SocketAddrV4, Arc<Epoch>>,
    /// Lost gateways, in the order in which they were lost.
    lost: Vec<LostGateway>,
    next_serial: NonZeroU32,
    silence: Duration,
}

#[derive(Debug)]
struct LostGateway {
    gateway: SocketAddrV4,
    instance: u64,
    /// The connections for which `on_close` runs.
    closed: Vec<u32>,
}

/// What became of the epoch before.
#[derive(Debug, Clone)]
pub enum Previous {
    /// The same process is back: what was held is dropped ([`Clients::supersede`](super::Clients::supersede)).
    Superseded(Arc<Epoch>),
    /// Another process has taken its place: it is lost ([`Clients::lose`](super::Clients::lose)).
    Lost(Arc<Epoch>),
}

impl Pairings {
    /// No epochs. Events are begun while their gateway was heard within `silence`.
    pub fn new(silence: Duration) -> Self {
        Self { epochs: BTreeMap::new(), lost: Vec::new(), next_serial: NonZeroU32::MIN, silence }
    }

    /// Returns the connections for which `on_close` has run, as this gateway process was taken for lost.
    /// The call link tells the gateway of them before it is attached, each time until the gateway
    /// [has heard](Self::closed_was_heard).
    pub fn closed(&self, gateway: SocketAddrV4, instance: u64) -> &[u32] {
        let lost = self.lost.iter().find(|lost| (lost.gateway, lost.instance) == (gateway, instance));
        lost.map_or(&[], |lost| &lost.closed)
    }

    /// Begins an epoch at `now_ms`, when the gateway's call link is attached to it. Says what has become
    /// of the epoch before, which the caller carries out before it takes anything of the new one.
    pub fn begin(
        &mut self,
        gateway: SocketAddrV4,
        pairing: Pairing,
        now_ms: u64,
    ) -> (Arc<Epoch>, Option<Previous>) {
        // Another process has no use for them.
        self.lost.retain(|lost| lost.gateway != gateway || lost.instance == pairing.instance);
        let serial = self.next_serial;
        self.next_serial = serial.checked_add(1).unwrap_or(NonZeroU32::MIN);
        let epoch = Arc::new(Epoch::new(gateway, pairing, serial, self.silence, now_ms));
        let previous = self.epochs.insert(gateway, epoch.clone()).map(|previous| {
            previous.end();
            if previous.instance() == pairing.instance {
                Previous::Superseded(previous)
            } else {
                Previous::Lost(previous)
            }
        });
        (epoch, previous)
    }

    /// Forgets what the gateway was told as [closed](Self::closed) when it was paired, as it has heard so:
    /// it has answered a question that stood behind that on the call link of `epoch`.
    ///
    /// That the epoch has begun does not say so: its links may have ended before the gateway read them.
    pub fn closed_was_heard(&mut self, epoch: &Arc<Epoch>) {
        // Since an epoch that was lost, there may be more to tell.
        if self.epochs.get(&epoch.gateway()).is_some_and(|last| Arc::ptr_eq(last, epoch)) {
            self.lost.retain(|lost| lost.gateway != epoch.gateway());
        }
    }

    /// Returns the gateway's epoch whose end is not decided yet: both links are not up, and it is not
    /// known whether the gateway lives.
    pub fn undecided(&self, gateway: SocketAddrV4) -> Option<&Arc<Epoch>> {
        self.epochs.get(&gateway).filter(|epoch| epoch.phase() == Phase::Over)
    }

    /// Returns all such epochs.
    pub fn all_undecided(&self) -> impl Iterator<Item = &Arc<Epoch>> {
        self.epochs.values().filter(|epoch| epoch.phase() == Phase::Over)
    }

    /// Returns the epochs that are not over.
    pub fn live(&self) -> impl Iterator<Item = &Arc<Epoch>> {
        self.epochs.values().filter(|epoch| epoch.phase() == Phase::Live)
    }

    /// Takes the gateway's epoch as that of a lost gateway; `None` where it is not over.
    pub fn lose(&mut self, gateway: SocketAddrV4) -> Option<Arc<Epoch>> {
        self.undecided(gateway)?;
        self.epochs.remove(&gateway)
    }

    /// Remembers the connections for which `on_close` runs, as their gateway process is lost, in case it
    /// comes back.
    pub fn remember_closed(&mut self, gateway: SocketAddrV4, instance: u64, closed: Vec<u32>) {
        match self.lost.iter_mut().find(|lost| (lost.gateway, lost.instance) == (gateway, instance)) {
            // It is lost again before it has heard of those.
            Some(lost) => lost.closed.extend(closed),
            None => self.lost.push(LostGateway { gateway, instance, closed }),
        }
        let total: usize = self.lost.iter().map(|lost| lost.closed.len()).sum();
        let mut excess = total.saturating_sub(MOST_CLOSED);
        for lost in &mut self.lost {
            let forgotten = excess.min(lost.closed.len());
            lost.closed.drain(..forgotten);
            excess -= forgotten;
        }
        self.lost.retain(|lost| !lost.closed.is_empty());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GATEWAY: SocketAddrV4 = SocketAddrV4::new(std::net::Ipv4Addr::LOCALHOST, 2300);

    fn pairing(instance: u64, epoch: u32) -> Pairing {
        Pairing { instance, epoch }
    }

    #[test]
    fn the_same_process_supersedes_its_epoch_and_another_one_means_that_it_is_lost() {
        let mut pairings = Pairings::new(Duration::from_secs(5));
        let (first, previous) = pairings.begin(GATEWAY, pairing(7, 1), 0);
        assert!(previous.is_none());
        let (second, previous) = pairings.begin(GATEWAY, pairing(7, 2), 0);
        assert!(matches!(previous, Some(Previous::Superseded(epoch)) if Arc::ptr_eq(&epoch, &first)));
        assert_eq!(first.phase(), Phase::Over);
        assert_ne!(first.serial(), second.serial());
        let (_, previous) = pairings.begin(GATEWAY, pairing(8, 1), 0);
        assert!(matches!(previous, Some(Previous::Lost(epoch)) if Arc::ptr_eq(&epoch, &second)));
    }

    #[test]
    fn only_a_gateway_whose_epoch_is_over_can_be_lost() {
        let mut pairings = Pairings::new(Duration::from_secs(5));
        assert!(pairings.lose(GATEWAY).is_none(), "it is not known");
        let (epoch, _) = pairings.begin(GATEWAY, pairing(7, 1), 0);
        assert!(pairings.lose(GATEWAY).is_none(), "its links stand");
        epoch.end();
        assert!(pairings.undecided(GATEWAY).is_some());
        assert!(pairings.lose(GATEWAY).is_some());
        assert!(pairings.lose(GATEWAY).is_none(), "once");
    }

    #[test]
    fn a_lost_process_that_comes_back_is_told_what_was_closed_and_another_one_is_not() {
        let mut pairings = Pairings::new(Duration::from_secs(5));
        pairings.remember_closed(GATEWAY, 7, vec![1, 2]);
        assert_eq!(pairings.closed(GATEWAY, 7), [1, 2]);
        assert!(pairings.closed(GATEWAY, 8).is_empty());
        pairings.begin(GATEWAY, pairing(8, 1), 0);
        assert!(pairings.closed(GATEWAY, 7).is_empty(), "its place is taken");
    }

    #[test]
    fn a_process_is_told_what_was_closed_until_it_has_heard() {
        let mut pairings = Pairings::new(Duration::from_secs(5));
        pairings.remember_closed(GATEWAY, 7, vec![1, 2]);
        pairings.begin(GATEWAY, pairing(7, 2), 0).0.end();
        assert_eq!(pairings.closed(GATEWAY, 7), [1, 2], "the link may have died before it was read");
        pairings.lose(GATEWAY).unwrap();
        pairings.remember_closed(GATEWAY, 7, vec![3]);
        let (epoch, _) = pairings.begin(GATEWAY, pairing(7, 3), 0);
        assert_eq!(pairings.closed(GATEWAY, 7), [1, 2, 3]);
        pairings.closed_was_heard(&epoch);
        assert!(pairings.closed(GATEWAY, 7).is_empty());
    }

    #[test]
    fn a_late_answer_of_a_lost_epoch_forgets_nothing() {
        let mut pairings = Pairings::new(Duration::from_secs(5));
        let (epoch, _) = pairings.begin(GATEWAY, pairing(7, 1), 0);
        epoch.end();
        pairings.lose(GATEWAY).unwrap();
        pairings.remember_closed(GATEWAY, 7, vec![1]);
        pairings.closed_was_heard(&epoch);
        assert_eq!(pairings.closed(GATEWAY, 7), [1]);
    }

    #[test]
    fn what_is_remembered_of_lost_gateways_is_bounded() {
        let mut pairings = Pairings::new(Duration::from_secs(5));
        pairings.remember_closed(GATEWAY, 1, vec![0; MOST_CLOSED / 2]);
        pairings.remember_closed(GATEWAY, 2, vec![0; MOST_CLOSED / 2]);
        pairings.remember_closed(GATEWAY, 3, vec![3]);
        assert_eq!(pairings.closed(GATEWAY, 1).len(), MOST_CLOSED / 2 - 1);
        assert_eq!(pairings.closed(GATEWAY, 3), [3]);
        pairings.remember_closed(GATEWAY, 3, vec![4; MOST_CLOSED]);
        assert_eq!(pairings.closed(GATEWAY, 3).len(), MOST_CLOSED);
        assert!(pairings.closed(GATEWAY, 1).is_empty() && pairings.closed(GATEWAY, 2).is_empty());
    }
}
