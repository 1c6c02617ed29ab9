//! An application that records its events, and answers as a test asks. The workers of [`Cluster`](crate::Cluster) run it.

use std::sync::Arc;

use bytes::Bytes;
use gatewayworker::{Admission, Client, ClientId, CloseReason, Events, Gateway, Handshake, Message, Result};
use tokio::sync::{Mutex, mpsc, watch};

use crate::soon;

/// A recorded event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Happened {
    /// `on_connect`.
    Connect(ClientId),
    /// `on_message`.
    Message(ClientId, Bytes),
    /// `on_close`.
    Close(ClientId, CloseReason),
    /// `on_detached`.
    Detached(ClientId),
    /// `on_resumed`, with the path of the new handshake.
    Resumed(ClientId, String),
}

/// Records every event, greets clients with their id, and handles messages: at `panic` it panics, at `error` it fails, at
/// `count` it counts in the session and answers with the count, at `hang` it never returns. It broadcasts `broadcast …`, and echoes all others.
///
/// It refuses a handshake with `?refuse=…`, with that text as the last message.
#[derive(Debug, Clone)]
pub struct Recorder {
    events: mpsc::UnboundedSender<Happened>,
    happened: Arc<Mutex<mpsc::UnboundedReceiver<Happened>>>,
    gateway: watch::Sender<Option<Gateway>>,
}

impl Default for Recorder {
    fn default() -> Self {
        let (events, happened) = mpsc::unbounded_channel();
        Self { events, happened: Arc::new(Mutex::new(happened)), gateway: watch::Sender::new(None) }
    }
}

impl Recorder {
    /// Waits for the next event.
    ///
    /// # Panics
    /// There is none in time.
    pub async fn next(&self) -> Happened {
        let mut happened = self.happened.lock().await;
        soon("an event", happened.recv()).await.expect("the recorder has the sender")
    }

    /// Waits for the next event of a client that is none of its cuts and returns.
    ///
    /// # Panics
    /// There is none in time.
    pub async fn next_but_cuts(&self) -> Happened {
        loop {
            let next = self.next().await;
            if !matches!(next, Happened::Detached(_) | Happened::Resumed(..)) {
                return next;
            }
        }
    }

    /// Waits for the next close, and drops the events before it.
    ///
    /// # Panics
    /// There is none in time.
    pub async fn next_close(&self) -> (ClientId, CloseReason) {
        loop {
            if let Happened::Close(id, reason) = self.next().await {
                return (id, reason);
            }
        }
    }

    /// Whether all recorded events were taken.
    pub async fn is_quiet(&self) -> bool {
        self.happened.lock().await.is_empty()
    }

    /// Waits for the worker's start, and returns its handle.
    ///
    /// # Panics
    /// It does not start in time.
    pub async fn gateway(&self) -> Gateway {
        let mut gateway = self.gateway.subscribe();
        let started = soon("the worker's start", gateway.wait_for(Option::is_some)).await;
        started.expect("the recorder has the sender").clone().expect("it is some")
    }

    fn record(&self, happened: Happened) {
        // The receiver is dropped when the test has ended.
        let _ = self.events.send(happened);
    }
}

impl Events for Recorder {
    async fn on_worker_start(&self, gateway: &Gateway) -> Result {
        self.gateway.send_replace(Some(gateway.clone()));
        Ok(())
    }

    async fn on_connect(&self, client: &Client) -> Result {
        self.record(Happened::Connect(client.id()));
        client.send(client.id().to_string()).await?;
        Ok(())
    }

    async fn on_websocket_connect(&self, _client: &Client, handshake: &Handshake) -> Result<Admission> {
        match handshake.get("refuse") {
            Some(message) => Ok(Admission::refuse_with(message.to_owned())),
            None => Ok(Admission::Admit),
        }
    }

    async fn on_message(&self, client: &Client, message: Message) -> Result {
        self.record(Happened::Message(client.id(), message.bytes().clone()));
        match message.text() {
            Ok("panic") => panic!("as asked"),
            Ok("error") => return Err("as asked".into()),
            Ok("hang") => std::future::pending::<()>().await,
            Ok("count") => {
                let count = client.session().get::<u64>("count")?.unwrap_or(0) + 1;
                client.session().insert("count", count)?;
                client.send(count.to_string()).await?;
            }
            Ok(text) if text.starts_with("broadcast ") => {
                client.gateway().send_to_all(text.to_owned()).await?;
            }
            _ => {
                client.send(message).await?;
            }
        }
        Ok(())
    }

    async fn on_detached(&self, client: &Client) -> Result {
        self.record(Happened::Detached(client.id()));
        Ok(())
    }

    async fn on_resumed(&self, client: &Client, handshake: &Handshake) -> Result {
        self.record(Happened::Resumed(client.id(), handshake.path().to_owned()));
        Ok(())
    }

    async fn on_close(&self, client: &Client, reason: CloseReason) -> Result {
        self.record(Happened::Close(client.id(), reason));
        Ok(())
    }
}
