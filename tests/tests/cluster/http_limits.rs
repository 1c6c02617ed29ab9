//! Calls over HTTP: token, origins, and the limits of size, time and number.

use std::net::SocketAddr;

use gatewayworker::businessworker::Config;
use gatewayworker_tests::{
    Cluster, HTTP_TOKEN, HttpAnswer, HttpRequest, WsClient, eventually, register_as_gateway, soon,
};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

async fn cluster(change: impl FnOnce(&mut Config)) -> Cluster {
    Cluster::builder().http().worker(change).start().await
}

/// A call that only asks.
fn count(server: SocketAddr) -> HttpRequest {
    HttpRequest::post(server, "/v1/client_count", &json!({}))
}

#[tokio::test]
async fn a_call_without_the_token_is_refused_even_from_loopback() {
    let cluster = Cluster::builder().http().secret_key("the-cluster's-own-key").start().await;
    let (mut client, _) = WsClient::greeted(cluster.listener()).await;
    let send = HttpRequest::post(cluster.http(), "/v1/send_to_all", &json!({"message": "no"}));
    for request in [
        send.clone(),
        send.clone().token(""),
        send.clone().token(&HTTP_TOKEN[1..]),
        send.clone().token(&format!("{HTTP_TOKEN}x")),
        send.clone().token("the-cluster's-own-key"),
        send.clone().header("authorization", HTTP_TOKEN),
        send.clone().header("authorization", &format!("Basic {HTTP_TOKEN}")),
        HttpRequest::post(cluster.http(), "/v1/batch", &json!([])),
    ] {
        let answer = request.send().await;
        assert_eq!(answer.problem(), (401, "unauthorized"));
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
        assert!(!answer.body.to_string().contains(HTTP_TOKEN));
    }
    send.clone().body(r#"{"message": "yes"}"#).token(HTTP_TOKEN).send().await.result();
    assert_eq!(client.text().await, "yes");
}

#[tokio::test]
async fn health_and_description_need_no_token() {
    let cluster = cluster(|_| ()).await;
    for path in ["/openapi.json", "/v1/health"] {
        assert_eq!(HttpRequest::new(cluster.http(), "GET", path).send().await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn after_too_many_wrong_tokens_the_right_one_is_refused_too() {
    let cluster = cluster(|config| config.http.max_auth_failures_per_minute = 3).await;
    // A request that any page can make a browser send does not count as a wrong token.
    for _ in 0..5 {
        assert_eq!(count(cluster.http()).send().await.status, 401);
    }
    for _ in 0..3 {
        assert_eq!(count(cluster.http()).token(HTTP_TOKEN).send().await.status, 200);
        assert_eq!(count(cluster.http()).token("a-wrong-token-000").send().await.status, 401);
    }
    for token in ["a-wrong-token-000", HTTP_TOKEN] {
        let answer = count(cluster.http()).token(token).send().await;
        assert_eq!(answer.problem(), (429, "too_many_failures"));
        let seconds: u64 = answer.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=60).contains(&seconds), "{seconds}");
    }
}

#[tokio::test]
async fn behind_a_trusted_proxy_failures_count_by_caller() {
    let change = |config: &mut Config| {
        config.http.max_auth_failures_per_minute = 1;
        config.http.trusted_proxies = vec!["127.0.0.1".parse().unwrap()];
    };
    let cluster = cluster(change).await;
    let from = |address, token| count(cluster.http()).header("x-forwarded-for", address).token(token);
    assert_eq!(from("192.0.2.1", "a-wrong-token-000").send().await.status, 401);
    assert_eq!(from("192.0.2.1", HTTP_TOKEN).send().await.status, 429);
    assert_eq!(from("198.51.100.7, 192.0.2.1", HTTP_TOKEN).send().await.status, 429);
    assert_eq!(from("192.0.2.2", HTTP_TOKEN).send().await.status, 200);
}

#[tokio::test]
async fn a_page_of_another_origin_is_refused_even_with_the_token() {
    let cluster = cluster(|config| {
        config.http.allowed_origins = vec!["https://example.com".into()];
        config.http.max_auth_failures_per_minute = 1;
    })
    .await;
    for origin in ["https://evil.example", "http://example.com", "https://example.com:8443", "null"] {
        let request = count(cluster.http()).header("origin", origin);
        for request in [request.clone().token(HTTP_TOKEN), request.token("a-wrong-token-000")] {
            let answer = request.send().await;
            assert_eq!(answer.problem(), (403, "origin_not_allowed"), "{origin}");
            assert_eq!(answer.header("access-control-allow-origin"), None);
        }
        let description = HttpRequest::new(cluster.http(), "GET", "/openapi.json").header("origin", origin);
        assert_eq!(description.send().await.status, 403);
        assert_eq!(preflight(&cluster, origin).await.status, 403);
    }
    assert_eq!(count(cluster.http()).token(HTTP_TOKEN).send().await.status, 200, "it locked nobody out");
}

async fn preflight(cluster: &Cluster, origin: &str) -> HttpAnswer {
    let request = HttpRequest::new(cluster.http(), "OPTIONS", "/v1/client_count").header("origin", origin);
    request.header("access-control-request-method", "POST").send().await
}

#[tokio::test]
async fn a_page_of_a_listed_origin_may_call_with_the_token() {
    let cluster = cluster(|config| config.http.allowed_origins = vec!["https://example.com".into()]).await;
    let allowed = preflight(&cluster, "https://example.com").await;
    assert_eq!(allowed.status, 204);
    assert_eq!(allowed.header("access-control-allow-origin"), Some("https://example.com"));
    assert_eq!(allowed.header("access-control-allow-headers"), Some("authorization, content-type"));
    assert!(allowed.header("access-control-allow-methods").unwrap().contains("POST"));
    assert_eq!(allowed.header("access-control-allow-credentials"), None);
    let request = count(cluster.http()).header("origin", "https://example.com");
    for (request, status) in [(request.clone(), 401), (request.token(HTTP_TOKEN), 200)] {
        let answer = request.send().await;
        assert_eq!(answer.status, status);
        assert_eq!(answer.header("access-control-allow-origin"), Some("https://example.com"));
        assert_eq!(answer.header("vary"), Some("origin"));
    }
}

#[tokio::test]
async fn a_body_that_a_form_can_send_is_refused() {
    let cluster = cluster(|_| ()).await;
    let request = HttpRequest::new(cluster.http(), "POST", "/v1/client_count").token(HTTP_TOKEN).body("{}");
    assert_eq!(request.send().await.problem(), (415, "unsupported_media_type"));
    for kind in
        ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "application/jsonp"]
    {
        let answer = request.clone().header("content-type", kind).send().await;
        assert_eq!(answer.problem(), (415, "unsupported_media_type"), "{kind}");
    }
    request.header("content-type", "Application/JSON; charset=utf-8").send().await.result();
}

#[tokio::test]
async fn an_encoded_body_is_refused_with_the_accepted_encoding() {
    let cluster = cluster(|_| ()).await;
    for coding in ["gzip", "GZIP", "x-gzip", "deflate", "br", "zstd", "identity, gzip", "gzip,identity"] {
        // The first bytes of what gzip makes.
        let request = cluster.push("client_count", &json!({})).header("content-encoding", coding);
        let answer = request.body(&b"\x1f\x8b\x08\0"[..]).send().await;
        assert_eq!(answer.problem(), (415, "unsupported_content_encoding"), "{coding}");
        assert_eq!(answer.header("accept-encoding"), Some("identity"), "{coding}");
    }
    let request = cluster.push("client_count", &json!({})).header("content-encoding", "gzip");
    let again = request.header("content-encoding", "identity").send().await;
    assert_eq!(again.problem(), (415, "unsupported_content_encoding"), "in two lines");
    for coding in ["identity", "Identity", ""] {
        cluster.push("client_count", &json!({})).header("content-encoding", coding).send().await.result();
    }
    let form = HttpRequest::new(cluster.http(), "POST", "/v1/client_count").token(HTTP_TOKEN).body("a=1");
    assert_eq!(form.send().await.header("accept-encoding"), None, "it would not help");
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused() {
    let limit = 100_000;
    let cluster = cluster(|config| config.http.max_body_bytes = limit).await;
    let of = |len: usize| {
        let empty = json!({"message": ""}).to_string();
        json!({"message": "x".repeat(len - empty.len())})
    };
    cluster.push("send_to_all", &of(limit)).send().await.result();
    let answer = cluster.push("send_to_all", &of(limit + 1)).send().await;
    assert_eq!(answer.problem(), (413, "body_too_large"));
    // The limit holds for a body without a length too.
    let chunked = |body: Value| {
        let body = body.to_string();
        let chunks = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
        let request = HttpRequest::new(cluster.http(), "POST", "/v1/send_to_all").token(HTTP_TOKEN);
        let request = request.header("content-type", "application/json");
        (request.header("transfer-encoding", "chunked"), chunks)
    };
    for (len, status) in [(limit, 200), (limit + 1, 413)] {
        let (request, chunks) = chunked(of(len));
        assert_eq!(request.begin(0).await.finish_with(chunks.as_bytes()).await.status, status);
    }
    // A caller that expects 100-continue is refused before it sends the body.
    let polite = cluster.push("send_to_all", &of(limit + 1)).header("expect", "100-continue");
    assert_eq!(polite.begin(0).await.answer().await.problem(), (413, "body_too_large"));
}

#[tokio::test]
async fn a_batch_over_the_limit_is_refused() {
    let cluster = cluster(|config| config.http.max_batch = 3).await;
    let of = |len| Value::from(vec![json!({"call": "client_count"}); len]);
    assert_eq!(cluster.push("batch", &of(3)).send().await.result().as_array().unwrap().len(), 3);
    assert_eq!(cluster.push("batch", &of(4)).send().await.problem(), (400, "batch_too_long"));
    assert_eq!(cluster.push("batch", &of(0)).send().await.result(), &json!([]));
}

#[tokio::test]
async fn a_request_over_the_limit_gets_503() {
    let cluster = cluster(|config| config.http.concurrency = 2).await;
    let call = || cluster.push("client_count", &json!({}));
    let held = [call().admitted().await, call().admitted().await];
    let busy = call().send().await;
    assert_eq!(busy.problem(), (503, "busy"));
    assert_eq!(busy.header("retry-after"), Some("1"));
    // A request without the token takes no place, and health needs neither.
    assert_eq!(count(cluster.http()).send().await.status, 401);
    assert_eq!(HttpRequest::new(cluster.http(), "GET", "/v1/health").send().await.status, 200);
    for begun in held {
        begun.finish().await.result();
    }
    call().send().await.result();
}

#[tokio::test]
async fn a_connection_over_the_limit_gets_503() {
    let cluster = cluster(|config| config.http.max_connections = 1).await;
    let idle = TcpStream::connect(cluster.http()).await.unwrap();
    let health = HttpRequest::new(cluster.http(), "GET", "/v1/health");
    let answer = health.send().await;
    assert_eq!(answer.problem(), (503, "busy"));
    assert_eq!(answer.header("retry-after"), Some("1"));
    drop(idle);
    eventually("the place to be free", async || health.send().await.status == 200).await;
}

#[tokio::test]
async fn a_slow_head_and_a_silent_connection_are_closed() {
    let cluster = cluster(|config| config.http.read_timeout_ms = 300).await;
    for said in ["", "POST /v1/client_count HTTP/1.1\r\nhost: x\r\n"] {
        let mut stream = TcpStream::connect(cluster.http()).await.unwrap();
        stream.write_all(said.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        soon("the end of the connection", stream.read_to_end(&mut answer)).await.unwrap();
        assert!(answer.is_empty(), "{}", String::from_utf8_lossy(&answer));
    }
}

#[tokio::test]
async fn a_slow_body_is_refused_at_its_limit() {
    let cluster = cluster(|config| config.http.read_timeout_ms = 300).await;
    let answer = cluster.push("client_count", &json!({})).begin(1).await.answer().await;
    assert_eq!(answer.problem(), (408, "body_too_slow"));
    assert_eq!(answer.header("connection"), Some("close"));
}

#[tokio::test]
async fn a_head_has_a_limit() {
    let cluster = cluster(|_| ()).await;
    let request = count(cluster.http()).token(HTTP_TOKEN);
    request.clone().header("x-long", &"x".repeat(16 * 1024)).send().await.result();
    assert_eq!(request.header("x-long", &"x".repeat(33 * 1024)).send().await.status, 431);
}

#[tokio::test]
async fn a_request_ends_at_its_time_limit_and_names_the_calls_not_made() {
    let cluster =
        Cluster::builder().gateways(0).http().worker(|c| c.http.request_timeout_ms = 300).start().await;
    // A gateway that takes everything and answers nothing.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let _announced = register_as_gateway(cluster.register, silent.local_addr().unwrap()).await;
    let _links =
        [soon("a link", silent.accept()).await.unwrap(), soon("a link", silent.accept()).await.unwrap()];
    let answer = cluster.push("client_count", &json!({})).send().await;
    assert_eq!(answer.problem(), (504, "timed_out"));
    let batch = json!([
        {"call": "send_to_all", "params": {"message": "a"}},
        {"call": "client_count"},
        {"call": "send_to_all", "params": {"message": "b"}},
    ]);
    let answer = cluster.push("batch", &batch).send().await;
    let answers = answer.result().as_array().unwrap();
    assert_eq!(answers[0], json!({"result": {"unreached": []}}));
    let said = |n: usize| answers[n]["error"]["message"].as_str().unwrap();
    assert_eq!([&answers[1]["error"]["code"], &answers[2]["error"]["code"]], ["timed_out", "timed_out"]);
    assert!(said(1).contains("may have taken effect"), "{}", said(1));
    assert!(said(2).contains("was not made"), "{}", said(2));
}

#[tokio::test]
async fn a_connection_is_kept_for_the_next_request() {
    let cluster = cluster(|_| ()).await;
    let mut stream = TcpStream::connect(cluster.http()).await.unwrap();
    for _ in 0..3 {
        stream.write_all(b"GET /v1/health HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        while !answer.ends_with(r#"{"result":{"gateways":1}}"#) {
            let mut piece = [0; 1024];
            let len = soon("the answer", stream.read(&mut piece)).await.unwrap();
            assert_ne!(len, 0, "{answer}");
            answer += std::str::from_utf8(&piece[..len]).unwrap();
        }
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    }
}
