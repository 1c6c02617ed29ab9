//! Clients of `gw.1` that come back to another gateway than theirs, as behind a balancer.

use gatewayworker_tests::metrics::Scrape;
use gatewayworker_tests::{ClusterBuilder, Happened, Line, eventually};
use serde_json::json;

use crate::resume::{self, cut};
use crate::tokens::{auth, now, sign};

/// Two gateways that read each other's tokens.
fn builder() -> ClusterBuilder {
    resume::builder().secret_key("a key").gateways(2)
}

#[tokio::test]
async fn a_client_comes_back_to_another_gateway_and_is_the_same() {
    for shards in [1, 3] {
        let cluster = builder().gateway(move |config| config.shards = shards).start().await;
        let [own, other] = [0, 1].map(|n| cluster.gateways[n].listeners[0]);
        let (line, token, id) = resume::start(&cluster).await;
        drop(line);
        cut(&cluster).await;
        let api = cluster.api().await;
        api.send_to_client(id.parse().unwrap(), "while away").await.unwrap();
        let mut line = Line::open(other).await;
        line.resume(&token, 1, 1).await;
        assert_eq!(line.expect_control().await, json!({"resumed": {"client": id, "got": 0}}));
        assert_eq!(line.data().await, "while away");
        let long = "x".repeat(1 << 20);
        for said in ["one", &long, "two"] {
            line.0.send(said).await;
            assert!(line.data().await == said, "the worker echoes");
        }
        let relayed = Scrape::of(cluster.gateways[1].metrics.unwrap()).await;
        assert_eq!(relayed.get("gatewayworker_relayed_connections"), 1.0);
        assert_eq!(relayed.get("gatewayworker_clients"), 0.0, "it is the first gateway's client");

        // That line is cut, too. The client comes back to its own gateway, and takes over from there.
        drop(line);
        cut(&cluster).await;
        let mut line = Line::open(own).await;
        line.resume(&token, 2, 5).await;
        assert_eq!(line.expect_control().await, json!({"resumed": {"client": id, "got": 3}}));
        let mut newer = Line::open(other).await;
        newer.resume(&token, 3, 5).await;
        assert_eq!(newer.expect_control().await, json!({"resumed": {"client": id, "got": 3}}));
        assert!(line.0.next().await.is_none(), "the older line ends");
        let mut old = Line::open(other).await;
        old.resume(&token, 3, 5).await;
        assert_eq!(old.close_code().await, 4409);

        // A close of the application's goes through.
        while !cluster.events().is_quiet().await {
            let happened = cluster.events().next().await;
            assert!(!matches!(happened, Happened::Close(..)), "no handler runs for a cut");
        }
        api.close_client(id.parse().unwrap()).last_message("bye").await.unwrap();
        assert_eq!(newer.data().await, "bye");
        assert_eq!(newer.close_code().await, 1000);
        eventually("the relay to end", async || {
            let scrape = Scrape::of(cluster.gateways[1].metrics.unwrap()).await;
            scrape.get("gatewayworker_relayed_connections") == 0.0
        })
        .await;
    }
}

#[tokio::test]
async fn what_the_other_gateway_says_of_a_client_is_what_the_client_hears() {
    let cluster = builder().start().await;
    let other = cluster.gateways[1].listeners[0];
    let (line, token, id) = resume::start(&cluster).await;
    drop(line);
    cut(&cluster).await;
    let api = cluster.api().await;
    api.close_client(id.parse().unwrap()).last_message("bye").await.unwrap();
    eventually("the close", async || !api.is_online(id.parse().unwrap()).await.unwrap()).await;
    let mut line = Line::open(other).await;
    line.resume(&token, 1, 1).await;
    assert_eq!(line.data().await, "bye");
    assert_eq!(line.expect_control().await, json!({"closed": {"code": 1000, "reason": ""}}));
    assert_eq!(line.close_code().await, 1000);

    let (line, token, id) = resume::start(&cluster).await;
    let mut line = line;
    api.close_client(id.parse().unwrap()).await.unwrap();
    assert_eq!(line.close_code().await, 1000);
    let mut line = Line::open(other).await;
    line.resume(&token, 1, 1).await;
    assert_eq!(line.expect_control().await, json!({"lost": {"why": "expired"}}));
    let hello = line.expect_control().await["hello"].take();
    assert_ne!(hello["client"], id, "a new client of the other gateway begins");
    assert_eq!(line.data().await, hello["client"].as_str().unwrap());
}

#[tokio::test]
async fn a_client_whose_gateway_is_gone_is_lost_and_a_new_one_begins() {
    let mut cluster = builder().start().await;
    let (line, token, _) = resume::start(&cluster).await;
    drop(line);
    cut(&cluster).await;
    let (mut connected, _, _) = resume::start(&cluster).await;
    cluster.gateways[0].stop().await;
    assert_eq!(connected.close_code().await, 1012, "it is to come back");
    let mut line = Line::open(cluster.gateways[1].listeners[0]).await;
    line.resume(&token, 1, 1).await;
    assert_eq!(line.expect_control().await, json!({"lost": {"why": "unknown"}}));
    assert!(line.expect_control().await["hello"].is_object());
}

#[tokio::test]
async fn a_token_for_admission_is_that_of_the_same_user_elsewhere_too() {
    let free = "{ url = 'websocket://127.0.0.1:0', auth = false }";
    let cluster = builder()
        .listen(&format!("listen = [{free}, 'websocket://127.0.0.1:0']"))
        .gateway(|config| {
            config.resume = true;
            config.auth = auth("");
        })
        .start()
        .await;
    let [own, other] = [0, 1].map(|n| cluster.gateways[n].listeners[1]);
    let path = |uid: &str| format!("/?token={}", sign(json!({"sub": uid, "exp": now() + 60})));
    let mut line = Line::open_with(own, &path("lena"), "gw.1").await;
    line.control(json!({"start": {}})).await;
    let hello = line.expect_control().await["hello"].take();
    let token = hello["token"].as_str().unwrap();
    line.data().await;
    let mut tom = Line::open_with(other, &path("tom"), "gw.1").await;
    tom.resume(token, 1, 1).await;
    assert_eq!(tom.expect_control().await, json!({"lost": {"why": "unknown"}}));
    let mut newer = Line::open_with(other, &path("lena"), "gw.1").await;
    newer.resume(token, 2, 1).await;
    assert_eq!(newer.expect_control().await["resumed"]["client"], hello["client"]);
}
