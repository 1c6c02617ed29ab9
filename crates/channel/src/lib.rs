//! Events between the workers of a cluster: what Workerman's `Channel` is for,
//! without a channel server.
//!
//! ```no_run
//! # async fn example(gateway: &gatewayworker_client::Gateway) -> Result<(), gatewayworker_channel::Error> {
//! use gatewayworker_channel::Channel;
//!
//! let channel = Channel::connect("gateways", gateway)?;
//! channel.on("prices", async |event| println!("{}: {:?}", event.topic, event.text()))?;
//! channel.publish("prices", "tea 4.20").await?;
//! # Ok(()) }
//! ```
//!
//! An event that any worker publishes to a topic goes to every worker with a handler for the topic,
//! the publisher included. The publisher sends it to one gateway, which passes it on to all workers
//! that are linked to it. Over Redis or NATS (features `redis` and `nats`) other programs can take
//! part.
//!
//! # Guarantees
//!
//! - **At most once.** A worker misses the events that are published while it has no link to that
//!   gateway, or to Redis or NATS: there is no history. A worker also misses events if it reads too
//!   slowly, or if a handler of it has fallen behind by 1024 events.
//! - **In the order of publishing, for one publisher**, as long as its transport stays the same: when
//!   its gateway is lost and another takes its place, the next event may overtake the last one.
//! - **`Ok` means handed over**, not received.
//! - Over the gateways, events are between workers of ours: the original's gateways pass nothing on,
//!   and its workers get nothing. An event has 64 KiB at most, over any transport.
//!
//! It is not for clients: use groups for them.
//!
//! # Modules
//!
//! `topics` has the handlers and their queues; `redis` and `nats` are transports, whose connections `redis_server` and
//! `nats_server` make; the history of groups has the same. Over the gateways,
//! the worker's event links and the client library's bus carry the events.

#[cfg(feature = "nats")]
mod nats;
#[cfg(feature = "nats")]
pub mod nats_server;
#[cfg(feature = "redis")]
mod redis;
#[cfg(feature = "redis")]
pub mod redis_server;
mod topics;

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use gatewayworker_client::Gateway;
use gatewayworker_client::bus::{Bus, MAX_PUBLISHED};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use crate::topics::Topics;

pub use crate::topics::Event;

/// How long publishing to a server may take.
#[cfg(any(feature = "redis", feature = "nats"))]
const PUBLISH_WITHIN: std::time::Duration = std::time::Duration::from_secs(3);

/// The longest topic, in bytes.
pub const MAX_TOPIC: usize = 200;

/// Why an event was not published, or why there is no channel.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The text is not a topic. A topic has from 1 to [`MAX_TOPIC`] bytes, no spaces, no `*` and `>`,
    /// and no empty part between dots, so that every transport can carry it.
    #[error("{0:?} is not a topic")]
    Topic(String),
    /// The URL's scheme, here without the rest, which may hold a password, is not known.
    #[error("channel_url: {0:?} is none of gateways, redis://… and nats://…")]
    Url(String),
    /// The URL's scheme needs a cargo feature that the program was built without.
    #[error(
        "channel_url: {0}:// needs the feature channel-{0}, which this program was built without: \
         cargo add gatewayworker --features channel-{0}"
    )]
    Feature(&'static str),
    /// No gateway's link accepts the event now, or it is too large.
    #[error(transparent)]
    Gateways(#[from] gatewayworker_client::Error),
    /// An error of the Redis or NATS client.
    #[error("{0}")]
    Server(Box<dyn std::error::Error + Send + Sync>),
    /// The server did not answer in time.
    #[error("the server did not answer in time: the event may not have been published")]
    TimedOut,
}

/// A channel. Clones share it; its handlers end with the last of them.
#[derive(Clone)]
pub struct Channel(Arc<Shared>);

struct Shared {
    transport: Transport,
    topics: Arc<Topics>,
    /// Whether events are received now.
    listening: watch::Receiver<bool>,
    _reader: AbortOnDropHandle<()>,
}

/// The transport of the events.
enum Transport {
    Gateways(Bus),
    #[cfg(feature = "redis")]
    Redis(redis::Publisher),
    #[cfg(feature = "nats")]
    Nats(nats::Publisher),
}

impl Channel {
    /// Opens the channel that `url` names: `gateways` (or an empty text), `redis://host:port/` or
    /// `nats://host:port`. The connection to a server is made in the background, and made again
    /// whenever it is lost.
    ///
    /// # Errors
    /// When the URL is not one of these, cannot be read, or needs a cargo feature that is missing.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn connect(url: &str, gateway: &Gateway) -> Result<Self, Error> {
        let (state, listening) = watch::channel(false);
        let topics = Arc::<Topics>::default();
        let scheme = url.split(':').next().unwrap_or_default();
        let (transport, reader) = match scheme {
            "" | "gateways" => {
                let bus = Bus::of(gateway);
                let heard = follow_gateways(bus.clone(), topics.clone(), state);
                (Transport::Gateways(bus), tokio::spawn(heard))
            }
            #[cfg(feature = "redis")]
            "redis" => {
                let (publisher, listener) = redis::open(url, topics.clone(), state)?;
                (Transport::Redis(publisher), tokio::spawn(listener))
            }
            #[cfg(feature = "nats")]
            "nats" => {
                let (publisher, listener) = nats::open(url, topics.clone(), state)?;
                (Transport::Nats(publisher), tokio::spawn(listener))
            }
            #[cfg(not(feature = "redis"))]
            "redis" => return Err(Error::Feature("redis")),
            #[cfg(not(feature = "nats"))]
            "nats" => return Err(Error::Feature("nats")),
            _ => return Err(Error::Url(scheme.to_owned())),
        };
        Ok(Self(Arc::new(Shared { transport, topics, listening, _reader: AbortOnDropHandle::new(reader) })))
    }

    /// Publishes an event (`Channel\Client::publish`).
    ///
    /// # Errors
    /// When the event was not handed over: there is no server or no gateway of ours, or it is too large.
    pub async fn publish(&self, topic: &str, payload: impl Into<Bytes>) -> Result<(), Error> {
        let payload = payload.into();
        check(topic)?;
        let len = topic.len() + payload.len();
        if len > MAX_PUBLISHED {
            return Err(gatewayworker_client::Error::TooLarge { len, limit: MAX_PUBLISHED }.into());
        }
        match &self.0.transport {
            Transport::Gateways(bus) => Ok(bus.publish(topic.to_owned(), payload)?),
            #[cfg(feature = "redis")]
            Transport::Redis(publisher) => within_limit(publisher.publish(topic, payload)).await,
            #[cfg(feature = "nats")]
            Transport::Nats(publisher) => within_limit(publisher.publish(topic, payload)).await,
        }
    }

    /// Calls `handler` with each event of a topic from now on, one after the other
    /// (`Channel\Client::on`). Several handlers of one topic run side by side. After a panic, the
    /// handler is called with the next event.
    ///
    /// # Errors
    /// When `topic` is not a topic.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn on<H, F>(&self, topic: &str, handler: H) -> Result<(), Error>
    where
        H: Fn(Event) -> F + Send + Sync + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        check(topic)?;
        self.0.topics.on(topic, handler);
        Ok(())
    }

    /// Removes all handlers of a topic (`Channel\Client::unsubscribe`). Events that wait for them
    /// are still handled.
    pub fn off(&self, topic: &str) {
        self.0.topics.off(topic);
    }

    /// Waits until events are received: for ever, if the server never is reached. Over the gateways
    /// it returns at once; events come from the gateways that are linked.
    ///
    /// Cancel safe.
    pub async fn listening(&self) {
        let mut listening = self.0.listening.clone();
        if listening.wait_for(|listening| *listening).await.is_err() {
            std::future::pending().await
        }
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel").field("listening", &*self.0.listening.borrow()).finish_non_exhaustive()
    }
}

