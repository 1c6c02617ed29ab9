//! The page for operators: what it shows of a cluster and of its clients, and what it does to them.

use std::net::SocketAddr;

use gatewayworker_tests::{
    ADMIN_TOKEN, AdminPage, Cluster, Happened, HttpRequest, WsClient, eventually, register_as_gateway, soon,
};
use serde_json::{Value, json};
use tokio::net::TcpListener;

const KEY: &str = "the key of the cluster";

/// Waits until the page has seen this many clients.
async fn seen(page: &AdminPage, clients: u64) -> Value {
    let mut cluster = Value::Null;
    eventually("the page to see the clients", async || {
        cluster = page.cluster().await;
        cluster["gateways"][0]["answer"]["stats"]["clients"] == clients
    })
    .await;
    cluster
}

/// Asks the page with the token.
async fn inspect(page: &AdminPage, request: Value) -> Vec<Value> {
    let answer = page.post("/api/inspect", &request).send().await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.body["answers"].as_array().unwrap().clone()
}

#[tokio::test]
async fn the_page_shows_the_gateways_with_their_workers_and_the_registers() {
    let cluster = Cluster::builder().gateways(2).workers(2).secret_key(KEY).start().await;
    let page = AdminPage::start(&cluster, KEY).await;
    eventually("both gateways", async || page.cluster().await["gateways"].as_array().unwrap().len() == 2)
        .await;
    let shown = page.cluster().await;
    assert_eq!(shown["problems"], json!([]));
    assert_eq!(shown["registers"], json!([{"address": cluster.register.to_string(), "connected": true}]));
    let mut addresses: Vec<_> = cluster.gateways.iter().map(|gateway| gateway.inner.to_string()).collect();
    addresses.sort();
    for (gateway, address) in shown["gateways"].as_array().unwrap().iter().zip(addresses) {
        assert_eq!((&gateway["address"], &gateway["error"]), (&json!(address), &Value::Null));
        assert_eq!(gateway["answer"]["workers"].as_array().unwrap().len(), 2);
    }
    assert_eq!((&shown["served_by"], &shown["token"]), (&json!("gatewayworker start"), &json!("needed")));
    assert_eq!((&shown["daemons"], &shown["warnings"]), (&Value::Null, &json!({"count": 0})));
    let with_token = page.get("/api/cluster").token(ADMIN_TOKEN).send().await;
    assert_eq!(with_token.body["token"], "good");
}

#[tokio::test]
async fn the_history_moves_and_has_the_traffic_of_the_clients() {
    let cluster = Cluster::builder().secret_key(KEY).start().await;
    let page = AdminPage::start(&cluster, KEY).await;
    let (mut client, _) = WsClient::greeted(cluster.listener()).await;
    let points = async |query: &str| -> Vec<Value> {
        let history = page.get(&format!("/api/history{query}")).send().await.body;
        assert_eq!(
            (&history["fine"]["step_ms"], &history["coarse"]["step_ms"]),
            (&json!(1000), &json!(60_000))
        );
        history["fine"]["points"].as_array().unwrap().clone()
    };
    let mut last = Value::Null;
    eventually("a point with traffic", async || {
        client.send("hello").await;
        assert_eq!(client.text().await, "hello");
        last = points("").await.pop().unwrap_or_default();
        let grows = ["messages", "deliveries", "bytes_received", "bytes_sent"];
        grows.iter().all(|name| last[*name].as_f64().is_some_and(|rate| rate > 0.0))
    })
    .await;
    assert_eq!(last["clients"], 1);
    let query = format!("?after={}", last["at_ms"]);
    eventually("a later point", async || !points(&query).await.is_empty()).await;
    assert!(points(&query).await.len() < points("").await.len());
}

#[tokio::test]
async fn a_gateway_that_does_not_answer_is_an_error_with_a_sentence_and_is_missed_when_it_is_gone() {
    let cluster = Cluster::start().await;
    let page = AdminPage::start(&cluster, "").await;
    seen(&page, 0).await;
    // It listens and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap();
    let announced = register_as_gateway(cluster.register, address).await;
    let error_of = async |address: SocketAddr| {
        let shown = page.cluster().await;
        let gateways = shown["gateways"].as_array().unwrap().clone();
        let gateway = gateways.into_iter().find(|gateway| gateway["address"] == address.to_string());
        let error = gateway.unwrap_or_default()["error"].clone();
        assert!(error.is_null() || shown["problems"].as_array().unwrap().contains(&error), "{shown}");
        error.as_str().unwrap_or_default().to_owned()
    };
    eventually("the gateway to be said to be silent", async || {
        error_of(address)
            .await
            .starts_with(&format!("the gateway at {address} has not answered within 800 ms"))
    })
    .await;
    assert_eq!(error_of(SocketAddr::from(cluster.gateways[0].inner)).await, "", "the other one answers");
    drop((announced, silent));
    eventually("the gateway to be missed", async || {
        error_of(address).await.starts_with(&format!("the gateway at {address} is gone: "))
    })
    .await;
}

