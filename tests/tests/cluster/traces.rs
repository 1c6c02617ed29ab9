//! Traces: an operator reads along what one client says and is sent.

use std::time::Duration;

use bytes::BytesMut;
use gatewayworker::client::inspect::{
    Direction, FrameKind, InspectAnswer, InspectError, InspectRequest, Inspector, Trace, TraceLine,
    TraceOptions, TracedFrame,
};
use gatewayworker::{ClientId, SecretKey};
use gatewayworker_protocol::{Command, Hello, Question, parse_answer};
use gatewayworker_tests::{Cluster, TcpClient, WsClient, eventually, soon};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_tungstenite::tungstenite::Message;

const LIMIT: Duration = Duration::from_secs(10);

fn inspector(cluster: &Cluster) -> Inspector {
    Inspector::builder([cluster.register.to_string()]).timeout(LIMIT).connect()
}

fn all() -> TraceOptions {
    TraceOptions::default().with_payloads(true)
}

async fn next(trace: &mut Trace) -> TraceLine {
    soon("a line", trace.next()).await.expect("a line").expect("a trace that goes on")
}

/// The next line in short: `in text hi`.
async fn words(trace: &mut Trace) -> String {
    match next(trace).await {
        TraceLine::Frame(frame) => frame_words(&frame),
        TraceLine::Missed { missed } => format!("missed {missed}"),
        TraceLine::End { end } => end,
        other => panic!("{other:?}"),
    }
}

fn frame_words(frame: &TracedFrame) -> String {
    let way = if frame.direction == Direction::In { "in" } else { "out" };
    let code = frame.code.map(|code| format!(" {code}")).unwrap_or_default();
    let payload = frame.preview.payload.clone().or(frame.preview.payload_base64.clone()).unwrap_or_default();
    format!("{way} {}{code} {payload}", frame.kind.as_str())
}

#[tokio::test]
async fn a_trace_shows_what_a_client_says_and_is_sent_until_it_leaves() {
    let cluster = Cluster::start().await;
    let (mut client, id) = WsClient::greeted(cluster.listener()).await;
    let mut trace = soon("the trace", inspector(&cluster).trace(id, all())).await.unwrap();
    assert_eq!(trace.gateway(), cluster.gateways[0].inner.to_string());
    client.send("hi").await;
    assert_eq!([words(&mut trace).await, words(&mut trace).await], ["in text hi", "out text hi"]);
    client.send_message(Message::binary(vec![0xff])).await;
    assert_eq!([words(&mut trace).await, words(&mut trace).await], ["in binary /w==", "out binary /w=="]);
    client.send_message(Message::Ping("p".into())).await;
    assert_eq!([words(&mut trace).await, words(&mut trace).await], ["in ping p", "out pong p"]);
    client.close().await;
    let last = [words(&mut trace).await, words(&mut trace).await, words(&mut trace).await];
    assert_eq!(last, ["in close ", "out close ", "client closed: client-left"]);
    assert!(soon("the end", trace.next()).await.is_none());
}

#[tokio::test]
async fn without_payloads_a_trace_shows_lengths_alone() {
    let cluster = Cluster::start().await;
    let (mut client, id) = WsClient::greeted(cluster.listener()).await;
    let mut trace = inspector(&cluster).trace(id, TraceOptions::default()).await.unwrap();
    client.send("secret").await;
    let TraceLine::Frame(frame) = next(&mut trace).await else { panic!("no frame") };
    assert_eq!((frame.kind, frame.bytes, frame.preview.payload), (FrameKind::Text, 6, None));
    assert!(frame.at_ms > 1_600_000_000_000, "{}", frame.at_ms);
}

