//! Signed admission: clients with tokens, good and bad ones, and what workers hear of them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use gatewayworker::client::inspect::{GatewayReport, InspectAnswer, InspectRequest, Inspector};
use gatewayworker::{Admission, Client, CloseReason, Events, Handshake, Result};
use gatewayworker_auth::{Config, SigningKey};
use gatewayworker_tests::{Cluster, ClusterBuilder, Happened, HttpRequest, WsClient, eventually};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_util::task::AbortOnDropHandle;

const SECRET: &str = "a secret of more than thirty-two bytes";

/// The time, in seconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

pub(crate) fn sign(claims: Value) -> String {
    SigningKey::hs256(SECRET).sign(claims.as_object().unwrap(), None).unwrap()
}

/// A token of u1 that is valid for a minute.
fn valid() -> String {
    sign(json!({"sub": "u1", "exp": now() + 60}))
}

pub(crate) fn auth(more: &str) -> Config {
    toml::from_str(&format!("hs256_secret = '{SECRET}'\n{more}")).unwrap()
}

/// A gateway with a listener that asks for no tokens, by which the builder sees that all are linked, and one that does.
fn builder() -> ClusterBuilder {
    let free = "{ url = 'websocket://127.0.0.1:0', auth = false }";
    Cluster::builder().listen(&format!("listen = [{free}, 'websocket://127.0.0.1:0']"))
}

/// Returns a gateway that asks for tokens, with a worker that records events.
async fn cluster(more: &str) -> Cluster {
    builder().gateway(|config| config.auth = auth(more)).start().await
}

/// Returns the address of the listener that asks for tokens.
fn asks(cluster: &Cluster) -> SocketAddr {
    cluster.gateways[0].listeners[1]
}

/// Returns the answer to a handshake that is rejected, or `None` where it is not.
async fn rejected(listener: SocketAddr, token: Option<&str>) -> Option<(u16, String, String)> {
    let mut request = HttpRequest::new(listener, "GET", "/")
        .header("upgrade", "websocket")
        .header("connection", "Upgrade")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    if let Some(token) = token {
        if WsClient::try_connect(listener, &format!("/?token={token}")).await.is_ok() {
            return None;
        }
        request = request.token(token);
    }
    let answer = request.send().await;
    let header = |name| answer.header(name).unwrap_or_default().to_owned();
    let more = [header("www-authenticate"), header("retry-after")].concat();
    Some((answer.status, answer.body.as_str().unwrap_or_default().trim().to_owned(), more))
}

/// Tells each client what the worker knows of it when it connects, and what is in its handshake.
struct Introduce;

impl Events for Introduce {
    async fn on_connect(&self, client: &Client) -> Result {
        let gateway = client.gateway();
        let uid = gateway.uid_by_client_id(client.id()).await?.map(|uid| uid.to_string());
        let session: Option<Value> = client.session().get("profile")?;
        let calls: Option<Value> = client.session().get("client_calls")?;
        client.send(json!({"uid": uid, "profile": session, "client_calls": calls}).to_string()).await?;
        Ok(())
    }

    async fn on_websocket_connect(&self, client: &Client, handshake: &Handshake) -> Result<Admission> {
        client.send(format!("{handshake:?}")).await?;
        client.gateway().send_to_group(["room-1"], "to the room").await?;
        Ok(Admission::Admit)
    }
}

#[tokio::test]
async fn a_wrong_token_is_answered_with_401_and_a_reason_and_a_missing_one_too() {
    let cluster = cluster("audience = 'chat'\nissuer = 'me'").await;
    let with = |more: Value| {
        let mut claims = json!({"sub": "u1", "exp": now() + 60, "aud": "chat", "iss": "me"});
        claims.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        sign(claims)
    };
    let other = SigningKey::hs256("another secret of more than 32 bytes");
    let forged = other.sign(json!({"exp": now() + 60}).as_object().unwrap(), None).unwrap();
    for (token, reason) in [
        (None, "missing"),
        (Some("nonsense".to_owned()), "malformed"),
        (Some("eyJhbGciOiJub25lIn0.e30.".to_owned()), "algorithm"),
        (Some(forged), "signature"),
        (Some(with(json!({"exp": now() - 60}))), "expired"),
        (Some(with(json!({"nbf": now() + 60}))), "not-yet"),
        (Some(with(json!({"aud": "other"}))), "audience"),
        (Some(with(json!({"iss": "other"}))), "issuer"),
        (Some(with(json!({"groups": (0..101).map(|n| n.to_string()).collect::<Vec<_>>()}))), "claims"),
    ] {
        let answer = rejected(asks(&cluster), token.as_deref()).await;
        let (status, body, challenge) = answer.unwrap_or_else(|| panic!("{reason}: it is admitted"));
        assert_eq!((status, &*challenge), (401, "Bearer"), "{reason}");
        assert!(body.starts_with(&format!("{reason}: ")), "{reason}: {body}");
    }
    assert_eq!(rejected(asks(&cluster), Some(&with(json!({})))).await, None);
}

