//! Invalid input on every port: its sender is closed with a clear reason, and no other peer is affected.

use std::path::Path;
use std::time::{Duration, Instant};

use gatewayworker::CloseReason;
use gatewayworker_protocol::{Body, Command, Frame, Hello, Question, SecretKey};
use gatewayworker_tests::process::{Process, free_port};
use gatewayworker_tests::{Cluster, Happened, RawPeer, WsClient, eventually, soon};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;

/// A client that must not notice what the others do.
struct Bystander {
    client: WsClient,
}

impl Bystander {
    async fn of(cluster: &Cluster) -> Self {
        Self { client: WsClient::greeted(cluster.listener()).await.0 }
    }

    async fn is_undisturbed(&mut self) {
        self.client.send("still here").await;
        assert_eq!(self.client.text().await, "still here");
    }
}

fn hello(key: Option<&str>) -> Hello {
    Hello {
        worker_key: Some("W:0".into()),
        secret_key: key.map(SecretKey::new),
        features: None,
        process: None,
    }
}

#[tokio::test]
async fn an_invalid_frame_ends_its_link_alone() {
    let cluster = Cluster::start().await;
    let mut bystander = Bystander::of(&cluster).await;
    let mut ext_beyond = bytes::BytesMut::new();
    Frame { cmd: 22, ext: "{}".into(), ..Frame::default() }.encode(&mut ext_beyond);
    ext_beyond[24..28].copy_from_slice(&9_u32.to_be_bytes());
    for garbage in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0, 0, 0, 3], &[0xff; 64], &ext_beyond] {
        let mut peer = RawPeer::connect(cluster.gateways[0].inner).await;
        peer.send_bytes(garbage).await;
        assert!(peer.is_closed().await, "{garbage:?}");
        bystander.is_undisturbed().await;
    }
}

/// How many lines of a log contain `what`, and how many events they stand for.
fn count(log: &Path, what: &str) -> (usize, u64) {
    let log = std::fs::read_to_string(log).expect("a log");
    let lines = log.lines().filter(|line| line.contains(what));
    let times = |line: &str| -> u64 {
        let times = line.split("times=").nth(1).unwrap_or_default();
        let digits: String = times.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().unwrap_or_else(|_| panic!("no count: {line}"))
    };
    let times: Vec<u64> = lines.map(times).collect();
    (times.len(), times.iter().sum())
}

#[tokio::test]
async fn bad_connections_are_logged_once_a_second() {
    const CONNECTIONS: u64 = 1000;
    let directory = tempfile::tempdir().expect("a directory");
    let logs = ["register.log", "gateway.log"].map(|name| directory.path().join(name));
    let (register, inner, listener) = (free_port(), free_port(), free_port());
    let address = format!("127.0.0.1:{register}");
    let (url, inner_port) = (format!("websocket://127.0.0.1:{listener}"), inner.to_string());
    let gateway = ["gateway", "--listen", &url, "--lan-port", &inner_port, "--register-address", &address];
    let _register = Process::logging_to(&logs[0], &["register", "--listen", &address]);
    let _gateway = Process::logging_to(&logs[1], &gateway);
    for (log, port, line) in [(&logs[0], register, "closed: "), (&logs[1], inner, "a link was closed")] {
        let since = Instant::now();
        eventually("the daemon to listen", async || TcpStream::connect(("127.0.0.1", port)).await.is_ok())
            .await;
        for _ in 0..CONNECTIONS {
            let mut peer =
                soon("a connection", TcpStream::connect(("127.0.0.1", port))).await.expect("it listens");
            peer.write_all(b"GET / HTTP/1.1\r\n\r\n").await.expect("the connection stands");
            let _ = soon("the end", peer.read_to_end(&mut Vec::new())).await;
        }
        eventually("all to be counted", async || count(log, line).1 >= CONNECTIONS).await;
        let (lines, times) = count(log, line);
        let seconds = since.elapsed().as_secs() as usize;
        assert_eq!(times, CONNECTIONS, "{line}");
        assert!(lines <= 2 + seconds, "{lines} lines in {seconds} s: {line}");
    }
}

