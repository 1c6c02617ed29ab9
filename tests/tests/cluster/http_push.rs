//! Calls over HTTP: their effects and their answers.

use std::net::SocketAddr;

use gatewayworker::ClientId;
use gatewayworker::businessworker::Config;
use gatewayworker_tests::{
    Cluster, HTTP_TOKEN, HttpRequest, WsClient, eventually, register_as_gateway, soon,
};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};

#[tokio::test]
async fn a_push_reaches_its_recipients_on_every_gateway() {
    let cluster = Cluster::builder().gateways(2).http().start().await;
    let (mut one, id_one) = WsClient::greeted(cluster.gateways[0].listener).await;
    let (mut two, id_two) = WsClient::greeted(cluster.gateways[1].listener).await;
    for id in [id_one, id_two] {
        let joined = cluster.push("join_group", &json!({"client_id": id, "group": "news"})).send().await;
        assert_eq!(joined.result(), &json!({"unreached": []}));
    }
    cluster.push("send_to_group", &json!({"group": "news", "message": "hello"})).send().await.result();
    assert_eq!([one.text().await, two.text().await], ["hello", "hello"]);
    cluster.push("send_to_all", &json!({"message": {"a": 1}, "except": id_one})).send().await.result();
    assert_eq!(two.json().await, json!({"a": 1}));
    let count = cluster.push("client_count_by_group", &json!({"group": "news"})).send().await;
    assert_eq!(count.result(), 2);
    assert_eq!(count.header("content-type"), Some("application/json"));
    cluster.push("close_client", &json!({"client_id": id_one, "message": "bye"})).send().await.result();
    assert_eq!(one.text().await, "bye");
    assert_eq!(one.close_code().await, 1000);
}

#[tokio::test]
async fn a_batch_runs_in_order_and_continues_after_an_error() {
    let cluster = Cluster::builder().http().start().await;
    let (mut client, id) = WsClient::greeted(cluster.listener()).await;
    let batch = json!([
        {"call": "join_group", "params": {"client_id": id, "group": 7}},
        {"call": "client_count_by_group", "params": {"group": "7"}},
        {"call": "dance"},
        {"call": "join_group", "params": {"client_id": id}},
        {"call": "send_to_group", "params": {"group": "7", "message": "to the new member"}},
        {"call": "leave_group", "params": {"client_id": id, "group": 7}},
        {"call": "send_to_group", "params": {"group": "7", "message": "to nobody"}},
        {"call": "client_count"},
    ]);
    let answer = cluster.push("batch", &batch).send().await;
    let answers = answer.result().as_array().unwrap();
    let told = json!({"result": {"unreached": []}});
    assert_eq!(answers[..2], [told.clone(), json!({"result": 1})]);
    assert_eq!(answers[2]["error"]["code"], "unknown_call");
    assert_eq!(answers[3]["error"]["code"], "bad_params");
    assert_eq!(answers[4..], [told.clone(), told.clone(), told, json!({"result": 1})]);
    assert_eq!(client.text().await, "to the new member");
    cluster.push("send_to_all", &json!({"message": "next"})).send().await.result();
    assert_eq!(client.text().await, "next");
}

