//! Listeners of several protocols in one gateway.

use std::net::SocketAddr;

use gatewayworker::CloseReason;
use gatewayworker::gateway::{BoundListeners, Config};
use gatewayworker_tests::{Cluster, Happened, TcpClient, WsClient, eventually};
use tokio_tungstenite::tungstenite::Message;

const ALL: &str =
    "listen = ['websocket://127.0.0.1:0', 'text://127.0.0.1:0', 'frame://127.0.0.1:0', 'tcp://127.0.0.1:0']";

async fn cluster(listen: &str) -> Cluster {
    Cluster::builder().listen(listen).start().await
}

fn listeners(cluster: &Cluster) -> &[SocketAddr] {
    &cluster.gateways[0].listeners
}

/// A client of a text listener, and its id.
async fn by_line(listener: SocketAddr) -> (TcpClient, String) {
    let mut client = TcpClient::connect(listener).await;
    let id = client.line().await;
    (client, id)
}

fn frame(payload: &str) -> Vec<u8> {
    [&(4 + payload.len() as u32).to_be_bytes(), payload.as_bytes()].concat()
}

#[tokio::test]
async fn a_message_reaches_the_clients_of_all_listeners_framed_for_each() {
    let cluster = cluster(ALL).await;
    let [ws, text, framed, tcp] = *listeners(&cluster) else { panic!("four listeners") };
    let (mut ws, _) = WsClient::greeted(ws).await;
    let (mut text, _) = by_line(text).await;
    let (mut framed, mut tcp) = (TcpClient::connect(framed).await, TcpClient::connect(tcp).await);
    assert_eq!(framed.bytes(4).await, [0, 0, 0, 24]);
    framed.bytes(20).await;
    tcp.bytes(20).await;

    let said = "broadcast 你好";
    for speaker in 0..4 {
        match speaker {
            0 => ws.send(said).await,
            1 => text.send(format!("{said}\r\n").as_bytes()).await,
            2 => framed.send(&frame(said)).await,
            _ => tcp.send(said.as_bytes()).await,
        }
        assert_eq!(ws.text().await, said, "{speaker}");
        assert_eq!(text.line().await, said, "{speaker}");
        assert_eq!(framed.bytes(4 + said.len()).await, frame(said), "{speaker}");
        assert_eq!(tcp.bytes(said.len()).await, said.as_bytes(), "{speaker}");
    }
}

#[tokio::test]
async fn a_worker_receives_connect_and_close_of_a_client_without_a_handshake() {
    let cluster = cluster(ALL).await;
    let (mut client, id) = by_line(listeners(&cluster)[1]).await;
    let id = id.parse().unwrap();
    client.send(b"one\ntwo\r\n\nthr").await;
    client.send(b"ee\n").await;
    assert_eq!(cluster.events().next().await, Happened::Connect(id));
    for message in ["one", "two", "", "three"] {
        assert_eq!(cluster.events().next().await, Happened::Message(id, message.into()));
        assert_eq!(client.line().await, message);
    }
    drop(client);
    assert_eq!(cluster.events().next().await, Happened::Close(id, CloseReason::ClientLeft));
}

#[tokio::test]
async fn a_kicked_client_gets_its_last_message_and_nothing_after_it() {
    let cluster = cluster(ALL).await;
    let (mut client, id) = by_line(listeners(&cluster)[1]).await;
    cluster.api().await.close_client(id.parse().unwrap()).last_message("the end").await.unwrap();
    assert_eq!(client.rest().await, b"the end\n");
}

#[tokio::test]
async fn a_stopping_gateway_closes_clients_whose_protocol_has_no_close_frame() {
    let mut cluster = cluster(ALL).await;
    let (mut client, id) = by_line(listeners(&cluster)[1]).await;
    let stopping = cluster.gateways[0].stop();
    let (rest, ()) = tokio::join!(client.rest(), stopping);
    assert_eq!(rest, b"");
    assert_eq!(cluster.events().next_close().await, (id.parse().unwrap(), CloseReason::Shutdown));
}

