//! Events over HTTP with backends that are away, slow or broken: each is the end of that event at most, and nobody else's.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Json;
use axum::body::Body;
use axum::http::{Response, StatusCode, header};
use axum::response::IntoResponse;
use gatewayworker_businessworker::{CancellationToken, EventName, EventsConfig, OnFailure, Problems};
use gatewayworker_tests::{Backend, Cluster, Posted, WsClient, eventually};
use gatewayworker_webhook::HttpEvents;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::events_over_http::{cluster_of, echo, worker_of};

/// Asserts that a client whose message is answered in this way is closed with 1013 after `requests`, and that another one
/// is not.
async fn closes_one(requests: usize, change: impl Fn(&mut EventsConfig), answer: fn() -> Response<Body>) {
    let backend = Backend::start(move |posted: Posted| async move {
        match posted.event["message"] == "bad" {
            true => answer(),
            false => Json(echo(&posted.event)).into_response(),
        }
    })
    .await;
    let mut config = backend.config();
    change(&mut config);
    let (cluster, _worker) = cluster_of(&config).await;
    let mut good = WsClient::connect(cluster.listener()).await;
    let mut bad = WsClient::connect(cluster.listener()).await;
    bad.send("bad").await;
    assert_eq!(bad.close_code().await, 1013);
    let tries: Vec<_> =
        backend.events("message").iter().map(|event| event["try"].as_u64().unwrap()).collect();
    assert_eq!(tries, (1..=requests as u64).collect::<Vec<_>>());
    good.send("good").await;
    assert_eq!(good.text().await, "good");
}

fn status(status: u16) -> Response<Body> {
    StatusCode::from_u16(status).unwrap().into_response()
}

fn text(body: impl Into<Body>) -> Response<Body> {
    Response::new(body.into())
}

#[tokio::test]
async fn a_server_error_is_tried_again_and_then_closes_the_client() {
    closes_one(5, |_| (), || status(500)).await;
    closes_one(2, |config| config.max_deliveries = 2, || status(429)).await;
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    closes_one(1, |_| (), || (StatusCode::FOUND, [(header::LOCATION, "/elsewhere")]).into_response()).await;
}

