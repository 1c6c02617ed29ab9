//! A gateway played by a test: it speaks frames, keeps sessions and groups like a
//! real one as far as the tests ask, and writes down what it is told.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "shared by several test crates")]

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use gatewayworker_protocol::interest::{InterestReport, InterestUpdate, Name, NameFilter};
use gatewayworker_protocol::php::{self, Array, Value};
use gatewayworker_protocol::{
    ClientId, Command, Features, Filter, Frame, Hello, MAX_FRAME_LEN, Origin, Payload, PingBody, Question,
    frame_answer,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex as AsyncMutex, mpsc, watch};
use tokio_util::task::AbortOnDropHandle;

/// How long a test waits for what should happen.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// `what`, or a failed test.
pub async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("it did not happen in time")
}

type Answerer = Box<dyn FnMut(&Question) -> Option<Vec<u8>> + Send>;

#[derive(Default)]
struct Book {
    sessions: BTreeMap<u32, Bytes>,
    groups: BTreeMap<Bytes, Vec<u32>>,
    /// Answers instead of the book, if set; `None` is silence.
    answerer: Option<Answerer>,
    /// The link that it was told something over last,
    told_over: Option<Arc<AsyncMutex<OwnedWriteHalf>>>,
    /// and was asked something.
    asked_over: Option<Arc<AsyncMutex<OwnedWriteHalf>>>,
    /// Questions that were met with silence.
    unanswered: Vec<Question>,
    /// The names that it tells subscribers of; `None` where it answers them nothing, as the original.
    announced: Option<Vec<Name>>,
    /// What the gateway had still to say on a link whose other end closes.
    last_words: Vec<u8>,
}

pub struct FakeGateway {
    pub address: SocketAddrV4,
    book: Arc<Mutex<Book>>,
    commands: mpsc::UnboundedReceiver<Command>,
    workers: mpsc::UnboundedReceiver<(Hello, Arc<AsyncMutex<OwnedWriteHalf>>)>,
    event_link: Option<Arc<AsyncMutex<OwnedWriteHalf>>>,
    ended: mpsc::UnboundedReceiver<()>,
    links: Arc<AtomicUsize>,
    pings: Arc<AtomicUsize>,
    frozen: watch::Sender<bool>,
    _accepting: AbortOnDropHandle<()>,
}

struct Reports {
    book: Arc<Mutex<Book>>,
    commands: mpsc::UnboundedSender<Command>,
    workers: mpsc::UnboundedSender<(Hello, Arc<AsyncMutex<OwnedWriteHalf>>)>,
    ended: mpsc::UnboundedSender<()>,
    pings: Arc<AtomicUsize>,
    frozen: watch::Receiver<bool>,
}