#[tokio::test]
async fn the_messages_of_a_listener_for_lines_are_traced() {
    let listen = r#"listen = ["websocket://0.0.0.0:0", "text://0.0.0.0:0"]"#;
    let cluster = Cluster::builder().listen(listen).start().await;
    let mut client = TcpClient::connect(cluster.gateways[0].listeners[1]).await;
    let id: ClientId = client.line().await.trim().parse().unwrap();
    let mut trace = inspector(&cluster).trace(id, all()).await.unwrap();
    client.send(b"hi\n").await;
    assert_eq!([words(&mut trace).await, words(&mut trace).await], ["in message hi", "out message hi"]);
    drop(client);
    assert_eq!(words(&mut trace).await, "client closed: client-left");
}

#[tokio::test]
async fn a_trace_ends_with_the_kick_of_the_client_and_with_the_stop_of_the_gateway() {
    let mut cluster = Cluster::start().await;
    let (api, inspector) = (cluster.api().await, inspector(&cluster));
    let (_kicked, id) = WsClient::greeted(cluster.listener()).await;
    let mut trace = inspector.trace(id, all()).await.unwrap();
    api.close_client(id).last_message("go").await.unwrap();
    let last = [words(&mut trace).await, words(&mut trace).await, words(&mut trace).await];
    assert_eq!(last, ["out text go", "out close 1000 ", "client closed: kicked"]);

    let (_client, id) = WsClient::greeted(cluster.listener()).await;
    let mut trace = inspector.trace(id, all()).await.unwrap();
    cluster.gateways[0].stop().await;
    assert_eq!(words(&mut trace).await, "out close 1001 the gateway stops");
    assert_eq!(words(&mut trace).await, "client closed: shutdown");
}

#[tokio::test]
async fn a_trace_is_over_when_its_time_is() {
    let cluster = Cluster::start().await;
    let (_client, id) = WsClient::greeted(cluster.listener()).await;
    let mut trace = inspector(&cluster).trace(id, all().with_seconds(0)).await.unwrap();
    assert_eq!(words(&mut trace).await, "time is over", "a second is the least");
    assert!(soon("the end", trace.next()).await.is_none());
}

#[tokio::test]
async fn ten_clients_are_traced_at_once_and_an_eleventh_when_one_trace_has_ended() {
    let cluster = Cluster::start().await;
    let inspector = inspector(&cluster);
    let mut crowd = Vec::new();
    for _ in 0..10 {
        let (client, id) = WsClient::greeted(cluster.listener()).await;
        let trace = inspector.trace(id, all()).await.unwrap();
        crowd.push((client, id, trace));
    }
    for (client, id, _) in &mut crowd {
        client.send(&id.to_string()).await;
    }
    for (_, id, trace) in &mut crowd {
        assert_eq!(words(trace).await, format!("in text {id}"));
        assert_eq!(words(trace).await, format!("out text {id}"));
    }
    let id = crowd[0].1;
    let error = inspector.trace(id, all()).await.unwrap_err();
    let refused = matches!(&error, InspectError::Refused { why, .. } if why.contains("10 traces already"));
    assert!(refused, "{error}");
    drop(crowd.pop());
    eventually("room for another", async || inspector.trace(id, all()).await.is_ok()).await;
}

#[tokio::test]
async fn a_client_that_is_not_there_cannot_be_traced() {
    let cluster = Cluster::start().await;
    let inspector = inspector(&cluster);
    let nobody = ClientId::new(cluster.gateways[0].inner, 1);
    let error = inspector.trace(nobody, all()).await.unwrap_err();
    let refused = matches!(&error, InspectError::Refused { why, .. } if why == "the client is not connected");
    assert!(refused, "{error}");
    let request = InspectRequest::Trace { id: "nobody".into(), payloads: true, seconds: 1 };
    let gateway = cluster.gateways[0].inner.to_string();
    let error = soon("an answer", inspector.ask_one(&gateway, &request)).await.unwrap_err();
    let refused = matches!(&error, InspectError::Refused { why, .. } if why.contains("is no client id"));
    assert!(refused, "{error}");
}

