//! Over NATS: one subscription to all topics of all handlers.
//!
//! Other programs take part by the same subjects: the topic after a prefix, and the payload as it
//! is. The NATS client reconnects by itself.

use std::sync::{Arc, Mutex, PoisonError};

use async_nats::connection::State;
use async_nats::{ConnectOptions, Event, ServerAddr};
use bytes::Bytes;
use futures_util::StreamExt;
use gatewayworker_net::LogLimiter;
use percent_encoding::percent_decode_str;
use tokio::sync::{OnceCell, watch};
use tracing::{info, warn};

use crate::Error;
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
    let address: ServerAddr = url.parse().map_err(|error: std::io::Error| Error::Server(error.into()))?;
    let (address, options) = login(address)?;
    let publisher = Publisher(Arc::default());
    let client = publisher.0.clone();
    let listen = async move {
        if let Err(error) = listen(address, options, &client, &topics, &listening).await {
            warn!(%error, "the channel receives no events from NATS");
        }
        // The sender is not dropped, so that callers of `listening` go on waiting.
        listening.closed().await;
    };
    Ok((publisher, listen))
}

/// Takes the user and the password of the URL, or its token, into options. async-nats does not use those in a URL, and writes URLs to
/// its log.
///
/// # Errors
/// When one of them is not percent-encoded UTF-8, or there is a password without a user.
fn login(address: ServerAddr) -> Result<(ServerAddr, ConnectOptions), Error> {
    let decoded = |text: &str| {
        let decoded = percent_decode_str(text).decode_utf8();
        decoded.map(String::from).map_err(|error| Error::Server(error.into()))
    };
    let user = address.username().map(decoded).transpose()?;
    let password = address.password().map(decoded).transpose()?;
    let options = match (user, password) {
        (Some(user), Some(password)) => ConnectOptions::with_user_and_password(user, password),
        (Some(token), None) => ConnectOptions::with_token(token),
        (None, None) => ConnectOptions::new(),
        (None, Some(_)) => return Err(Error::Server("the URL has a password without a user".into())),
    };
    let mut url = address.into_inner();
    let is_taken_out = url.set_username("").and_then(|()| url.set_password(None)).is_ok();
    let address = ServerAddr::from_url(url).map_err(|error| Error::Server(error.into()))?;
    if is_taken_out { Ok((address, options)) } else { Err(Error::Server("the URL has no host".into())) }
}

async fn listen(
    address: ServerAddr,
    options: ConnectOptions,
    client: &OnceCell<async_nats::Client>,
    topics: &Topics,
    listening: &watch::Sender<bool>,
) -> Result<(), Error> {
    let failed = |error: Box<dyn std::error::Error + Send + Sync>| Error::Server(error);
    let (state, mut states) = watch::channel(false);
    let (refusals, logged) = (LogLimiter::default(), Mutex::new(String::new()));
    let options = options.name("gatewayworker").retry_on_initial_connect();
    // It is asked before each attempt which server to take. It leaves that to async-nats, and learns why the last attempt has failed.
    let options = options.reconnect_to_server_callback(move |servers, _| {
        let why = servers.into_iter().find_map(|server| server.last_error).unwrap_or_default();
        let mut logged = logged.lock().unwrap_or_else(PoisonError::into_inner);
        if *logged != why && !why.is_empty() {
            warn!(%why, "the channel cannot connect to NATS, and goes on trying");
        }
        *logged = why;
        std::future::ready(None)
    });
    let options = options.event_callback(move |event| {
        match event {
            Event::Connected => {
                info!("the channel is connected to NATS");
                state.send_replace(true);
            }
            Event::Disconnected => {
                warn!("the channel has lost its connection to NATS: no events come and go until it is back");
                state.send_replace(false);
            }
            Event::ServerError(error) => {
                refusals.log(move |count| warn!(%error, count, "NATS refuses something of the channel"));
            }
            _ => {}
        }
        std::future::ready(())
    });
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_login_is_taken_out_of_the_url_and_a_password_alone_is_none() {
        let login = |url: &str| login(url.parse().unwrap());
        for url in ["nats://me:secret@10.0.0.1", "nats://token@10.0.0.1", "nats://10.0.0.1"] {
            assert!(!login(url).unwrap().0.as_url_str().contains('@'), "{url}");
        }
        let error = login("nats://:secret@10.0.0.1").err().unwrap();
        assert!(!format!("{error:?}").contains("secret"));
    }
}
