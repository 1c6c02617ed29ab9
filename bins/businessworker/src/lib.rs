//! The stock businessworker: sends events to a backend over HTTP where `events.url` is set, and otherwise runs the chat of
//! `examples/chat`. Nothing is handled in here.
//!
//! The program `businessworker` runs it, and the subcommand of `gatewayworker`.

use std::process::ExitCode;

use chat::Chat;
use gatewayworker::businessworker::{self, Cli};
use gatewayworker::{Admission, Client, CloseReason, Events, Gateway, Handshake, Message, Result, Start};
use gatewayworker_webhook::HttpEvents;

/// Runs the stock worker, with flags that were read already.
pub fn run(cli: Cli) -> ExitCode {
    businessworker::run(cli, async |start: Start| Stock::new(&start))
}

/// The handlers of the stock worker. Those of HTTP are boxed: the chat's futures stay small.
enum Stock {
    Chat(Chat),
    Http(HttpEvents),
}

impl Stock {
    fn new(start: &Start) -> Result<Self> {
        if start.events.is_on() {
            return Ok(Self::Http(HttpEvents::from_start(start)?));
        }
        Ok(Self::Chat(Chat::default()))
    }
}

impl Events for Stock {
    fn takes_context(&self) -> bool {
        match self {
            Self::Chat(events) => events.takes_context(),
            Self::Http(events) => events.takes_context(),
        }
    }

    async fn on_worker_start(&self, gateway: &Gateway) -> Result {
        match self {
            Self::Chat(events) => events.on_worker_start(gateway).await,
            Self::Http(events) => events.on_worker_start(gateway).await,
        }
    }

    async fn on_connect(&self, client: &Client) -> Result {
        match self {
            Self::Chat(events) => events.on_connect(client).await,
            Self::Http(events) => Box::pin(events.on_connect(client)).await,
        }
    }

    async fn on_websocket_connect(&self, client: &Client, handshake: &Handshake) -> Result<Admission> {
        match self {
            Self::Chat(events) => events.on_websocket_connect(client, handshake).await,
            Self::Http(events) => Box::pin(events.on_websocket_connect(client, handshake)).await,
        }
    }

    async fn on_message(&self, client: &Client, message: Message) -> Result {
        match self {
            Self::Chat(events) => events.on_message(client, message).await,
            Self::Http(events) => Box::pin(events.on_message(client, message)).await,
        }
    }

    async fn on_close(&self, client: &Client, reason: CloseReason) -> Result {
        match self {
            Self::Chat(events) => events.on_close(client, reason).await,
            Self::Http(events) => Box::pin(events.on_close(client, reason)).await,
        }
    }

    async fn on_worker_stop(&self, gateway: &Gateway) -> Result {
        match self {
            Self::Chat(events) => events.on_worker_stop(gateway).await,
            Self::Http(events) => events.on_worker_stop(gateway).await,
        }
    }
}
