//! Clients over TLS, slow handshakes, and certificates that are renewed.

use std::net::SocketAddr;

use bytes::Bytes;
use gatewayworker::CloseReason;
use gatewayworker_tests::conformance::{
    BINARY, CLOSE, CONTINUE, Case, FIN, PING, PONG, TEXT, client_frame, close_payload, converse_over_tls,
};
use gatewayworker_tests::process::{Process, binary, free_port};
use gatewayworker_tests::tls::{self, Certificate};
use gatewayworker_tests::{Cluster, WsClient, eventually, soon};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{ALL_VERSIONS, HandshakeKind, ProtocolVersion};
use tokio_tungstenite::tungstenite::Message;

type TlsClient = WsClient<TlsStream<TcpStream>>;

/// A cluster with the listeners of [`Certificate::listeners`], and their certificate.
async fn cluster() -> (Cluster, Certificate) {
    let certificate = Certificate::default();
    (Cluster::builder().listen(&certificate.listeners()).start().await, certificate)
}

fn wss(cluster: &Cluster) -> SocketAddr {
    cluster.gateways[0].listeners[1]
}

async fn greeted(cluster: &Cluster, certificate: &Certificate) -> TlsClient {
    WsClient::greeted_over(certificate.connect(wss(cluster)).await).await.0
}

#[tokio::test]
async fn a_websocket_over_tls_1_2_and_1_3_is_echoed_and_closes_cleanly() {
    let (cluster, certificate) = cluster().await;
    for (version, spoken) in [(&TLS12, ProtocolVersion::TLSv1_2), (&TLS13, ProtocolVersion::TLSv1_3)] {
        let stream = tls::connect(&certificate.connector(&[version]), wss(&cluster)).await.unwrap();
        let connection = stream.get_ref().1;
        assert_eq!(connection.protocol_version(), Some(spoken));
        assert_eq!(connection.alpn_protocol(), Some(&b"http/1.1"[..]));
        let (mut client, _) = WsClient::greeted_over(stream).await;
        client.send("hello").await;
        assert_eq!(client.text().await, "hello");
        client.close().await;
        assert_eq!(cluster.events().next_close().await.1, CloseReason::ClientLeft);
    }
}

#[tokio::test]
async fn messages_of_a_megabyte_go_both_ways() {
    let (cluster, certificate) = cluster().await;
    for version in [&TLS12, &TLS13] {
        let stream = tls::connect(&certificate.connector(&[version]), wss(&cluster)).await.unwrap();
        let (mut client, _) = WsClient::greeted_over(stream).await;
        for n in [16_384, 65_536, 1 << 20] {
            let message: Bytes = (0..n).map(|i| (i % 251) as u8).collect();
            client.send_message(Message::Binary(message.clone())).await;
            let Some(Message::Binary(echo)) = client.next().await else { panic!("an echo of {n} bytes") };
            assert!(echo == message, "{n} bytes came back as others");
        }
    }
}

#[tokio::test]
async fn a_broadcast_reaches_plain_clients_and_those_over_tls() {
    let (cluster, certificate) = cluster().await;
    let (mut plain, _) = WsClient::greeted(cluster.listener()).await;
    let mut secure = Vec::new();
    for _ in 0..5 {
        secure.push(greeted(&cluster, &certificate).await);
    }
    for n in 0..100 {
        plain.send(&format!("broadcast {n}")).await;
    }
    for n in 0..100 {
        assert_eq!(plain.text().await, format!("broadcast {n}"));
        for client in &mut secure {
            assert_eq!(client.text().await, format!("broadcast {n}"));
        }
    }
}

#[tokio::test]
async fn a_client_that_comes_back_needs_no_second_full_handshake() {
    let (cluster, certificate) = cluster().await;
    for version in [&TLS12, &TLS13] {
        let connector = certificate.connector(&[version]);
        for kind in [HandshakeKind::Full, HandshakeKind::Resumed] {
            let stream = tls::connect(&connector, wss(&cluster)).await.unwrap();
            // The ticket comes before the first message.
            let (mut client, _) = WsClient::greeted_over(stream).await;
            client.send("hello").await;
            assert_eq!(client.text().await, "hello");
            assert_eq!(client.into_inner().get_ref().1.handshake_kind(), Some(kind), "{version:?}");
        }
    }
}

