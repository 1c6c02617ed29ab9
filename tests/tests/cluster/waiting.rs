//! Clients that connect while no worker is linked.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use gatewayworker_tests::tls::Certificate;
use gatewayworker_tests::{Cluster, Happened, WsClient, eventually, soon};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

const UPGRADE: &str = "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

async fn connect(listener: SocketAddr) -> TcpStream {
    soon("a connection", TcpStream::connect(listener)).await.unwrap()
}

/// Ends its side, and returns what comes until the gateway ends the other.
async fn half_close(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<Vec<u8>> {
    stream.shutdown().await?;
    let mut answer = Vec::new();
    let _ = soon("the end", stream.read_to_end(&mut answer)).await;
    Ok(answer)
}

/// A client's connection: where it connects, what stands before TLS, and what it says after it.
#[derive(Clone, Copy)]
struct Leaver<'a> {
    listener: SocketAddr,
    before: &'a str,
    certificate: Option<&'a Certificate>,
    says: &'a str,
}

impl Leaver<'_> {
    /// Connects, says its bytes, and closes or resets the connection.
    async fn close(self, reset: bool) -> io::Result<()> {
        let linger = reset.then_some(Duration::ZERO);
        let mut stream = connect(self.listener).await;
        stream.write_all(self.before.as_bytes()).await?;
        match self.certificate {
            None => {
                stream.write_all(self.says.as_bytes()).await?;
                socket2::SockRef::from(&stream).set_linger(linger)
            }
            Some(certificate) => {
                let mut stream = certificate.connect_over(stream).await?;
                stream.write_all(self.says.as_bytes()).await?;
                socket2::SockRef::from(stream.get_ref().0).set_linger(linger)
            }
        }
    }

    /// Connects, says its bytes, ends its side, and returns what comes until the gateway ends the other.
    async fn half_close(self) -> io::Result<Vec<u8>> {
        let mut stream = connect(self.listener).await;
        stream.write_all(self.before.as_bytes()).await?;
        match self.certificate {
            None => {
                stream.write_all(self.says.as_bytes()).await?;
                half_close(stream).await
            }
            Some(certificate) => {
                let mut stream = certificate.connect_over(stream).await?;
                stream.write_all(self.says.as_bytes()).await?;
                half_close(stream).await
            }
        }
    }

    /// Leaves in each of the ways, before there is a worker. The gateway may reject a connection as long
    /// as it has not noticed that earlier clients have left.
    async fn leave(self) {
        for reset in [false, true] {
            eventually("a client that leaves", async || self.close(reset).await.is_ok()).await;
        }
        eventually("a client that leaves and hears nothing", async || {
            self.half_close().await.is_ok_and(|answer| answer.is_empty())
        })
        .await;
    }
}

#[tokio::test]
async fn clients_that_leave_before_a_worker_comes_hold_nothing_and_cause_no_event() {
    let certificate = Certificate::default();
    let proxied = "proxy_protocol = true\ntrusted_proxies = '127.0.0.1'\n";
    let listen = [
        "[[listen]]\nurl = 'websocket://127.0.0.1:0'\nmax_connections_per_address = 4\n".to_owned(),
        "[[listen]]\nurl = 'text://127.0.0.1:0'\n".to_owned(),
        "[[listen]]\nurl = 'frame://127.0.0.1:0'\n".to_owned(),
        "[[listen]]\nurl = 'tcp://127.0.0.1:0'\n".to_owned(),
        certificate.listener("wss://127.0.0.1:0"),
        certificate.listener("text://127.0.0.1:0"),
        format!("[[listen]]\nurl = 'websocket://127.0.0.1:0'\n{proxied}"),
        certificate.listener("wss://127.0.0.1:0") + proxied,
    ]
    .concat();
    let mut cluster = Cluster::builder()
        .workers(0)
        .listen(&listen)
        .gateway(|config| {
            (config.max_connections, config.max_waiting) = (4, 4);
            config.worker_wait_ms = 3_600_000;
        })
        .start()
        .await;
    let listeners = cluster.gateways[0].listeners.clone();
    let proxy = "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n";
    for (listener, before, certificate, says) in [
        (listeners[0], "", None, UPGRADE),
        (listeners[0], "", None, &*format!("{UPGRADE}\u{1}")),
        (listeners[1], "", None, "a line\n"),
        (listeners[1], "", None, ""),
        (listeners[2], "", None, "\0\0\0\u{5}x"),
        (listeners[3], "", None, "bytes"),
        (listeners[4], "", Some(&certificate), UPGRADE),
        (listeners[5], "", Some(&certificate), "a line\n"),
        (listeners[6], proxy, None, UPGRADE),
        (listeners[7], proxy, Some(&certificate), UPGRADE),
    ] {
        Leaver { listener, before, certificate, says }.leave().await;
    }
    // All places are free again, for clients who wait.
    let mut waiting = Vec::new();
    eventually("a place for a client that waits", async || {
        let mut client = connect(listeners[0]).await;
        client.write_all(UPGRADE.as_bytes()).await.unwrap();
        half_close(client).await.is_ok_and(|answer| answer.is_empty())
    })
    .await;
    for _ in 0..3 {
        let listener = listeners[0];
        waiting.push(tokio::spawn(async move { WsClient::greeted(listener).await }));
    }
    cluster.start_worker().await;
    let mut expected = Vec::new();
    let mut clients = Vec::new();
    for client in waiting {
        let (client, id) = soon("a client that waited to be let in", client).await.unwrap();
        clients.push(client);
        expected.push(id);
    }
    for _ in 0..3 {
        let Happened::Connect(id) = cluster.events().next().await else { panic!("a client that had left") };
        assert!(expected.contains(&id));
    }
    assert!(cluster.events().is_quiet().await);
}

#[tokio::test]
async fn messages_of_a_waiting_client_reach_its_worker() {
    let mut cluster = Cluster::builder()
        .workers(0)
        .listen("listen = ['text://127.0.0.1:0', 'tcp://127.0.0.1:0']")
        .start()
        .await;
    // More than the gateway reads of one that waits.
    let lines: Vec<String> = (0..5000).map(|n| format!("line {n}")).collect();
    let mut client = connect(cluster.listener()).await;
    client.write_all((lines.join("\n") + "\n").as_bytes()).await.unwrap();
    cluster.start_worker().await;
    assert!(matches!(cluster.events().next().await, Happened::Connect(_)));
    for line in lines {
        let Happened::Message(_, message) = cluster.events().next().await else { panic!("a message") };
        assert_eq!(message, line.as_bytes());
    }
}
