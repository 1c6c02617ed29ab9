//! Over NATS: one subscription to all topics of all handlers.
//!
//! Other programs take part by the same subjects: the topic after a prefix, and the payload as it
//! is. The NATS client reconnects by itself.

use std::sync::Arc;

use async_nats::connection::State;
use async_nats::{ConnectOptions, ServerAddr};
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::sync::{OnceCell, watch};
use tracing::warn;

use crate::Error;
use crate::nats_server;
use crate::topics::Topics;

/// The prefix of each topic.
const PREFIX: &str = "gatewayworker.channel.";

#[derive(Clone)]
pub(crate) struct Publisher(Arc<OnceCell<async_nats::Client>>);

impl Publisher {
    pub(crate) async fn publish(&self, topic: &str, payload: Bytes) -> Result<(), Error> {
        let client = self.0.get().filter(|client| client.connection_state() == State::Connected);
        // The client would keep the event, and publish it at any later time.
        let client = client.ok_or_else(|| Error::Server("NATS is not connected".into()))?;
        let published = client.publish(format!("{PREFIX}{topic}"), payload).await;
        published.map_err(|error| Error::Server(error.into()))
    }
}

pub(crate) fn open(
    url: &str,
    topics: Arc<Topics>,
    listening: watch::Sender<bool>,
) -> Result<(Publisher, impl Future<Output = ()> + use<>), Error> {
    let (state, states) = watch::channel(false);
    let server = nats_server::options(url, "channel", state).map_err(Error::Server)?;
    let publisher = Publisher(Arc::default());
    let client = publisher.0.clone();
    let listen = async move {
        if let Err(error) = listen(server, states, &client, &topics, &listening).await {
            warn!(%error, "the channel receives no events from NATS");
        }
        // The sender is not dropped, so that callers of `listening` go on waiting.
        listening.closed().await;
    };
    Ok((publisher, listen))
}

async fn listen(
    (address, options): (ServerAddr, ConnectOptions),
    mut states: watch::Receiver<bool>,
    client: &OnceCell<async_nats::Client>,
    topics: &Topics,
    listening: &watch::Sender<bool>,
) -> Result<(), Error> {
    let failed = |error: Box<dyn std::error::Error + Send + Sync>| Error::Server(error);
    let connected = options.connect(address).await.map_err(|error| failed(error.into()))?;
    let mut events = connected.subscribe(format!("{PREFIX}>")).await.map_err(|error| failed(error.into()))?;
    let _ = client.set(connected.clone());
    loop {
        tokio::select! {
            event = events.next() => {
                let Some(event) = event else { return Ok(()) };
                if let Some(topic) = event.subject.strip_prefix(PREFIX) {
                    topics.deliver(topic, event.payload);
                }
            }
            Ok(()) = states.changed() => {
                let up = *states.borrow_and_update();
                // The client has sent its subscription again; the flush sees it off.
                listening.send_replace(up && connected.flush().await.is_ok());
            }
        }
    }
}
