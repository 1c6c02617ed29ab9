//! Clients that speak `gw.1` (`docs/client-protocol.md`): their connections are cut, and they come back. Real daemons, over TCP and TLS.

use gatewayworker_tests::metrics::Scrape;
use gatewayworker_tests::{Cluster, ClusterBuilder, Happened, Line, WsClient, eventually};
use serde_json::json;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use crate::tokens::{auth, now, sign};

/// A new client of the first gateway that is admitted: its line, its token, and its id. It has received one message, the greeting.
pub(crate) async fn start(cluster: &Cluster) -> (Line, String, String) {
    let mut line = Line::open(cluster.listener()).await;
    line.control(json!({"start": {}})).await;
    let hello = line.expect_control().await["hello"].take();
    assert_eq!((&hello["resume_ms"], &hello["ping_ms"]), (&json!(60_000), &json!(25_000)));
    let id = hello["client"].as_str().unwrap().to_owned();
    assert_eq!(line.data().await, id, "the worker greets with the id");
    // Before it is admitted, a cut would be its end.
    let api = cluster.api().await;
    eventually("the admission", async || api.is_online(id.parse().unwrap()).await.unwrap()).await;
    (line, hello["token"].as_str().unwrap().to_owned(), id)
}

pub(crate) fn builder() -> ClusterBuilder {
    Cluster::builder().metrics().gateway(|config| config.resume = true)
}

/// Waits until the first gateway has noticed a cut.
pub(crate) async fn cut(cluster: &Cluster) {
    eventually("the cut to be noticed", async || {
        Scrape::of(cluster.gateways[0].metrics.unwrap()).await.get("gatewayworker_detached_clients") > 0.0
    })
    .await;
}

#[tokio::test]
async fn a_client_that_is_cut_off_and_comes_back_is_the_same_and_misses_nothing() {
    for shards in [1, 4] {
        let cluster = builder().gateway(move |config| config.shards = shards).start().await;
        let (line, token, id) = start(&cluster).await;
        drop(line);
        cut(&cluster).await;
        let api = cluster.api().await;
        api.send_to_client(id.parse().unwrap(), "while away").await.unwrap();
        let mut line = Line::open(cluster.listener()).await;
        line.resume(&token, 1, 1).await;
        assert_eq!(line.expect_control().await, json!({"resumed": {"client": id, "got": 0}}));
        assert_eq!(line.data().await, "while away");
        line.0.send("back").await;
        assert_eq!(line.data().await, "back", "the worker echoes");
        // Half-open: the old line seems alive, and the new one takes over.
        let mut newer = Line::open(cluster.listener()).await;
        newer.resume(&token, 2, 3).await;
        assert_eq!(newer.expect_control().await, json!({"resumed": {"client": id, "got": 1}}));
        assert!(line.0.next().await.is_none(), "the older line ends");
        let mut old = Line::open(cluster.listener()).await;
        old.resume(&token, 2, 3).await;
        assert_eq!(old.close_code().await, 4409);
        newer.0.send("still").await;
        assert_eq!(newer.data().await, "still");

        while !cluster.events().is_quiet().await {
            let happened = cluster.events().next().await;
            assert!(!matches!(happened, Happened::Close(..)), "no handler runs for a cut");
        }
    }
}

#[tokio::test]
async fn what_is_no_client_any_more_is_lost_and_a_new_client_begins() {
    let cluster = builder().start().await;
    let (line, token, id) = start(&cluster).await;
    let forged = token.replace(&token[10..12], "zz");
    for (token, why) in [(forged.as_str(), "unknown"), ("rubbish", "unknown"), ("", "unknown")] {
        let mut line = Line::open(cluster.listener()).await;
        line.resume(token, 1, 0).await;
        assert_eq!(line.expect_control().await, json!({"lost": {"why": why}}));
        let hello = line.expect_control().await;
        assert_ne!(hello["hello"]["client"], id);
    }
    let api = cluster.api().await;
    api.close_client(id.parse().unwrap()).await.unwrap();
    let mut line = line;
    assert_eq!(line.close_code().await, 1000);
    let mut line = Line::open(cluster.listener()).await;
    line.resume(&token, 1, 1).await;
    assert_eq!(line.expect_control().await, json!({"lost": {"why": "expired"}}));
    assert!(line.expect_control().await["hello"].is_object());
}

