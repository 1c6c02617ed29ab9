//! Connections that the gateway ends: the last messages and the close code arrive.

use std::time::{Duration, Instant};

use gatewayworker::{ClientId, CloseReason};
use gatewayworker_tests::conformance::{BINARY, CLOSE, FIN, TEXT, client_frame};
use gatewayworker_tests::tls::Certificate;
use gatewayworker_tests::{Cluster, WsClient, soon};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

/// How long a client may take until it reads its close frame.
const LATE: Duration = Duration::from_millis(300);

/// How long a gateway waits for the answer to its close frame.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// A handshake that the application refuses.
const REFUSED_UPGRADE: &[u8] =
    b"GET /?refuse=no HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// Reads frames that are shorter than 126 bytes, up to a close frame, whose code is returned.
async fn read_close(stream: &mut (impl AsyncRead + Unpin)) -> u16 {
    loop {
        let mut header = [0; 2];
        soon("a frame", stream.read_exact(&mut header)).await.expect("a frame before the end");
        let mut payload = vec![0; header[1].into()];
        soon("its payload", stream.read_exact(&mut payload)).await.unwrap();
        if header[0] == 0x88 {
            return u16::from_be_bytes([payload[0], payload[1]]);
        }
    }
}

/// Checks that a client is closed with this code, and that TCP does not end before it has
/// answered.
async fn is_closed(mut stream: impl AsyncRead + AsyncWrite + Unpin, code: u16, what: &str) {
    assert_eq!(read_close(&mut stream).await, code, "{what}");
    let read = timeout(LATE, stream.read(&mut [0])).await;
    assert!(read.is_err(), "{what}: the connection ends before the client has closed: {read:?}");
    stream.write_all(&client_frame(FIN | CLOSE, &code.to_be_bytes())).await.unwrap();
    assert_eq!(soon("the end", stream.read(&mut [0])).await.unwrap(), 0, "{what}");
}

/// A stream of either kind.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

struct Listeners {
    cluster: Cluster,
    certificate: Certificate,
}

impl Listeners {
    async fn start() -> Self {
        let certificate = Certificate::default();
        let cluster = Cluster::builder()
            .listen(&certificate.listeners())
            .gateway(|config| config.max_message_bytes = 1000)
            .start()
            .await;
        Self { cluster, certificate }
    }

    /// A connection over TCP, and one over TLS.
    async fn connect(&self) -> [Box<dyn Stream>; 2] {
        let listeners = &self.cluster.gateways[0].listeners;
        let plain = soon("a connection", TcpStream::connect(listeners[0])).await.unwrap();
        [Box::new(plain), Box::new(self.certificate.connect(listeners[1]).await)]
    }

    /// Clients over both that have been greeted.
    async fn greeted(&self) -> Vec<(Box<dyn Stream>, ClientId)> {
        let mut clients = Vec::new();
        for stream in self.connect().await {
            let (client, id) = WsClient::greeted_over(stream).await;
            clients.push((client.into_inner(), id));
        }
        clients
    }
}

#[tokio::test]
async fn a_client_that_reads_late_finds_the_code_that_the_application_closed_it_with() {
    let listeners = Listeners::start().await;
    let api = listeners.cluster.api().await;
    for (stream, id) in listeners.greeted().await {
        api.close_client(id).await.unwrap();
        is_closed(stream, 1000, "closed").await;
    }
    for (stream, id) in listeners.greeted().await {
        api.close_client(id).last_message("the end").await.unwrap();
        is_closed(stream, 1000, "closed with a message").await;
    }
    for mut stream in listeners.connect().await {
        // By hand: a client library may have read the close frame together with the handshake's answer.
        stream.write_all(REFUSED_UPGRADE).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(soon("an answer", stream.read_u8()).await.unwrap());
        }
        is_closed(stream, 1008, "refused").await;
    }
}

#[tokio::test]
async fn a_client_that_reads_late_finds_the_code_of_its_failure() {
    let listeners = Listeners::start().await;
    for (what, bytes, code) in [
        ("a frame without a mask", b"\x81\x02hi".to_vec(), 1002),
        ("what is not UTF-8", client_frame(FIN | TEXT, b"\xff"), 1007),
        ("a message over the limit", client_frame(FIN | BINARY, &[0; 1001]), 1009),
        ("a message far over the limit", client_frame(FIN | BINARY, &[0; 1_000_000]), 1009),
    ] {
        for (mut stream, _) in listeners.greeted().await {
            stream.write_all(&bytes).await.unwrap();
            is_closed(stream, code, what).await;
        }
    }
}

#[tokio::test]
async fn a_client_whose_close_frame_is_invalid_is_answered_and_not_waited_for() {
    let listeners = Listeners::start().await;
    for (what, bytes, code) in [
        ("half a code", client_frame(FIN | CLOSE, b"\x03"), 1002),
        ("a code that may not be sent", client_frame(FIN | CLOSE, &1005_u16.to_be_bytes()), 1002),
        ("a reason that is not UTF-8", client_frame(FIN | CLOSE, b"\x03\xe8\xff"), 1007),
    ] {
        for (mut stream, id) in listeners.greeted().await {
            let began = Instant::now();
            stream.write_all(&bytes).await.unwrap();
            assert_eq!(read_close(&mut stream).await, code, "{what}");
            assert_eq!(soon("the end", stream.read(&mut [0])).await.unwrap(), 0, "{what}");
            assert!(began.elapsed() < ANSWER_LIMIT, "{what}: the gateway waited for another close frame");
            let closed = listeners.cluster.events().next_close().await;
            assert_eq!(closed, (id, CloseReason::ProtocolError), "{what}");
        }
    }
}

#[tokio::test]
async fn a_client_that_reads_late_finds_the_code_of_a_stopping_gateway() {
    let mut listeners = Listeners::start().await;
    let clients = listeners.greeted().await;
    let reading = async {
        for (stream, _) in clients {
            is_closed(stream, 1001, "stopping").await;
        }
    };
    tokio::join!(listeners.cluster.gateways[0].stop(), reading);
}

#[tokio::test]
async fn a_slow_consumer_gets_whole_messages_and_then_its_close_code() {
    let listeners = Listeners::start().await;
    let api = listeners.cluster.api().await;
    for stream in listeners.connect().await {
        let (mut client, id) = WsClient::greeted_over(stream).await;
        let closed = listeners.cluster.events().next_close();
        tokio::pin!(closed);
        let mut sent = 0_usize;
        let reason = loop {
            assert!(sent < 2000, "120 MB wait for a client that reads nothing");
            api.send_to_client(id, format!("{sent:060000}")).await.unwrap();
            // Bytes that the gateway no longer reads must not reset the connection.
            client.send("still here").await;
            sent += 1;
            tokio::select! {
                biased;
                closed = &mut closed => break closed,
                () = tokio::task::yield_now() => {}
            }
        };
        assert_eq!(reason, (id, CloseReason::SlowConsumer));
        let mut next = 0;
        let code = loop {
            match client.next().await {
                Some(Message::Text(text)) if text.len() == 60_000 => {
                    assert_eq!(text.parse::<usize>().unwrap(), next);
                    next += 1;
                }
                // An echo of what it has said.
                Some(Message::Text(text)) => assert_eq!(text, "still here"),
                Some(Message::Close(Some(frame))) => break u16::from(frame.code),
                other => panic!("{other:?} after {next} of {sent} messages"),
            }
        };
        assert_eq!(code, 1008);
        assert!(next > 5, "{next} of {sent} messages");
    }
}
