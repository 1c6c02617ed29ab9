//! The load: WebSocket clients with several numbered messages under way each, who note what they send and what they
//! are answered.
//!
//! A client sends its next message when an answer comes, leaves now and then with messages under way, and connects
//! again, at the next gateway if it has to. What it knows goes into the ledger.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use gatewayworker_businessworker::ClientId;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::journal::Books;
use crate::ledger::{Audience, Connection, Ending};
use crate::message::{Action, Numbered, SayTo};

/// How many clients there are, and what they do.
#[derive(Debug, Clone, Copy)]
pub struct LoadShape {
    /// The number of clients.
    pub clients: u32,
    /// How many messages each has under way.
    pub under_way: u32,
    /// Whether clients leave now and then, and connect again.
    pub churn: bool,
    /// How long a client waits for an answer before it drops the connection.
    pub patience: Option<Duration>,
    /// How long a client that is told to stop waits for its last answers.
    pub settle: Duration,
    /// Whether an observer at each gateway is told of each message, by its handler.
    pub observed: bool,
}

/// How long a handshake, and the end of a connection, may take.
pub const TIMEOUT: Duration = Duration::from_secs(5);

/// A client leaves after so many messages, at random.
const LEAVES_AFTER: std::ops::Range<u32> = 40..160;

/// How often a client looks at its patience.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

/// The clients, until they are stopped.
#[derive(Debug)]
pub struct Load {
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    clients: JoinSet<()>,
}

#[derive(Debug)]
struct Shared {
    shape: LoadShape,
    books: Books,
    /// The gateways that clients connect to, with their numbers.
    gateways: Mutex<Vec<(usize, SocketAddr)>>,
    /// What the next message of a client is to be, where it is not like the others.
    actions: Mutex<BTreeMap<u32, Action>>,
    observers: Vec<ClientId>,
}

/// One connection of one client.
struct Session<'a> {
    shared: &'a Shared,
    connection: Connection,
    socket: WebSocketStream<TcpStream>,
    sent: u32,
    answered: u32,
    /// When the client last had nothing to complain of.
    content: Instant,
}

impl Load {
    /// Connects all clients. The handlers of their messages say the numbers to these observers.
    pub fn start(
        shape: LoadShape,
        books: Books,
        gateways: Vec<(usize, SocketAddr)>,
        observers: Vec<ClientId>,
    ) -> Self {
        let (gateways, actions) = (Mutex::new(gateways), Mutex::default());
        let shared = Arc::new(Shared { shape, books, gateways, actions, observers });
        let (stop, stopped) = watch::channel(false);
        let mut clients = JoinSet::new();
        for number in 0..shape.clients {
            clients.spawn(run_client(shared.clone(), number, stopped.clone()));
        }
        Self { shared, stop, clients }
    }

    /// Clients that connect from now on do so to these gateways.
    pub fn set_gateways(&self, gateways: Vec<(usize, SocketAddr)>) {
        *self.shared.gateways.lock().unwrap_or_else(PoisonError::into_inner) = gateways;
    }

    /// The next message of a client makes its handler do this.
    pub fn act(&self, client: u32, action: Action) {
        self.shared.actions.lock().unwrap_or_else(PoisonError::into_inner).insert(client, action);
    }

    /// Tells all clients to send no more, to wait for their answers and to leave; waits for that.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        while self.clients.join_next().await.is_some() {}
    }
}

async fn run_client(shared: Arc<Shared>, client: u32, mut stop: watch::Receiver<bool>) {
    let mut number = 0;
    let mut turn = client as usize;
    while !*stop.borrow_and_update() {
        number += 1;
        let (gateway, address) = shared.gateway(turn);
        let connection = Connection { client, number };
        let began = Instant::now();
        let opened = tokio::select! {
            opened = open(connection, address) => opened,
            _ = stop.changed() => break,
        };
        if let Some(socket) = opened {
            let (opening, now) = (began.elapsed(), shared.books.now());
            shared.books.open().opened(connection, gateway, opening, now);
            let content = Instant::now();
            let session = Session { shared: &shared, connection, socket, sent: 0, answered: 0, content };
            let ending = session.run(&mut stop).await;
            shared.books.open().ended(connection, ending, shared.books.now());
            shared
                .books
                .remark(format_args!("client {client} connection {number} {ending:?} at gateway {gateway}"));
            if matches!(ending, Ending::Left | Ending::Finished) {
                continue;
            }
        } else {
            shared.books.open().refused();
        }
        turn += 1;
        tokio::select! {
            () = sleep(Duration::from_millis(rand::random_range(50..200))) => {}
            _ = stop.changed() => break,
        }
    }
}