fn check(topic: &str) -> Result<(), Error> {
    let forbidden = |letter: char| letter.is_whitespace() || letter.is_control() || "*>".contains(letter);
    let good = topic.len() <= MAX_TOPIC
        && !topic.contains(forbidden)
        && topic.split('.').all(|part| !part.is_empty());
    if good { Ok(()) } else { Err(Error::Topic(topic.to_owned())) }
}

#[cfg(any(feature = "redis", feature = "nats"))]
async fn within_limit(publish: impl Future<Output = Result<(), Error>>) -> Result<(), Error> {
    tokio::time::timeout(PUBLISH_WITHIN, publish).await.unwrap_or(Err(Error::TimedOut))
}

fn follow_gateways(
    bus: Bus,
    topics: Arc<Topics>,
    listening: watch::Sender<bool>,
) -> impl Future<Output = ()> {
    // Subscribed now, not when the task first runs.
    let mut heard = bus.subscribe();
    listening.send_replace(true);
    async move {
        let _listening = listening;
        loop {
            match heard.recv().await {
                Ok(event) => {
                    if let Ok(topic) = std::str::from_utf8(&event.topic) {
                        topics.deliver(topic, event.payload);
                    }
                }
                Err(RecvError::Lagged(missed)) => topics.missed("any", missed),
                Err(RecvError::Closed) => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_is_a_text_that_every_transport_can_carry() {
        let longest = "t".repeat(MAX_TOPIC);
        for topic in ["prices", "prices.tea", "价格", "a:b/c", &longest] {
            assert!(check(topic).is_ok(), "{topic}");
        }
        let too_long = "t".repeat(MAX_TOPIC + 1);
        for topic in ["", " ", "a b", "a\n", "a.", ".a", "a..b", "*", "a.>", &too_long] {
            assert!(check(topic).is_err(), "{topic}");
        }
    }

    #[tokio::test]
    async fn an_unknown_url_is_an_error_and_so_is_publishing_without_a_gateway() {
        let gateway = Gateway::builder(["127.0.0.1:1"]).connect();
        let refused = Channel::connect("http://me:secret@here", &gateway).unwrap_err().to_string();
        assert!(refused.contains("http") && !refused.contains("secret"), "{refused}");
        let missing = |url| Channel::connect(url, &gateway).unwrap_err().to_string();
        #[cfg(not(feature = "nats"))]
        assert!(missing("nats://here").ends_with("cargo add gatewayworker --features channel-nats"));
        #[cfg(not(feature = "redis"))]
        assert!(missing("redis://here").contains("needs the feature channel-redis"));
        assert!(missing("rediss://here").contains("none of gateways, redis://… and nats://…"));
        #[cfg(feature = "nats")]
        assert!(matches!(Channel::connect("nats://here:port", &gateway), Err(Error::Server(_))));
        #[cfg(feature = "redis")]
        assert!(matches!(Channel::connect("redis://here:port", &gateway), Err(Error::Server(_))));
        let channel = Channel::connect("gateways", &gateway).unwrap();
        channel.listening().await;
        assert!(matches!(channel.publish("topic", "hi").await, Err(Error::Gateways(_))));
        let large = channel.publish("topic", vec![0; MAX_PUBLISHED]).await;
        assert!(matches!(large, Err(Error::Gateways(gatewayworker_client::Error::TooLarge { .. }))));
    }
}
