//! Access checks of a listener: path, origin, limits, proxies, and the address that a client counts for.

use std::net::{Ipv4Addr, SocketAddr};

use gatewayworker::{Admission, Client, Events, Handshake, Result};
use gatewayworker_tests::process::{Process, free_port};
use gatewayworker_tests::{Application, Cluster, WsClient, eventually, soon};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

const HERE: Ipv4Addr = Ipv4Addr::LOCALHOST;
const THERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// Tells each client where it comes from: in `on_connect` as the frames say it, in
/// `on_websocket_connect` as its handshake does.
struct Mirror;

impl Events for Mirror {
    async fn on_connect(&self, client: &Client) -> Result {
        let address = client.remote_addr().map_or("none".to_owned(), |address| address.to_string());
        client.send(format!("frame {address}")).await?;
        Ok(())
    }

    async fn on_websocket_connect(&self, client: &Client, handshake: &Handshake) -> Result<Admission> {
        let address = handshake.remote_addr().ok_or("it comes from somewhere")?;
        client.send(format!("handshake {address}")).await?;
        Ok(Admission::Admit)
    }
}

/// A gateway with this listener, and a worker that is a mirror.
async fn mirror(listen: &str) -> (Cluster, Application) {
    let cluster = Cluster::builder().workers(0).listen(listen).start().await;
    let mirror = cluster.start_application(Mirror);
    (cluster, mirror)
}

fn websocket(settings: &str) -> String {
    format!("[[listen]]\nurl = 'websocket://127.0.0.1:0'\n{settings}")
}

async fn connect_from(from: Ipv4Addr, listener: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((from, 0).into()).unwrap();
    soon("a connection", socket.connect(listener)).await.unwrap()
}

/// Sends `bytes`, and returns the answer up to and with `until`, or all of it if `until`
/// does not arrive.
async fn exchange(stream: &mut TcpStream, bytes: &[u8], until: &str) -> String {
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    soon("an answer", async {
        let mut byte = [0];
        while stream.read(&mut byte).await.is_ok_and(|n| n > 0) {
            answer.push(byte[0]);
            if answer.ends_with(until.as_bytes()) {
                break;
            }
        }
    })
    .await;
    String::from_utf8_lossy(&answer).into_owned()
}

fn upgrade(path: &str, headers: &str) -> Vec<u8> {
    format!(
        "GET {path} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
    )
    .into_bytes()
}

/// Returns the gateway's answer to an upgrade, without the bytes after it.
async fn answer(listener: SocketAddr, path: &str, headers: &str) -> String {
    exchange(&mut connect_from(HERE, listener).await, &upgrade(path, headers), "\r\n\r\n").await
}

#[track_caller]
fn assert_status(answer: &str, status: &str) {
    assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer:?} is no {status}");
}

#[tokio::test]
async fn a_page_of_another_origin_is_rejected() {
    let listen = websocket("allowed_origins = ['https://example.com', 'https://*.example.org']");
    let (cluster, _mirror) = mirror(&listen).await;
    for (headers, status) in [
        ("Origin: https://example.com\r\n", "101"),
        ("Origin: https://a.example.org\r\n", "101"),
        ("", "101"),
        ("Origin: https://example.net\r\n", "403"),
        ("Origin: http://example.com\r\n", "403"),
        ("Origin: https://example.com\r\nOrigin: https://example.net\r\n", "403"),
        ("Origin: null\r\n", "403"),
    ] {
        assert_status(&answer(cluster.listener(), "/", headers).await, status);
    }
}

#[tokio::test]
async fn origins_are_compared_by_meaning_and_not_by_spelling() {
    let listed = "['https://example.com:443', 'http://*.example.org', 'http://[0:0::1]:8080']";
    let (cluster, _mirror) = mirror(&websocket(&format!("allowed_origins = {listed}"))).await;
    for (origin, status) in [
        ("https://example.com", "101"),
        ("https://EXAMPLE.com:443", "101"),
        ("http://a.example.org:80", "101"),
        ("http://[::1]:8080", "101"),
        ("http://example.com:443", "403"),
        ("https://a.example.org:80", "403"),
        ("http://[::1]", "403"),
    ] {
        assert_status(&answer(cluster.listener(), "/", &format!("Origin: {origin}\r\n")).await, status);
    }
}