impl FakeGateway {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let SocketAddr::V4(address) = listener.local_addr().unwrap() else { unreachable!() };
        let book = Arc::new(Mutex::new(Book::default()));
        let (commands, said) = mpsc::unbounded_channel();
        let (workers, arrived) = mpsc::unbounded_channel();
        let (ended, ends) = mpsc::unbounded_channel();
        let pings = Arc::new(AtomicUsize::new(0));
        let frozen = watch::Sender::new(false);
        let reports = Arc::new(Reports {
            book: book.clone(),
            commands,
            workers,
            ended,
            pings: pings.clone(),
            frozen: frozen.subscribe(),
        });
        let links = Arc::new(AtomicUsize::new(0));
        let counted = links.clone();
        let accepting = AbortOnDropHandle::new(tokio::spawn(async move {
            let mut links = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::Relaxed);
                links.spawn(converse(stream, reports.clone()));
            }
        }));
        Self {
            address,
            book,
            commands: said,
            workers: arrived,
            event_link: None,
            ended: ends,
            links,
            pings,
            frozen,
            _accepting: accepting,
        }
    }

    /// Tells those who subscribe from now on that it has these names.
    pub fn announce(&self, names: impl IntoIterator<Item = Name>) {
        self.book.lock().unwrap().announced.get_or_insert_default().extend(names);
    }

    /// Does nothing from now on, as a stopped process: its kernel still takes connections and bytes.
    pub fn freeze(&self) {
        self.frozen.send_replace(true);
    }

    /// Goes on after [`freeze`](Self::freeze).
    pub fn thaw(&self) {
        self.frozen.send_replace(false);
    }

    /// How often a call link has asked it for a sign of life. These questions are not among what it
    /// is [`told`](Self::told).
    pub fn pings(&self) -> usize {
        self.pings.load(Ordering::Relaxed)
    }

    /// How many links there have been.
    pub fn links(&self) -> usize {
        self.links.load(Ordering::Relaxed)
    }

    pub fn id(&self, connection: u32) -> ClientId {
        ClientId::new(self.address, connection)
    }

    pub fn origin(&self, connection_id: u32) -> Origin {
        let client = SocketAddrV4::new(Ipv4Addr::new(203, 0, 113, 7), 54321);
        Origin { gateway: self.address, client, connection_id, gateway_port: 8289 }
    }

    /// The next thing it is told, questions included.
    pub async fn told(&mut self) -> Command {
        soon(self.commands.recv()).await.unwrap()
    }

    /// What it has been told by now.
    pub fn told_already(&mut self) -> Vec<Command> {
        std::iter::from_fn(|| self.commands.try_recv().ok()).collect()
    }

    /// Waits for a worker's event link.
    pub async fn worker(&mut self) -> Hello {
        let (hello, link) = soon(self.workers.recv()).await.unwrap();
        self.event_link = Some(link);
        hello
    }

    /// Waits for any link to end.
    pub async fn link_ended(&mut self) {
        soon(self.ended.recv()).await.unwrap();
    }

    /// Sends bytes down the event link.
    pub async fn send(&self, bytes: &[u8]) {
        self.event_link.as_ref().unwrap().lock().await.write_all(bytes).await.unwrap();
    }

    /// Sends events down the event link, in one write.
    pub async fn events(&self, events: impl IntoIterator<Item = Command>) {
        let mut bytes = BytesMut::new();
        events.into_iter().for_each(|event| event.encode(&mut bytes));
        self.send(&bytes).await;
    }

    /// Sends these events when the next link is being closed by its other end.
    pub fn send_last(&self, events: impl IntoIterator<Item = Command>) {
        let mut bytes = BytesMut::new();
        events.into_iter().for_each(|event| event.encode(&mut bytes));
        self.book.lock().unwrap().last_words = bytes.to_vec();
    }

    /// Ends the event link.
    pub async fn close_event_link(&mut self) {
        self.event_link.take().unwrap().lock().await.shutdown().await.unwrap();
    }

    /// Lets a worker that drains go: nothing of it is unfinished, and its clients are not its own any more.
    pub async fn let_go(&mut self) {
        self.events([Command::Ping(PingBody::Drained.encode())]).await;
        self.close_event_link().await;
    }

    /// Shows on the event link that it lives, until what is returned is dropped.
    pub fn beat(&self, every: Duration) -> AbortOnDropHandle<()> {
        let link = self.event_link.clone().unwrap();
        let mut ping = BytesMut::new();
        Command::Ping(Bytes::new()).encode(&mut ping);
        AbortOnDropHandle::new(tokio::spawn(async move {
            while link.lock().await.write_all(&ping).await.is_ok() {
                tokio::time::sleep(every).await;
            }
        }))
    }

    /// Ends the link on which it was told something last.
    pub async fn close_last_link(&self) {
        let link = self.book.lock().unwrap().told_over.clone().unwrap();
        link.lock().await.shutdown().await.unwrap();
    }

    /// A client's message, with the session that is stored now.
    pub fn message(&self, connection: u32, text: &str) -> Command {
        let session = self.session(connection);
        Command::OnMessage {
            origin: self.origin(connection),
            session,
            message: Payload::plain(text.to_owned()),
        }
    }

    pub fn connect(&self, connection: u32) -> Command {
        Command::OnConnect { origin: self.origin(connection), session: self.session(connection) }
    }

    pub fn close(&self, connection: u32, reason: &'static str) -> Command {
        let session = self.session(connection);
        Command::OnClose { origin: self.origin(connection), session, reason: reason.into() }
    }

    pub fn session(&self, connection: u32) -> Bytes {
        self.book.lock().unwrap().sessions.get(&connection).cloned().unwrap_or_default()
    }

    pub fn set_session(&self, connection: u32, session: impl Into<Bytes>) {
        self.book.lock().unwrap().sessions.insert(connection, session.into());
    }

    /// Answers questions so from now on.
    pub fn answer_with(&self, answerer: impl FnMut(&Question) -> Option<Vec<u8>> + Send + 'static) {
        self.book.lock().unwrap().answerer = Some(Box::new(answerer));
    }

    /// Answers the questions that were met with silence, those for a sign of life with one.
    pub async fn answer_late(&self, answer: &[u8]) {
        let (link, unanswered) = {
            let mut book = self.book.lock().unwrap();
            (book.asked_over.clone().unwrap(), std::mem::take(&mut book.unanswered))
        };
        let mut framed = BytesMut::new();
        for question in unanswered {
            let is_ping = question == Question::IsOnline(0);
            frame_answer(if is_ping { b"i:0;" } else { answer }, &mut framed);
        }
        link.lock().await.write_all(&framed).await.unwrap();
    }
}