#[tokio::test]
async fn a_message_too_long_for_a_php_worker_closes_its_client_alone() {
    let cluster =
        Cluster::builder().workers(0).gateway(|config| config.max_message_bytes = 16 << 20).start().await;
    let mut worker = RawPeer::connect(cluster.gateways[0].inner).await;
    worker.send(Command::WorkerConnect(hello(Some("")))).await;
    let mut client = WsClient::connect(cluster.listener()).await;
    client.send_message(Message::binary(vec![1; 9 << 20])).await;
    client.send_message(Message::binary(vec![2; 11 << 20])).await;
    assert_eq!(client.close_code().await, 1009);
    assert!(matches!(worker.command().await, Command::OnConnect { .. }));
    assert!(matches!(worker.command().await, Command::OnWebSocketConnect { .. }));
    let Command::OnMessage { message, .. } = worker.command().await else { panic!("the first message") };
    assert!(matches!(message.body, Body::Plain(body) if body.len() == 9 << 20));
    assert!(matches!(worker.command().await, Command::OnClose { .. }));
    let _second = WsClient::connect(cluster.listener()).await;
    assert!(matches!(worker.command().await, Command::OnConnect { .. }));
}

#[tokio::test]
async fn a_valid_frame_without_meaning_is_ignored() {
    let cluster = Cluster::start().await;
    let mut bystander = Bystander::of(&cluster).await;
    let mut peer = RawPeer::connect(cluster.gateways[0].inner).await;
    for (cmd, ext) in [(99, ""), (0, ""), (6, "{"), (14, "["), (22, "{}"), (22, "null"), (9, "x"), (205, "")]
    {
        let mut out = bytes::BytesMut::new();
        Frame { cmd, ext: ext.into(), connection_id: 1, ..Frame::default() }.encode(&mut out);
        peer.send_bytes(&out).await;
    }
    assert_eq!(peer.ask(Question::IsOnline(1)).await.as_int(), Some(0));
    bystander.is_undisturbed().await;
}

#[tokio::test]
async fn a_wrong_missing_or_null_key_ends_the_link() {
    for key in ["", "right"] {
        let cluster = Cluster::builder().secret_key(key).start().await;
        let mut bystander = Bystander::of(&cluster).await;
        for wrong in [Some("wrong"), None] {
            for command in [Command::WorkerConnect(hello(wrong)), Command::ClientConnect(hello(wrong))] {
                let mut peer = RawPeer::connect(cluster.gateways[0].inner).await;
                peer.send(command).await;
                assert!(peer.is_closed().await, "{wrong:?} where the key is {key:?}");
            }
        }
        bystander.is_undisturbed().await;
    }
}

#[tokio::test]
async fn with_a_key_commands_work_only_after_the_hello() {
    let cluster = Cluster::builder().secret_key("right").start().await;
    let mut early = RawPeer::connect(cluster.gateways[0].inner).await;
    early.send(Command::Ask(Question::AllSessions)).await;
    assert!(early.is_closed().await);
    // A keyed client library says it before every command, in the same write.
    let mut peer = RawPeer::connect(cluster.gateways[0].inner).await;
    for _ in 0..3 {
        peer.send(Command::ClientConnect(hello(Some("right")))).await;
        assert_eq!(peer.ask(Question::Count(None)).await.as_int(), Some(0));
    }
}

#[tokio::test]
async fn a_newer_worker_with_the_same_worker_key_replaces_the_older_one() {
    let cluster = Cluster::builder().workers(0).start().await;
    let mut older = RawPeer::connect(cluster.gateways[0].inner).await;
    older.send(Command::WorkerConnect(hello(Some("")))).await;
    // It is linked when a client's events come to it.
    let _client = WsClient::connect(cluster.listener()).await;
    assert!(matches!(older.command().await, Command::OnConnect { .. }));
    let mut newer = RawPeer::connect(cluster.gateways[0].inner).await;
    newer.send(Command::WorkerConnect(hello(Some("")))).await;
    while older.frame().await.is_some() {}
    let mut client = WsClient::connect(cluster.listener()).await;
    assert!(matches!(newer.command().await, Command::OnConnect { .. }));
    // The older link's end does not take the newer one away.
    client.send("hello").await;
    assert!(matches!(newer.command().await, Command::OnWebSocketConnect { .. }));
    assert!(matches!(newer.command().await, Command::OnMessage { .. }));
}

