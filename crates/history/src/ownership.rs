//! [`Ownership`]: which worker owns the history in memory. [`follow`] asks all workers over the gateways.
//!
//! Two workers with a history each would give the same position to different messages, and show to each client what one of
//! them has kept. So the worker that opened its history first owns it; the others refuse calls. Each worker announces its
//! claim to all workers of the cluster once a second, on the bus that a channel has, too. The owner answers a later claim
//! at once.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use gatewayworker_client::Gateway;
use gatewayworker_client::bus::Bus;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch::Sender;
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

/// The bus's topic. It is none that a channel could have, as it has a control character.
const TOPIC: &[u8] = b"\0history";

/// How often a worker announces its claim.
const EVERY: Duration = Duration::from_secs(1);

/// How soon it tries again where no gateway could pass the claim on.
const RETRY: Duration = Duration::from_millis(200);

/// A worker whose claim was not received for so long is gone.
const GONE_AFTER_MS: u64 = 5_000;

/// The most earlier claims that are remembered. One is enough to refuse.
const MAX_EARLIER: usize = 64;

/// A worker's claim to the history in memory. The least one, which was opened first, has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Claim {
    /// When the worker opened its history, in milliseconds since 1970.
    pub(crate) opened_ms: u64,
    /// Random: it decides between two that were opened in the same millisecond.
    pub(crate) id: u64,
}

/// A worker's own claim, and the earlier claims of others. Plain data.
#[derive(Debug)]
pub(crate) struct Ownership {
    own: Claim,
    /// Earlier claims, with the time at which each was received last.
    earlier: HashMap<Claim, u64>,
}

/// What an announcement says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Announced {
    /// An earlier claim: this worker does not own the history.
    Earlier,
    /// A later claim: its worker has to learn of this one.
    Later,
    /// This worker's own claim, or nothing that can be read.
    Nothing,
}

impl Ownership {
    pub(crate) fn new(own: Claim) -> Self {
        Self { own, earlier: HashMap::new() }
    }

    /// Returns what this worker announces.
    pub(crate) fn announcement(&self) -> String {
        format!("{} {}", self.own.opened_ms, self.own.id)
    }

    /// Takes an announcement that was received, this worker's own included.
    pub(crate) fn receive(&mut self, announcement: &[u8], now_ms: u64) -> Announced {
        let fields = std::str::from_utf8(announcement).ok().and_then(|text| text.split_once(' '));
        let claim = fields.and_then(|(opened_ms, id)| {
            Some(Claim { opened_ms: opened_ms.parse().ok()?, id: id.parse().ok()? })
        });
        match claim {
            Some(claim) if claim < self.own => {
                if self.earlier.len() < MAX_EARLIER || self.earlier.contains_key(&claim) {
                    self.earlier.insert(claim, now_ms);
                }
                Announced::Earlier
            }
            Some(claim) if claim > self.own => Announced::Later,
            _ => Announced::Nothing,
        }
    }

    /// Whether this worker owns the history: no worker with an earlier claim is there.
    pub(crate) fn is_owner(&mut self, now_ms: u64) -> bool {
        self.earlier.retain(|_, received_ms| now_ms.saturating_sub(*received_ms) < GONE_AFTER_MS);
        self.earlier.is_empty()
    }
}

/// Announces this worker's claim, receives those of others, and says in `owner` whether this worker owns the history. For ever.
pub(crate) async fn follow(gateway: Gateway, mut ownership: Ownership, owner: Arc<Sender<bool>>) {
    let bus = Bus::of(&gateway);
    let mut events = bus.subscribe();
    let began = Instant::now();
    let now_ms = || began.elapsed().as_millis() as u64;
    let mut next = began;
    loop {
        let announced = tokio::select! {
            () = sleep_until(next) => {
                // Without a gateway of ours nobody receives it, and nothing is sent to anybody.
                let is_published = bus.publish(TOPIC, ownership.announcement()).is_ok();
                next = Instant::now() + if is_published { EVERY } else { RETRY };
                Announced::Nothing
            }
            event = events.recv() => match event {
                Ok(event) if event.topic == TOPIC => ownership.receive(&event.payload, now_ms()),
                Ok(_) | Err(RecvError::Lagged(_)) => continue,
                Err(RecvError::Closed) => return,
            },
        };
        let is_owner = ownership.is_owner(now_ms());
        if announced == Announced::Later && is_owner {
            let _ = bus.publish(TOPIC, ownership.announcement());
        }
        if owner.send_replace(is_owner) != is_owner {
            if is_owner {
                info!(
                    "the worker that had the history in its memory is gone: this worker has it now, from the start"
                );
            } else {
                warn!(
                    "another worker has the history in its memory, so this one refuses calls: give all workers one on a server \
                     (history.url redis:// or nats://), or run one worker"
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worker(opened_ms: u64, id: u64) -> Ownership {
        Ownership::new(Claim { opened_ms, id })
    }

    #[test]
    fn of_two_workers_the_one_that_opened_first_owns_the_history_until_it_is_gone() {
        let (mut first, mut second) = (worker(10, 7), worker(11, 3));
        let (of_first, of_second) = (first.announcement(), second.announcement());
        assert_eq!(first.receive(of_first.as_bytes(), 100), Announced::Nothing);
        assert_eq!(first.receive(of_second.as_bytes(), 100), Announced::Later);
        assert_eq!(second.receive(of_first.as_bytes(), 100), Announced::Earlier);
        assert_eq!(second.receive(of_second.as_bytes(), 100), Announced::Nothing);
        assert!(first.is_owner(100) && !second.is_owner(100));
        assert!(!second.is_owner(100 + GONE_AFTER_MS - 1));
        assert!(second.is_owner(100 + GONE_AFTER_MS));
    }

    #[test]
    fn of_two_that_opened_at_once_one_owns_it() {
        let (mut one, mut other) = (worker(10, 1), worker(10, 2));
        one.receive(other.announcement().as_bytes(), 0);
        other.receive(one.announcement().as_bytes(), 0);
        assert!(one.is_owner(0) && !other.is_owner(0));
    }

    #[test]
    fn ignores_what_is_no_announcement_and_remembers_no_more_than_fit() {
        let mut ownership = worker(u64::MAX, 0);
        for text in ["", "1", "a b", "1 2 3", "-1 1"] {
            assert_eq!(ownership.receive(text.as_bytes(), 0), Announced::Nothing);
        }
        assert!(ownership.is_owner(0));
        for id in 0..1000 {
            ownership.receive(format!("1 {id}").as_bytes(), 0);
        }
        assert_eq!(ownership.earlier.len(), MAX_EARLIER);
    }
}
