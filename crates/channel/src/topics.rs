//! The handlers of the topics, each with a task and a bounded queue of events.
//!
//! A transport calls [`Topics::deliver`] with each event; it waits for no handler.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use dashmap::DashMap;
use futures_util::FutureExt;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;
use tracing::{error, warn};

/// The most events that wait for one handler.
const WAITING: usize = 1024;

/// A published event.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Event {
    /// The topic.
    pub topic: Arc<str>,
    /// The payload, any bytes.
    pub payload: Bytes,
}

impl Event {
    /// The payload as text.
    ///
    /// # Errors
    /// When it is not UTF-8.
    pub fn text(&self) -> Result<&str, std::str::Utf8Error> {
        std::str::from_utf8(&self.payload)
    }

    /// The payload, decoded from JSON.
    ///
    /// # Errors
    /// When it is not JSON, or of another shape.
    pub fn json<T: DeserializeOwned>(&self) -> serde_json::Result<T> {
        serde_json::from_slice(&self.payload)
    }
}

/// The handlers, by topic. Each has a task and a queue of its own.
#[derive(Debug, Default)]
pub(crate) struct Topics {
    handlers: DashMap<Arc<str>, Vec<mpsc::Sender<Event>>>,
    missed: AtomicU64,
}

impl Topics {
    pub(crate) fn on<H, F>(&self, topic: &str, handler: H)
    where
        H: Fn(Event) -> F + Send + Sync + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let (sender, mut events) = mpsc::channel::<Event>(WAITING);
        tokio::spawn(async move {
            while let Some(event) = events.recv().await {
                let topic = event.topic.clone();
                // Called inside the future, as the handler may panic before it returns its own.
                let run = AssertUnwindSafe(async { handler(event).await });
                if run.catch_unwind().await.is_err() {
                    error!(%topic, "a channel's handler panicked");
                }
            }
        });
        self.handlers.entry(topic.into()).or_default().push(sender);
    }

    pub(crate) fn off(&self, topic: &str) {
        self.handlers.remove(topic);
    }

    /// Hands an event to the handlers of its topic. Waits for none.
    pub(crate) fn deliver(&self, topic: &str, payload: Bytes) {
        let Some(handlers) = self.handlers.get(topic) else { return };
        let event = Event { topic: handlers.key().clone(), payload };
        for handler in handlers.value() {
            // The queue ends only with this table, so it is full.
            if handler.try_send(event.clone()).is_err() {
                self.missed(topic, 1);
            }
        }
    }

    /// Counts lost events, and logs their number whenever it has doubled.
    pub(crate) fn missed(&self, topic: &str, events: u64) {
        let before = self.missed.fetch_add(events, Ordering::Relaxed);
        let missed = before + events;
        if before == 0 || missed.ilog2() > before.ilog2() {
            warn!(topic, missed, "the channel's handlers are too slow: events are lost");
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::Semaphore;

    use super::*;

    #[tokio::test]
    async fn handlers_get_the_events_of_their_topic_in_order_until_they_are_removed() {
        let topics = Topics::default();
        let (seen, mut events) = mpsc::unbounded_channel();
        topics.on("a", move |event| {
            let seen = seen.clone();
            async move {
                assert_ne!(event.payload, "panic", "as asked");
                seen.send(event.text().unwrap().to_owned()).unwrap();
            }
        });
        for (topic, payload) in [("a", "1"), ("b", "nobody's"), ("a", "panic"), ("a", "2")] {
            topics.deliver(topic, payload.into());
        }
        topics.off("a");
        topics.deliver("a", "3".into());
        let mut all = Vec::new();
        while let Some(payload) = events.recv().await {
            all.push(payload);
        }
        assert_eq!(all, ["1", "2"]);
    }

    #[tokio::test]
    async fn a_slow_handler_misses_the_events_beyond_its_queue() {
        let topics = Topics::default();
        let gate = Arc::new(Semaphore::new(0));
        let (opened, seen) = (gate.clone(), Arc::new(AtomicU64::new(0)));
        let count = seen.clone();
        topics.on("a", move |_| {
            let (gate, count) = (gate.clone(), count.clone());
            async move {
                gate.acquire().await.unwrap().forget();
                count.fetch_add(1, Ordering::SeqCst);
            }
        });
        for _ in 0..WAITING + 3 {
            topics.deliver("a", Bytes::new());
        }
        assert_eq!(topics.missed.load(Ordering::Relaxed), 3);
        opened.add_permits(WAITING);
        while seen.load(Ordering::SeqCst) < WAITING as u64 {
            tokio::task::yield_now().await;
        }
    }
}