#[tokio::test]
async fn a_message_that_is_no_string_is_sent_as_its_json_text() {
    let cluster = Cluster::builder().http().start().await;
    let (mut client, id) = WsClient::greeted(cluster.listener()).await;
    let post = async |path: &str, body: String| {
        let request = HttpRequest::new(cluster.http(), "POST", path).token(HTTP_TOKEN);
        request.header("content-type", "application/json").body(body).send().await
    };
    let deep = format!("{}1{}", "[".repeat(1000), "]".repeat(1000));
    for text in [
        "1.10",
        "1E3",
        "-0",
        "1e999",
        "18446744073709551616",
        "0.30000000000000004441",
        r#"{"a":1,"a":2}"#,
        r#"{"b" : [1.0,  true], "a":"\u00e4\/"}"#,
        "true",
        "null",
        &deep,
    ] {
        post("/v1/send_to_all", format!(r#"{{ "message":  {text} }}"#)).await.result();
        let params = format!(r#"{{"client_id": "{id}", "message": {text}}}"#);
        let batch = format!(r#"[{{"call": "send_to_client", "params": {params}}}]"#);
        assert_eq!(post("/v1/batch", batch).await.result()[0], json!({"result": {"unreached": []}}));
        assert_eq!([client.text().await, client.text().await], [text, text]);
    }
    post("/v1/close_client", format!(r#"{{"client_id": "{id}", "message": 1.10}}"#)).await.result();
    assert_eq!(client.text().await, "1.10");
}

#[tokio::test]
async fn a_number_in_a_session_comes_back_as_the_nearest_double() {
    let cluster = Cluster::builder().http().start().await;
    let (_client, id) = WsClient::greeted(cluster.listener()).await;
    let numbers = "[117.63331139400017,5e-324,2.2250738585072014e-308,1.7976931348623157e308,0.1,-0.0,1e23]";
    // The compiler parses the same digits to the nearest double.
    let nearest =
        [117.63331139400017, 5e-324, 2.2250738585072014e-308, 1.7976931348623157e308, 0.1, -0.0, 1e23];
    let body = format!(r#"{{"client_id": "{id}", "session": {{"v": {numbers}}}}}"#);
    let set = HttpRequest::new(cluster.http(), "POST", "/v1/set_session").token(HTTP_TOKEN);
    set.header("content-type", "application/json").body(body).send().await.result();
    let session = cluster.push("session", &json!({"client_id": id})).send().await;
    assert_eq!(session.result()["v"], json!(nearest));
}

#[tokio::test]
async fn an_invalid_request_is_answered_with_its_reason_in_json() {
    let cluster = Cluster::builder().http().start().await;
    let post = |path: &str, body: &str| {
        let request = HttpRequest::new(cluster.http(), "POST", path).token(HTTP_TOKEN);
        request.header("content-type", "application/json").body(body)
    };
    for (path, body, expected) in [
        ("/v1/dance", "{}", (404, "unknown_call")),
        ("/v1/", "{}", (404, "not_found")),
        ("/v1/send_to_all/x", "{}", (404, "not_found")),
        ("/", "{}", (404, "not_found")),
        ("/v1/send_to_all", "{", (400, "bad_json")),
        ("/v1/send_to_all", "[]", (400, "bad_params")),
        ("/v1/send_to_all", "{}", (400, "bad_params")),
        ("/v1/send_to_all", "", (400, "bad_params")),
        ("/v1/send_to_all", r#"{"message": "a", "massage": "b"}"#, (400, "bad_params")),
        ("/v1/is_online", r#"{"client_id": "7f"}"#, (400, "bad_params")),
        ("/v1/batch", "{}", (400, "bad_json")),
        ("/v1/batch", r#"["send_to_all"]"#, (400, "bad_json")),
        ("/v1/batch", r#"[{"params": {}}]"#, (400, "bad_json")),
        ("/v1/batch", r#"[{"call": "client_count", "parms": {}}]"#, (400, "bad_json")),
    ] {
        let answer = post(path, body).send().await;
        assert_eq!(answer.problem(), expected, "{path} {body}: {}", answer.body);
    }
    let nested = format!("{}1{}", "[".repeat(1000), "]".repeat(1000));
    assert_eq!(post("/v1/send_to_all", &nested).send().await.problem(), (400, "bad_params"));
    let nested = format!(r#"{{"client_id": {nested}}}"#);
    assert_eq!(post("/v1/is_online", &nested).send().await.problem(), (400, "bad_params"));
    assert_eq!(post("/v1/client_count", "").send().await.result(), 0);
}

#[tokio::test]
async fn a_wrong_method_is_refused_with_the_right_one() {
    let cluster = Cluster::builder().http().start().await;
    for (method, path, allow) in [
        ("GET", "/v1/send_to_all", "POST"),
        ("PUT", "/v1/batch", "POST"),
        ("OPTIONS", "/v1/send_to_all", "POST"),
        ("POST", "/v1/health", "GET,HEAD"),
        ("DELETE", "/openapi.json", "GET,HEAD"),
    ] {
        let answer = HttpRequest::new(cluster.http(), method, path).token(HTTP_TOKEN).send().await;
        assert_eq!(answer.problem(), (405, "method_not_allowed"), "{method} {path}");
        assert_eq!(answer.header("allow"), Some(allow), "{method} {path}");
    }
}

#[tokio::test]
async fn unreached_gateways_are_named() {
    let cluster = Cluster::builder().http().start().await;
    let (mut client, _) = WsClient::greeted(cluster.listener()).await;
    // A gateway that is announced, and is not there.
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let _announced = register_as_gateway(cluster.register, nobody).await;
    let missing = json!([{"gateway": nobody.to_string(), "reason": "not_connected"}]);
    let mut answer = None;
    eventually("the new gateway to be missed", async || {
        let count = cluster.push("client_count", &json!({})).send().await;
        let is_incomplete = count.status != 200;
        answer = Some(count);
        is_incomplete
    })
    .await;
    let answer = answer.unwrap();
    assert_eq!(answer.problem(), (502, "incomplete"));
    assert_eq!((&answer.body["error"]["partial"], &answer.body["error"]["missing"]), (&json!(1), &missing));

    let sent = cluster.push("send_to_all", &json!({"message": "hello"})).send().await;
    assert_eq!(sent.result(), &json!({ "unreached": missing }), "it went well as far as it went");
    assert_eq!(client.text().await, "hello");

    let SocketAddr::V4(gateway) = nobody else { panic!("it was bound to an IPv4 address") };
    let id = ClientId::new(gateway, 1);
    let online = cluster.push("is_online", &json!({"client_id": id})).send().await;
    assert_eq!(online.problem(), (502, "unreached"));
    assert_eq!(online.body["error"]["missing"], missing);
}

#[tokio::test]
async fn without_a_gateway_a_push_and_health_are_errors() {
    let mut cluster =
        Cluster::builder().gateways(0).http().worker(|config| config.question_timeout_ms = 100).start().await;
    let health = HttpRequest::new(cluster.http(), "GET", "/v1/health");
    assert_eq!(health.send().await.problem(), (503, "no_gateways"));
    let sent = cluster.push("send_to_all", &json!({"message": "hello"})).send().await;
    assert_eq!(sent.problem(), (503, "no_gateways"));
    cluster.start_gateway().await;
    eventually("the gateway to be connected", async || health.send().await.status == 200).await;
    assert_eq!(health.send().await.result(), &json!({"gateways": 1}));
    assert_eq!(HttpRequest::new(cluster.http(), "HEAD", "/v1/health").send().await.status, 200);
}

#[tokio::test]
async fn a_stopping_worker_finishes_its_requests() {
    let mut cluster = Cluster::builder().http().start().await;
    let http = cluster.http();
    let (mut client, _) = WsClient::greeted(cluster.listener()).await;
    // A connection that says nothing, and behind it a request whose body is on its way.
    let idle = TcpStream::connect(http).await.unwrap();
    let begun = cluster.push("send_to_all", &json!({"message": "the last word"})).admitted().await;
    let stop = cluster.workers[0].stop();
    let finish = async {
        eventually("the listener to be closed", async || TcpStream::connect(http).await.is_err()).await;
        soon("the idle connection to be closed", idle.readable()).await.unwrap();
        assert_eq!(idle.try_read(&mut [0; 1]).unwrap(), 0);
        begun.finish().await
    };
    let ((), answer) = tokio::join!(stop, finish);
    assert_eq!(answer.result(), &json!({"unreached": []}));
    assert_eq!(client.text().await, "the last word");
}

#[tokio::test]
async fn a_stopping_worker_without_events_waits_for_its_requests() {
    // No gateway, no events: all that could keep it is the request.
    let short = |config: &mut Config| config.question_timeout_ms = 100;
    let mut cluster = Cluster::builder().gateways(0).http().worker(short).start().await;
    let http = cluster.http();
    let begun = cluster.push("client_count", &json!({})).admitted().await;
    let stop = cluster.workers[0].stop();
    let finish = async {
        eventually("the listener to be closed", async || TcpStream::connect(http).await.is_err()).await;
        begun.finish().await
    };
    let ((), answer) = tokio::join!(stop, finish);
    assert_eq!(answer.problem(), (503, "no_gateways"));
}

#[tokio::test]
async fn a_stopping_worker_waits_for_requests_only_until_its_drain_limit() {
    let change = |config: &mut Config| {
        (config.shutdown_timeout_ms, config.http.read_timeout_ms) = (200, 600_000);
    };
    let mut cluster = Cluster::builder().http().worker(change).start().await;
    let begun = cluster.push("send_to_all", &json!({"message": "never"})).admitted().await;
    cluster.workers[0].stop().await;
    drop(begun);
}