#[tokio::test]
async fn rfc_6455_holds_over_tls_for_any_cut_of_the_bytes() {
    let (cluster, certificate) = cluster().await;
    let long: Vec<u8> = (0..70_000).map(|i| b'!' + (i % 89) as u8).collect();
    let fragments = [client_frame(TEXT, "a你".as_bytes()), client_frame(FIN | CONTINUE, b"b")].concat();
    let cases = [
        Case::new("text").send(FIN | TEXT, &long).hear(FIN | TEXT, &long),
        Case::new("binary").send(FIN | BINARY, b"\0\xff").hear(FIN | BINARY, b"\0\xff"),
        Case::new("nothing").send(FIN | TEXT, b"").hear(FIN | TEXT, b""),
        Case::new("ping").send(FIN | PING, b"there?").hear(FIN | PONG, b"there?"),
        Case::new("fragments").say(fragments).hear(FIN | TEXT, "a你b"),
        Case::new("reserved bit")
            .send(FIN | TEXT | 0x40, b"x")
            .fails(1002, "a reserved bit without an extension"),
        Case::new("no text").send(FIN | TEXT, b"\xff").fails(1007, "text that is not UTF-8"),
        Case::new("goodbye").send(FIN | CLOSE, close_payload(3000, b"bye")).ends(&close_payload(3000, b"")),
    ];
    let cut = cases.iter().flat_map(|case| [1, 1000].map(|size| case.clone().chopped(size)));
    let cases = cases.iter().cloned().chain(cut);
    for version in [&TLS12, &TLS13] {
        converse_over_tls(wss(&cluster), &certificate.connector(&[version]), cases.clone()).await;
    }
}

#[tokio::test]
async fn a_client_over_tls_that_reads_nothing_is_closed_like_any_other() {
    let certificate = Certificate::default();
    let cluster = Cluster::builder()
        .listen(&certificate.listeners())
        .gateway(|config| config.outbox_bytes = 200_000)
        .start()
        .await;
    let mut reader = greeted(&cluster, &certificate).await;
    let (slow, slow_id) = WsClient::greeted_over(certificate.connect(wss(&cluster)).await).await;
    let (id, reason) = cluster.broadcast_until_a_close(&mut reader).await;
    assert_eq!((id, reason), (slow_id, CloseReason::SlowConsumer));
    drop(slow);
}

#[tokio::test]
async fn a_stalled_tls_handshake_is_closed_at_its_limit() {
    let certificate = Certificate::default();
    let cluster = Cluster::builder()
        .listen(&certificate.listeners())
        .gateway(|config| config.handshake_timeout_ms = 300)
        .start()
        .await;
    let mut bystander = greeted(&cluster, &certificate).await;
    let mut silent = TcpStream::connect(wss(&cluster)).await.unwrap();
    let mut stalling = TcpStream::connect(wss(&cluster)).await.unwrap();
    // A ClientHello that says it is 512 bytes long, and is not.
    stalling.write_all(&[22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3]).await.unwrap();
    let mut within = certificate.connect(wss(&cluster)).await;
    for socket in [&mut silent, &mut stalling] {
        let mut answer = Vec::new();
        let _ = soon("the end", socket.read_to_end(&mut answer)).await;
        assert_eq!(answer, b"");
    }
    // Once TLS stands, what is late can be told so.
    let mut answer = String::new();
    soon("the end", within.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    bystander.send("undisturbed").await;
    assert_eq!(bystander.text().await, "undisturbed");
}

#[tokio::test]
async fn a_client_over_the_limit_of_a_tls_listener_gets_nothing_in_plain_text() {
    let certificate = Certificate::default();
    let full = Cluster::builder()
        .listen(&certificate.listeners())
        .gateway(|config| config.listen[1].max_connections = Some(1))
        .start()
        .await;
    let _first = greeted(&full, &certificate).await;
    let mut socket = TcpStream::connect(wss(&full)).await.unwrap();
    let mut answer = Vec::new();
    let _ = soon("the end", socket.read_to_end(&mut answer)).await;
    assert_eq!(answer, b"");
}

#[tokio::test]
async fn bytes_that_are_not_tls_close_their_connection_alone() {
    let (cluster, certificate) = cluster().await;
    let mut bystander = greeted(&cluster, &certificate).await;
    for nonsense in [&b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..], &[22, 3, 1, 255, 255], &[0; 70_000]] {
        let mut socket = TcpStream::connect(wss(&cluster)).await.unwrap();
        let _ = socket.write_all(nonsense).await;
        let mut answer = Vec::new();
        let _ = soon("the end", socket.read_to_end(&mut answer)).await;
        assert!(answer.is_empty() || answer[0] == 21, "{answer:?}");
    }
    // And within a connection that was good.
    let (client, id) = WsClient::greeted_over(certificate.connect(wss(&cluster)).await).await;
    let (mut tcp, _) = client.into_inner().into_inner();
    tcp.write_all(&[23, 3, 3, 0, 40]).await.unwrap();
    tcp.write_all(&[7; 40]).await.unwrap();
    let mut answer = Vec::new();
    let _ = soon("the end", tcp.read_to_end(&mut answer)).await;
    assert_eq!(cluster.events().next_close().await, (id, CloseReason::ClientLeft));
    bystander.send("undisturbed").await;
    assert_eq!(bystander.text().await, "undisturbed");
}

/// A gateway as a process, with all that it needs.
struct Daemons {
    certificate: Certificate,
    gateway: Process,
    listener: SocketAddr,
    _others: [Process; 2],
}

