//! Events over HTTP: what a backend is sent, and what its answers do.

use axum::http::{StatusCode, Version};
use axum::response::IntoResponse;
use data_encoding::HEXLOWER;
use gatewayworker::SecretKey;
use gatewayworker_businessworker::{CancellationToken, EventName, EventsConfig, Problems};
use gatewayworker_tests::tls::Certificate;
use gatewayworker_tests::{
    Application, Backend, Cluster, EVENTS_SECRET, Posted, TcpClient, WsClient, eventually, soon,
};
use gatewayworker_webhook::HttpEvents;
use ring::hmac;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

use crate::resume::Line;

/// A cluster without workers, and a worker in it that sends its events to a backend.
pub(crate) async fn cluster_of(config: &EventsConfig) -> (Cluster, Application) {
    let cluster = Cluster::builder().workers(0).start().await;
    let worker = worker_of(&cluster, config);
    (cluster, worker)
}

pub(crate) fn worker_of(cluster: &Cluster, config: &EventsConfig) -> Application {
    cluster.start_application(HttpEvents::new(config, CancellationToken::new()).unwrap())
}

/// An echo.
pub(crate) fn echo(event: &Value) -> Value {
    match event["event"].as_str() {
        Some("message") => {
            json!({"calls": [{"call": "send_to_client", "params": {"message": event["message"]}}]})
        }
        _ => json!({}),
    }
}

#[tokio::test]
async fn a_client_is_admitted_heard_and_seen_off() {
    let backend = Backend::answering(200, |event| match event["event"].as_str() {
        Some("connect") => json!({
            "admission": {"admit": true},
            "session": {"name": "Lena", "visits": 1},
            "calls": [
                {"call": "bind_uid", "params": {"uid": "lena"}},
                {"call": "join_group", "params": {"group": "hall"}},
                {"call": "send_to_client", "params": {"message": {"hello": "Lena"}}},
            ],
        }),
        Some("message") => json!({
            "session": {"visits": event["session"]["visits"].as_i64().unwrap() + 1, "name": null},
            "calls": [{"call": "send_to_group", "params": {"group": "hall", "message": event["message"]}}],
        }),
        _ => Value::Null,
    })
    .await;
    let (cluster, _worker) = cluster_of(&backend.config()).await;
    let mut client = WsClient::connect_to(cluster.listener(), "/chat?token=t").await;
    assert_eq!(client.json().await, json!({"hello": "Lena"}));
    let connect = backend.event("connect").await;
    assert_eq!(connect["handshake"]["path"], "/chat");
    assert_eq!(connect["handshake"]["query"], json!({"token": "t"}));
    assert_eq!(
        (&connect["session"], &connect["uid"], &connect["groups"]),
        (&json!({}), &Value::Null, &json!([]))
    );

    for (n, text) in ["one", "two"].into_iter().enumerate() {
        client.send(text).await;
        assert_eq!(client.text().await, text);
        let event = backend.events("message").remove(n);
        assert_eq!((&event["message"], &event["binary"]), (&json!(text), &json!(false)));
        assert_eq!((&event["uid"], &event["groups"]), (&json!("lena"), &json!(["hall"])));
        let session = [json!({"name": "Lena", "visits": 1}), json!({"visits": 2})];
        assert_eq!(event["session"], session[n]);
        assert_eq!((&event["redelivered"], &event["try"]), (&json!(false), &json!(1)));
        assert_eq!(event["client_id"], connect["client_id"]);
    }
    let frame = CloseFrame { code: 4001.into(), reason: "bye".into() };
    client.send_message(Message::Close(Some(frame))).await;
    let close = backend.event("close").await;
    assert_eq!(close["reason"], "client-left");
    assert_eq!(close["close"], json!({"code": 4001, "reason": "bye"}));
    assert_eq!((&close["uid"], &close["groups"]), (&json!("lena"), &json!(["hall"])), "as they were before");
    let ids: std::collections::HashSet<_> =
        backend.received().into_iter().map(|one| one.event["id"].to_string()).collect();
    assert_eq!(ids.len(), 4, "each event has an id of its own");
}

