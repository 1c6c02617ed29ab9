//! Observers: one client at each gateway, which hears what handlers of other clients' messages say, and notes it in the
//! ledger.
//!
//! `stage` connects them before the load, and keeps them to the end: what is said to a client that comes or goes is
//! owed to nobody.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, bail};
use futures_util::{SinkExt, StreamExt};
use gatewayworker_businessworker::ClientId;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::clients::{TIMEOUT, open};
use crate::journal::Books;
use crate::ledger::{Connection, Ending};
use crate::message::{OBSERVE, Said};

/// The observers, until they are stopped.
#[derive(Debug)]
pub struct Observers {
    /// Their client ids, in the order of the gateways.
    pub ids: Vec<ClientId>,
    stop: watch::Sender<bool>,
    observers: JoinSet<()>,
}

impl Observers {
    /// Connects an observer at each gateway. They have numbers from `first` on among the clients.
    ///
    /// # Errors
    /// A gateway does not serve.
    pub async fn start(first: u32, books: &Books, gateways: &[(usize, SocketAddr)]) -> anyhow::Result<Self> {
        let (stop, stopped) = watch::channel(false);
        let (mut ids, mut observers) = (Vec::new(), JoinSet::new());
        for (client, (gateway, address)) in (first..).zip(gateways) {
            let IpAddr::V4(ip) = address.ip() else { bail!("{address} is not an IPv4 address") };
            let (connection, began) = (Connection { client, number: 1 }, Instant::now());
            let socket = open(connection, *address).await;
            let mut socket = socket.with_context(|| format!("no observer can connect to {address}"))?;
            books.open().opened(connection, *gateway, began.elapsed(), books.now());
            let id = timeout(TIMEOUT, begin(&mut socket)).await;
            ids.push(id.ok().flatten().with_context(|| format!("an observer gets no answer of {address}"))?);
            books.open().observes(connection, ip);
            observers.spawn(observe(connection, socket, books.clone(), stopped.clone()));
        }
        Ok(Self { ids, stop, observers })
    }

    /// Tells all observers to leave, and waits for that.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        while self.observers.join_next().await.is_some() {}
    }
}

/// Asks the application to be told what handlers say. It answers with the observer's client id.
async fn begin(socket: &mut WebSocketStream<TcpStream>) -> Option<ClientId> {
    socket.send(Message::text(OBSERVE)).await.ok()?;
    socket.next().await?.ok()?.to_text().ok()?.parse().ok()
}

/// Notes what it hears, until it is told to leave or the connection ends.
async fn observe(
    connection: Connection,
    mut socket: WebSocketStream<TcpStream>,
    books: Books,
    mut stop: watch::Receiver<bool>,
) {
    let ending = loop {
        tokio::select! {
            message = socket.next() => {
                if let Some(ending) = hear(connection, message, &books) {
                    break ending;
                }
            }
            _ = stop.changed() => {
                books.open().leaves(connection);
                let bye = async {
                    let _ = socket.close(None).await;
                    while hear(connection, socket.next().await, &books).is_none() {}
                };
                let _ = timeout(TIMEOUT, bye).await;
                break Ending::Finished;
            }
        }
    };
    books.open().ended(connection, ending, books.now());
    books.remark(format_args!("observer {} {ending:?}", connection.client));
}

/// Notes a message; returns how the connection has ended, if it has.
fn hear(observer: Connection, message: Option<Result<Message, Error>>, books: &Books) -> Option<Ending> {
    match message {
        Some(Ok(Message::Text(text))) => {
            if let Some(Said { worker, connection, number }) = Said::parse(&text) {
                books.open().heard(observer, worker, connection, number);
                books.remark(format_args!("observer {} hears {text}", observer.client));
            }
            None
        }
        Some(Ok(Message::Close(frame))) => {
            Some(Ending::Closed(frame.map_or(1005, |frame| frame.code.into())))
        }
        Some(Ok(_)) => None,
        Some(Err(_)) | None => Some(Ending::Broken),
    }
}
