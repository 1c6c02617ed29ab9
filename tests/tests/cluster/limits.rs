//! Limits on clients: how fast they send and connect, and what workers give to them.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use gatewayworker::CloseReason;
use gatewayworker_tests::{Cluster, Happened, TcpClient, WsClient, eventually, soon};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio_tungstenite::tungstenite::Message;

async fn cluster(settings: &str) -> Cluster {
    let listeners = ["websocket", "text"]
        .map(|scheme| format!("[[listen]]\nurl = '{scheme}://127.0.0.1:0'\n{settings}\n"));
    Cluster::builder().listen(&listeners.concat()).start().await
}

#[tokio::test]
async fn a_throttled_client_is_slowed_down_and_loses_nothing() {
    let cluster = cluster("max_messages_per_second = 50\nmessage_burst = 10").await;
    let (mut client, _) = WsClient::greeted(cluster.listener()).await;
    let mut line = TcpClient::connect(cluster.gateways[0].listeners[1]).await;
    line.line().await;
    let (mut free, _) = WsClient::greeted(cluster.listener()).await;
    let began = Instant::now();
    let lines: String = (0..60).map(|n| format!("{n}\n")).collect();
    line.send(lines.as_bytes()).await;
    for n in 0..60 {
        client.send(&n.to_string()).await;
    }
    // Another client has a rate of its own.
    free.send("at once").await;
    assert_eq!(free.text().await, "at once");
    for n in 0..60 {
        assert_eq!(client.text().await, n.to_string());
        assert_eq!(line.line().await, n.to_string());
    }
    // 10 at once, and 50 more in a second.
    assert!(began.elapsed() >= Duration::from_millis(990), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_throttled_client_sends_its_bytes_at_its_rate() {
    let cluster = cluster("max_bytes_per_second = 200_000\nbyte_burst = 50_000").await;
    let (mut client, _) = WsClient::greeted(cluster.listener()).await;
    let began = Instant::now();
    for n in 0..5_u8 {
        client.send_message(Message::binary(vec![n; 50_000])).await;
    }
    for n in 0..5_u8 {
        assert_eq!(client.next().await, Some(Message::binary(vec![n; 50_000])));
    }
    assert!(began.elapsed() >= Duration::from_millis(990), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_client_that_sends_too_fast_is_closed_where_the_listener_says_so() {
    let cluster =
        cluster("max_messages_per_second = 1\nmessage_burst = 3\nrate_limit_policy = 'close'").await;
    let (mut client, id) = WsClient::greeted(cluster.listener()).await;
    let (mut bystander, _) = WsClient::greeted(cluster.listener()).await;
    for _ in 0..20 {
        client.send("too fast").await;
    }
    assert_eq!(client.close_code().await, 1008);
    let mut handled = 0;
    loop {
        match cluster.events().next().await {
            Happened::Message(..) => handled += 1,
            Happened::Close(closed, CloseReason::RateLimited) if closed == id => break,
            _ => {}
        }
    }
    assert!((3..20).contains(&handled), "{handled} messages were handled, 3 may be sent at once");
    bystander.send("still here").await;
    assert_eq!(bystander.text().await, "still here");
    let mut line = TcpClient::connect(cluster.gateways[0].listeners[1]).await;
    line.line().await;
    line.send(&b"line\n".repeat(20)).await;
    line.rest().await;
    assert_eq!(cluster.events().next_close().await.1, CloseReason::RateLimited);
}

/// Connects from this address, and returns the answer to an upgrade up to the end of its head.
async fn answer(from: Ipv4Addr, listener: SocketAddr) -> String {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((from, 0).into()).unwrap();
    let mut stream = soon("a connection", socket.connect(listener)).await.unwrap();
    let upgrade = "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(upgrade.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(soon("an answer", stream.read_u8()).await.expect("a whole head"));
    }
    String::from_utf8(head).unwrap()
}

#[tokio::test]
async fn an_address_that_connects_too_often_gets_429_with_the_time_to_wait() {
    let cluster = cluster("max_connects_per_second_per_address = 1\nconnect_burst_per_address = 3").await;
    let listener = cluster.listener();
    let there = Ipv4Addr::new(127, 0, 0, 2);
    let answers = join_all((0..30).map(|_| answer(there, listener))).await;
    let (accepted, rejected): (Vec<_>, Vec<_>) =
        answers.iter().partition(|answer| answer.starts_with("HTTP/1.1 101 "));
    assert!(accepted.len() >= 3 && !rejected.is_empty(), "{} were accepted", accepted.len());
    for answer in rejected {
        assert!(answer.starts_with("HTTP/1.1 429 ") && answer.contains("\r\nRetry-After: 1\r\n"), "{answer}");
    }
    let another = Ipv4Addr::new(127, 0, 0, 3);
    assert!(answer(another, listener).await.starts_with("HTTP/1.1 101 "));
    eventually("a later connection", async || answer(there, listener).await.starts_with("HTTP/1.1 101 "))
        .await;
}

#[tokio::test]
async fn commands_beyond_a_limit_are_not_executed() {
    let cluster = Cluster::builder()
        .gateway(|config| {
            config.max_groups_per_client = 2;
            config.max_clients_per_uid = 1;
            config.max_name_bytes = 10;
            config.shards = 2;
        })
        .start()
        .await;
    let (_first, first) = WsClient::greeted(cluster.listener()).await;
    let (_second, second) = WsClient::greeted(cluster.listener()).await;
    let api = cluster.api().await;
    for group in ["one", "a name of eighteen", "two", "three"] {
        api.join_group(first, group).await.unwrap();
    }
    api.join_group(second, "three").await.unwrap();
    for (group, members) in [("one", vec![first]), ("two", vec![first]), ("three", vec![second])] {
        assert_eq!(api.client_ids_by_group(group).await.unwrap(), members, "{group}");
    }
    assert_eq!(api.client_count_by_group("a name of eighteen").await.unwrap(), 0);
    api.bind_uid(first, "lena").await.unwrap();
    // An answer shows that the shard of the first client has bound it.
    assert_eq!(api.client_ids_by_uid("lena").await.unwrap(), [first]);
    api.bind_uid(second, "a uid of sixteen").await.unwrap();
    api.bind_uid(second, "lena").await.unwrap();
    assert_eq!(api.client_ids_by_uid("lena").await.unwrap(), [first]);
    api.unbind_uid(first, "lena").await.unwrap();
    eventually("a place", async || {
        api.bind_uid(second, "lena").await.unwrap();
        api.client_ids_by_uid("lena").await.unwrap() == [second]
    })
    .await;
}
