//! Calls of clients, by real gateways and workers: groups without an application.

use gatewayworker::businessworker::{ClientCalls, ClientCallsConfig, Metrics, unknown_call};
use gatewayworker::{Admission, Client, Events, Handshake, Result};
use gatewayworker_tests::metrics::{Scrape, assert_moves};
use gatewayworker_tests::{Cluster, WsClient};
use serde_json::{Value, json};

/// An application that binds each client to the uid in its query, and puts into its session what a gateway puts there
/// from a token.
struct Uids;

impl Events for Uids {
    async fn on_websocket_connect(&self, client: &Client, handshake: &Handshake) -> Result<Admission> {
        if let Some(uid) = handshake.get("uid") {
            client.bind_uid(uid).await?;
        }
        if let Some(join) = handshake.get("join") {
            client.session().insert("client_calls", json!({"join": [join], "publish": [join]}))?;
        }
        client.send("welcome").await?;
        Ok(Admission::Admit)
    }

    async fn on_message(&self, client: &Client, _: gatewayworker::Message) -> Result {
        client.send(unknown_call()).await?;
        Ok(())
    }
}

async fn connect(cluster: &Cluster, gateway: usize, query: &str) -> WsClient {
    let mut client = WsClient::connect_to(cluster.gateways[gateway].listener, &format!("/?{query}")).await;
    assert_eq!(client.text().await, "welcome");
    client
}

/// Sends a call, and returns the answer.
async fn call(client: &mut WsClient, call: Value) -> Value {
    client.send_json(call).await;
    client.json().await
}

async fn refused(client: &mut WsClient, what: Value) -> String {
    let answer = call(client, what).await;
    assert_eq!(answer["ok"], false, "{answer}");
    answer["error"].as_str().unwrap().to_owned()
}

fn config(change: impl FnOnce(&mut ClientCallsConfig)) -> ClientCallsConfig {
    let mut config = ClientCallsConfig::default();
    config.join = vec!["room-*".into(), "user-{uid}-*".into()];
    config.publish = vec!["room-*".into()];
    config.presence = vec!["room-*".into()];
    change(&mut config);
    config
}

#[tokio::test]
async fn two_clients_of_two_gateways_talk_in_a_room_without_an_application() {
    let cluster = Cluster::builder().gateways(2).workers(0).start().await;
    let _worker = cluster.start_application(ClientCalls::new(config(|_| ()), Uids));
    let mut ann = connect(&cluster, 0, "uid=ann").await;
    let mut bob = connect(&cluster, 1, "").await;
    let join = |id| json!({"gw": "join", "group": "room-1", "id": id});
    assert_eq!(call(&mut ann, join(json!(1))).await, json!({"gw": "join", "id": 1, "ok": true}));
    assert_eq!(call(&mut bob, join(json!("b"))).await, json!({"gw": "join", "id": "b", "ok": true}));

    ann.send_json(json!({"gw": "publish", "group": "room-1", "message": {"text": "hi"}, "id": 2})).await;
    let heard = json!({"gw": "message", "group": "room-1", "from": "ann", "message": {"text": "hi"}});
    assert_eq!(bob.json().await, heard);
    assert_eq!(ann.json().await, heard, "the sender is a member, too");
    assert_eq!(ann.json().await, json!({"gw": "publish", "id": 2, "ok": true}));

    bob.send_json(json!({"gw": "publish", "group": "room-1", "message": null})).await;
    let heard = json!({"gw": "message", "group": "room-1", "from": null, "message": null});
    assert_eq!((bob.json().await, ann.json().await), (heard.clone(), heard));
    assert_eq!(bob.json().await, json!({"gw": "publish", "ok": true}));

    let presence = call(&mut bob, json!({"gw": "presence", "group": "room-1", "id": 3})).await;
    let ann_alone = json!([{"uid": "ann", "data": {}}]);
    assert_eq!(presence, json!({"gw": "presence", "id": 3, "ok": true, "members": ann_alone, "total": 1}));

    let leave = json!({"gw": "leave", "group": "room-1"});
    assert_eq!(call(&mut bob, leave).await, json!({"gw": "leave", "ok": true}));
    let publish = json!({"gw": "publish", "group": "room-1", "message": "hi"});
    assert_eq!(refused(&mut bob, publish).await, "not-a-member");
}

