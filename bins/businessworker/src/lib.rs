//! The stock businessworker: sends events to a backend over HTTP where `events.url` is set. Otherwise it runs the chat of
//! `examples/chat`, or no application where `client_calls` lets clients do something. Calls of clients are answered before
//! any of that. Nothing is handled in here.
//!
//! The program `businessworker` runs it, and the subcommand of `gatewayworker`.

use std::ffi::OsStr;
use std::path::Path;
use std::process::ExitCode;

use chat::Chat;
use clap::Parser;
use gatewayworker::businessworker::{self, Cli, ClientCalls, Config, unknown_call};
use gatewayworker::{Admission, Client, CloseReason, Events, Gateway, Handshake, Message, Result, Start};
use gatewayworker_webhook::HttpEvents;

/// Runs the stock worker, with flags that were read already.
pub fn run(cli: Cli) -> ExitCode {
    businessworker::run(cli, async |start: Start| {
        let application = Stock::new(&start)?;
        Ok(ClientCalls::from_start(&start, application))
    })
}

/// Returns whether the stock worker runs the chat with this configuration file and the environment. It does not where these
/// cannot be read: it does not start then.
pub fn runs_chat(config: Option<&Path>) -> bool {
    let file = config.map(|file| [OsStr::new("--config"), file.as_os_str()]);
    let arguments = [OsStr::new("businessworker")].into_iter().chain(file.into_iter().flatten());
    let config = Cli::try_parse_from(arguments).ok().and_then(|cli| <Config>::load(&cli).ok());
    config.is_some_and(|config| !config.events.is_on() && !config.client_calls.is_on())
}

/// The handlers of the stock worker. Those of HTTP are boxed: the chat's futures stay small.
enum Stock {
    Chat(Chat),
    Http(HttpEvents),
    /// No application: a message that is no call of its client is answered with an error.
    Nothing,
}

impl Stock {
    fn new(start: &Start) -> Result<Self> {
        if start.events.is_on() {
            return Ok(Self::Http(HttpEvents::from_start(start)?));
        }
        if start.client_calls.is_on() {
            return Ok(Self::Nothing);
        }
        Ok(Self::Chat(Chat::default()))
    }
}

impl Events for Stock {
    fn takes_context(&self) -> bool {
        match self {
            Self::Chat(events) => events.takes_context(),
            Self::Http(events) => events.takes_context(),
            Self::Nothing => false,
        }
    }

    async fn on_worker_start(&self, gateway: &Gateway) -> Result {
        match self {
            Self::Chat(events) => events.on_worker_start(gateway).await,
            Self::Http(events) => events.on_worker_start(gateway).await,
            Self::Nothing => Ok(()),
        }
    }

    async fn on_connect(&self, client: &Client) -> Result {
        match self {
            Self::Chat(events) => events.on_connect(client).await,
            Self::Http(events) => Box::pin(events.on_connect(client)).await,
            Self::Nothing => Ok(()),
        }
    }

    async fn on_websocket_connect(&self, client: &Client, handshake: &Handshake) -> Result<Admission> {
        match self {
            Self::Chat(events) => events.on_websocket_connect(client, handshake).await,
            Self::Http(events) => Box::pin(events.on_websocket_connect(client, handshake)).await,
            Self::Nothing => Ok(Admission::Admit),
        }
    }

    async fn on_message(&self, client: &Client, message: Message) -> Result {
        match self {
            Self::Chat(events) => events.on_message(client, message).await,
            Self::Http(events) => Box::pin(events.on_message(client, message)).await,
            Self::Nothing => {
                client.send(unknown_call()).await?;
                Ok(())
            }
        }
    }

    async fn on_detached(&self, client: &Client) -> Result {
        match self {
            Self::Chat(events) => events.on_detached(client).await,
            Self::Http(events) => Box::pin(events.on_detached(client)).await,
            Self::Nothing => Ok(()),
        }
    }

    async fn on_resumed(&self, client: &Client, handshake: &Handshake) -> Result {
        match self {
            Self::Chat(events) => events.on_resumed(client, handshake).await,
            Self::Http(events) => Box::pin(events.on_resumed(client, handshake)).await,
            Self::Nothing => Ok(()),
        }
    }

    async fn on_close(&self, client: &Client, reason: CloseReason) -> Result {
        match self {
            Self::Chat(events) => events.on_close(client, reason).await,
            Self::Http(events) => Box::pin(events.on_close(client, reason)).await,
            Self::Nothing => Ok(()),
        }
    }

    async fn on_worker_stop(&self, gateway: &Gateway) -> Result {
        match self {
            Self::Chat(events) => events.on_worker_stop(gateway).await,
            Self::Http(events) => events.on_worker_stop(gateway).await,
            Self::Nothing => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chat_runs_unless_events_go_elsewhere_or_clients_call_by_themselves() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("businessworker.toml");
        for (text, expected) in [
            ("name = 'w'", true),
            ("[events]\nurl = 'http://127.0.0.1:8080/events'\nsecret = '0123456789abcdef'", false),
            ("[client_calls]\njoin = ['room-*']", false),
            ("nonsense = 1", false),
        ] {
            std::fs::write(&file, text).unwrap();
            assert_eq!(runs_chat(Some(&file)), expected, "{text}");
        }
        assert!(runs_chat(None));
    }
}