impl Daemons {
    fn start() -> Self {
        let certificate = Certificate::default();
        let [register, inner, listener] = [free_port(), free_port(), free_port()];
        let register = format!("127.0.0.1:{register}");
        // Its paths are relative to the file, and not to the gateway's working directory.
        let config = format!(
            "lan_port = {inner}\nregister_address = '{register}'\n[[listen]]\nurl = 'wss://127.0.0.1:{listener}'\n\
             tls_certificate = 'fullchain.pem'\ntls_key = 'privkey.pem'\n"
        );
        let path = certificate.directory().join("gateway.toml");
        std::fs::write(&path, config).unwrap();
        let log = certificate.directory().join("log");
        Self {
            gateway: Process::logging_to(&log, &["gateway", "--config", path.to_str().unwrap()]),
            listener: ([127, 0, 0, 1], listener).into(),
            _others: [
                Process::start(&["register", "--listen", &register]),
                Process::start(&["businessworker", "--register-address", &register]),
            ],
            certificate,
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.certificate.directory().join("log")).unwrap()
    }

    /// Asks the gateway to load its certificate again, and waits until it says `word`.
    async fn reload(&self, word: &str) {
        self.gateway.signal("HUP");
        eventually("the gateway to have loaded its certificate again", async || self.log().contains(word))
            .await;
    }

    /// A client that the chat greets, and the certificate that it was shown.
    async fn arrive(&self) -> (TlsClient, Vec<u8>) {
        let connector = self.certificate.connector(ALL_VERSIONS);
        let mut arrived = None;
        eventually("a client to come in", async || {
            let Ok(stream) = tls::connect(&connector, self.listener).await else { return false };
            let shown = stream.get_ref().1.peer_certificates().unwrap()[0].to_vec();
            let Ok(mut client) = WsClient::over(stream, "ws://localhost/").await else { return false };
            let greeted = matches!(client.next().await, Some(Message::Text(_)));
            arrived = Some((client, shown));
            greeted
        })
        .await;
        arrived.unwrap()
    }
}

async fn is_answered(client: &mut TlsClient) {
    client.send(r#"{"type":"ping"}"#).await;
    assert_eq!(client.json().await["type"], "pong");
}

#[tokio::test]
async fn after_sighup_new_clients_get_the_new_certificate_and_old_ones_stay() {
    let daemons = Daemons::start();
    let (mut old, first) = daemons.arrive().await;
    assert!(daemons.log().contains(&format!("wss://{}", daemons.listener)), "{}", daemons.log());

    daemons.certificate.renew();
    daemons.reload("the certificate is loaded again").await;
    let (mut new, second) = daemons.arrive().await;
    assert!(first != second && second == daemons.certificate.der().to_vec());
    is_answered(&mut old).await;
    is_answered(&mut new).await;

    std::fs::write(daemons.certificate.key(), "nothing").unwrap();
    daemons.reload("the one before stays in use").await;
    let log = daemons.log();
    let line = log.lines().find(|line| line.contains("stays in use")).unwrap();
    assert!(line.contains("privkey.pem") && line.contains("BEGIN PRIVATE KEY"), "{line}");
    let (mut newer, third) = daemons.arrive().await;
    assert_eq!(third, second);
    for client in [&mut old, &mut new, &mut newer] {
        is_answered(client).await;
    }
}

#[tokio::test]
async fn a_daemon_with_nothing_to_reload_logs_it_and_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let (register, inner, listener) = (free_port(), free_port(), free_port());
    let register = format!("127.0.0.1:{register}");
    let (inner, url) = (inner.to_string(), format!("websocket://127.0.0.1:{listener}"));
    for arguments in [
        &["register", "--listen", &register][..],
        &["gateway", "--listen", &url, "--lan-port", &inner, "--register-address", &register],
        &["businessworker", "--register-address", &register],
    ] {
        let log = directory.path().join(arguments[0]);
        let mut daemon = Process::logging_to(&log, arguments);
        let says = |word: &str| std::fs::read_to_string(&log).unwrap().contains(word);
        eventually("it to run", async || says("INFO")).await;
        eventually("it to answer", async || {
            daemon.signal("HUP");
            says("there is nothing to load again")
        })
        .await;
        assert!(!daemon.has_ended(), "{arguments:?}");
    }
}

#[tokio::test]
async fn a_gateway_does_not_start_without_a_certificate_and_its_key() {
    let certificate = Certificate::default();
    let other = Certificate::default();
    let listen = format!(
        "[[listen]]\nurl = 'wss://127.0.0.1:0'\ntls_certificate = 'fullchain.pem'\ntls_key = {:?}\n",
        other.key()
    );
    let config = certificate.directory().join("gateway.toml");
    for (listen, words) in [
        (listen.as_str(), &["wss://127.0.0.1:0", "privkey.pem", "is not the key of", "fullchain.pem"][..]),
        ("listen = 'wss://127.0.0.1:0'", &["tls_certificate", "tls_key", "[[listen]]"]),
    ] {
        std::fs::write(&config, listen).unwrap();
        for check in [&[][..], &["--check-config"]] {
            let mut command = Command::new(binary());
            let output = command.args(["gateway", "--config", config.to_str().unwrap()]).args(check).output();
            let output = soon("its end", output).await.unwrap();
            let error = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{error}");
            assert!(words.iter().all(|word| error.contains(word)) && error.lines().count() == 1, "{error}");
        }
    }
}
