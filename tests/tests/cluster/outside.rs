//! The Gateway API outside of a worker: a handle that needs a register's address and a key.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use gatewayworker::client::calls::{CallError, calls};
use gatewayworker::{AskError, Gateway, History, SecretKey, Unreached};
use gatewayworker_tests::process::binary;
use gatewayworker_tests::{Cluster, WsClient, eventually, register_as_gateway, soon};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite::Message;

fn outside(cluster: &Cluster, key: &str) -> Gateway {
    Gateway::builder([cluster.register.to_string()]).secret_key(SecretKey::new(key)).connect()
}

/// Makes a call that has to go well.
async fn call(api: &Gateway, name: &str, params: Value) -> Value {
    let answer = soon(name, api.call(name, params.clone())).await;
    answer.unwrap_or_else(|error| panic!("{name} {params}: {error}"))
}

#[tokio::test]
async fn every_call_by_name_equals_the_method_of_a_worker() {
    let cluster = Cluster::builder().gateways(2).secret_key("quote\"d").start().await;
    let api = outside(&cluster, "quote\"d");
    // Answers are in the order of the gateways' addresses.
    let mut gateways = [&cluster.gateways[0], &cluster.gateways[1]];
    gateways.sort_by_key(|gateway| gateway.inner);
    let (mut ann, ann_id) = WsClient::greeted(gateways[0].listener).await;
    let (mut bob, bob_id) = WsClient::greeted(gateways[1].listener).await;
    eventually("both clients", async || call(&api, "client_count", json!({})).await == json!(2)).await;
    let (a, b) = (ann_id.to_string(), bob_id.to_string());
    let told = json!({"unreached": []});
    let mut made = vec!["publish", "history_last", "history_since"];
    let history = History::open("memory:", &api).unwrap();
    history.attach();
    let kept = call(&api, "publish", json!({"group": "news", "message": "kept"})).await;
    let position = &kept["position"];
    let message = json!({"position": position, "time_ms": kept["time_ms"], "message": "kept"});
    let page =
        |messages: Value| json!({"messages": messages, "whole": true, "more": false, "position": position});
    assert_eq!(call(&api, "history_last", json!({"group": "news"})).await, page(json!([message])));
    let since = json!({"group": "news", "position": position});
    assert_eq!(call(&api, "history_since", since).await, page(json!([])));
    let script: Vec<(&str, Value, Value)> = vec![
        ("bind_uid", json!({"client_id": a, "uid": "ann"}), told.clone()),
        ("bind_uid", json!({"client_id": b, "uid": 7}), told.clone()),
        ("join_group", json!({"client_id": a, "group": "room"}), told.clone()),
        ("join_group", json!({"client_id": b, "group": "room"}), told.clone()),
        ("join_group", json!({"client_id": b, "group": 42}), told.clone()),
        ("is_online", json!({"client_id": a}), json!(true)),
        ("is_uid_online", json!({"uid": 7}), json!(true)),
        ("are_uids_online", json!({"uids": ["ann", "zoe"]}), json!({"ann": true, "zoe": false})),
        ("client_ids_by_uid", json!({"uid": "ann"}), json!([a])),
        ("batch_client_ids_by_uid", json!({"uids": [7, "zoe"]}), json!({"7": [b], "zoe": []})),
        ("uid_by_client_id", json!({"client_id": b}), json!("7")),
        ("qualified_id", json!({"client_id": b}), json!(b)),
        ("client_count", json!({}), json!(2)),
        ("client_count_by_group", json!({"group": "room"}), json!(2)),
        ("batch_client_count_by_group", json!({"groups": ["room", 42]}), json!({"room": 2, "42": 1})),
        ("client_ids", json!({}), json!([a, b])),
        ("client_ids_by_group", json!({"group": "42"}), json!([b])),
        ("uids", json!({}), json!(["ann", "7"])),
        ("uid_count", json!({}), json!(2)),
        ("uids_by_group", json!({"group": 42}), json!(["7"])),
        ("uid_count_by_group", json!({"group": "room"}), json!(2)),
        ("presence", json!({"group": 42}), json!({"members": [{"uid": "7", "data": {}}], "total": 1})),
        ("group_ids", json!({}), json!(["room", "42"])),
        ("uids_of_all_groups", json!({}), json!({"room": ["ann", "7"], "42": ["7"]})),
        ("uid_counts_of_all_groups", json!({}), json!({"room": 2, "42": 1})),
        ("client_ids_of_all_groups", json!({}), json!({"room": [a, b], "42": [b]})),
        ("client_counts_of_all_groups", json!({}), json!({"room": 2, "42": 1})),
        ("set_session", json!({"client_id": a, "session": {"n": 1, "deep": {"x": 1}}}), told.clone()),
        ("update_session", json!({"client_id": a, "session": {"deep": {"y": [true]}}}), told.clone()),
        ("session", json!({"client_id": a}), json!({"n": 1, "deep": {"x": 1, "y": [true]}})),
        ("session", json!({"client_id": b}), json!({})),
        ("sessions", json!({}), json!({a.clone(): {"n": 1, "deep": {"x": 1, "y": [true]}}, b.clone(): {}})),
        ("sessions_by_group", json!({"group": 42}), json!({b.clone(): {}})),
        (
            "select",
            json!({"fields": ["uid", "groups"], "where": {"uids": ["ann"], "groups": 42}}),
            json!({a.clone(): {"uid": "ann", "groups": ["room"]}, b.clone(): {"uid": "7", "groups": ["room", "42"]}}),
        ),
        // An empty list is not everybody.
        ("select", json!({"where": {"groups": [], "uids": []}}), json!({})),
        ("send_to_all", json!({"message": "to nobody", "only": []}), told.clone()),
        ("unbind_uid", json!({"client_id": b, "uid": 7}), told.clone()),
        ("uid_by_client_id", json!({"client_id": b}), Value::Null),
        ("leave_group", json!({"client_id": a, "group": "room"}), told.clone()),
        ("client_count_by_group", json!({"group": "room"}), json!(1)),
        ("ungroup", json!({"group": "room"}), told.clone()),
        ("client_count_by_group", json!({"group": "room"}), json!(0)),
        ("send_to_all", json!({"message": "all"}), told.clone()),
        ("send_to_all", json!({"message": {"only": [1]}, "only": b}), told.clone()),
        ("send_to_all", json!({"message": "except", "except": [b]}), told.clone()),
        ("send_to_client", json!({"client_id": b, "message_base64": "AP8="}), told.clone()),
        ("send_to_uid", json!({"uid": ["ann"], "message": 7}), told.clone()),
        ("send_to_group", json!({"group": ["42"], "message": "group"}), told.clone()),
        ("send_to_client", json!({"client_id": a, "message_base64": "gQJoaQ==", "raw": true}), told.clone()),
        // These clients have left.
        ("send_to_uid", json!({"uid": "ann", "message": "to nobody", "except": [a]}), told.clone()),
        ("close_uid", json!({"uid": "ann", "message": "to nobody", "except": [a]}), told.clone()),
        ("close_group", json!({"group": "room", "message": "to nobody"}), told.clone()),
        ("close_client", json!({"client_id": b, "message": "bye"}), told.clone()),
        ("destroy_client", json!({"client_id": a}), told),
    ];
    for (name, params, expected) in script {
        assert_eq!(call(&api, name, params.clone()).await, expected, "{name} {params}");
        made.push(name);
    }
    for expected in ["all", "except", "7", "hi"] {
        assert_eq!(ann.text().await, expected);
    }
    assert_eq!(ann.close_code().await, 0);
    assert_eq!(bob.text().await, "all");
    assert_eq!(bob.text().await, r#"{"only":[1]}"#);
    assert_eq!(bob.next().await, Some(Message::binary(&b"\x00\xff"[..])));
    assert_eq!(bob.text().await, "group");
    assert_eq!(bob.text().await, "bye");
    assert_eq!(bob.close_code().await, 1000);
    eventually("the client to be gone", async || {
        call(&api, "session", json!({"client_id": a})).await == Value::Null
    })
    .await;
    for call in calls() {
        assert!(made.contains(&call.name), "{} was not tried", call.name);
    }
}

#[tokio::test]
async fn a_stopped_gateway_is_an_error_and_is_used_again_after_its_start() {
    let mut cluster = Cluster::builder().gateways(2).start().await;
    let api = outside(&cluster, "");
    let (_lost, lost_id) = WsClient::greeted(cluster.gateways[0].listener).await;
    let (mut kept, kept_id) = WsClient::greeted(cluster.gateways[1].listener).await;
    eventually("both clients", async || api.client_count().await.is_ok_and(|n| n == 2)).await;
    let away = cluster.gateways[0].inner;
    let watch = api.clone();
    cluster
        .restart_gateway_when(0, async || {
            eventually("the gateway to be missed", async || {
                !watch.send_to_client(lost_id, "lost").await.unwrap().is_complete()
            })
            .await;
            // The other one's clients are sent to all the while.
            let delivery = watch.send_to_all("while it is away").await.unwrap();
            assert!(delivery.unreached.iter().all(|(gateway, _)| *gateway == away));
            assert_eq!(kept.text().await, "while it is away");
            let error = watch.call("session", json!({"client_id": lost_id})).await.unwrap_err();
            assert!(matches!(error, CallError::Unreached { gateway, .. } if gateway == away), "{error}");
            eventually("it to be off the register's list", async || watch.client_ids().await.is_ok()).await;
            assert_eq!(watch.client_ids().await.unwrap(), [kept_id]);
        })
        .await;
    let (mut back, back_id) = WsClient::greeted(cluster.gateways[0].listener).await;
    eventually("it to be used again", async || api.client_count().await.is_ok_and(|n| n == 2)).await;
    assert!(api.send_to_client(back_id, "welcome").await.unwrap().is_complete());
    assert_eq!(back.text().await, "welcome");
    assert!(api.send_to_all("everybody").await.unwrap().is_complete());
    assert_eq!((back.text().await, kept.text().await), ("everybody".into(), "everybody".into()));
}

#[tokio::test]
async fn a_hanging_gateway_does_not_delay_the_others() {
    let cluster = Cluster::start().await;
    // It takes connections, as its system does that for it, and never reads.
    let hung = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let hung_address = hung.local_addr().unwrap();
    let _announced = register_as_gateway(cluster.register, hung_address).await;
    let limit = Duration::from_millis(500);
    let api = Gateway::builder([cluster.register.to_string()]).question_timeout(limit).connect();
    let (mut client, id) = WsClient::greeted(cluster.listener()).await;
    eventually("both gateways", async || api.connected_gateways().len() == 2).await;

    for n in 0..100 {
        assert!(api.send_to_all(n.to_string()).await.unwrap().is_complete());
        assert_eq!(client.text().await, n.to_string());
    }
    let started = Instant::now();
    let error = soon("the time limit", api.client_ids()).await.unwrap_err();
    let AskError::Incomplete { partial, missing, .. } = error else { panic!("{error:?}") };
    assert_eq!(partial, [id]);
    assert_eq!(missing, [(hung_address.to_string().parse().unwrap(), Unreached::TimedOut)]);
    assert!(started.elapsed() >= limit);
    // A question to a healthy gateway is not delayed.
    assert!(api.is_online(id).await.unwrap());
    assert!(api.send_to_client(id, "still there").await.unwrap().is_complete());
    assert_eq!(client.text().await, "still there");
}

#[tokio::test]
async fn a_register_restart_does_not_disturb_a_caller() {
    let mut cluster = Cluster::start().await;
    let api = outside(&cluster, "");
    let (mut client, _) = WsClient::greeted(cluster.listener()).await;
    assert!(api.send_to_all("before").await.unwrap().is_complete());
    cluster.restart_register().await;
    assert!(api.send_to_all("after").await.unwrap().is_complete());
    assert_eq!((client.text().await, client.text().await), ("before".into(), "after".into()));
    cluster.start_gateway().await;
    let (mut new, _) = WsClient::greeted(cluster.gateways[1].listener).await;
    eventually("the new gateway", async || api.client_count().await.is_ok_and(|n| n == 2)).await;
    assert!(api.send_to_all("new").await.unwrap().is_complete());
    assert_eq!(new.text().await, "new");
}

#[tokio::test]
async fn without_a_key_or_a_register_a_call_fails_within_the_time_limit() {
    let cluster = Cluster::builder().secret_key("k").start().await;
    let limit = Duration::from_millis(300);
    let stranger = Gateway::builder([cluster.register.to_string()]).question_timeout(limit).connect();
    assert_eq!(stranger.call("client_count", json!({})).await, Err(CallError::NoGateways));
    let nowhere = Gateway::builder(["127.0.0.1:1"]).question_timeout(limit).connect();
    assert_eq!(nowhere.call("send_to_all", json!({"message": "m"})).await, Err(CallError::NoGateways));
}

/// The end of `gatewayworker call`: its status, standard output and standard error.
type Ended = (Option<i32>, String, String);

/// Runs `gatewayworker call` with these arguments and standard input.
async fn shell(cluster: &Cluster, arguments: &[&str], input: &'static [u8]) -> Ended {
    let register = cluster.register.to_string();
    let arguments: Vec<_> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
    let run = tokio::task::spawn_blocking(move || {
        let mut command = Command::new(binary());
        command.args(["call", "--register-address", &register, "--question-timeout-ms", "3000"]);
        command.args(arguments).env("GATEWAYWORKER_SECRET_KEY", "k");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // One that is refused does not read it.
        let _ = child.stdin.take().unwrap().write_all(input);
        child.wait_with_output().unwrap()
    });
    // The first run may build the binary.
    let output = run.await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// The result of a successful call with this answer.
fn success(answer: &str) -> Ended {
    (Some(0), format!("{answer}\n"), String::new())
}

#[tokio::test]
async fn a_shell_makes_the_same_calls() {
    let cluster = Cluster::builder().secret_key("k").start().await;
    let (mut client, id) = WsClient::greeted(cluster.listener()).await;
    let id = id.to_string();
    let told = success(r#"{"unreached":[]}"#);
    assert_eq!(shell(&cluster, &["join-group", &id, "room1"], b"").await, told);
    assert_eq!(shell(&cluster, &["bind-uid", &id, "7"], b"").await, told);
    assert_eq!(shell(&cluster, &["client-count"], b"").await, success("1"));
    assert_eq!(shell(&cluster, &["client-ids-by-uid", "7"], b"").await, success(&format!("[\"{id}\"]")));
    assert_eq!(
        shell(&cluster, &["uids-of-all-groups", "--pretty"], b"").await,
        success("{\n  \"room1\": [\n    \"7\"\n  ]\n}")
    );
    assert_eq!(shell(&cluster, &["send-to-group", "room1", "hello"], b"").await, told);
    assert_eq!(client.text().await, "hello");
    assert_eq!(shell(&cluster, &["send-to-uid", "7", "-"], "{\"n\": \"é\"}\n".as_bytes()).await, told);
    assert_eq!(client.text().await, "{\"n\": \"é\"}\n");
    assert_eq!(shell(&cluster, &["send-to-all", "-"], b"\xff\x00").await, told);
    assert_eq!(client.next().await, Some(Message::binary(&b"\xff\x00"[..])));
    // As much as a frame takes leaves the process before it ends.
    let large = vec![b'x'; 9_000_000].leak();
    assert_eq!(shell(&cluster, &["send-to-client", &id, "-"], large).await, told);
    assert_eq!(client.text().await.len(), large.len());
}

#[tokio::test]
async fn a_failed_call_from_a_shell_has_a_status_and_an_error_line() {
    let mut cluster = Cluster::builder().gateways(2).secret_key("k").start().await;
    let (_client, id) = WsClient::greeted(cluster.listener()).await;
    let refused = |ended: &Ended, status, words: &str| {
        assert_eq!(ended.0, Some(status), "{ended:?}");
        assert!(ended.2.lines().count() == 1 && ended.2.starts_with("error: "), "{ended:?}");
        assert!(ended.2.contains(words), "{ended:?}");
    };
    let ended = shell(&cluster, &["bind-uid", "nobody", "7"], b"").await;
    refused(&ended, 2, "param `client_id`: not a client id");
    let ended = shell(&cluster, &["set-session", &id.to_string(), "[1]"], b"").await;
    refused(&ended, 2, "param `session`: an object, not a list");
    assert_eq!(shell(&cluster, &["dance"], b"").await.0, Some(2));
    assert_eq!(shell(&cluster, &["send-to-all"], b"").await.0, Some(2));

    let ended = shell(&cluster, &["client-count", "--secret-key", "another"], b"").await;
    refused(&ended, 1, "secret_key");
    let ended = shell(&cluster, &["client-count", "--register-address", "127.0.0.1:1"], b"").await;
    refused(&ended, 1, "no register at 127.0.0.1:1");

    // A gateway that is not there: the answer is printed all the same.
    let ended = shell(&cluster, &["send-to-client", "7f000001000100000001", "lost"], b"").await;
    refused(&ended, 1, "not reached: gateway 127.0.0.1:1: not known");
    assert_eq!(ended.1, "{\"unreached\":[{\"gateway\":\"127.0.0.1:1\",\"reason\":\"not_known\"}]}\n");

    for gateway in &mut cluster.gateways {
        gateway.stop().await;
    }
    let ended = shell(&cluster, &["client-count"], b"").await;
    refused(&ended, 1, "knows no gateway");
}

#[tokio::test]
async fn a_shell_gets_an_incomplete_answer_marked_as_incomplete() {
    let cluster = Cluster::start().await;
    let hung = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let _announced = register_as_gateway(cluster.register, hung.local_addr().unwrap()).await;
    let (_client, _) = WsClient::greeted(cluster.listener()).await;
    let (status, output, error) = shell(&cluster, &["client-count", "--secret-key", ""], b"").await;
    let output: Value = serde_json::from_str(&output).unwrap();
    assert_eq!(status, Some(1), "{error}");
    assert_eq!((&output["code"], &output["partial"]), (&json!("incomplete"), &json!(1)));
    assert_eq!(output["missing"][0]["reason"], "timed_out");
    assert!(error.contains("the answer is incomplete"), "{error}");
}
