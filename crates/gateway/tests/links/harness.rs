//! A gateway on free ports, clients, and peers at its inner port that say what a test lets them say.

use std::net::{SocketAddr, SocketAddrV4};
use std::time::Duration;

use bytes::BytesMut;
use gatewayworker_gateway::protocol::{Decoded, Input, Violation};
use gatewayworker_gateway::{BoundListeners, Config, ListenerConfig, Protocol, Protocols, serve};
use gatewayworker_protocol::php::{self, Value};
use gatewayworker_protocol::{Command, Frame, Hello, MAX_FRAME_LEN, Question, SecretKey, parse_answer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// A gateway on free ports, without a register.
pub(crate) struct Gateway {
    pub(crate) listener: SocketAddr,
    hold: SocketAddr,
    pub(crate) inner: SocketAddrV4,
    pub(crate) shutdown: CancellationToken,
    pub(crate) task: JoinHandle<()>,
}

/// A protocol whose messages hold a thread of the gateway up, each for as many milliseconds as its
/// four bytes say.
struct Hold;

impl Protocol for Hold {
    fn decode<'b>(&self, input: Input<'b>) -> Result<Decoded<'b>, Violation> {
        let Some(millis) = input.first_chunk() else { return Ok(Decoded::Incomplete(4)) };
        std::thread::sleep(Duration::from_millis(u32::from_be_bytes(*millis).into()));
        Ok(Decoded::Nothing(4))
    }

    fn encode(&self, _: &[u8], _: &mut Vec<u8>) {}
}

impl Gateway {
    /// Holds a thread of the gateway up for so long, and returns the client that does it.
    pub(crate) async fn hold_up(&self, time: Duration) -> TcpStream {
        let mut client = TcpStream::connect(self.hold).await.unwrap();
        client.write_u32(time.as_millis() as u32).await.unwrap();
        client
    }
}

/// Returns a gateway with two shards, with the changes of its configuration.
pub(crate) async fn gateway(change: impl FnOnce(&mut Config)) -> Gateway {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let held = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let inner = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let SocketAddr::V4(inner_address) = inner.local_addr().unwrap() else { unreachable!() };
    let listener = socket.local_addr().unwrap();
    let hold = held.local_addr().unwrap();
    let urls = ["websocket://127.0.0.1:0", "hold://127.0.0.1:0"];
    let listen = urls.map(|url| ListenerConfig::new(url.parse().unwrap()));
    let protocols = Protocols::default().with("hold", Hold);
    // No register listens there.
    let config = Config::default().with_shards(2).with_register_address(["127.0.0.1:1"]);
    let mut config = config.with_lan_port(inner_address.port()).with_listen(listen).with_protocols(protocols);
    change(&mut config);
    let shutdown = CancellationToken::new();
    let token = shutdown.clone();
    // Its future is not `Send`.
    let (end, ended) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let listeners = BoundListeners { clients: vec![socket, held], inner };
        runtime.block_on(serve(listeners, config, token)).unwrap();
        let _ = end.send(());
    });
    let task = tokio::spawn(async { ended.await.unwrap() });
    Gateway { listener, hold, inner: inner_address, shutdown, task }
}

pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future)
        .await
        .unwrap_or_else(|_| panic!("no {what} within 20 s"))
}

/// A connection to the inner port.
pub(crate) struct Peer {
    pub(crate) stream: TcpStream,
    pub(crate) buffer: BytesMut,
}

impl Peer {
    pub(crate) async fn connect(gateway: &Gateway) -> Self {
        let stream = TcpStream::connect(gateway.inner).await.unwrap();
        // What is sent arrives at once.
        stream.set_nodelay(true).unwrap();
        Self { stream, buffer: BytesMut::new() }
    }

    pub(crate) async fn worker(gateway: &Gateway, name: &str) -> Self {
        let mut peer = Self::connect(gateway).await;
        peer.send([Command::WorkerConnect(hello(name, ""))]).await;
        peer
    }

    pub(crate) async fn send(&mut self, commands: impl IntoIterator<Item = Command>) {
        let mut out = BytesMut::new();
        commands.into_iter().for_each(|command| command.encode(&mut out));
        self.stream.write_all(&out).await.unwrap();
    }

    /// Returns the next command, or `None` at the end of the connection.
    pub(crate) async fn command(&mut self) -> std::io::Result<Option<Command>> {
        Ok(self.frame().await?.map(|frame| Command::decode(frame).unwrap()))
    }

    /// Returns the next frame, or `None` at the end of the connection.
    pub(crate) async fn frame(&mut self) -> std::io::Result<Option<Frame>> {
        loop {
            if let Some(frame) = Frame::parse(&mut self.buffer, MAX_FRAME_LEN).unwrap() {
                return Ok(Some(frame));
            }
            if soon("a frame", self.stream.read_buf(&mut self.buffer)).await? == 0 {
                return Ok(None);
            }
        }
    }

    pub(crate) async fn ask(&mut self, question: Question) -> Value {
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

pub(crate) fn hello(worker_key: &str, secret_key: &str) -> Hello {
    Hello {
        worker_key: Some(worker_key.into()),
        secret_key: Some(SecretKey::new(secret_key)),
        features: None,
        process: None,
    }
}

/// Returns a client after its handshake.
pub(crate) async fn client(gateway: &Gateway) -> TcpStream {
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
pub(crate) async fn connected(worker: &mut Peer) -> u32 {
    loop {
        if let Command::OnConnect { origin, .. } = worker.command().await.unwrap().expect("an event") {
            return origin.connection_id;
        }
    }
}

/// A frame of binary zeros, masked with zeros.
pub(crate) fn message(len: u16) -> Vec<u8> {
    let mut frame = vec![0x82, 0xfe];
    frame.extend(len.to_be_bytes());
    frame.resize(frame.len() + 4 + usize::from(len), 0);
    frame
}

/// Sends messages until the gateway reads no more.
pub(crate) async fn flood(client: &mut TcpStream) {
    let frame = message(60_000);
    while tokio::time::timeout(Duration::from_millis(100), client.write_all(&frame)).await.is_ok() {}
}

/// Returns whether the gateway says at `/health` that it can serve.
pub(crate) async fn is_healthy(gateway: &Gateway) -> bool {
    let mut stream = TcpStream::connect(gateway.listener).await.unwrap();
    stream.write_all(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    soon("answer", stream.read_to_string(&mut answer)).await.unwrap();
    answer.starts_with("HTTP/1.1 200 ")
}

/// Says these messages, which are short.
pub(crate) async fn say(client: &mut TcpStream, messages: impl IntoIterator<Item = String>) {
    let mut frames = Vec::new();
    for message in messages {
        frames.extend([0x81, 0x80 | message.len() as u8, 0, 0, 0, 0]);
        frames.extend(message.as_bytes());
    }
    client.write_all(&frames).await.unwrap();
}

/// Returns the code with which the gateway closes a client.
pub(crate) async fn close_code(client: &mut TcpStream) -> u16 {
    loop {
        let mut header = [0; 2];
        soon("close frame", client.read_exact(&mut header)).await.unwrap();
        let mut payload = vec![0; header[1].into()];
        client.read_exact(&mut payload).await.unwrap();
        if header[0] == 0x88 {
            return u16::from_be_bytes([payload[0], payload[1]]);
        }
    }
}