#[tokio::test]
async fn without_a_gateway_the_page_says_why_and_a_gateway_that_stops_is_not_missed() {
    let mut cluster = Cluster::builder().secret_key(KEY).start().await;
    let page = AdminPage::start(&cluster, KEY).await;
    seen(&page, 0).await;
    cluster.gateways[0].stop().await;
    eventually("the reason", async || {
        let shown = page.cluster().await;
        let problem = shown["problems"][0].as_str().unwrap_or_default().to_owned();
        // It may have stopped between two looks: then it is missed for a minute.
        problem.contains("knows no gateway: start one") || problem.contains("is gone: ")
    })
    .await;
    let wrong_key = AdminPage::start(&cluster, "another key").await;
    eventually("the key to be suspected", async || {
        wrong_key.cluster().await["problems"][0].as_str().unwrap_or_default().contains("secret_key")
    })
    .await;
}

#[tokio::test]
async fn with_the_token_a_client_is_found_looked_at_sent_to_and_closed() {
    let cluster = Cluster::builder().gateways(2).secret_key(KEY).start().await;
    let page = AdminPage::start(&cluster, KEY).await;
    let (mut client, id) = WsClient::greeted(cluster.gateways[1].listener).await;
    cluster.api().await.bind_uid(id, "ann").await.unwrap();
    eventually("the client to be found", async || {
        let answers = inspect(&page, json!({"about": "clients", "uid": "ann"})).await;
        answers.len() == 2
            && answers.iter().any(|one| one["answer"]["clients"]["clients"][0]["id"] == id.to_string())
    })
    .await;
    let inner = cluster.gateways[1].inner.to_string();
    let answers = inspect(&page, json!({"about": "client", "id": id.to_string()})).await;
    assert_eq!(answers.len(), 1, "only its own gateway is asked");
    assert_eq!((&answers[0]["gateway"], &answers[0]["error"]), (&json!(inner), &Value::Null));
    assert_eq!(answers[0]["answer"]["client"]["uid"], "ann");
    let of_one = inspect(&page, json!({"about": "groups", "gateway": inner})).await;
    assert_eq!((of_one.len(), &of_one[0]["gateway"]), (1, &json!(inner)));

    let call = async |call: &str, params: Value| {
        page.post("/api/call", &json!({"call": call, "params": params})).send().await
    };
    let sent = call("send_to_uid", json!({"uid": "ann", "message": "hello"})).await;
    assert_eq!(sent.result(), &json!({"unreached": []}));
    assert_eq!(client.text().await, "hello");
    let sent = call("sendToClient", json!({"client_id": id.to_string(), "message": "again"})).await;
    assert_eq!(sent.status, 200, "the original's name is known, too: {}", sent.body);
    assert_eq!(client.text().await, "again");
    assert_eq!(call("is_uid_online", json!({"uid": "ann"})).await.result(), &json!(true));
    assert_eq!(call("dance", json!({})).await.problem(), (404, "unknown_call"));
    assert_eq!(call("send_to_uid", json!({"uid": "ann"})).await.problem(), (400, "bad_params"));
    assert_eq!(call("close_client", json!({"client_id": id.to_string()})).await.status, 200);
    soon("the close", async { while client.next().await.is_some() {} }).await;
    assert_eq!(cluster.events().next_close().await.0, id);
    let closes = inspect(&page, json!({"about": "closes", "gateway": inner})).await;
    assert_eq!(closes[0]["answer"]["closes"]["closes"][0]["id"], id.to_string(), "{closes:?}");
}

#[tokio::test]
async fn the_key_is_shown_to_no_gateway_that_no_register_lists() {
    let cluster = Cluster::builder().secret_key(KEY).start().await;
    let page = AdminPage::start(&cluster, KEY).await;
    seen(&page, 0).await;
    let stranger = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = stranger.local_addr().unwrap();
    let answers = inspect(&page, json!({"about": "gateway", "gateway": address.to_string()})).await;
    let error = answers[0]["error"].as_str().unwrap();
    assert_eq!(error, format!("no register lists a gateway at {address}"));
    let id = format!("7f000001{:04x}00000001", address.port());
    let answers = inspect(&page, json!({"about": "client", "id": id})).await;
    assert_eq!((&answers[0]["error"], &answers[0]["answer"]), (&json!(error), &Value::Null));
    let traced = page.post("/api/trace", &json!({"id": id})).send().await;
    assert_eq!(traced.problem(), (502, "not_traced"));
    tokio::select! {
        biased;
        _ = stranger.accept() => panic!("it was connected to"),
        () = std::future::ready(()) => {}
    }
}