#[tokio::test]
async fn a_client_that_breaks_the_rfc_is_closed_with_its_code() {
    let cluster = Cluster::start().await;
    let mut bystander = Bystander::of(&cluster).await;
    for (bytes, code, reason) in [
        (&b"\x81\x01a"[..], 1002, CloseReason::ProtocolError),
        (&b"\x83\x80\0\0\0\0"[..], 1002, CloseReason::ProtocolError),
        (&b"\x81\x81\0\0\0\0\xff"[..], 1007, CloseReason::ProtocolError),
        (&b"\x82\xff\0\0\0\0\x01\x40\0\0\0\0\0\0"[..], 1009, CloseReason::TooLarge),
    ] {
        let (client, id) = WsClient::greeted(cluster.listener()).await;
        let mut tcp = client.into_inner();
        tcp.write_all(bytes).await.unwrap();
        let mut answer = [0; 4];
        soon("a close frame", tcp.read_exact(&mut answer)).await.unwrap();
        assert_eq!((answer[0], u16::from_be_bytes([answer[2], answer[3]])), (0x88, code), "{bytes:?}");
        assert_eq!(cluster.events().next_close().await, (id, reason));
    }
    bystander.is_undisturbed().await;
}

#[tokio::test]
async fn a_message_over_the_limit_closes_its_client_and_one_at_the_limit_does_not() {
    let cluster = Cluster::builder().gateway(|config| config.max_message_bytes = 100_000).start().await;
    let (mut client, _) = WsClient::greeted(cluster.listener()).await;
    let longest = "x".repeat(100_000);
    client.send(&longest).await;
    assert_eq!(client.text().await, longest);
    client.send_message(Message::binary(vec![0; 100_001])).await;
    assert_eq!(client.close_code().await, 1009);
}

#[tokio::test]
async fn a_message_of_twenty_megabytes_is_refused_while_others_are_served() {
    let cluster = Cluster::start().await;
    let mut bystander = Bystander::of(&cluster).await;
    let (client, id) = WsClient::greeted(cluster.listener()).await;
    let mut tcp = client.into_inner();
    let sending = tokio::spawn(async move {
        let mut header = vec![0x82, 0xff];
        header.extend((20_u64 << 20).to_be_bytes());
        header.extend([0; 4]);
        // The gateway closes at the header; what follows may fail.
        let _ = tcp.write_all(&header).await;
        let _ = tcp.write_all(&vec![0; 20 << 20]).await;
    });
    assert_eq!(cluster.events().next_close().await, (id, CloseReason::TooLarge));
    bystander.is_undisturbed().await;
    soon("the sender to give up", sending).await.unwrap();
}

#[tokio::test]
async fn an_unfinished_handshake_is_closed_at_its_limit() {
    let cluster = Cluster::builder().gateway(|config| config.handshake_timeout_ms = 200).start().await;
    let mut bystander = Bystander::of(&cluster).await;
    let mut silent = TcpStream::connect(cluster.listener()).await.unwrap();
    let mut slow = TcpStream::connect(cluster.listener()).await.unwrap();
    slow.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n").await.unwrap();
    for tcp in [&mut silent, &mut slow] {
        let mut answer = String::new();
        soon("the end", tcp.read_to_string(&mut answer)).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    }
    bystander.is_undisturbed().await;
}