#[tokio::test]
async fn without_the_key_and_by_a_php_gateway_nothing_is_traced() {
    let cluster = Cluster::builder().secret_key("k").start().await;
    let (_client, id) = WsClient::greeted(cluster.listener()).await;
    let stranger =
        Inspector::builder([cluster.register.to_string()]).secret_key(SecretKey::new("x")).connect();
    let error = soon("a refusal", stranger.trace(id, all())).await.unwrap_err();
    assert!(matches!(error, InspectError::Closed { .. }), "{error}");

    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let std::net::SocketAddr::V4(address) = silent.local_addr().unwrap() else { panic!("IPv4") };
    let hasty = Inspector::builder([cluster.register.to_string()]).timeout(Duration::from_millis(300));
    let trace = hasty.connect();
    let error = soon("the time limit", trace.trace(ClientId::new(address, 1), all())).await.unwrap_err();
    assert!(matches!(error, InspectError::NoAnswer { .. }), "{error}");
}

/// Asks for a trace on a connection with a small receive buffer, and reads the sign that it has begun.
async fn ask_without_reading(cluster: &Cluster, id: ClientId, seconds: u32) -> (TcpStream, BytesMut) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stream = socket.connect(cluster.gateways[0].inner.into()).await.unwrap();
    let mut question = BytesMut::new();
    let request = InspectRequest::Trace { id: id.to_string(), payloads: true, seconds };
    Command::Ask(Question::Inspect(request)).encode(&mut question);
    stream.write_all(&question).await.unwrap();
    let mut begun = [1; 4];
    soon("the first answer", stream.read_exact(&mut begun)).await.unwrap();
    assert_eq!(begun, [0; 4]);
    (stream, BytesMut::new())
}

async fn read_line(stream: &mut TcpStream, buffer: &mut BytesMut) -> Option<TraceLine> {
    loop {
        if let Some(answer) = parse_answer(buffer, 1 << 20).unwrap() {
            if answer.is_empty() {
                continue;
            }
            let Some(InspectAnswer::Trace(line)) = InspectAnswer::from_json(&answer) else { panic!() };
            return Some(line);
        }
        if soon("a line", stream.read_buf(buffer)).await.unwrap() == 0 {
            return None;
        }
    }
}

