//! `reload`: a new worker replaces the running one without a loss, or the running one goes on.

use std::fs;
use std::net::SocketAddr;

use gatewayworker_tests::process::free_port;
use gatewayworker_tests::tls;
use gatewayworker_tests::{HTTP_TOKEN, HttpRequest};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio_rustls::rustls::ALL_VERSIONS;

use super::site::{Site, exists};

#[tokio::test]
async fn a_reload_disturbs_no_client_and_no_caller() {
    let site = Site::new();
    site.succeeds("start", &["-d"]).await;
    let mut client = site.greeted_client().await;
    let mut before = vec![site.worker().await];
    let reloads = async {
        for _ in 0..5 {
            site.succeeds("reload", &[]).await;
            let worker = site.worker().await;
            assert!(!before.contains(&worker), "another process");
            assert!(!exists(before[before.len() - 1]), "the old one has ended");
            before.push(worker);
        }
    };
    let mut said = 0;
    let mut called = 0;
    let talk = async {
        loop {
            // The chat lets nobody chat that fast; a heartbeat goes the same way.
            client.send_json(json!({"type": "ping"})).await;
            assert_eq!(client.json().await["type"], "pong");
            said += 1;
        }
    };
    let call = async {
        loop {
            let answer =
                HttpRequest::post(site.http, "/v1/client_count", &json!({})).token(HTTP_TOKEN).send().await;
            assert_eq!(*answer.result(), 1);
            called += 1;
        }
    };
    let mut kept = 0;
    let call_again = async {
        let mut caller = KeepAlive::new(site.http);
        loop {
            assert_eq!(caller.call("client_count").await, json!({"result": 1}));
            kept += 1;
        }
    };
    tokio::select! {
        () = reloads => {}
        () = talk => {}
        () = call => {}
        () = call_again => {}
    }
    assert!(said > 20 && called > 20 && kept > 20, "{said} said, {called} and {kept} called");
}

/// A caller over HTTP who keeps the connection until it is told not to.
struct KeepAlive {
    server: SocketAddr,
    connection: Option<BufReader<TcpStream>>,
}

impl KeepAlive {
    fn new(server: SocketAddr) -> Self {
        Self { server, connection: None }
    }

    async fn call(&mut self, call: &str) -> Value {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => BufReader::new(TcpStream::connect(self.server).await.expect("it listens")),
        };
        let request = format!(
            "POST /v1/{call} HTTP/1.1\r\nhost: here\r\nauthorization: Bearer {HTTP_TOKEN}\r\n\
             content-type: application/json\r\ncontent-length: 2\r\n\r\n{{}}"
        );
        connection.write_all(request.as_bytes()).await.expect("it is there");
        let (mut length, mut keeps) = (0, true);
        loop {
            let mut line = String::new();
            connection.read_line(&mut line).await.unwrap();
            assert!(!line.is_empty(), "the connection ended without an answer");
            match line.trim().to_ascii_lowercase().split_once(": ") {
                Some(("content-length", value)) => length = value.parse().unwrap(),
                Some(("connection", "close")) => keeps = false,
                _ if line == "\r\n" => break,
                _ => {}
            }
        }
        let mut body = vec![0; length];
        connection.read_exact(&mut body).await.unwrap();
        self.connection = keeps.then_some(connection);
        serde_json::from_slice(&body).unwrap()
    }
}

#[tokio::test]
async fn a_worker_that_cannot_start_does_not_replace_the_running_one() {
    let site = Site::new();
    site.succeeds("start", &["-d"]).await;
    let mut client = site.greeted_client().await;
    let worker = site.worker().await;
    let config = fs::read_to_string(site.directory.path().join("businessworker.toml")).unwrap();
    site.write("businessworker", "dance = true");
    let refused = site.fails("reload", 1).await;
    assert!(refused.contains("dance") && refused.contains("the old one goes on"), "{refused}");
    assert_eq!(site.processes("businessworker").await, [worker]);
    client.send_json(json!({"type": "ping"})).await;
    assert_eq!(client.json().await["type"], "pong");
    site.write("businessworker", &config);
    site.succeeds("reload", &[]).await;
    assert_ne!(site.worker().await, worker);
}

#[tokio::test]
async fn a_worker_that_finds_no_gateway_does_not_replace_the_running_one() {
    let site = Site::new();
    site.succeeds("start", &["-d"]).await;
    let mut client = site.greeted_client().await;
    let worker = site.worker().await;
    site.write("businessworker", &format!("register_address = '127.0.0.1:{}'", free_port()));
    let refused = site.fails("reload", 1).await;
    assert!(refused.contains("0 of 1 gateways") && refused.ends_with("the old one goes on"), "{refused}");
    assert_eq!(site.processes("businessworker").await, [worker]);
    client.send_json(json!({"type": "ping"})).await;
    assert_eq!(client.json().await["type"], "pong");
}

#[tokio::test]
async fn the_http_port_changes_only_when_the_reload_succeeds() {
    let site = Site::new();
    site.succeeds("start", &["-d"]).await;
    let config = fs::read_to_string(site.directory.path().join("businessworker.toml")).unwrap();
    let (old, new) = (site.http, SocketAddr::from(([127, 0, 0, 1], free_port())));
    let moved = config.replace(&old.to_string(), &new.to_string());
    let is_open = async |address| TcpStream::connect(address).await.is_ok();
    let answers = async |address| KeepAlive::new(address).call("client_count").await == json!({"result": 0});

    let nowhere = format!("register_address = '127.0.0.1:{}'", free_port());
    let lines = moved.lines().map(|line| if line.starts_with("register") { nowhere.as_str() } else { line });
    site.write("businessworker", &lines.collect::<Vec<_>>().join("\n"));
    site.fails("reload", 1).await;
    assert!(answers(old).await && !is_open(new).await);

    site.write("businessworker", &moved);
    site.succeeds("reload", &[]).await;
    assert!(answers(new).await && !is_open(old).await);
}

#[tokio::test]
async fn a_reload_loads_the_new_certificate_or_fails_with_a_reason() {
    let site = Site::new();
    site.succeeds("start", &["-d"]).await;
    let shown = async || {
        let connector = site.certificate.connector(ALL_VERSIONS);
        let stream = tls::connect(&connector, site.tls_listener).await.unwrap();
        stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
    };
    let first = shown().await;
    site.certificate.renew();
    site.succeeds("reload", &[]).await;
    let second = shown().await;
    assert!(second != first && second == site.certificate.der().to_vec());
    fs::write(site.certificate.key(), "nothing").unwrap();
    let refused = site.fails("reload", 1).await;
    assert!(refused.starts_with("the gateway: ") && refused.contains("privkey.pem"), "{refused}");
    assert_eq!(shown().await, second);
}