#[tokio::test]
async fn an_answer_that_makes_no_sense_is_not_asked_for_again() {
    closes_one(1, |_| (), || status(404)).await;
    closes_one(1, |_| (), || text("<html>")).await;
    closes_one(1, |_| (), || text(r#"{"calls": "none"}"#)).await;
    closes_one(1, |_| (), || text(r#"{"calls": [{"call": "client_count"}]}"#)).await;
    closes_one(1, |_| (), || text(r#"{"calls": [{"call": "join_group", "params": {"group": ""}}]}"#)).await;
}

#[tokio::test]
async fn of_an_answer_with_one_wrong_call_nothing_is_done() {
    let backend = Backend::answering(200, |event| {
        let send = json!({"call": "send_to_client", "params": {"message": event["message"]}});
        let wrong = json!({"call": "join_group", "params": {"group": ["a", "b"]}});
        match event["message"] == "bad" {
            true => json!({"session": {"bad": true}, "calls": [send, wrong]}),
            false => echo(event),
        }
    })
    .await;
    let mut config = backend.config();
    config.on_failure = OnFailure::Drop;
    let (cluster, _worker) = cluster_of(&config).await;
    let mut client = WsClient::connect(cluster.listener()).await;
    client.send("bad").await;
    client.send("good").await;
    assert_eq!(client.text().await, "good");
    assert_eq!(backend.events("message")[1]["session"], json!({}));
}

#[tokio::test]
async fn a_backend_that_says_when_it_is_back_is_not_asked_before() {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let times = asked.clone();
    let backend = Backend::start(move |posted: Posted| {
        let mut times = times.lock().unwrap();
        times.push(Instant::now());
        let answer = match times.len() {
            1 => (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "1")]).into_response(),
            _ => Json(echo(&posted.event)).into_response(),
        };
        async { answer }
    })
    .await;
    let mut config = backend.config();
    config.send = vec![EventName::Message];
    let (cluster, _worker) = cluster_of(&config).await;
    let mut client = WsClient::connect(cluster.listener()).await;
    client.send("here").await;
    assert_eq!(client.text().await, "here");
    let asked = asked.lock().unwrap();
    assert!(asked[1] - asked[0] >= Duration::from_secs(1), "{:?}", asked[1] - asked[0]);
}

#[tokio::test]
async fn ten_thousand_calls_are_not_made() {
    closes_one(
        1,
        |_| (),
        || {
            let call = json!({"call": "send_to_all", "params": {"message": "x"}});
            text(json!({ "calls": vec![call; 10_000] }).to_string())
        },
    )
    .await;
}

#[tokio::test]
async fn a_huge_answer_is_not_read() {
    closes_one(1, |_| (), || text(vec![b' '; 2 << 20])).await;
    // Without a length, as it streams.
    closes_one(
        1,
        |_| (),
        || {
            let endless = std::iter::repeat_with(|| Ok::<_, std::io::Error>(vec![b' '; 1 << 16]));
            text(Body::from_stream(futures_util::stream::iter(endless)))
        },
    )
    .await;
}

#[tokio::test]
async fn a_backend_that_never_answers_is_waited_for_and_then_given_up() {
    let backend = Backend::start(async |posted: Posted| {
        if posted.event["event"] == "message" {
            std::future::pending::<()>().await;
        }
        status(204)
    })
    .await;
    let mut config = backend.config();
    (config.timeout_ms, config.max_deliveries) = (50, 2);
    let (cluster, _worker) = cluster_of(&config).await;
    let mut client = WsClient::connect(cluster.listener()).await;
    client.send("x").await;
    assert_eq!(client.close_code().await, 1013);
    assert_eq!(backend.events("message").len(), 2);
}

#[tokio::test]
async fn what_is_answered_too_late_has_no_effect() {
    let backend = Backend::start(async |posted: Posted| {
        if posted.event["event"] == "message" && posted.event["try"] == 1 {
            tokio::time::sleep(Duration::from_millis(400)).await;
            let call = json!({"call": "send_to_client", "params": {"message": "late"}});
            return Json(json!({ "calls": [call] })).into_response();
        }
        Json(echo(&posted.event)).into_response()
    })
    .await;
    let mut config = backend.config();
    config.timeout_ms = 200;
    let (cluster, _worker) = cluster_of(&config).await;
    let mut client = WsClient::connect(cluster.listener()).await;
    for text in ["one", "two"] {
        client.send(text).await;
        assert_eq!(client.text().await, text, "and nothing else");
    }
    let events = backend.events("message");
    assert_eq!(events.len(), 4);
    assert_eq!(events[0]["id"], events[1]["id"], "a try has the id of the one before");
}

#[tokio::test]
async fn an_event_that_failed_may_be_dropped() {
    let backend = Backend::answering(200, |event| match event["message"] == "bad" {
        true => json!([]),
        false => echo(event),
    })
    .await;
    let mut config = backend.config();
    config.on_failure = OnFailure::Drop;
    let (cluster, _worker) = cluster_of(&config).await;
    let mut client = WsClient::connect(cluster.listener()).await;
    client.send("bad").await;
    client.send("good").await;
    assert_eq!(client.text().await, "good");
}

#[tokio::test]
async fn a_client_whose_connect_failed_is_refused_for_later() {
    for on_failure in [OnFailure::Close, OnFailure::Drop] {
        let backend = Backend::answering(500, echo).await;
        let mut config = backend.config();
        (config.on_failure, config.max_deliveries) = (on_failure, 2);
        let (cluster, _worker) = cluster_of(&config).await;
        assert_eq!(WsClient::connect(cluster.listener()).await.close_code().await, 1013);
    }
}

#[tokio::test]
async fn a_backend_that_is_away_for_a_while_closes_nobody_and_gets_everything_in_order() {
    let mut backend = Backend::answering(200, echo).await;
    let config = backend.config();
    let cluster = Cluster::builder().workers(0).start().await;
    let events = HttpEvents::new(&config, CancellationToken::new()).unwrap();
    let (metrics, problems) = (Default::default(), Problems::default());
    events.register(&metrics, &problems);
    let _worker = cluster.start_application(events);
    let mut clients = Vec::new();
    for _ in 0..20 {
        clients.push(WsClient::connect(cluster.listener()).await);
    }
    // The last of them is admitted.
    clients[19].send("here").await;
    assert_eq!(clients[19].text().await, "here");
    backend.end().await;
    for n in 0..20 {
        for client in &mut clients {
            client.send(&n.to_string()).await;
        }
    }
    eventually("a problem", async || format!("{problems:?}").contains("is away for")).await;
    backend.begin().await;
    for client in &mut clients {
        for n in 0..20 {
            assert_eq!(client.text().await, n.to_string());
        }
    }
    assert!(backend.events("message").iter().all(|event| event["try"] == 1), "nothing counts as a try");
    eventually("no problem", async || !format!("{problems:?}").contains("is away for")).await;
}

#[tokio::test]
async fn a_backend_that_says_503_is_away_and_another_one_takes_its_events() {
    let is_away = Arc::new(AtomicUsize::new(1));
    let away = is_away.clone();
    let first = Backend::start(move |posted: Posted| {
        let answer = match away.load(Ordering::SeqCst) {
            0 => Json(echo(&posted.event)).into_response(),
            _ => status(503),
        };
        async { answer }
    })
    .await;
    let second = Backend::answering(200, echo).await;
    let mut config = first.config();
    config.url.extend(second.config().url);
    let (cluster, _worker) = cluster_of(&config).await;
    let mut client = WsClient::connect(cluster.listener()).await;
    let mut echoes = async |count: usize| {
        for n in 0..count {
            client.send(&n.to_string()).await;
            assert_eq!(client.text().await, n.to_string());
        }
    };
    echoes(20).await;
    is_away.store(0, Ordering::SeqCst);
    let (before, mut n) = (second.received().len(), 0);
    while first.received().len() < 20 {
        n += 1;
        assert!(n < 10_000, "the first one is not back");
        echoes(1).await;
    }
    assert!(second.received().len() > before, "both take events again");
}

#[tokio::test]
async fn an_event_that_ends_its_backend_each_time_is_the_end_of_its_client_alone() {
    // Ends each connection on which "bad" comes, as a process does that dies of it.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (mut connection, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut read = Vec::new();
                loop {
                    let mut piece = [0; 4096];
                    let Ok(len @ 1..) = connection.read(&mut piece).await else { return };
                    read.extend_from_slice(&piece[..len]);
                    let text = String::from_utf8_lossy(&read).into_owned();
                    if text.contains("\"bad\"") {
                        return;
                    }
                    if !text.contains("\"try\":") {
                        continue;
                    }
                    read.clear();
                    let good = text.contains("\"good\"");
                    let call = r#"{"calls":[{"call":"send_to_client","params":{"message":"good"}}]}"#;
                    let body = if good { call } else { "{}" };
                    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
                    connection.write_all((head + body).as_bytes()).await.unwrap();
                }
            });
        }
    });
    let mut config = EventsConfig::default();
    config.url = vec![url];
    let (cluster, _worker) = cluster_of(&config).await;
    let mut good = WsClient::connect(cluster.listener()).await;
    let mut bad = WsClient::connect(cluster.listener()).await;
    bad.send("bad").await;
    let mut closed = Box::pin(bad.close_code());
    loop {
        tokio::select! {
            code = &mut closed => break assert_eq!(code, 1013),
            () = async {
                good.send("good").await;
                assert_eq!(good.text().await, "good");
            } => {}
        }
    }
    good.send("good").await;
    assert_eq!(good.text().await, "good");
}