#[tokio::test]
async fn a_message_that_its_protocol_forbids_closes_its_client_alone() {
    let cluster = cluster(
        "listen = ['websocket://127.0.0.1:0', { url = 'text://127.0.0.1:0', max_message_bytes = 100_000 },
        { url = 'frame://127.0.0.1:0', max_message_bytes = 1000 }]",
    )
    .await;
    let [_, text, framed] = *listeners(&cluster) else { panic!("three listeners") };
    let (mut bystander, _) = by_line(text).await;
    for (what, listener, bytes, reason) in [
        ("a line over the limit", text, [vec![b'x'; 100_001], vec![b'\n']].concat(), CloseReason::TooLarge),
        ("a line without an end", text, vec![b'x'; 110_000], CloseReason::TooLarge),
        ("a frame of 4 GB", framed, vec![0xff, 0xff, 0xff, 0xff], CloseReason::TooLarge),
        ("a frame over the limit", framed, 5000_u32.to_be_bytes().to_vec(), CloseReason::TooLarge),
        ("a frame shorter than its header", framed, vec![0, 0, 0, 3], CloseReason::ProtocolError),
    ] {
        let mut client = TcpClient::connect(listener).await;
        client.send(&bytes).await;
        client.rest().await;
        assert_eq!(cluster.events().next_close().await.1, reason, "{what}");
    }
    let longest = "y".repeat(100_000);
    bystander.send(format!("{longest}\n").as_bytes()).await;
    assert_eq!(bystander.line().await, longest);
}

#[tokio::test]
async fn a_full_listener_accepts_again_after_a_client_has_left() {
    let cluster =
        cluster("listen = ['websocket://127.0.0.1:0', { url = 'text://127.0.0.1:0', max_connections = 2 }]")
            .await;
    let [ws, text] = *listeners(&cluster) else { panic!("two listeners") };
    let (first, _) = by_line(text).await;
    let (_second, _) = by_line(text).await;
    assert_eq!(TcpClient::connect(text).await.rest().await, b"");
    WsClient::greeted(ws).await;
    drop(first);
    eventually("a place", async || !TcpClient::connect(text).await.line_or_rest().await.is_empty()).await;
}

#[tokio::test]
async fn each_listener_has_its_own_heartbeat() {
    let cluster = cluster(
        "listen = ['websocket://127.0.0.1:0', { url = 'text://127.0.0.1:0', ping_interval = 0.5, ping_data = 'are you there?' }]",
    )
    .await;
    let (mut at_text, id) = by_line(listeners(&cluster)[1]).await;
    let (mut at_ws, _) = WsClient::greeted(listeners(&cluster)[0]).await;
    assert_eq!(at_text.line().await, "are you there?");
    assert_eq!(at_text.rest().await, b"");
    assert_eq!(cluster.events().next_close().await, (id.parse().unwrap(), CloseReason::TimedOut));
    at_ws.send("still here").await;
    assert_eq!(at_ws.text().await, "still here");
}

#[tokio::test]
async fn each_websocket_listener_has_its_own_type() {
    let cluster = cluster(
        "listen = ['websocket://127.0.0.1:0', { url = 'websocket://127.0.0.1:0', websocket_type = 'binary' }]",
    )
    .await;
    let [auto, binary] = *listeners(&cluster) else { panic!("two listeners") };
    let (mut at_auto, _) = WsClient::greeted(auto).await;
    let mut at_binary = WsClient::connect(binary).await;
    at_binary.next().await;
    at_auto.send("broadcast hi").await;
    assert_eq!(at_auto.next().await, Some(Message::text("broadcast hi")));
    assert_eq!(at_binary.next().await, Some(Message::binary("broadcast hi")));
    // A message that is not UTF-8 is never sent as text, whatever the listener's type.
    at_binary.send_message(Message::binary(&b"\xff\xfe"[..])).await;
    assert_eq!(at_binary.next().await, Some(Message::binary(&b"\xff\xfe"[..])));
}

#[tokio::test]
async fn clients_connect_over_ipv6() {
    let cluster =
        cluster("listen = ['websocket://127.0.0.1:0', 'text://[::1]:0', 'websocket://[::1]:0']").await;
    let [_, text, ws] = *listeners(&cluster) else { panic!("three listeners") };
    let (mut client, _) = by_line(text).await;
    let (mut other, _) = WsClient::greeted(ws).await;
    other.send("broadcast six").await;
    assert_eq!(client.line().await, "broadcast six");
}

#[tokio::test]
async fn all_addresses_of_both_kinds_may_share_a_port() {
    let port = gatewayworker_tests::process::free_port();
    let config =
        |listen: String| -> Config { toml::from_str(&format!("lan_port = 0\nlisten = {listen}")).unwrap() };
    let six_alone = BoundListeners::bind(&config(format!("['[::]:{port}']"))).await.unwrap();
    TcpClient::connect(format!("127.0.0.1:{port}").parse().unwrap()).await;
    drop(six_alone);
    let both = config(format!("['[::]:{port}', '0.0.0.0:{port}']"));
    let both = BoundListeners::bind(&both).await.expect("each takes its own kind");
    for address in [format!("127.0.0.1:{port}"), format!("[::1]:{port}")] {
        TcpClient::connect(address.parse().unwrap()).await;
    }
    drop(both);
}