#[tokio::test]
async fn a_client_is_what_its_token_says_when_its_worker_first_hears_of_it() {
    let cluster = builder().workers(0).gateway(|config| config.auth = auth("")).start().await;
    let _worker = cluster.start_application(Introduce);
    let token = sign(json!({
        "sub": 42, "groups": ["room-1"], "session": {"profile": {"name": "A"}}, "exp": now() + 60,
        "client_calls": {"join": ["room-*"]},
    }));
    let mut client = WsClient::connect_to(asks(&cluster), &format!("/chat?token={token}&room=1")).await;
    let known = json!({"uid": "42", "profile": {"name": "A"}, "client_calls": {"join": ["room-*"]}});
    assert_eq!(client.json().await, known);
    let handshake = client.text().await;
    assert!(handshake.contains("room=1") && !handshake.contains("eyJ"), "{handshake}");
    assert_eq!(client.text().await, "to the room");
}

#[tokio::test]
async fn a_page_shows_its_token_as_a_subprotocol_which_is_not_answered() {
    let cluster = cluster("").await;
    let mut request = format!("ws://{}/", asks(&cluster)).into_client_request().unwrap();
    let offered = format!("gw.token, {}", valid());
    request.headers_mut().insert("sec-websocket-protocol", offered.parse().unwrap());
    let stream = tokio::net::TcpStream::connect(asks(&cluster)).await.unwrap();
    // The library fails where another one is answered than was offered.
    let mut client = WsClient::over(stream, request).await.unwrap();
    let id = client.text().await.parse().unwrap();
    let uid = cluster.api().await.uid_by_client_id(id).await.unwrap().unwrap();
    assert_eq!(uid.to_string(), "u1");
}

#[tokio::test]
async fn a_client_without_a_token_is_admitted_where_none_is_required() {
    let cluster = cluster("required = false").await;
    let (_client, id) = WsClient::greeted(asks(&cluster)).await;
    assert_eq!(cluster.api().await.uid_by_client_id(id).await.unwrap(), None);
    let (status, ..) = rejected(asks(&cluster), Some("nonsense")).await.unwrap();
    assert_eq!(status, 401);
}

#[tokio::test]
async fn a_client_whose_token_expires_is_closed_with_4401() {
    let cluster = cluster("leeway_s = 0").await;
    let token = sign(json!({"sub": "u1", "exp": now() + 2}));
    let mut client = WsClient::connect_to(asks(&cluster), &format!("/?token={token}")).await;
    assert_eq!(client.close_code().await, 4401);
    assert_eq!(cluster.events().next_close().await.1, CloseReason::TokenExpired);
}