async fn converse(stream: TcpStream, reports: Arc<Reports>) {
    let mut frozen = reports.frozen.clone();
    let (mut reading, writing) = stream.into_split();
    let writing = Arc::new(AsyncMutex::new(writing));
    let mut buffer = BytesMut::new();
    loop {
        let _ = frozen.wait_for(|frozen| !*frozen).await;
        while let Some(frame) = Frame::parse(&mut buffer, MAX_FRAME_LEN).unwrap() {
            match Command::decode(frame).unwrap() {
                Command::WorkerConnect(hello) => {
                    let _ = reports.workers.send((hello, writing.clone()));
                }
                Command::ClientConnect(hello) if hello.features.is_some_and(|features| features.interest) => {
                    let updates = reports.book.lock().unwrap().updates();
                    if let Some(updates) = updates {
                        let _ = writing.lock().await.write_all(&updates).await;
                    }
                }
                Command::InterestReport(InterestReport::Applied(_)) => {}
                Command::InterestReport(InterestReport::Renew(renewed_at_ms)) => {
                    let mut grant = BytesMut::new();
                    let update = InterestUpdate::Grant { renewed_at_ms, lease_ms: 3_000 };
                    Command::Interest(update).encode(&mut grant);
                    let _ = writing.lock().await.write_all(&grant).await;
                }
                command => {
                    let answer = {
                        let mut book = reports.book.lock().unwrap();
                        book.told_over = Some(writing.clone());
                        if matches!(command, Command::Ask(_)) {
                            book.asked_over = Some(writing.clone());
                        }
                        book.take(&command)
                    };
                    if command == Command::Ask(Question::IsOnline(0)) {
                        reports.pings.fetch_add(1, Ordering::Relaxed);
                    } else {
                        let _ = reports.commands.send(command);
                    }
                    if let Some(answer) = answer {
                        let mut framed = BytesMut::new();
                        frame_answer(&answer, &mut framed);
                        let _ = writing.lock().await.write_all(&framed).await;
                    }
                }
            }
        }
        match reading.read_buf(&mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(_) => {}
        }
    }
    // As a real one, it closes a link whose other end has; what it had written by
    // then is still on its way.
    let last_words = std::mem::take(&mut reports.book.lock().unwrap().last_words);
    let _ = writing.lock().await.write_all(&last_words).await;
    let _ = writing.lock().await.shutdown().await;
    let _ = reports.ended.send(());
}

impl Book {
    /// What a subscriber is told first.
    /// What a subscriber is told first.
    fn updates(&self) -> Option<BytesMut> {
        let mut filter = NameFilter::new(0);
        self.announced.as_ref()?.iter().for_each(|name| filter.insert(*name));
        let mut updates = BytesMut::new();
        let features = Features { interest: true, ..Features::default() };
        let welcome = PingBody::Welcome { features, pairing: None };
        Command::Ping(welcome.encode()).encode(&mut updates);
        let filter = filter.to_bytes();
        InterestUpdate::filter(1, &filter).for_each(|piece| Command::Interest(piece).encode(&mut updates));
        Some(updates)
    }

    /// Lets a command take effect; the answer, if it is a question.
    fn take(&mut self, command: &Command) -> Option<Vec<u8>> {
        match command {
            Command::SetSession { connection_id, session } => {
                self.sessions.insert(*connection_id, session.clone());
            }
            Command::UpdateSession { connection_id, session } => {
                let stored = self.sessions.entry(*connection_id).or_default();
                *stored = php::merge_sessions(stored, session, usize::MAX).unwrap().into();
            }
            Command::JoinGroup { connection_id, group } => {
                self.groups.entry(group.clone()).or_default().push(*connection_id);
            }
            Command::Ask(question) => {
                let answer = match &mut self.answerer {
                    Some(answerer) => answerer(question),
                    None => Some(self.answer(question)),
                };
                if answer.is_none() {
                    self.unanswered.push(question.clone());
                }
                return answer;
            }
            _ => {}
        }
        None
    }

    fn answer(&self, question: &Question) -> Vec<u8> {
        let value: Value = match question {
            Question::Session(id) => match self.sessions.get(id) {
                Some(session) if session.is_empty() => return b"a:0:{}".to_vec(),
                Some(session) => return session.to_vec(),
                None => Value::Null,
            },
            Question::IsOnline(id) => i64::from(self.sessions.contains_key(id)).into(),
            Question::Select(Some(select)) => {
                let [Filter::Groups(groups)] = &*select.filters else { return b"a:0:{}".to_vec() };
                let members = groups.iter().filter_map(|group| self.groups.get(group)).flatten();
                members.map(|id| (*id, Array::from_iter([("uid", Value::Null)]))).collect::<Array>().into()
            }
            Question::GroupIds => Array::list(self.groups.keys().map(|g| &g[..])).into(),
            Question::Count(_) => Value::Int(self.sessions.len() as i64),
            other => panic!("the fake gateway cannot answer {other:?}"),
        };
        php::serialize(&value)
    }
}

/// A list of addresses, as a register would say it.
pub fn listed(gateways: &[SocketAddrV4]) -> (watch::Sender<Vec<String>>, watch::Receiver<Vec<String>>) {
    watch::channel(gateways.iter().map(ToString::to_string).collect())
}

/// A register that lists these gateways to whoever asks. Its address.
pub async fn register(gateways: &[SocketAddrV4]) -> (String, AbortOnDropHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let gateways: Vec<_> = gateways.iter().map(ToString::to_string).collect();
    let list =
        gatewayworker_protocol::register::Message::BroadcastAddresses { addresses: gateways, complete: true };
    let line = list.to_line();
    let accepting = tokio::spawn(async move {
        let mut peers = Vec::new();
        while let Ok((mut peer, _)) = listener.accept().await {
            peer.write_all(line.as_bytes()).await.unwrap();
            peers.push(peer);
        }
    });
    (address, AbortOnDropHandle::new(accepting))
}