#[tokio::test]
async fn what_is_not_http_closes_the_client() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut config = EventsConfig::default();
    config.url = vec![format!("http://{}/", listener.local_addr().unwrap())];
    tokio::spawn(async move {
        loop {
            let (mut connection, _) = listener.accept().await.unwrap();
            let _ = connection.read(&mut [0; 4096]).await;
            let _ = connection.write_all(b"SSH-2.0-OpenSSH_9.2\r\n").await;
        }
    });
    let (cluster, _worker) = cluster_of(&config).await;
    assert_eq!(WsClient::connect(cluster.listener()).await.close_code().await, 1013);
}

/// Stops a worker while its backend is away and ten messages of a client wait. Returns which of them came to the backend of
/// another worker as redelivered; `is_tried` says that the worker is to stop then.
async fn redelivered_to_another(away: &EventsConfig, is_tried: impl Fn() -> bool) -> Vec<bool> {
    let there = Backend::answering(200, echo).await;
    let cluster = Cluster::builder().workers(0).start().await;
    let shutdown = CancellationToken::new();
    let mut config = away.clone();
    config.send = vec![EventName::Message];
    let (metrics, problems) = (Default::default(), Problems::default());
    let events = HttpEvents::new(&config, shutdown.clone()).unwrap();
    events.register(&metrics, &problems);
    let first = cluster.start_application(events);
    let mut client = WsClient::connect(cluster.listener()).await;
    for n in 0..10 {
        client.send(&n.to_string()).await;
    }
    let is_away = || format!("{problems:?}").contains("is away for");
    eventually("a try", async || is_away() && is_tried()).await;
    let _second = worker_of(&cluster, &there.config());
    shutdown.cancel();
    // It does not wait for shutdown_timeout_ms, as it has nothing that it could finish.
    tokio::time::timeout(Duration::from_secs(5), first.stop()).await.expect("it gives its events back");
    for n in 0..10 {
        assert_eq!(client.text().await, n.to_string());
    }
    there.events("message").iter().map(|event| event["redelivered"].as_bool().unwrap()).collect()
}