/// Connects a client, if the gateway accepts it in time.
pub async fn open(connection: Connection, address: SocketAddr) -> Option<WebSocketStream<TcpStream>> {
    let Connection { client, number } = connection;
    let url = format!("ws://{address}/?client={client}&connection={number}");
    let open = async {
        let stream = TcpStream::connect(address).await.ok()?;
        stream.set_nodelay(true).ok()?;
        client_async(url, stream).await.ok()
    };
    timeout(TIMEOUT, open).await.ok()?.map(|(socket, _)| socket)
}

impl Shared {
    fn gateway(&self, turn: usize) -> (usize, SocketAddr) {
        let gateways = self.gateways.lock().unwrap_or_else(PoisonError::into_inner);
        gateways[turn % gateways.len()]
    }

    fn action(&self, client: u32) -> Action {
        let mut actions = self.actions.lock().unwrap_or_else(PoisonError::into_inner);
        actions.remove(&client).unwrap_or(Action::Answer)
    }

    fn say_to(&self, number: u32) -> Option<SayTo> {
        match Audience::of(number, self.observers.len()) {
            _ if self.observers.is_empty() => None,
            Audience::All => Some(SayTo::Group),
            Audience::One(index) => Some(SayTo::Client(self.observers[index])),
        }
    }
}

impl Session<'_> {
    /// Talks until the client leaves or the connection ends.
    async fn run(mut self, stop: &mut watch::Receiver<bool>) -> Ending {
        let LoadShape { churn, patience, under_way, .. } = self.shared.shape;
        let leaves_after = if churn { rand::random_range(LEAVES_AFTER) } else { u32::MAX };
        let mut look = tokio::time::interval(LOOK_INTERVAL);
        loop {
            while self.sent.saturating_sub(self.answered) < under_way {
                if self.sent == leaves_after {
                    return self.leave(Ending::Left).await;
                }
                if !self.send().await {
                    return Ending::Broken;
                }
            }
            tokio::select! {
                message = self.socket.next() => if let Some(ending) = self.receive(message) { return ending },
                _ = look.tick() => {
                    if patience.is_some_and(|patience| self.content.elapsed() > patience) {
                        return Ending::GaveUp;
                    }
                }
                _ = stop.changed() => return self.finish().await,
            }
        }
    }

    /// Sends the next message; returns whether the system has accepted it.
    async fn send(&mut self) -> bool {
        let (connection, books) = (self.connection, &self.shared.books);
        self.sent += 1;
        let number = self.sent;
        let (action, say_to) = (self.shared.action(connection.client), self.shared.say_to(number));
        let message = Numbered { connection, number, action, say_to };
        if message.action == Action::Abort {
            books.open().poisoned(connection);
        }
        // Noted first: the handler may be faster than this task.
        books.open().sent(connection, number, books.now());
        let accepted = self.socket.send(Message::text(message.to_string())).await.is_ok();
        if !accepted {
            books.open().not_accepted(connection, number);
        }
        accepted
    }

    /// Notes an answer; returns how the connection has ended, if it has.
    fn receive(
        &mut self,
        message: Option<Result<Message, tokio_tungstenite::tungstenite::Error>>,
    ) -> Option<Ending> {
        match message {
            Some(Ok(Message::Text(text))) => {
                if let Ok(number) = text.parse() {
                    let books = &self.shared.books;
                    books.open().answered(self.connection, number, books.now());
                    self.answered = self.answered.max(number);
                    self.content = Instant::now();
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

    /// Waits for the answers that are still under way, and leaves.
    async fn finish(mut self) -> Ending {
        let deadline = Instant::now() + self.shared.shape.settle;
        while self.answered < self.sent {
            match tokio::time::timeout_at(deadline, self.socket.next()).await {
                Ok(message) => {
                    if let Some(ending) = self.receive(message) {
                        return ending;
                    }
                }
                Err(_) => break,
            }
        }
        self.leave(Ending::Finished).await
    }

    /// Sends a close frame, and reads until the gateway has ended the connection.
    async fn leave(mut self, ending: Ending) -> Ending {
        self.shared.books.open().leaves(self.connection);
        let bye = async {
            if self.socket.close(None).await.is_ok() {
                while let Some(Ok(message)) = self.socket.next().await {
                    self.receive(Some(Ok(message)));
                }
            }
        };
        let _ = timeout(TIMEOUT, bye).await;
        ending
    }
}
