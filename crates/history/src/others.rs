//! [`Others`]: whether another worker keeps a history in its memory, too. [`watch`] asks all workers over the gateways.
//!
//! Two workers with a history each would give the same position to different messages, and show to each client what one of
//! them has kept. So only the one that opened its history first keeps one; the others refuse. Each announces itself to
//! all workers of the cluster once a second, on the bus that a channel has, too.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use gatewayworker_client::Gateway;
use gatewayworker_client::bus::Bus;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch::Sender;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing::{error, info};

/// The bus's topic. It is none that a channel could have, as it has a control character.
const TOPIC: &[u8] = b"\0history";

/// How often a worker announces itself.
const EVERY: Duration = Duration::from_secs(1);

/// A worker that is not heard for so long is gone.
const GONE_AFTER_MS: u64 = 5_000;

/// The most others that are noted. One is enough to refuse.
const MOST: usize = 64;

/// A worker with a history in its memory: the least has opened it first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Keeper {
    pub(crate) since_ms: u64,
    pub(crate) id: u64,
}

/// The other workers with a history in their memory. Plain data.
#[derive(Debug)]
pub(crate) struct Others {
    own: Keeper,
    heard: HashMap<Keeper, u64>,
}

impl Others {
    pub(crate) fn new(own: Keeper) -> Self {
        Self { own, heard: HashMap::new() }
    }

    /// What a worker announces.
    pub(crate) fn announcement(&self) -> String {
        format!("{} {}", self.own.since_ms, self.own.id)
    }

    /// Notes an announcement, one's own included.
    pub(crate) fn note(&mut self, announcement: &[u8], now_ms: u64) {
        let keeper = std::str::from_utf8(announcement).ok().and_then(|text| text.split_once(' '));
        let keeper = keeper.and_then(|(since_ms, id)| {
            Some(Keeper { since_ms: since_ms.parse().ok()?, id: id.parse().ok()? })
        });
        if let Some(keeper) = keeper.filter(|keeper| *keeper < self.own)
            && (self.heard.len() < MOST || self.heard.contains_key(&keeper))
        {
            self.heard.insert(keeper, now_ms);
        }
    }

    /// Whether another worker has opened a history before this one, and is there.
    pub(crate) fn has_earlier(&mut self, now_ms: u64) -> bool {
        self.heard.retain(|_, heard_ms| now_ms.saturating_sub(*heard_ms) < GONE_AFTER_MS);
        !self.heard.is_empty()
    }
}

/// Announces this worker, listens to others, and says in `second` whether another one was first. For ever.
pub(crate) async fn watch(gateway: Gateway, mut others: Others, second: Arc<Sender<bool>>) {
    let bus = Bus::of(&gateway);
    let mut heard = bus.subscribe();
    let began = Instant::now();
    let now_ms = || began.elapsed().as_millis() as u64;
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {
                // Without a gateway of ours nobody hears it, and nothing is sent to anybody.
                let _ = bus.publish(TOPIC, others.announcement());
            }
            event = heard.recv() => match event {
                Ok(event) if event.topic == TOPIC => others.note(&event.payload, now_ms()),
                Ok(_) | Err(RecvError::Lagged(_)) => continue,
                Err(RecvError::Closed) => return,
            },
        }
        let is_second = others.has_earlier(now_ms());
        if second.send_replace(is_second) != is_second {
            if is_second {
                error!(
                    "another worker keeps a history in its memory, so this one refuses: give all workers one on a server \
                     (redis:// or nats://), or run one worker"
                );
            } else {
                info!(
                    "the worker that kept a history in its memory is gone: this one keeps it now, from the start"
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keeper(since_ms: u64, id: u64) -> Others {
        Others::new(Keeper { since_ms, id })
    }

    #[test]
    fn of_two_workers_the_one_that_opened_first_keeps_the_history_until_it_is_gone() {
        let (mut first, mut second) = (keeper(10, 7), keeper(11, 3));
        let (of_first, of_second) = (first.announcement(), second.announcement());
        for others in [&mut first, &mut second] {
            others.note(of_first.as_bytes(), 100);
            others.note(of_second.as_bytes(), 100);
        }
        assert!(!first.has_earlier(100) && second.has_earlier(100));
        assert!(second.has_earlier(100 + GONE_AFTER_MS - 1));
        assert!(!second.has_earlier(100 + GONE_AFTER_MS));
    }

    #[test]
    fn of_two_that_opened_at_once_one_keeps_it() {
        let (mut one, mut other) = (keeper(10, 1), keeper(10, 2));
        one.note(other.announcement().as_bytes(), 0);
        other.note(one.announcement().as_bytes(), 0);
        assert!(!one.has_earlier(0) && other.has_earlier(0));
    }

    #[test]
    fn ignores_what_is_no_announcement_and_notes_no_more_than_fit() {
        let mut others = keeper(u64::MAX, 0);
        for text in ["", "1", "a b", "1 2 3", "-1 1"] {
            others.note(text.as_bytes(), 0);
        }
        assert!(!others.has_earlier(0));
        for id in 0..1000 {
            others.note(format!("1 {id}").as_bytes(), 0);
        }
        assert_eq!(others.heard.len(), MOST);
    }
}
