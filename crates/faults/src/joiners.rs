//! Joiners: pairs of clients at different gateways. One joins a new group, then the other has a message said to it: the
//! joiner has to hear it, whoever handles the two.
//!
//! A row with groups that come and go starts them beside its load. `stage` stops them, and takes what they have seen. A
//! round in which a connection ends says nothing: what was said to that client is owed to nobody.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use crate::clients::{TIMEOUT, open};
use crate::journal::Books;
use crate::ledger::{Connection, Ending};
use crate::message::Joining;

/// How many pairs there are.
const PAIRS: u32 = 4;

/// The joiners' numbers among the clients begin here.
const FIRST: u32 = 10_000;

/// How long a joiner waits for an answer, or for what is said: longer than it takes to find a frozen worker out.
const LIMIT: Duration = Duration::from_secs(30);

/// What the joiners have seen.
#[derive(Debug, Default, Clone)]
pub struct Seen {
    /// Groups that were joined, and heard something.
    pub heard: u64,
    /// The longest that a join took to take effect, as its handler has measured it.
    pub longest: Duration,
    /// What was said and not heard.
    pub missed: Vec<String>,
}

/// The joiners, until they are stopped.
#[derive(Debug)]
pub struct Joiners {
    stop: watch::Sender<bool>,
    pairs: JoinSet<()>,
    seen: Arc<Mutex<Seen>>,
}

/// One client of a pair.
struct Client {
    connection: Connection,
    socket: WebSocketStream<TcpStream>,
}

/// A connection has ended, or the row has.
struct Over;

impl Joiners {
    /// Starts the pairs. Each connects again when one of its connections has ended.
    pub fn start(books: &Books, gateways: Vec<(usize, SocketAddr)>) -> Self {
        let (stop, stopped) = watch::channel(false);
        let (mut pairs, seen) = (JoinSet::new(), Arc::<Mutex<Seen>>::default());
        for pair in 0..PAIRS {
            pairs.spawn(run_pair(pair, books.clone(), gateways.clone(), seen.clone(), stopped.clone()));
        }
        Self { stop, pairs, seen }
    }

    /// Stops the pairs, and returns what they have seen.
    pub async fn stop(mut self) -> Seen {
        self.stop.send_replace(true);
        while self.pairs.join_next().await.is_some() {}
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn run_pair(
    pair: u32,
    books: Books,
    gateways: Vec<(usize, SocketAddr)>,
    seen: Arc<Mutex<Seen>>,
    mut stop: watch::Receiver<bool>,
) {
    let mut round = 0;
    for number in 1.. {
        let place = |client: u32| gateways[(pair + client) as usize % gateways.len()];
        let connection = |client: u32| Connection { client: FIRST + 2 * pair + client, number };
        let (joiner, sayer) =
            (connect(connection(0), place(0), &books).await, connect(connection(1), place(1), &books).await);
        if let (Some(mut joiner), Some(mut sayer)) = (joiner, sayer) {
            while !*stop.borrow() {
                round += 1;
                let group = format!("{pair}-{round}");
                let played = tokio::select! {
                    played = play(&group, &mut joiner, &mut sayer, &seen) => played,
                    _ = stop.changed() => Err(Over),
                };
                if played.is_err() {
                    break;
                }
            }
            for client in [joiner, sayer] {
                leave(client, &books).await;
            }
        }
        if *stop.borrow() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Has a client join a group, and another one say something to it.
async fn play(group: &str, joiner: &mut Client, sayer: &mut Client, seen: &Mutex<Seen>) -> Result<(), Over> {
    joiner.send(Joining::Join(group.into())).await?;
    let took = joiner.wait_for(|answer| match answer {
        Joining::Joined(joined, took_ms) if joined == group => Some(took_ms),
        _ => None,
    });
    let Some(took_ms) = took.await? else {
        seen.lock().unwrap_or_else(PoisonError::into_inner).missed.push(format!("no answer of {group}"));
        return Err(Over);
    };
    sayer.send(Joining::Say(group.into())).await?;
    let heard = joiner.wait_for(|said| (said == Joining::Said(group.into())).then_some(())).await?;
    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    seen.longest = seen.longest.max(Duration::from_millis(took_ms));
    match heard {
        Some(()) => seen.heard += 1,
        None => seen.missed.push(format!("what was said to {group}")),
    }
    Ok(())
}

impl Client {
    async fn send(&mut self, message: Joining) -> Result<(), Over> {
        self.socket.send(Message::text(message.to_string())).await.map_err(|_| Over)
    }

    /// Waits for a message; `None` where it does not come in time.
    async fn wait_for<T>(&mut self, is_it: impl Fn(Joining) -> Option<T>) -> Result<Option<T>, Over> {
        let deadline = Instant::now() + LIMIT;
        loop {
            let message = match tokio::time::timeout_at(deadline, self.socket.next()).await {
                Err(_) => return Ok(None),
                Ok(Some(Ok(Message::Text(text)))) => Joining::parse(&text),
                Ok(Some(Ok(Message::Close(_)) | Err(_)) | None) => return Err(Over),
                Ok(Some(Ok(_))) => None,
            };
            if let Some(found) = message.and_then(&is_it) {
                return Ok(Some(found));
            }
        }
    }
}

async fn connect(connection: Connection, gateway: (usize, SocketAddr), books: &Books) -> Option<Client> {
    let began = Instant::now();
    let socket = open(connection, gateway.1).await?;
    books.open().opened(connection, gateway.0, began.elapsed(), books.now());
    Some(Client { connection, socket })
}

async fn leave(mut client: Client, books: &Books) {
    books.open().leaves(client.connection);
    let bye = async {
        let _ = client.socket.close(None).await;
        while let Some(Ok(_)) = client.socket.next().await {}
    };
    let _ = timeout(TIMEOUT, bye).await;
    books.open().ended(client.connection, Ending::Finished, books.now());
}