#[tokio::test]
async fn rejections_that_a_setting_may_mend_are_logged_once_a_second() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("log");
    let listener = SocketAddr::from((HERE, free_port()));
    let _gateway = Process::logging_to(
        &log,
        &[
            "gateway",
            "--lan-port=0",
            &format!("--listen={listener}"),
            "--allowed-origins=https://example.com",
            "--path=/ws",
        ],
    );
    eventually("the gateway to listen", async || TcpStream::connect(listener).await.is_ok()).await;
    for _ in 0..4 {
        assert_status(&answer(listener, "/ws", "Origin: https://example.net\r\n").await, "403");
        assert_status(&answer(listener, "/other", "").await, "404");
    }
    let lines = |what: &str| {
        let log = std::fs::read_to_string(&log).unwrap();
        log.lines().filter(|line| line.contains(what)).map(str::to_owned).collect::<Vec<_>>()
    };
    for (what, said) in [
        ("its origin is not in allowed_origins", "https://example.net"),
        ("its path is not in path", "/other"),
    ] {
        eventually("a line for the first and one for the others", async || lines(what).len() == 2).await;
        let [first, others] = &lines(what)[..] else { panic!("{:?}", lines(what)) };
        assert!(first.contains("INFO") && first.contains(said) && first.contains("times=1"), "{first}");
        assert!(others.contains(said) && others.contains("times=3"), "{others}");
    }
}

#[tokio::test]
async fn a_proxy_may_ask_for_a_path_by_its_url() {
    let (cluster, _mirror) = mirror(&websocket("path = '/ws'")).await;
    for (target, status) in [
        ("http://localhost/ws", "101"),
        ("HTTPS://localhost:443/ws?token=1", "101"),
        ("http://localhost", "404"),
        ("http://localhost/ws/", "404"),
        ("http://localhost?/ws", "404"),
    ] {
        assert_status(&answer(cluster.listener(), target, "").await, status);
    }
}

#[tokio::test]
async fn a_request_that_http_forbids_is_refused() {
    let (cluster, _mirror) = mirror(&websocket("")).await;
    for header in ["Host: y\r\n", "Content-Length: 3\r\n", "Transfer-Encoding: chunked\r\n"] {
        assert_status(&answer(cluster.listener(), "/", header).await, "400");
    }
    assert_status(&answer(cluster.listener(), "/", "Content-Length: 0\r\n").await, "101");
    let without_host = String::from_utf8(upgrade("/", "")).unwrap().replace("Host: x\r\n", "");
    let answer =
        exchange(&mut connect_from(HERE, cluster.listener()).await, without_host.as_bytes(), "\r\n\r\n")
            .await;
    assert_status(&answer, "400");
}

/// All that a request for `target` is answered with.
async fn answer_to(listener: SocketAddr, line: &str) -> String {
    let request = format!("{line}\r\nHost: x\r\n\r\n");
    exchange(&mut connect_from(HERE, listener).await, request.as_bytes(), "until the end").await
}

#[tokio::test]
async fn balancers_see_whether_the_gateway_can_serve() {
    let listen = websocket("health_path = '/healthz'\npath = '/ws'");
    let cluster = Cluster::builder().workers(0).listen(&listen).start().await;
    let lines = [
        "GET /healthz HTTP/1.0",
        "GET /healthz HTTP/1.1",
        "HEAD /healthz HTTP/1.0",
        "HEAD /healthz HTTP/1.1",
        // HAProxy's `option httpchk`, unless told otherwise.
        "OPTIONS / HTTP/1.0",
    ];
    for line in lines {
        assert_status(&answer_to(cluster.listener(), line).await, "503");
    }
    let application = cluster.start_application(Mirror);
    eventually("the gateway to be healthy", async || {
        answer_to(cluster.listener(), lines[0]).await.starts_with("HTTP/1.1 200 ")
    })
    .await;
    for line in lines {
        let answer = answer_to(cluster.listener(), line).await;
        assert_status(&answer, "200");
        assert_eq!(answer.ends_with("\r\n\r\n"), line.starts_with("HEAD"), "{answer}");
    }
    application.stop().await;
    eventually("the gateway to be without a worker", async || {
        answer_to(cluster.listener(), lines[0]).await.starts_with("HTTP/1.1 503 ")
    })
    .await;
}

#[tokio::test]
async fn a_request_that_is_no_handshake_is_told_what_to_send() {
    let (cluster, _mirror) = mirror(&websocket("")).await;
    let post = answer_to(cluster.listener(), "POST / HTTP/1.1").await;
    assert_status(&post, "405");
    assert!(post.contains("\r\nAllow: GET\r\n"), "{post}");
    for line in ["GET / HTTP/1.0", "GET / HTTP/1.1", "GET /healthz HTTP/1.1"] {
        let get = answer_to(cluster.listener(), line).await;
        assert_status(&get, "426");
        assert!(get.contains("\r\nUpgrade: websocket\r\n"), "{get}");
        assert!(get.contains("\r\nConnection: Upgrade, close\r\n"), "{get}");
    }
    for line in ["HEAD / HTTP/1.0", "HEAD / HTTP/1.1"] {
        let head = answer_to(cluster.listener(), line).await;
        assert!(head.starts_with("HTTP/1.1 426 ") && head.ends_with("\r\n\r\n"), "{head}");
    }
}