#[tokio::test]
async fn a_plain_http_request_is_answered() {
    let cluster = Cluster::start().await;
    let mut tcp = TcpStream::connect(cluster.listener()).await.unwrap();
    tcp.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    soon("an answer", tcp.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 426 "), "{answer}");
}

#[tokio::test]
async fn a_handler_that_panics_or_fails_harms_no_other_client() {
    let cluster = Cluster::start().await;
    let mut bystander = Bystander::of(&cluster).await;
    let (mut client, _) = WsClient::greeted(cluster.listener()).await;
    for trouble in ["panic", "error"] {
        client.send(trouble).await;
        client.send("and on").await;
        assert_eq!(client.text().await, "and on");
    }
    bystander.is_undisturbed().await;
}

#[tokio::test]
async fn a_refused_handshake_gets_its_last_message() {
    let cluster = Cluster::start().await;
    let mut client = WsClient::connect_to(cluster.listener(), "/?refuse=no+entry").await;
    let (greeting, last) = (client.text().await, client.text().await);
    assert_eq!((greeting.len(), last.as_str()), (20, "no entry"));
    assert_eq!(client.close_code().await, 1008);
}

#[tokio::test]
async fn a_slow_consumer_is_closed_and_others_get_every_message() {
    let cluster = Cluster::builder().gateway(|config| config.outbox_bytes = 200_000).start().await;
    let (mut reader, _) = WsClient::greeted(cluster.listener()).await;
    let (slow, slow_id) = WsClient::greeted(cluster.listener()).await;
    let (id, reason) = cluster.broadcast_until_a_close(&mut reader).await;
    assert_eq!((id, reason), (slow_id, CloseReason::SlowConsumer));
    drop(slow);
}

#[tokio::test]
async fn with_drop_newest_a_slow_consumer_stays_and_misses_messages() {
    let cluster = Cluster::builder()
        .gateway(|config| {
            config.outbox_bytes = 200_000;
            config.slow_consumer = gatewayworker_gateway::SlowConsumer::DropNewest;
        })
        .start()
        .await;
    let api = cluster.api().await;
    let (mut slow, slow_id) = WsClient::greeted(cluster.listener()).await;
    let total = 600;
    for n in 0..total {
        api.send_to_client(slow_id, format!("{n:>50000}")).await.unwrap();
    }
    // The marker is behind what was taken; it may be dropped as well, until there is room.
    let mut got = 0;
    let mut done = false;
    while !done {
        api.send_to_client(slow_id, "marker").await.unwrap();
        loop {
            match tokio::time::timeout(Duration::from_millis(200), slow.next()).await {
                Ok(Some(Message::Text(text))) if text.as_str() == "marker" => done = true,
                Ok(Some(_)) => got += 1,
                Ok(None) => panic!("the client was closed"),
                Err(_) => break,
            }
        }
    }
    assert!(got < total, "30 MB fitted into the sockets: this tests nothing");
    assert!(api.is_online(slow_id).await.unwrap());
}

#[tokio::test]
async fn a_worker_that_does_not_read_pauses_its_clients_and_loses_nothing() {
    let cluster =
        Cluster::builder().workers(0).gateway(|config| config.link_outbox_bytes = 100_000).start().await;
    let mut worker = RawPeer::connect(cluster.gateways[0].inner).await;
    worker.send(Command::WorkerConnect(hello(Some("")))).await;
    let mut client = WsClient::connect(cluster.listener()).await;
    let total = 2000_usize;
    let sending = tokio::spawn(async move {
        for n in 0..total {
            client.send(&format!("{n:>10000}")).await;
        }
        client
    });
    let mut next = 0;
    while next < total {
        if let Command::OnMessage { message, .. } = worker.command().await {
            assert_eq!(message, gatewayworker_protocol::Payload::plain(format!("{next:>10000}")));
            next += 1;
        }
    }
    soon("the client to have sent everything", sending).await.unwrap();
}

#[tokio::test]
async fn the_register_answers_garbage_and_goes_on() {
    let cluster = Cluster::start().await;
    for garbage in [&b"hello\n"[..], b"{}\n", b"{\"event\":\"dance\"}\n", &[b'x'; 100_000]] {
        let mut tcp = TcpStream::connect(cluster.register).await.unwrap();
        let _ = tcp.write_all(garbage).await;
        let mut answer = Vec::new();
        let _ = soon("the end", tcp.read_to_end(&mut answer)).await;
    }
    let mut tcp = TcpStream::connect(cluster.register).await.unwrap();
    tcp.write_all(b"{\"event\":\"worker_connect\",\"secret_key\":\"\"}\n").await.unwrap();
    let mut answer = [0; 200];
    let n = soon("a list", tcp.read(&mut answer)).await.unwrap();
    let line = String::from_utf8_lossy(&answer[..n]).into_owned();
    assert!(line.contains(&cluster.gateways[0].inner.to_string()), "{line}");
}

#[tokio::test]
async fn events_of_one_client_stay_in_order() {
    let cluster = Cluster::builder().workers(2).start().await;
    let (mut client, id) = WsClient::greeted(cluster.listener()).await;
    for n in 0..1000 {
        client.send(&n.to_string()).await;
    }
    client.close().await;
    let mut owner = None;
    for worker in &cluster.workers {
        if !worker.events.is_quiet().await {
            owner = Some(&worker.events);
        }
    }
    let events = owner.expect("one of them has the client");
    assert_eq!(events.next().await, Happened::Connect(id));
    for n in 0..1000 {
        assert_eq!(events.next().await, Happened::Message(id, n.to_string().into()));
    }
    assert!(matches!(events.next().await, Happened::Close(closed, CloseReason::ClientLeft) if closed == id));
}