#[tokio::test]
async fn a_client_is_refused_with_a_code_and_a_message() {
    let answer = json!({"admission": {"admit": false, "code": 4403, "message": "no entry"}});
    let backend = Backend::answering(200, move |_| answer.clone()).await;
    let (cluster, _worker) = cluster_of(&backend.config()).await;
    let mut client = WsClient::connect(cluster.listener()).await;
    assert_eq!(client.text().await, "no entry");
    assert_eq!(client.close_code().await, 4403);
}

#[tokio::test]
async fn an_empty_answer_admits_and_bytes_are_base64() {
    let backend = Backend::start(async |_| StatusCode::NO_CONTENT.into_response()).await;
    let (cluster, _worker) = cluster_of(&backend.config()).await;
    let mut client = WsClient::connect(cluster.listener()).await;
    client.send_message(Message::binary(vec![0xff, 0x00])).await;
    let event = backend.event("message").await;
    assert_eq!((&event["message_base64"], &event["binary"]), (&json!("/wA="), &json!(true)));
    assert!(event.get("message").is_none());
}

#[tokio::test]
async fn only_the_events_are_sent_that_the_settings_name() {
    let backend = Backend::answering(200, echo).await;
    let mut config = backend.config();
    config.send = vec![EventName::Open, EventName::Message];
    let listen = "listen = ['websocket://127.0.0.1:0', 'text://127.0.0.1:0']";
    let cluster = Cluster::builder().workers(0).listen(listen).start().await;
    let _worker = worker_of(&cluster, &config);
    let mut client = TcpClient::connect(cluster.gateways[0].listeners[1]).await;
    client.send(b"hi\n").await;
    assert_eq!(client.bytes(3).await, b"hi\n");
    let names: Vec<_> = backend.received().iter().map(|one| one.event["event"].clone()).collect();
    assert_eq!(names, ["open", "message"]);
}

#[tokio::test]
async fn a_backend_that_asks_is_told_of_clients_that_are_cut_off_and_come_back() {
    let backend = Backend::answering(200, echo).await;
    let cluster = Cluster::builder().workers(0).gateway(|config| config.resume = true).start().await;
    let mut config = backend.config();
    config.send = vec![EventName::Connect, EventName::Message, EventName::Detached, EventName::Resumed];
    let _worker = worker_of(&cluster, &config);
    let mut line = Line::open(cluster.listener()).await;
    line.control(json!({"start": {}})).await;
    let token = line.expect_control().await["hello"]["token"].as_str().unwrap().to_owned();
    let connect = backend.event("connect").await;
    // It is admitted then; before, it would not be kept.
    line.0.send("hi").await;
    assert_eq!(line.data().await, "hi");
    drop(line);
    let detached = backend.event("detached").await;
    assert_eq!(detached["client_id"], connect["client_id"]);
    let mut line = Line::open_with(cluster.listener(), "/back", "gw.1").await;
    line.resume(&token, 1, 1).await;
    let resumed = backend.event("resumed").await;
    assert_eq!(resumed["client_id"], connect["client_id"]);
    assert_eq!(resumed["handshake"]["path"], "/back");
}

/// Whether one of the signatures of a request is made with a key.
fn is_signed_with(posted: &Posted, key: &str) -> bool {
    let signature = posted.headers["gatewayworker-signature"].to_str().unwrap();
    let (time, codes) = signature.strip_prefix("t=").unwrap().split_once(',').unwrap();
    let signed = [time.as_bytes(), b".", &posted.body].concat();
    let key = hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes());
    let is_valid = |code: &str| {
        let code = HEXLOWER.decode(code.strip_prefix("v1=").unwrap().as_bytes()).unwrap();
        hmac::verify(&key, &signed, &code).is_ok()
    };
    codes.split(',').any(is_valid)
}

