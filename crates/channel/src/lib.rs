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
//! Every worker that has a handler for a topic hears what any worker publishes to it,
//! the publisher included. It goes by way of one gateway, which passes it on to all
//! workers that are linked to it; or over Redis or NATS, where other programs are to
//! have part in it (features `redis` and `nats`).
//!
//! # What is promised, and what is not
//!
//! - **At most once.** What is published while a worker has no link to that gateway,
//!   or to Redis or NATS, it has missed: there is no history. So has a worker that
//!   reads too slowly, or whose handlers have fallen behind by 1024 events.
//! - **In order of publishing, for one publisher**, for as long as its way is the same:
//!   when its gateway is lost and another takes its place, what is published next may
//!   overtake what was published last.
//! - **`Ok` means handed over**, not heard.
//! - Over the gateways an event is between workers of ours: the original's gateways
//!   pass nothing on, and its workers are told nothing. It has 64 KiB at most,
//!   whichever way it goes.
//!
//! It is not for clients: these are reached by groups.

#[cfg(feature = "nats")]
mod nats;
#[cfg(feature = "redis")]
mod redis;
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

/// How long publishing may take where a server is asked.
#[cfg(any(feature = "redis", feature = "nats"))]
const PUBLISH_WITHIN: std::time::Duration = std::time::Duration::from_secs(3);

/// The longest topic, in bytes.
pub const MAX_TOPIC: usize = 200;

/// Why nothing was published, or there is no channel.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A topic is from 1 to [`MAX_TOPIC`] bytes, without spaces, `*` and `>`, and with
    /// something between its dots: what all ways can carry.
    #[error("{0:?} is no topic")]
    Topic(String),
    /// The URL's scheme is none that is known. (The rest of it may hold a password.)
    #[error("channel_url: {0:?} is none of gateways, redis://… and nats://…")]
    Url(String),
    /// The URL's scheme needs a cargo feature that the program was built without.
    #[error(
        "channel_url: {0}:// needs the feature channel-{0}, which this program was built without: \
         cargo add gatewayworker --features channel-{0}"
    )]
    Feature(&'static str),
    /// The gateways' link takes no event now, or it is too large.
    #[error(transparent)]
    Gateways(#[from] gatewayworker_client::Error),
    /// Redis or NATS, in their client's words.
    #[error("{0}")]
    Server(Box<dyn std::error::Error + Send + Sync>),
    /// The server did not answer in time.
    #[error("not published in time")]
    TimedOut,
}

/// A channel. Clones are the same one; with the last, its handlers end.
#[derive(Clone)]
pub struct Channel(Arc<Shared>);

struct Shared {
    way: Way,
    topics: Arc<Topics>,
    /// Whether events are heard.
    listening: watch::Receiver<bool>,
    _reader: AbortOnDropHandle<()>,
}

/// By which way events go.
enum Way {
    Gateways(Bus),
    #[cfg(feature = "redis")]
    Redis(redis::Publisher),
    #[cfg(feature = "nats")]
    Nats(nats::Publisher),
}

impl Channel {
    /// The channel that `url` names: `gateways` (or nothing), `redis://host:port/` or
    /// `nats://host:port`. A server is connected to in the background, and again
    /// whenever it was lost.
    ///
    /// # Errors
    /// When the URL is none of these, needs a cargo feature that is missing, or cannot be read.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn connect(url: &str, gateway: &Gateway) -> Result<Self, Error> {
        let (listens, listening) = watch::channel(false);
        let topics = Arc::<Topics>::default();
        let scheme = url.split(':').next().unwrap_or_default();
        let (way, reader) = match scheme {
            "" | "gateways" => {
                let bus = Bus::of(gateway);
                let heard = follow_gateways(bus.clone(), topics.clone(), listens);
                (Way::Gateways(bus), tokio::spawn(heard))
            }
            #[cfg(feature = "redis")]
            "redis" => {
                let (publisher, listener) = redis::open(url, topics.clone(), listens)?;
                (Way::Redis(publisher), tokio::spawn(listener))
            }
            #[cfg(feature = "nats")]
            "nats" => {
                let (publisher, listener) = nats::open(url, topics.clone(), listens)?;
                (Way::Nats(publisher), tokio::spawn(listener))
            }
            #[cfg(not(feature = "redis"))]
            "redis" => return Err(Error::Feature("redis")),
            #[cfg(not(feature = "nats"))]
            "nats" => return Err(Error::Feature("nats")),
            _ => return Err(Error::Url(scheme.to_owned())),
        };
        Ok(Self(Arc::new(Shared { way, topics, listening, _reader: AbortOnDropHandle::new(reader) })))
    }

    /// Publishes an event (`Channel\Client::publish`).
    ///
    /// # Errors
    /// When it was not handed over: no server, no gateway of ours, too large.
    pub async fn publish(&self, topic: &str, payload: impl Into<Bytes>) -> Result<(), Error> {
        let payload = payload.into();
        check(topic)?;
        let len = topic.len() + payload.len();
        if len > MAX_PUBLISHED {
            return Err(gatewayworker_client::Error::TooLarge { len, limit: MAX_PUBLISHED }.into());
        }
        match &self.0.way {
            Way::Gateways(bus) => Ok(bus.publish(topic.to_owned(), payload)?),
            #[cfg(feature = "redis")]
            Way::Redis(publisher) => within_limit(publisher.publish(topic, payload)).await,
            #[cfg(feature = "nats")]
            Way::Nats(publisher) => within_limit(publisher.publish(topic, payload)).await,
        }
    }

    /// Has `handler` called with each event of a topic from now on, one after the other
    /// (`Channel\Client::on`). Several may be for one topic, and run side by side. One
    /// that panics goes on with the next event.
    ///
    /// # Errors
    /// When it is no topic.
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

    /// Takes all handlers of a topic away (`Channel\Client::unsubscribe`). What waits
    /// for them is still handled.
    pub fn off(&self, topic: &str) {
        self.0.topics.off(topic);
    }

    /// Waits until events are heard: for ever, if the server is never there. Over the
    /// gateways that is at once, as far as there are links.
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

fn follow_gateways(bus: Bus, topics: Arc<Topics>, listens: watch::Sender<bool>) -> impl Future<Output = ()> {
    // Now, not when the task first runs.
    let mut heard = bus.subscribe();
    listens.send_replace(true);
    async move {
        let _listens = listens;
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
    fn a_topic_is_what_all_ways_can_carry() {
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
    async fn a_url_that_is_not_known_is_refused_and_outside_of_a_worker_there_is_nobody() {
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