#[tokio::test]
async fn one_clients_frames_are_read_along_until_it_goes() {
    let cluster = Cluster::builder().secret_key(KEY).start().await;
    let page = AdminPage::start(&cluster, KEY).await;
    let (mut client, id) = WsClient::greeted(cluster.listener()).await;
    seen(&page, 1).await;
    let trace = page.post("/api/trace", &json!({"id": id.to_string(), "payloads": true, "seconds": 60}));
    let mut tracing = trace.begin(0).await;
    tracing.send_rest().await;
    tracing.read_until("application/x-ndjson").await;
    client.send("a secret").await;
    assert_eq!(client.text().await, "a secret");
    client.close().await;
    let said = tracing.answer_rest().await;
    let lines: Vec<Value> = said
        .lines()
        .filter(|line| line.starts_with('{'))
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    let of = |direction: &str| {
        lines.iter().any(|line| line["direction"] == direction && line["payload"] == "a secret")
    };
    assert!(of("in") && of("out"), "{said}");
    let end = lines.last().unwrap()["end"].as_str().unwrap();
    assert!(end.contains("client"), "{said}");
    let gone = page.post("/api/trace", &json!({"id": id.to_string()})).send().await;
    assert_eq!(gone.problem(), (502, "not_traced"));
    for wrong in [json!({}), json!({"id": "7f"}), json!({"id": id.to_string(), "seconds": 301})] {
        assert_eq!(page.post("/api/trace", &wrong).send().await.problem(), (400, "bad_json"), "{wrong}");
    }
}

#[tokio::test]
async fn warnings_are_counted_for_everybody_and_shown_with_the_token() {
    let cluster = Cluster::builder().secret_key(KEY).start().await;
    let page = AdminPage::start(&cluster, KEY).await;
    for line in ["2026-01-01T00:00:00Z  WARN first", "2026-01-01T00:00:00Z  INFO nothing", "error: second"] {
        page.warnings.take(Some("gateway"), line.as_bytes());
    }
    assert_eq!(page.cluster().await["warnings"], json!({"count": 2}));
    let shown = page.get("/api/warnings").token(ADMIN_TOKEN).send().await;
    let lines: Vec<_> =
        shown.body["warnings"].as_array().unwrap().iter().map(|one| one["line"].clone()).collect();
    assert_eq!(lines, ["second", "first"]);
    assert_eq!(
        (&shown.body["warnings"][1]["level"], &shown.body["warnings"][1]["daemon"]),
        (&json!("WARN"), &json!("gateway"))
    );
}

#[tokio::test]
async fn everybody_sees_numbers_and_nothing_of_a_client() {
    const UID: &str = "uid-7cb2";
    const GROUP: &str = "group-91fe";
    const SESSION: &str = "session-55aa";
    const PAYLOAD: &str = "payload-03dd";
    let cluster = Cluster::builder().secret_key(KEY).start().await;
    let page = AdminPage::start(&cluster, KEY).await;
    let (mut client, id) = WsClient::greeted(cluster.listener()).await;
    let api = cluster.api().await;
    api.bind_uid(id, UID).await.unwrap();
    api.join_group(id, GROUP).await.unwrap();
    let session = json!({"client_id": id.to_string(), "session": {"name": SESSION}});
    let set = page.post("/api/call", &json!({"call": "set_session", "params": session})).send().await;
    assert_eq!(set.status, 200, "{}", set.body);
    client.send(PAYLOAD).await;
    assert_eq!(client.text().await, PAYLOAD);
    seen(&page, 1).await;

    let address = inspect(&page, json!({"about": "client", "id": id.to_string()})).await;
    let detail = &address[0]["answer"]["client"];
    let address = detail["address"].as_str().unwrap().to_owned();
    let private = [id.to_string(), UID.into(), GROUP.into(), SESSION.into(), PAYLOAD.into(), address];
    for one in &private[..4] {
        assert!(detail.to_string().contains(one), "with the token {one} is there: {detail}");
    }
    let paths = ["/", "/app.js", "/app.css", "/favicon.svg", "/api/cluster", "/api/history", "/api/calls"];
    let needs_token = ["/api/warnings", "/api/inspect", "/api/call", "/api/trace", "/nothing"];
    for path in paths.into_iter().chain(needs_token) {
        for method in ["GET", "POST"] {
            let body = json!({"about": "client", "id": id.to_string()}).to_string();
            let request =
                HttpRequest::new(page.address, method, path).header("content-type", "application/json");
            let answer = request.body(if method == "POST" { body } else { String::new() }).send().await;
            assert_eq!(answer.status == 200, method == "GET" && paths.contains(&path), "{method} {path}");
            let text = format!("{answer:?}");
            for one in &private {
                assert!(!text.contains(one.as_str()), "{method} {path} has {one}: {text}");
            }
        }
    }
    // Nothing was done by what was refused.
    assert_eq!(cluster.events().next().await, Happened::Connect(id));
    assert!(matches!(cluster.events().next().await, Happened::Message(..)));
    assert!(cluster.events().is_quiet().await);
}