#[tokio::test]
async fn a_client_that_is_closed_while_it_is_away_is_told_when_it_comes_back() {
    let cluster = builder().start().await;
    let (line, token, id) = start(&cluster).await;
    drop(line);
    cut(&cluster).await;
    let api = cluster.api().await;
    api.close_client(id.parse().unwrap()).last_message("bye").await.unwrap();
    eventually("the close", async || !api.is_online(id.parse().unwrap()).await.unwrap()).await;
    let mut line = Line::open(cluster.listener()).await;
    line.resume(&token, 1, 1).await;
    assert_eq!(line.data().await, "bye");
    assert_eq!(line.expect_control().await, json!({"closed": {"code": 1000, "reason": ""}}));
    assert_eq!(line.close_code().await, 1000);
}

#[tokio::test]
async fn a_first_message_that_is_neither_start_nor_resume_ends_the_connection_alone() {
    let cluster = builder().start().await;
    let (mut other, _, _) = start(&cluster).await;
    for wrong in ["hello", "\u{1}{\"ack\":0}", "\u{1}[]", "\u{1}{\"resume\":{}}", &"x".repeat(9000)] {
        let mut line = Line::open(cluster.listener()).await;
        line.0.send(wrong).await;
        assert_eq!(line.close_code().await, 1002, "{wrong:.20}");
    }
    other.0.send("still here").await;
    assert_eq!(other.data().await, "still here");
}

#[tokio::test]
async fn clients_that_do_not_offer_it_and_listeners_without_it_see_nothing_of_it() {
    let cluster = builder().start().await;
    let (mut plain, id) = WsClient::greeted(cluster.listener()).await;
    let api = cluster.api().await;
    api.send_to_client(id, "\u{1}{\"as\":\"it is\"}").await.unwrap();
    assert_eq!(plain.text().await, "\u{1}{\"as\":\"it is\"}");
    plain.send("\u{1}too").await;
    assert_eq!(plain.text().await, "\u{1}too");
    let without = Cluster::start().await;
    let stream = TcpStream::connect(without.listener()).await.unwrap();
    let mut request = format!("ws://{}/", without.listener()).into_client_request().unwrap();
    request.headers_mut().insert("Sec-WebSocket-Protocol", "gw.1".parse().unwrap());
    let refused = WsClient::over(stream, request).await;
    assert!(refused.is_err(), "the offer is not answered");
}

#[tokio::test]
async fn a_client_with_a_token_comes_back_as_the_same_user_also_where_a_uid_has_one_client() {
    let free = "{ url = 'websocket://127.0.0.1:0', auth = false }";
    let cluster = builder()
        .listen(&format!("listen = [{free}, 'websocket://127.0.0.1:0']"))
        .gateway(|config| {
            config.resume = true;
            config.max_clients_per_uid = 1;
            config.auth = auth("");
        })
        .start()
        .await;
    let listener = cluster.gateways[0].listeners[1];
    let path = |uid: &str| format!("/?token={}", sign(json!({"sub": uid, "exp": now() + 60})));
    let mut line = Line::open_with(listener, &path("lena"), "gw.1").await;
    line.control(json!({"start": {}})).await;
    let hello = line.expect_control().await["hello"].take();
    let token = hello["token"].as_str().unwrap();
    line.data().await;
    let mut second = Line::open_with(listener, &path("lena"), "gw.1").await;
    second.control(json!({"start": {}})).await;
    assert_eq!(second.close_code().await, 4401, "the uid has its one client");
    let mut newer = Line::open_with(listener, &path("lena"), "gw.1").await;
    newer.resume(token, 1, 1).await;
    assert_eq!(newer.expect_control().await["resumed"]["client"], hello["client"]);
    let mut other = Line::open_with(listener, &path("tom"), "gw.1").await;
    other.resume(token, 2, 1).await;
    assert_eq!(other.expect_control().await, json!({"lost": {"why": "unknown"}}));
    newer.0.send("still lena").await;
    assert_eq!(newer.data().await, "still lena");
}