#[tokio::test]
async fn requests_are_signed_and_while_the_key_is_changed_with_both() {
    let next = "whsec_fedcba9876543210";
    for next_secret in ["", next] {
        let backend = Backend::answering(200, echo).await;
        let mut config = backend.config();
        config.next_secret = SecretKey::new(next_secret);
        let (cluster, _worker) = cluster_of(&config).await;
        let _client = WsClient::connect(cluster.listener()).await;
        let event = backend.event("connect").await;
        let posted = backend.received().remove(0);
        assert!(is_signed_with(&posted, EVENTS_SECRET));
        assert_eq!(is_signed_with(&posted, next), !next_secret.is_empty());
        assert!(!is_signed_with(&posted, "whsec_another_secret_"));
        assert_eq!(posted.headers["content-type"], "application/json");
        assert_eq!(posted.headers["gatewayworker-event-id"].to_str().unwrap(), event["id"]);
        assert!(posted.headers["user-agent"].to_str().unwrap().starts_with("gatewayworker/"));
    }
}

#[tokio::test]
async fn events_of_one_client_keep_their_order_and_clients_do_not_wait_for_each_other() {
    let backend = Backend::start(async |posted: Posted| {
        if posted.event["message"] == "slow" {
            std::future::pending::<()>().await;
        }
        axum::Json(echo(&posted.event)).into_response()
    })
    .await;
    let (cluster, _worker) = cluster_of(&backend.config()).await;
    let mut slow = WsClient::connect(cluster.listener()).await;
    slow.send("slow").await;
    let mut client = WsClient::connect(cluster.listener()).await;
    for n in 0..100 {
        client.send(&n.to_string()).await;
    }
    soon("the answers", async {
        for n in 0..100 {
            assert_eq!(client.text().await, n.to_string());
        }
    })
    .await;
}

#[tokio::test]
async fn several_backends_take_turns() {
    let backends = [Backend::answering(200, echo).await, Backend::answering(200, echo).await];
    let mut config = backends[0].config();
    config.url.extend(backends[1].config().url);
    let (cluster, _worker) = cluster_of(&config).await;
    let mut client = WsClient::connect(cluster.listener()).await;
    for n in 0..9 {
        client.send(&n.to_string()).await;
        assert_eq!(client.text().await, n.to_string());
    }
    assert_eq!(backends.each_ref().map(|backend| backend.received().len()), [5, 5]);
}

#[tokio::test]
async fn over_https_http2_is_used_where_it_is_offered_and_an_own_authority_is_trusted_by_name() {
    let certificate = Certificate::default();
    certificate.renew_by_authority();
    for (protocol, version) in [("h2", Version::HTTP_2), ("http/1.1", Version::HTTP_11)] {
        let backend = Backend::answering(200, echo).await.over_tls(&certificate, protocol).await;
        let mut config = backend.config();
        config.url = vec![format!("https://localhost:{}/events", backend.address.port())];
        config.ca_file = Some(certificate.authority());
        let (cluster, _worker) = cluster_of(&config).await;
        let mut client = WsClient::connect(cluster.listener()).await;
        for text in ["one", "two"] {
            client.send(text).await;
            assert_eq!(client.text().await, text);
        }
        let versions: Vec<_> = backend.received().iter().map(|posted| posted.version).collect();
        assert_eq!(versions, vec![version; versions.len()]);
        assert!(versions.len() >= 3);
    }
}

#[tokio::test]
async fn a_backend_with_a_certificate_of_nobody_known_is_away_and_a_missing_file_of_authorities_is_named() {
    let certificate = Certificate::default();
    certificate.renew_by_authority();
    let backend = Backend::answering(200, echo).await.over_tls(&certificate, "h2").await;
    let mut config = backend.config();
    config.url = vec![format!("https://localhost:{}/events", backend.address.port())];
    let cluster = Cluster::builder().workers(0).start().await;
    let events = HttpEvents::new(&config, CancellationToken::new()).unwrap();
    let (metrics, problems) = (Default::default(), Problems::default());
    events.register(&metrics, &problems);
    let _worker = cluster.start_application(events);
    let _client = WsClient::connect(cluster.listener()).await;
    eventually("the backend to count as away", async || format!("{problems:?}").contains("is away for"))
        .await;
    assert!(backend.received().is_empty());
    config.ca_file = Some("/nowhere/ca.pem".into());
    let error = HttpEvents::new(&config, CancellationToken::new()).unwrap_err().to_string();
    assert!(error.starts_with("events.ca_file: /nowhere/ca.pem: "), "{error}");
}
