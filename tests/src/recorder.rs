//! `Events` that note what happened.

use std::sync::Arc;

use bytes::Bytes;
use gatewayworker::{Admission, Client, ClientId, CloseReason, Events, Gateway, Handshake, Message, Result};
use tokio::sync::{Mutex, mpsc, watch};

use crate::soon;

/// Something that happened to a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Happened {
    /// `on_connect`.
    Connect(ClientId),
    /// `on_message`.
    Message(ClientId, Bytes),
    /// `on_close`.
    Close(ClientId, CloseReason),
}

/// Notes every event, greets clients with their id, and answers messages:
/// `panic` panics, `error` fails, `count` counts in the session and answers with
/// the count, `broadcast …` goes to everybody, anything else is echoed.
///
/// A handshake with `?refuse=…` is refused with that as its last message.
#[derive(Debug, Clone)]
pub struct Recorder {
    notes: mpsc::UnboundedSender<Happened>,
    happened: Arc<Mutex<mpsc::UnboundedReceiver<Happened>>>,
    gateway: watch::Sender<Option<Gateway>>,
}

impl Default for Recorder {
    fn default() -> Self {
        let (notes, happened) = mpsc::unbounded_channel();
        Self { notes, happened: Arc::new(Mutex::new(happened)), gateway: watch::Sender::new(None) }
    }
}

impl Recorder {
    /// What happened next.
    ///
    /// # Panics
    /// When nothing does.
    pub async fn next(&self) -> Happened {
        let mut happened = self.happened.lock().await;
        soon("an event", happened.recv()).await.expect("the recorder has the sender")
    }

    /// The next thing that happened, which is a close.
    ///
    /// # Panics
    /// When nothing closes; what happens before that is passed over.
    pub async fn next_close(&self) -> (ClientId, CloseReason) {
        loop {
            if let Happened::Close(id, reason) = self.next().await {
                return (id, reason);
            }
        }
    }

    /// Whether nothing is noted that was not taken.
    pub async fn is_quiet(&self) -> bool {
        self.happened.lock().await.is_empty()
    }

    /// The worker's handle, once it has started.
    ///
    /// # Panics
    /// When it does not.
    pub async fn gateway(&self) -> Gateway {
        let mut gateway = self.gateway.subscribe();
        let started = soon("the worker's start", gateway.wait_for(Option::is_some)).await;
        started.expect("the recorder has the sender").clone().expect("it is some")
    }

    fn note(&self, happened: Happened) {
        // Nobody listens any more when the test is over.
        let _ = self.notes.send(happened);
    }
}

impl Events for Recorder {
    async fn on_worker_start(&self, gateway: &Gateway) -> Result {
        self.gateway.send_replace(Some(gateway.clone()));
        Ok(())
    }

    async fn on_connect(&self, client: &Client) -> Result {
        self.note(Happened::Connect(client.id()));
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
        self.note(Happened::Message(client.id(), message.bytes().clone()));
        match message.text() {
            Ok("panic") => panic!("as asked"),
            Ok("error") => return Err("as asked".into()),
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

    async fn on_close(&self, client: &Client, reason: CloseReason) -> Result {
        self.note(Happened::Close(client.id(), reason));
        Ok(())
    }
}