#[tokio::test]
async fn what_the_settings_do_not_allow_is_refused_and_harms_nobody() {
    let cluster = Cluster::builder().workers(0).start().await;
    let _worker = cluster.start_application(ClientCalls::new(config(|config| config.max_groups = 3), Uids));
    let mut ann = connect(&cluster, 0, "uid=ann").await;
    for (call, error) in [
        (json!({"gw": "join", "group": "lobby"}), "forbidden"),
        (json!({"gw": "join", "group": "user-bob-inbox"}), "forbidden"),
        (json!({"gw": "publish", "group": "room-1", "message": "hi"}), "not-a-member"),
        (json!({"gw": "join", "group": format!("room-{}", "x".repeat(128))}), "too-long"),
        (json!({"gw": "presence", "group": "user-ann-inbox"}), "forbidden"),
        (json!({"gw": "dance"}), "unknown-call"),
        (json!("no call"), "unknown-call"),
    ] {
        assert_eq!(refused(&mut ann, call.clone()).await, error, "{call}");
    }
    ann.send(r#"{"gw":"join","group":"#).await;
    assert_eq!(ann.json().await["error"], "bad-request");
    let join = |group: &str| json!({"gw": "join", "group": group});
    assert_eq!(call(&mut ann, join("user-ann-inbox")).await["ok"], true);
    // A client that joins one after another is stopped, and stays.
    for n in 0..50 {
        let answer = call(&mut ann, join(&format!("room-{n}"))).await;
        assert_eq!(answer["ok"], n < 2, "{n}: {answer}");
        assert!(n < 2 || answer["error"] == "too-many", "{answer}");
    }
    // One that does not wait for the answers joins more, and no more than the 256 events that the gateway gives ahead.
    let mut bob = connect(&cluster, 0, "").await;
    for n in 0..1000 {
        bob.send_json(join(&format!("room-{n}"))).await;
    }
    let mut joined = 0;
    for _ in 0..1000 {
        joined += usize::from(bob.json().await["ok"] == true);
    }
    assert!((3..=3 + 256).contains(&joined), "{joined}");
}

/// The second call comes with the context of before the first.
#[tokio::test]
async fn a_client_need_not_wait_for_its_join_before_it_publishes() {
    let cluster = Cluster::builder().workers(0).start().await;
    let _worker = cluster.start_application(ClientCalls::new(config(|_| ()), Uids));
    for n in 0..20 {
        let mut client = connect(&cluster, 0, "").await;
        let group = format!("room-{n}");
        client.send_json(json!({"gw": "join", "group": group})).await;
        client.send_json(json!({"gw": "publish", "group": group, "message": n})).await;
        assert_eq!(client.json().await, json!({"gw": "join", "ok": true}));
        assert_eq!(client.json().await["message"], n);
        assert_eq!(client.json().await, json!({"gw": "publish", "ok": true}));
    }
}

#[tokio::test]
async fn a_token_allows_its_client_more_where_the_settings_let_it() {
    let cluster = Cluster::builder().workers(0).start().await;
    for (from_token, expected) in [(true, None), (false, Some("forbidden"))] {
        let calls = ClientCalls::new(config(|config| config.from_token = from_token), Uids);
        let worker = cluster.start_application(calls);
        let mut client = connect(&cluster, 0, "uid=ann&join=vip-{uid}").await;
        let answer = call(&mut client, json!({"gw": "join", "group": "vip-ann"})).await;
        assert_eq!(answer["error"].as_str(), expected, "{answer}");
        assert_eq!(refused(&mut client, json!({"gw": "join", "group": "vip-bob"})).await, "forbidden");
        drop(client);
        worker.stop().await;
    }
}

#[tokio::test]
async fn without_settings_a_call_is_a_message_like_any_other() {
    let cluster = Cluster::builder().workers(0).start().await;
    let calls = ClientCalls::new(ClientCallsConfig::default(), Uids);
    let _worker = cluster.start_application(calls);
    let mut client = connect(&cluster, 0, "").await;
    let answer = refused(&mut client, json!({"gw": "join", "group": "room-1"})).await;
    assert_eq!(answer, "unknown-call", "the application has it");
}

#[tokio::test]
async fn calls_are_counted_by_their_answer() {
    let cluster = Cluster::builder().workers(0).start().await;
    let metrics = Metrics::default();
    let calls = ClientCalls::new(config(|config| config.max_groups = 1), Uids).with_metrics(&metrics);
    let (_worker, daemon) = cluster.start_application_with_metrics(calls, metrics);
    let mut client = connect(&cluster, 0, "uid=ann").await;
    for (what, name, result) in [
        (json!({"gw": "join", "group": "room-1"}), "join", "ok"),
        (json!({"gw": "join", "group": "room-2"}), "join", "too-many"),
        (json!({"gw": "join", "group": "lobby"}), "join", "forbidden"),
        (json!({"gw": "presence", "group": "room-1"}), "presence", "ok"),
        (json!({"gw": "publish", "group": "room-2", "message": 1}), "publish", "not-a-member"),
        (json!({"gw": "leave", "group": "room-1"}), "leave", "ok"),
        (json!({"gw": "dance"}), "error", "unknown-call"),
    ] {
        let counter = format!("gatewayworker_client_calls_total{{call=\"{name}\",result=\"{result}\"}}");
        assert_moves(daemon, &[(&counter, 1.0)], async || call(&mut client, what).await).await;
    }
    // A message that is no call is the application's.
    client.send("hello").await;
    assert_eq!(client.json().await["error"], "unknown-call");
    assert_eq!(Scrape::of(daemon).await.sum("gatewayworker_client_calls_total"), 7.0);
}
