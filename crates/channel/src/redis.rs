//! Over Redis: `PUBLISH`, and one `PSUBSCRIBE` to all topics of all handlers.
//!
//! Other programs take part by the same names: the topic after a prefix, and the payload as it is.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use gatewayworker_net::Backoff;
use redis::aio::ConnectionManager;
use redis::{AsyncCommands, Client, RedisError};
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::{info, warn};

use crate::Error;
use crate::redis_server::{self, WITHIN};
use crate::topics::Topics;

/// The prefix of each topic.
const PREFIX: &str = "gatewayworker:channel:";

/// After this long without an event the server is pinged.
const SILENCE: Duration = Duration::from_secs(15);

pub(crate) struct Publisher(ConnectionManager);

impl Publisher {
    pub(crate) async fn publish(&self, topic: &str, payload: Bytes) -> Result<(), Error> {
        let published = self.0.clone().publish(format!("{PREFIX}{topic}"), &*payload).await;
        published.map_err(|error: RedisError| Error::Server(error.into()))
    }
}

pub(crate) fn open(
    url: &str,
    topics: Arc<Topics>,
    listening: watch::Sender<bool>,
) -> Result<(Publisher, impl Future<Output = ()> + use<>), Error> {
    let connected = redis_server::connect(url);
    let (client, manager) = connected.map_err(|error| Error::Server(error.into()))?;
    Ok((Publisher(manager), listen_and_reconnect(client, topics, listening)))
}

async fn listen_and_reconnect(client: Client, topics: Arc<Topics>, listening: watch::Sender<bool>) {
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(5));
    loop {
        match listen(&client, &topics, &listening, &mut backoff).await {
            Ok(()) => info!("Redis has closed the channel's subscription"),
            Err(error) => warn!(%error, "the channel receives no events from Redis: trying again"),
        }
        listening.send_replace(false);
        tokio::time::sleep(backoff.next_wait()).await;
    }
}

async fn listen(
    client: &Client,
    topics: &Topics,
    listening: &watch::Sender<bool>,
    backoff: &mut Backoff,
) -> Result<(), Error> {
    let asked = |error: RedisError| Error::Server(error.into());
    let subscribe = async {
        let mut subscription = client.get_async_pubsub().await?;
        subscription.psubscribe(format!("{PREFIX}*")).await?;
        Ok(subscription)
    };
    let subscription = timeout(WITHIN, subscribe).await.map_err(|_| Error::TimedOut)?.map_err(asked)?;
    let (mut ask, mut events) = subscription.split();
    backoff.reset();
    listening.send_replace(true);
    loop {
        match timeout(SILENCE, events.next()).await {
            Ok(None) => return Ok(()),
            Ok(Some(event)) => {
                if let Some(topic) = event.get_channel_name().strip_prefix(PREFIX) {
                    topics.deliver(topic, Bytes::copy_from_slice(event.get_payload_bytes()));
                }
            }
            // A connection that was cut would stay silent for ever.
            Err(_) => {
                let ping = timeout(WITHIN, ask.ping::<()>());
                ping.await.map_err(|_| Error::TimedOut)?.map_err(asked)?;
            }
        }
    }
}