#[tokio::test]
async fn a_worker_that_stops_while_its_backend_is_away_leaves_its_events_to_others() {
    let mut away = Backend::answering(200, echo).await;
    away.end().await;
    let redelivered = redelivered_to_another(&away.config(), || true).await;
    assert_eq!(redelivered, [false; 10], "nobody has received them");
}

#[tokio::test]
async fn an_event_that_was_sent_before_its_worker_stopped_is_redelivered_to_the_next_one() {
    let away = Backend::answering(503, echo).await;
    let redelivered = redelivered_to_another(&away.config(), || !away.received().is_empty()).await;
    assert_eq!(redelivered, [&[true][..], &[false; 9]].concat(), "the first one was sent, no other");
}

#[tokio::test]
async fn a_host_that_swallows_packets_is_away_and_gets_everything_when_it_is_back() {
    let mut backend = Backend::answering(200, echo).await;
    let mut config = backend.config();
    config.timeout_ms = 400;
    let cluster = Cluster::builder().workers(0).start().await;
    let events = HttpEvents::new(&config, CancellationToken::new()).unwrap();
    let (metrics, problems) = (Default::default(), Problems::default());
    events.register(&metrics, &problems);
    let _worker = cluster.start_application(events);
    let mut client = WsClient::connect(cluster.listener()).await;
    client.send("before").await;
    assert_eq!(client.text().await, "before");
    backend.end().await;
    // A listener that accepts nothing: when its backlog is full, Linux drops what else wants to connect.
    let swallower = gatewayworker_net::listen(backend.address, true, 1).unwrap();
    let mut fillers = Vec::new();
    while let Ok(Ok(filler)) =
        tokio::time::timeout(Duration::from_millis(300), tokio::net::TcpStream::connect(backend.address))
            .await
    {
        fillers.push(filler);
    }
    for n in 0..10 {
        client.send(&n.to_string()).await;
    }
    eventually("the backend to count as away", async || format!("{problems:?}").contains("is away for"))
        .await;
    drop((swallower, fillers));
    backend.begin().await;
    for n in 0..10 {
        assert_eq!(client.text().await, n.to_string(), "nobody was closed, and nothing was lost");
    }
}