#[tokio::test]
async fn a_new_token_prolongs_its_client_and_its_worker_hears_nothing_of_it() {
    let cluster = cluster("leeway_s = 0").await;
    let until = now() + 3;
    let token = sign(json!({"sub": "u1", "exp": until}));
    let mut client = WsClient::connect_to(asks(&cluster), &format!("/?token={token}")).await;
    let id = client.text().await.parse().unwrap();
    let until_then = now() + 60;
    let new = sign(json!({"sub": "u1", "groups": ["room-2"], "exp": until_then}));
    client.send(&format!(r#"{{"gw":"token","token":"{new}"}}"#)).await;
    assert_eq!(client.json().await, json!({"gw": "token", "ok": true, "expires_at": until_then}));
    let api = cluster.api().await;
    api.send_to_group(["room-2"], "to the room").await.unwrap();
    assert_eq!(client.text().await, "to the room");
    // Another user's token, and one that has expired.
    for (token, reason) in [
        (sign(json!({"sub": "u2", "exp": now() + 60})), "other-uid"),
        (sign(json!({"sub": "u1", "exp": 1000})), "expired"),
    ] {
        client.send(&format!(r#"{{"gw":"token","token":"{token}"}}"#)).await;
        assert_eq!(client.json().await, json!({"gw": "token", "ok": false, "error": reason}));
    }
    eventually("the first token to expire", async || now() > until).await;
    client.send("still here").await;
    assert_eq!(client.text().await, "still here");
    assert_eq!(cluster.events().next().await, Happened::Connect(id));
    assert_eq!(cluster.events().next().await, Happened::Message(id, "still here".into()));
}

#[tokio::test]
async fn a_client_with_ten_wrong_new_tokens_is_closed_with_1008() {
    let cluster = cluster("").await;
    let mut client = WsClient::connect_to(asks(&cluster), &format!("/?token={}", valid())).await;
    client.text().await;
    for _ in 0..9 {
        client.send(r#"{"gw":"token","token":"nonsense"}"#).await;
        assert_eq!(client.json().await, json!({"gw": "token", "ok": false, "error": "malformed"}));
    }
    client.send(r#"{"gw":"token","no token":1}"#).await;
    assert_eq!(client.close_code().await, 1008);
}

#[tokio::test]
async fn a_uid_with_as_many_clients_as_it_may_have_gets_no_other() {
    let cluster = builder()
        .gateway(|config| {
            config.auth = auth("");
            config.max_clients_per_uid = 1;
        })
        .start()
        .await;
    let _first = WsClient::connect_to(asks(&cluster), &format!("/?token={}", valid())).await;
    let (status, body, _) = rejected(asks(&cluster), Some(&valid())).await.unwrap();
    assert_eq!(status, 401);
    assert!(body.starts_with("claims: sub: the uid has as many clients"), "{body}");
}

#[tokio::test]
async fn a_gateway_without_keys_starts_and_says_so_and_asks_its_clients_to_come_later() {
    // Nobody listens there.
    let free = gatewayworker_tests::process::free_port();
    let config = format!("jwks_url = 'http://127.0.0.1:{free}/jwks.json'");
    let config: Config = toml::from_str(&config).unwrap();
    let cluster = builder().metrics().gateway(|gateway| gateway.auth = config).start().await;
    // Its header is {"alg":"EdDSA","kid":"a"}.
    let token = "eyJhbGciOiJFZERTQSIsImtpZCI6ImEifQ.e30.AAAA";
    let (status, body, retry_after) = rejected(asks(&cluster), Some(token)).await.unwrap();
    assert_eq!((status, &*retry_after), (503, "10"));
    assert!(body.starts_with("keys-away: "), "{body}");
    let metrics = cluster.gateways[0].metrics.unwrap();
    eventually("the gateway to say that it is not ready", async || {
        let answer = HttpRequest::new(metrics, "GET", "/readyz").send().await;
        answer.status == 503
            && answer.body.as_str().is_some_and(|body| body.contains("auth.jwks_url: the keys cannot"))
    })
    .await;
    let answer = HttpRequest::new(metrics, "GET", "/metrics").send().await;
    let metrics = answer.body.as_str().unwrap();
    assert!(metrics.contains("gatewayworker_tokens_refused_total{reason=\"keys-away\"}"), "{metrics}");
}

/// Asks the gateway about itself.
async fn report(cluster: &Cluster) -> Box<GatewayReport> {
    let inspector = Inspector::builder([cluster.register.to_string()]).connect();
    let mut answers = inspector.ask(&InspectRequest::Gateway).await;
    assert_eq!(answers.len(), 1, "one gateway");
    match answers.remove(0).1.unwrap() {
        InspectAnswer::Gateway(report) => report,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn keys_that_cannot_be_fetched_again_make_a_notice_and_the_gateway_stays_ready() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let is_up = Arc::new(AtomicBool::new(true));
    let asked = is_up.clone();
    let keys =
        json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "a", "x": "A".repeat(43)}]}).to_string();
    let serve = async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 4096]).await;
            let status = if asked.load(Ordering::Relaxed) { "200 OK" } else { "502 Bad Gateway" };
            let length = keys.len();
            let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{keys}");
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    };
    let _server = AbortOnDropHandle::new(tokio::spawn(serve));
    let config = format!("jwks_url = 'http://{address}/jwks.json'\njwks_refresh_s = 10");
    let config: Config = toml::from_str(&config).unwrap();
    let cluster = builder().gateway(|gateway| gateway.auth = config).start().await;
    eventually("the keys", async || report(&cluster).await.problems.is_empty()).await;
    assert_eq!(report(&cluster).await.notices, [""; 0]);
    is_up.store(false, Ordering::Relaxed);
    eventually("the notice", async || !report(&cluster).await.notices.is_empty()).await;
    let report = report(&cluster).await;
    let [notice] = &report.notices[..] else { panic!("{:?}", report.notices) };
    assert!(notice.starts_with("auth.jwks_url: the keys cannot be fetched again since 2"), "{notice}");
    assert!(
        notice.ends_with(&format!(": http://{address}/jwks.json: it answers 502 Bad Gateway")),
        "{notice}"
    );
    assert_eq!(report.problems, [""; 0]);
}
