//! The inner port of a whole gateway, with peers that behave badly: that break off, that do not read,
//! that have no key.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::net::{SocketAddr, SocketAddrV4};
use std::time::Duration;

use bytes::BytesMut;
use gatewayworker_gateway::{BoundListeners, Config, serve};
use gatewayworker_protocol::php::{self, Value};
use gatewayworker_protocol::{Command, Frame, Hello, MAX_FRAME_LEN, Question, SecretKey, parse_answer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// A gateway on free ports, without a register.
struct Gateway {
    listener: SocketAddr,
    inner: SocketAddrV4,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

async fn gateway(change: impl FnOnce(&mut Config)) -> Gateway {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let inner = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let SocketAddr::V4(inner_address) = inner.local_addr().unwrap() else { unreachable!() };
    let listener = socket.local_addr().unwrap();
    // No register listens there.
    let config = Config::default().with_shards(2).with_register_address(["127.0.0.1:1"]);
    let mut config = config.with_lan_port(inner_address.port());
    change(&mut config);
    let shutdown = CancellationToken::new();
    let token = shutdown.clone();
    // Its future is not `Send`.
    let (end, ended) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let listeners = BoundListeners { clients: vec![socket], inner };
        runtime.block_on(serve(listeners, config, token)).unwrap();
        let _ = end.send(());
    });
    let task = tokio::spawn(async { ended.await.unwrap() });
    Gateway { listener, inner: inner_address, shutdown, task }
}

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future)
        .await
        .unwrap_or_else(|_| panic!("no {what} within 20 s"))
}

/// A connection to the inner port.
struct Peer {
    stream: TcpStream,
    buffer: BytesMut,
}

impl Peer {
    async fn connect(gateway: &Gateway) -> Self {
        Self { stream: TcpStream::connect(gateway.inner).await.unwrap(), buffer: BytesMut::new() }
    }

    async fn worker(gateway: &Gateway, name: &str) -> Self {
        let mut peer = Self::connect(gateway).await;
        peer.send([Command::WorkerConnect(hello(name, ""))]).await;
        peer
    }

    async fn send(&mut self, commands: impl IntoIterator<Item = Command>) {
        let mut out = BytesMut::new();
        commands.into_iter().for_each(|command| command.encode(&mut out));
        self.stream.write_all(&out).await.unwrap();
    }

    /// Returns the next frame, or `None` at the end of the connection.
    async fn command(&mut self) -> std::io::Result<Option<Command>> {
        loop {
            if let Some(frame) = Frame::parse(&mut self.buffer, MAX_FRAME_LEN).unwrap() {
                return Ok(Some(Command::decode(frame).unwrap()));
            }
            if soon("a frame", self.stream.read_buf(&mut self.buffer)).await? == 0 {
                return Ok(None);
            }
        }
    }

    async fn ask(&mut self, question: Question) -> Value {
        self.send([Command::Ask(question)]).await;
        loop {
            if let Some(answer) = parse_answer(&mut self.buffer, usize::MAX).unwrap() {
                return php::unserialize(&answer).unwrap();
            }
            let read = soon("an answer", self.stream.read_buf(&mut self.buffer)).await.unwrap();
            assert!(read > 0, "the end instead of an answer");
        }
    }
}

fn hello(worker_key: &str, secret_key: &str) -> Hello {
    Hello {
        worker_key: Some(worker_key.into()),
        secret_key: Some(SecretKey::new(secret_key)),
        features: None,
        process: None,
    }
}

/// Returns a client after its handshake.
async fn client(gateway: &Gateway) -> TcpStream {
    let mut stream = TcpStream::connect(gateway.listener).await.unwrap();
    let request = b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(soon("the answer", stream.read_u8()).await.unwrap());
    }
    assert!(answer.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&answer));
    stream
}

/// Returns the connection id of the next ON_CONNECT.
async fn connected(worker: &mut Peer) -> u32 {
    loop {
        if let Command::OnConnect { origin, .. } = worker.command().await.unwrap().expect("an event") {
            return origin.connection_id;
        }
    }
}

/// A frame of binary zeros, masked with zeros.
fn message(len: u16) -> Vec<u8> {
    let mut frame = vec![0x82, 0xfe];
    frame.extend(len.to_be_bytes());
    frame.resize(frame.len() + 4 + usize::from(len), 0);
    frame
}

/// Sends messages until the gateway reads no more.
async fn flood(client: &mut TcpStream) {
    let frame = message(60_000);
    while tokio::time::timeout(Duration::from_millis(100), client.write_all(&frame)).await.is_ok() {}
}

#[tokio::test]
async fn commands_that_a_worker_sent_before_it_broke_off_take_effect() {
    let gateway = gateway(|config| config.link_outbox_bytes = 100_000).await;
    let mut asker = Peer::connect(&gateway).await;
    for round in 0..8 {
        let mut worker = Peer::worker(&gateway, &format!("W:{round}")).await;
        // The messages of the last round's client go to this worker first.
        let (mut client, connection_id) = tokio::join!(client(&gateway), connected(&mut worker));
        flood(&mut client).await;
        let join = |n| Command::JoinGroup { connection_id, group: format!("{n} of {round}").into() };
        worker.send((0..1000).map(join)).await;
        // It has unread events, which resets the connection.
        drop(worker);
        let last = Question::Count(Some(format!("999 of {round}").into()));
        let is_member = async {
            while asker.ask(last.clone()).await.as_int() != Some(1) {
                tokio::task::yield_now().await;
            }
        };
        soon("member of the last group", is_member).await;
    }
}

#[tokio::test]
async fn a_gateway_that_stops_sends_every_close_to_a_worker_that_sends_meanwhile() {
    let gateway = gateway(|_| ()).await;
    let mut worker = Peer::worker(&gateway, "W:0").await;
    let mut client = client(&gateway).await;
    let connection_id = connected(&mut worker).await;
    // So much that the close does not arrive before the worker reads again.
    flood(&mut client).await;
    gateway.shutdown.cancel();
    let mut end = Vec::new();
    soon("end of the client", client.read_to_end(&mut end)).await.unwrap_or_default();
    let mut last = None;
    while let Some(command) = worker.command().await.expect("no reset") {
        last = Some(command);
        let command = Command::UnbindUid { connection_id, uid: "u".into() };
        let mut out = BytesMut::new();
        command.encode(&mut out);
        let _ = worker.stream.try_write(&out);
    }
    assert!(matches!(last, Some(Command::OnClose { .. })), "{last:?}");
    drop(worker);
    soon("end of the gateway", gateway.task).await.unwrap();
}

#[tokio::test]
async fn only_a_peer_with_the_key_may_send_long_frames() {
    let gateway = gateway(|config| config.secret_key = SecretKey::new("right")).await;
    let mut stranger = Peer::connect(&gateway).await;
    // The length of a frame that a peer with the key may send.
    stranger.stream.write_all(&(1_u32 << 20).to_be_bytes()).await.unwrap();
    let end = tokio::time::timeout(Duration::from_secs(5), stranger.command()).await;
    assert!(end.expect("the end at the length, not at the time limit").unwrap().is_none());
    let mut known = Peer::connect(&gateway).await;
    let large = Command::SetSession { connection_id: 1, session: vec![b'x'; 1 << 20].into() };
    known.send([Command::ClientConnect(hello("", "right")), large]).await;
    assert_eq!(known.ask(Question::Count(None)).await.as_int(), Some(0));
}