#[tokio::test]
async fn an_unknown_path_gets_404() {
    let (cluster, _mirror) = mirror(&websocket("path = ['/ws', '/chat']")).await;
    for (path, status) in
        [("/ws", "101"), ("/chat?token=1", "101"), ("/", "404"), ("/ws/", "404"), ("/?/ws", "404")]
    {
        assert_status(&answer(cluster.listener(), path, "").await, status);
    }
}

#[tokio::test]
async fn the_first_subprotocol_of_ours_that_a_client_offers_is_chosen() {
    let (cluster, _mirror) = mirror(&websocket("subprotocols = ['chat.v2', 'chat.v1']")).await;
    let offering = async |offer: &str| {
        answer(cluster.listener(), "/", &format!("Sec-WebSocket-Protocol: {offer}\r\n")).await
    };
    assert!(offering("chat.v1, chat.v2").await.contains("\r\nSec-WebSocket-Protocol: chat.v2\r\n"));
    assert!(offering("x\r\nSec-WebSocket-Protocol: chat.v1").await.contains("-Protocol: chat.v1\r\n"));
    for none in [offering("chat.v3").await, answer(cluster.listener(), "/", "").await] {
        assert_status(&none, "101");
        assert!(!none.contains("Sec-WebSocket-Protocol"), "{none}");
    }
}

#[tokio::test]
async fn a_client_over_the_limit_of_a_gateway_or_a_listener_gets_503() {
    let listen = format!("{}\n{}", websocket("max_connections = 1"), websocket(""));
    let cluster = Cluster::builder().listen(&listen).gateway(|config| config.max_connections = 4);
    let cluster = cluster.start().await;
    let [narrow, wide] = cluster.gateways[0].listeners[..] else { panic!("two listeners") };
    let (inside, _) = WsClient::greeted(narrow).await;
    assert_status(&answer(narrow, "/", "").await, "503");
    let (_second, _) = WsClient::greeted(wide).await;
    let (_third, _) = WsClient::greeted(wide).await;
    let (fourth, _) = WsClient::greeted(wide).await;
    assert_status(&answer(wide, "/", "").await, "503");
    fourth.close().await;
    assert_status(&answer(narrow, "/", "").await, "503");
    inside.close().await;
    eventually("a place", async || answer(narrow, "/", "").await.starts_with("HTTP/1.1 101 ")).await;
}

#[tokio::test]
async fn a_client_over_the_limit_of_its_address_gets_429() {
    // With one shard they are looked at in the order of coming.
    let listen = websocket("max_connections_per_address = 2");
    let cluster = Cluster::builder().workers(0).listen(&listen).gateway(|config| config.shards = 1);
    let cluster = cluster.start().await;
    let _mirror = cluster.start_application(Mirror);
    let listener = cluster.listener();
    let come = async |from| {
        let mut stream = connect_from(from, listener).await;
        let answer = exchange(&mut stream, &upgrade("/", ""), "\r\n\r\n").await;
        (stream, answer)
    };
    let first = come(HERE).await;
    assert_status(&first.1, "101");
    // One that has not shaken hands yet has a place too.
    let mut second = connect_from(HERE, listener).await;
    second.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    assert_status(&come(HERE).await.1, "429");
    assert_status(&come(THERE).await.1, "101");
    drop((first, second));
    eventually("a place", async || come(HERE).await.1.starts_with("HTTP/1.1 101 ")).await;
}

#[tokio::test]
async fn a_listener_has_its_own_limits_for_a_handshake() {
    let listen = websocket("handshake_timeout_ms = 50\nmax_header_bytes = 400");
    let (cluster, _mirror) = mirror(&format!("{listen}\n{}", websocket(""))).await;
    let [strict, lenient] = cluster.gateways[0].listeners[..] else { panic!("two listeners") };
    let half = b"GET / HTTP/1.1\r\nHost: x\r\n";
    let answered = exchange(&mut connect_from(HERE, strict).await, half, "\r\n\r\n").await;
    assert_status(&answered, "408");
    let long = format!("X-Long: {}\r\n", "x".repeat(400));
    assert_status(&answer(strict, "/", &long).await, "431");
    assert_status(&answer(lenient, "/", &long).await, "101");
}