#[tokio::test]
async fn an_operator_that_does_not_read_misses_lines_and_holds_nobody_up() {
    let cluster = Cluster::start().await;
    let api = cluster.api().await;
    let (mut client, id) = WsClient::greeted(cluster.listener()).await;
    let (mut operator, mut buffer) = ask_without_reading(&cluster, id, 300).await;
    let message = "x".repeat(8000);
    const SENT: u64 = 3000;
    for n in 0..SENT {
        api.send_to_client(id, message.clone()).await.unwrap();
        if n % 50 == 49 {
            // The client reads, and is not held up by the operator, who does not.
            for _ in 0..50 {
                assert_eq!(client.text().await.len(), 8000);
            }
        }
    }
    let (mut seen, mut missed, mut gaps) = (0, 0, 0);
    while seen + missed < SENT {
        match read_line(&mut operator, &mut buffer).await.expect("a line") {
            TraceLine::Frame(frame) => {
                assert!(frame.preview.cut && frame.bytes == 8000, "{frame:?}");
                seen += 1;
            }
            TraceLine::Missed { missed: more } => {
                missed += more;
                gaps += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(missed > 0 && gaps < 10 && seen + missed == SENT, "{seen} seen, {missed} missed in {gaps} gaps");
    client.send("now").await;
    assert_eq!(client.text().await, "now");
    let line = read_line(&mut operator, &mut buffer).await;
    assert!(matches!(line, Some(TraceLine::Frame(frame)) if frame_words(&frame) == "in text now"));
}

#[tokio::test]
async fn the_time_of_an_operator_that_does_not_read_is_over_as_well() {
    let cluster = Cluster::start().await;
    let api = cluster.api().await;
    let (mut client, id) = WsClient::greeted(cluster.listener()).await;
    let (mut operator, mut buffer) = ask_without_reading(&cluster, id, 1).await;
    let inspector = inspector(&cluster);
    let mut others = Vec::new();
    for _ in 0..9 {
        others.push(inspector.trace(id, TraceOptions::default()).await.unwrap());
    }
    assert!(inspector.trace(id, all()).await.is_err(), "ten traces");
    for _ in 0..200 {
        api.send_to_client(id, "x".repeat(8000)).await.unwrap();
        client.text().await;
    }
    eventually("the end of the first trace", async || inspector.trace(id, all()).await.is_ok()).await;
    let mut last = None;
    while let Some(line) = read_line(&mut operator, &mut buffer).await {
        last = Some(line);
    }
    assert_eq!(last, Some(TraceLine::End { end: "time is over".into() }));
}

#[tokio::test]
async fn a_worker_cannot_trace_on_its_own_link() {
    let cluster = Cluster::builder().workers(0).start().await;
    let mut worker = gatewayworker_tests::RawPeer::connect(cluster.gateways[0].inner).await;
    let hello = Hello {
        worker_key: Some("php:0".into()),
        secret_key: Some(SecretKey::default()),
        features: None,
        process: None,
    };
    worker.send(Command::WorkerConnect(hello)).await;
    let request = InspectRequest::Trace {
        id: format!("{}", ClientId::new(cluster.gateways[0].inner, 1)),
        payloads: false,
        seconds: 1,
    };
    worker.send(Command::Ask(Question::Inspect(request))).await;
    let answer = worker.answer().await;
    assert!(String::from_utf8_lossy(&answer).contains("connection of its own"), "{answer:?}");
}

/// Connects a client by hand, and returns it with its id: it can write many frames at once.
async fn by_hand(cluster: &Cluster) -> (TcpStream, ClientId) {
    let mut stream = TcpStream::connect(cluster.listener()).await.unwrap();
    let request = "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut read = Vec::new();
    let greeting = loop {
        assert!(soon("the greeting", stream.read_buf(&mut read)).await.unwrap() > 0);
        if let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n")
            && let [0x81, len, text @ ..] = &read[end + 4..]
            && text.len() >= usize::from(*len)
        {
            break String::from_utf8(text[..usize::from(*len)].to_vec()).unwrap();
        }
    };
    let id = greeting.split_whitespace().find_map(|word| word.parse().ok());
    (stream, id.expect("a client id in the greeting"))
}

#[tokio::test]
async fn a_trace_that_ends_in_a_flood_of_pings_ends_alone() {
    let cluster = Cluster::start().await;
    let inspector = inspector(&cluster);
    let (mut flooding, id) = by_hand(&cluster).await;
    // Empty, masked pings: one read of the gateway has thousands.
    let flood = b"\x89\x80\0\0\0\0".repeat(40_000);
    for _ in 0..10 {
        let trace = soon("the trace", inspector.trace(id, all())).await.unwrap();
        let (mut reading, mut writing) = flooding.split();
        let mut answers = vec![0; 1 << 16];
        let writing = async {
            writing.write_all(&flood).await.unwrap();
            writing.write_all(b"\x81\x82\0\0\0\0hi").await.unwrap();
        };
        let reading = async {
            // The echo is the last of what it gets.
            loop {
                let len = reading.read(&mut answers).await.unwrap();
                assert!(len > 0, "the gateway has ended");
                if answers[..len].ends_with(b"hi") {
                    return;
                }
            }
        };
        let ending = async { drop(trace) };
        soon("the echo", async { tokio::join!(writing, reading, ending) }).await;
    }
    let (mut client, _) = WsClient::greeted(cluster.listener()).await;
    client.send("on").await;
    assert_eq!(client.text().await, "on");
}