/// Where a client is said to come from that sends this before its handshake, and these
/// headers with it: as frames say it, and as its handshake does.
async fn seen(
    from: Ipv4Addr,
    listener: SocketAddr,
    before: &[u8],
    headers: &[(&'static str, &str)],
) -> [String; 2] {
    let mut stream = connect_from(from, listener).await;
    stream.write_all(before).await.unwrap();
    let mut request = format!("ws://{listener}/").into_client_request().unwrap();
    for (name, value) in headers {
        request.headers_mut().append(*name, value.parse().unwrap());
    }
    let mut client = WsClient::over(stream, request).await.unwrap();
    [client.text().await, client.text().await]
}

#[tokio::test]
async fn only_a_trusted_proxy_may_name_a_clients_address() {
    let (cluster, _mirror) = mirror(&websocket("trusted_proxies = '127.0.0.1/32'")).await;
    let listener = cluster.listener();
    let forwarded = [("x-forwarded-for", "198.51.100.1, 203.0.113.7")];
    let brought = seen(HERE, listener, b"", &forwarded).await;
    assert_eq!(brought, ["frame 203.0.113.7:0", "handshake 203.0.113.7:0"]);
    let ipv6 = seen(HERE, listener, b"", &[("x-forwarded-for", "2001:db8::7")]).await;
    assert_eq!(ipv6, ["frame none", "handshake [2001:db8::7]:0"]);
    for (from, headers) in [(THERE, &forwarded[..]), (THERE, &[("x-real-ip", "203.0.113.7")]), (HERE, &[])] {
        let [frame, handshake] = seen(from, listener, b"", headers).await;
        assert!(frame.starts_with(&format!("frame {from}:")), "{frame}");
        assert_eq!(frame.replace("frame", "handshake"), handshake);
    }
}

#[tokio::test]
async fn a_proxy_may_name_the_address_in_another_header() {
    let listen = websocket("trusted_proxies = '127.0.0.1'\nreal_ip_header = 'x-real-ip'");
    let (cluster, _mirror) = mirror(&listen).await;
    let headers = [("x-forwarded-for", "198.51.100.1"), ("x-real-ip", "203.0.113.7")];
    let [frame, _] = seen(HERE, cluster.listener(), b"", &headers).await;
    assert_eq!(frame, "frame 203.0.113.7:0");
}

#[tokio::test]
async fn a_client_behind_a_proxy_counts_for_its_own_address() {
    let settings = "trusted_proxies = '127.0.0.1'\nmax_connections_per_address = 1";
    let (cluster, _mirror) = mirror(&websocket(settings)).await;
    let mut inside = Vec::new();
    for (client, status) in [("203.0.113.7", "101"), ("203.0.113.8", "101"), ("203.0.113.7", "429")] {
        let mut stream = connect_from(HERE, cluster.listener()).await;
        let request = upgrade("/", &format!("X-Forwarded-For: {client}\r\n"));
        assert_status(&exchange(&mut stream, &request, "\r\n\r\n").await, status);
        inside.push(stream);
    }
}

/// The bytes with which HAProxy and others begin a connection, in version 2.
fn proxy_v2() -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
    header.extend([203, 0, 113, 7, 127, 0, 0, 1, 0xd4, 0x31, 0, 80]);
    header
}

const PROXY_V1: &[u8] = b"PROXY TCP4 203.0.113.7 127.0.0.1 54321 80\r\n";

#[tokio::test]
async fn the_proxy_protocol_names_a_clients_address_on_any_listener() {
    let settings = "trusted_proxies = '127.0.0.1'\nproxy_protocol = true";
    let text = format!("[[listen]]\nurl = 'text://127.0.0.1:0'\n{settings}");
    let (cluster, _mirror) = mirror(&format!("{}\n{text}", websocket(settings))).await;
    let [web, text] = cluster.gateways[0].listeners[..] else { panic!("two listeners") };
    for header in [PROXY_V1.to_vec(), proxy_v2()] {
        let seen = seen(HERE, web, &header, &[]).await;
        assert_eq!(seen, ["frame 203.0.113.7:54321", "handshake 203.0.113.7:54321"]);
        let line = exchange(&mut connect_from(HERE, text).await, &header, "\n").await;
        assert_eq!(line, "frame 203.0.113.7:54321\n");
    }
}

#[tokio::test]
async fn a_listener_with_the_proxy_protocol_rejects_connections_without_it() {
    let settings = "trusted_proxies = '127.0.0.1'\nproxy_protocol = true\nhandshake_timeout_ms = 50";
    let (cluster, _mirror) = mirror(&websocket(settings)).await;
    for (from, before) in [
        // None of the listed,
        (THERE, PROXY_V1),
        // no header,
        (HERE, b""),
        (HERE, b"PROXY TCP4 nonsense\r\n"),
        // and one that does not end.
        (HERE, b"PROXY TCP4 203.0"),
    ] {
        let request = if before == b"PROXY TCP4 203.0" { Vec::new() } else { upgrade("/", "") };
        let mut stream = connect_from(from, cluster.listener()).await;
        assert_eq!(exchange(&mut stream, &[before, &request].concat(), "never").await, "");
    }
}
