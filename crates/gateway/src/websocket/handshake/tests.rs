//! Upgrade requests: which are upgraded, what the worker sees of them, and the answers to others.

use gatewayworker_protocol::php::{self, Array, Value};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use super::*;
use crate::config::Config;
use crate::core::websocket::compression::Window;
use crate::shard::testing;

const UPGRADE: &str = "GET /?auth=abc&room=9 HTTP/1.1\r\nHost: 127.0.0.1:8289\r\nUpgrade: websocket\r\n\
     Connection: keep-alive, Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
     Cookie: sid=s1\r\nX-Twice: a\r\nX-Twice: b\r\n\r\n";

async fn read(request: &str, limit: usize) -> Result<Upgrade, Rejection> {
    read_from("203.0.113.7:54321", request, limit).await
}

async fn read_from(peer: &str, request: &str, limit: usize) -> Result<Upgrade, Rejection> {
    let config = Config { max_header_bytes: limit, ..Config::default() };
    read_at(&config, peer, request).await
}

async fn read_with(config: &Config, request: &str) -> Result<Upgrade, Rejection> {
    read_at(config, "203.0.113.7:54321", request).await
}

async fn read_at(config: &Config, peer: &str, request: &str) -> Result<Upgrade, Rejection> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = tokio::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (server, _) = listener.accept().await.unwrap();
    client.write_all(request.as_bytes()).await.unwrap();
    client.shutdown().await.unwrap();
    let listener = testing::permit_at("websocket://127.0.0.1:8289", config);
    read_request(&mut Socket::Plain(server), &listener, &mut peer.parse().unwrap()).await
}

/// Returns `$_SERVER`, and the whole body of ON_WEBSOCKET_CONNECT.
fn server_of(upgrade: &Upgrade) -> (Array, Array) {
    let data = php::unserialize(&upgrade.handshake).unwrap().into_array().unwrap();
    (data.get("server").and_then(Value::as_array).unwrap().clone(), data)
}

#[tokio::test]
async fn an_upgrade_is_answered_with_the_accept_key_of_the_rfc() {
    let upgrade = read(&format!("{UPGRADE}rest"), 8192).await.unwrap();
    let response = String::from_utf8(upgrade.response).unwrap().to_lowercase();
    assert!(response.starts_with("http/1.1 101 "), "{response}");
    assert!(response.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=\r\n"), "{response}");
    assert_eq!(upgrade.rest, b"rest");
}

#[tokio::test]
async fn the_worker_sees_what_php_would_show_it() {
    let upgrade = read(UPGRADE, 8192).await.unwrap();
    let (server, data) = server_of(&upgrade);
    let part = |name: &str| data.get(name).and_then(Value::as_array).unwrap().clone();
    assert_eq!(part("get").get("room").and_then(Value::as_str), Some("9"));
    assert_eq!(part("cookie").get("sid").and_then(Value::as_str), Some("s1"));
    for (key, value) in [
        ("QUERY_STRING", "auth=abc&room=9"),
        ("REQUEST_METHOD", "GET"),
        ("REQUEST_URI", "/?auth=abc&room=9"),
        ("SERVER_PROTOCOL", "HTTP/1.1"),
        ("SERVER_NAME", "127.0.0.1:8289"),
        ("REMOTE_ADDR", "203.0.113.7"),
        ("HTTP_HOST", "127.0.0.1:8289"),
        ("HTTP_SEC_WEBSOCKET_VERSION", "13"),
        ("HTTP_X_TWICE", "a,b"),
    ] {
        assert_eq!(server.get(key).and_then(Value::as_str), Some(value), "{key}");
    }
    assert_eq!(server.get("REMOTE_PORT").and_then(Value::as_int), Some(54321));
    assert_eq!(server.get("CONTENT_TYPE"), Some(&Value::Null));
}

#[tokio::test]
async fn the_body_is_what_php_would_serialize() {
    let upgrade = read(UPGRADE, 8192).await.unwrap();
    let strings = |pairs: &[(&str, &str)]| pairs.iter().copied().collect::<Array>();
    let mut server = strings(&[
        ("QUERY_STRING", "auth=abc&room=9"),
        ("REQUEST_METHOD", "GET"),
        ("REQUEST_URI", "/?auth=abc&room=9"),
        ("SERVER_PROTOCOL", "HTTP/1.1"),
        ("SERVER_NAME", "127.0.0.1:8289"),
    ]);
    server.insert("CONTENT_TYPE", Value::Null);
    server.insert("REMOTE_ADDR", "203.0.113.7");
    server.insert("REMOTE_PORT", 54321);
    server.insert("SERVER_PORT", 8289);
    for (key, value) in [
        ("HTTP_HOST", "127.0.0.1:8289"),
        ("HTTP_UPGRADE", "websocket"),
        ("HTTP_CONNECTION", "keep-alive, Upgrade"),
        ("HTTP_SEC_WEBSOCKET_VERSION", "13"),
        ("HTTP_SEC_WEBSOCKET_KEY", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("HTTP_COOKIE", "sid=s1"),
        ("HTTP_X_TWICE", "a,b"),
    ] {
        server.insert(key, value);
    }
    let mut data = Array::new();
    data.insert("get", strings(&[("auth", "abc"), ("room", "9")]));
    data.insert("server", server);
    data.insert("cookie", strings(&[("sid", "s1")]));
    let expected = php::serialize(&data.into());
    assert_eq!(String::from_utf8(upgrade.handshake).unwrap(), String::from_utf8(expected).unwrap());
}

#[tokio::test]
async fn of_two_headers_with_one_key_the_later_is_kept() {
    let request = UPGRADE.replace("X-Twice: a\r\n", "X-Real_IP: no\r\nx-real-ip: yes\r\nX-REAL-IP: and\r\n");
    let (server, _) = server_of(&read(&request, 8192).await.unwrap());
    assert_eq!(server.get("HTTP_X_REAL_IP").and_then(Value::as_str), Some("yes,and"));
    assert_eq!(server.len(), 9 + 8);
}

#[tokio::test]
async fn a_fragment_is_not_part_of_the_query() {
    let upgrade = read(&UPGRADE.replace("room=9", "room=9#top"), 8192).await.unwrap();
    let (server, _) = server_of(&upgrade);
    assert_eq!(server.get("QUERY_STRING").and_then(Value::as_str), Some("auth=abc&room=9"));
    assert_eq!(server.get("REQUEST_URI").and_then(Value::as_str), Some("/?auth=abc&room=9#top"));
}

#[tokio::test]
async fn an_ipv4_client_of_an_ipv6_listener_has_its_ipv4_address() {
    for (client, shown) in [("[::ffff:203.0.113.7]:1", "203.0.113.7"), ("[2001:db8::1]:1", "[2001:db8::1]")] {
        let (server, _) = server_of(&read_from(client, UPGRADE, 8192).await.unwrap());
        assert_eq!(server.get("REMOTE_ADDR").and_then(Value::as_str), Some(shown));
    }
}

#[tokio::test]
async fn a_request_that_is_no_upgrade_gets_an_http_answer() {
    let plain = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    let changed = |from: &str, to: &str| {
        assert!(UPGRADE.contains(from));
        UPGRADE.replace(from, to)
    };
    for (request, status) in [
        (plain, "426"),
        (&changed("Upgrade: websocket", "Upgrade: h2c"), "426"),
        (&changed("keep-alive, Upgrade", "keep-alive"), "426"),
        (&changed("Version: 13", "Version: 8"), "426"),
        (&changed("GET", "POST"), "405"),
        (&changed("HTTP/1.1", "HTTP/1.0"), "426"),
        (&changed("Sec-WebSocket-Key", "X-Key"), "400"),
        // Too short, too long, not base64, and more than 16 bytes.
        (&changed("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZQ=="), "400"),
        (&changed("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZSBhbmQ="), "400"),
        (&changed("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25j!Q=="), "400"),
        (&changed("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZR=="), "400"),
        ("\0\0\0\0\r\n\r\n", "400"),
        (&changed("Cookie", &"X: y\r\n".repeat(MAX_HEADERS)), "431"),
    ] {
        let answer = read(request, 8192).await.unwrap_err().response().unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request}{answer}");
    }
}

#[tokio::test]
async fn header_names_and_tokens_are_accepted_in_any_case() {
    let request = UPGRADE.replace("Connection: keep-alive, Upgrade", "CONNECTION: UPGRADE,Keep-Alive");
    let request = request.replace("Upgrade: websocket", "upgrade: WebSocket").replace("Sec-", "sec-");
    assert!(read(&request, 8192).await.is_ok());
}

#[tokio::test]
async fn headers_without_an_end_are_rejected_at_the_limit() {
    let long = format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(9000));
    // A request over the limit is rejected even if its end was read in the same call.
    let whole = UPGRADE.replace("X-Twice: a", &format!("X-Twice: {}", "a".repeat(700)));
    for (request, limit) in [(&long, 8192), (&whole, 800)] {
        let answer = read(request, limit).await.unwrap_err().response().unwrap();
        assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    }
}

#[tokio::test]
async fn half_a_request_gets_no_answer() {
    assert!(read("GET / HT", 8192).await.unwrap_err().response().is_none());
}

/// Returns the answer to a request that is not upgraded.
async fn answer_to(request: &str) -> String {
    match read(request, 8192).await.unwrap_err() {
        Rejection::HealthCheck(check) => check.response(true),
        rejection => rejection.response().unwrap(),
    }
}

#[tokio::test]
async fn a_target_that_is_a_url_has_a_path_and_the_worker_sees_it_unchanged() {
    for (target, query) in [
        ("http://localhost/?auth=abc&room=9", "auth=abc&room=9"),
        ("HTTPS://localhost:443/?a", "a"),
        ("http://localhost?x=1", "x=1"),
    ] {
        let upgrade = read(&UPGRADE.replace("/?auth=abc&room=9", target), 8192).await.unwrap();
        let (server, _) = server_of(&upgrade);
        assert_eq!(server.get("REQUEST_URI").and_then(Value::as_str), Some(target));
        assert_eq!(server.get("QUERY_STRING").and_then(Value::as_str), Some(query));
    }
    let config = Config { path: vec!["/ws".into()], ..Config::default() };
    for (target, is_there) in [
        ("/ws", true),
        ("http://localhost/ws", true),
        ("HTTP://localhost/ws?path=/other", true),
        ("http://localhost/ws/", false),
        ("http://localhost", false),
        ("http://localhost/other?/ws", false),
    ] {
        let request = UPGRADE.replace("/?auth=abc&room=9", target);
        assert_eq!(read_with(&config, &request).await.is_ok(), is_there, "{target}");
    }
}

#[tokio::test]
async fn cookies_of_several_header_lines_are_joined() {
    let request = UPGRADE.replace("sid=s1\r\n", "sid=s1; a=1\r\nCOOKIE: b=2\r\nCookie: c=3, 4\r\n");
    let (server, data) = server_of(&read(&request, 8192).await.unwrap());
    assert_eq!(server.get("HTTP_COOKIE").and_then(Value::as_str), Some("sid=s1; a=1; b=2; c=3, 4"));
    let cookies = data.get("cookie").and_then(Value::as_array).unwrap();
    for (name, value) in [("sid", "s1"), ("a", "1"), ("b", "2"), ("c", "3, 4")] {
        assert_eq!(cookies.get(name).and_then(Value::as_str), Some(value), "{name}");
    }
}

#[tokio::test]
async fn a_request_has_one_host_and_no_content() {
    let with = |header: &str| UPGRADE.replace("Cookie: sid=s1", header);
    for (request, is_good) in [
        (UPGRADE.replace("Host: 127.0.0.1:8289\r\n", ""), false),
        (UPGRADE.replace("Host: 127.0.0.1:8289", "Host: a b"), false),
        (UPGRADE.replace("Host: 127.0.0.1:8289", "Host: http://a/"), false),
        (UPGRADE.replace("Host: 127.0.0.1:8289", "Host: user@a"), false),
        (with("host: 127.0.0.1:8289"), false),
        (UPGRADE.replace("Host: 127.0.0.1:8289", "Host:"), true),
        (UPGRADE.replace("Host: 127.0.0.1:8289", "Host: [::1]:8289"), true),
        (with("Content-Length: 3"), false),
        (with("Content-Length: 0, 3"), false),
        (with("Content-Length: -0"), false),
        (with("Content-Length:"), false),
        (with("Content-Length: 0"), true),
        (with("Content-Length: 0\r\nContent-Length: 0"), true),
        (with("Transfer-Encoding: chunked"), false),
        (with("Transfer-Encoding: identity"), false),
    ] {
        let read = read(&request, 8192).await;
        match is_good {
            true => assert!(read.is_ok(), "{request}"),
            false => {
                assert!(read.unwrap_err().response().unwrap().starts_with("HTTP/1.1 400 "), "{request}")
            }
        }
    }
}

#[tokio::test]
async fn the_answer_to_another_request_says_what_to_send() {
    for body in ["", "abc"] {
        let post = format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        let answer = answer_to(&post).await;
        assert!(answer.starts_with("HTTP/1.1 405 ") && answer.contains("\r\nAllow: GET\r\n"), "{answer}");
    }
    for version in ["1.0", "1.1"] {
        let get = answer_to(&format!("GET / HTTP/{version}\r\nHost: x\r\n\r\n")).await;
        assert!(get.starts_with("HTTP/1.1 426 "), "{get}");
        assert!(get.contains("\r\nConnection: Upgrade, close\r\nUpgrade: websocket\r\n"), "{get}");
        let head = answer_to(&format!("HEAD / HTTP/{version}\r\nHost: x\r\n\r\n")).await;
        let (get_head, body) = get.split_once("\r\n\r\n").unwrap();
        assert_eq!(head, format!("{get_head}\r\n\r\n"));
        assert!(get_head.contains(&format!("\r\nContent-Length: {}", body.len())), "{get}");
    }
    let other_path = Config { path: vec!["/ws".into()], ..Config::default() };
    let head = read_with(&other_path, "HEAD / HTTP/1.0\r\n\r\n").await.unwrap_err().response().unwrap();
    assert!(head.starts_with("HTTP/1.1 404 ") && head.ends_with("\r\n\r\n"), "{head}");
}

#[tokio::test]
async fn load_balancers_check_the_health_of_the_gateway() {
    let config = Config { health_path: "/healthz".into(), path: vec!["/ws".into()], ..Config::default() };
    for (request, check) in [
        ("GET /healthz HTTP/1.0\r\n\r\n", Some(HealthCheck::Get)),
        ("GET /healthz?a HTTP/1.1\r\nHost: x\r\n\r\n", Some(HealthCheck::Get)),
        ("GET http://x/healthz HTTP/1.1\r\nHost: x\r\n\r\n", Some(HealthCheck::Get)),
        ("HEAD /healthz HTTP/1.1\r\nHost: x\r\n\r\n", Some(HealthCheck::Head)),
        ("OPTIONS / HTTP/1.0\r\n\r\n", Some(HealthCheck::Options)),
        ("OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", Some(HealthCheck::Options)),
        ("POST /healthz HTTP/1.0\r\n\r\n", None),
        ("GET /healthz/ HTTP/1.0\r\n\r\n", None),
        ("GET / HTTP/1.0\r\n\r\n", None),
    ] {
        let found = match read_with(&config, request).await.unwrap_err() {
            Rejection::HealthCheck(check) => Some(check),
            _ => None,
        };
        assert_eq!(found, check, "{request}");
    }
    // Without the setting there is no such path; on a path that clients use, they are upgraded.
    assert!(answer_to("GET /healthz HTTP/1.0\r\n\r\n").await.starts_with("HTTP/1.1 426 "));
    let root = Config { health_path: "/".into(), ..Config::default() };
    assert!(read_with(&root, UPGRADE).await.is_ok());
}

#[test]
fn the_answer_to_a_health_check_depends_on_its_method() {
    for (check, can_serve, status, ends) in [
        (HealthCheck::Get, true, "200 OK", "\r\n\r\nok\n"),
        (
            HealthCheck::Get,
            false,
            "503 Service Unavailable",
            "\r\n\r\nno worker is linked; connect again later\n",
        ),
        (HealthCheck::Head, true, "200 OK", "\r\nContent-Length: 3\r\n\r\n"),
        (HealthCheck::Options, true, "200 OK", "\r\n\r\nok\n"),
    ] {
        let answer = check.response(can_serve);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}\r\n")) && answer.ends_with(ends), "{answer}");
        assert_eq!(answer.contains("\r\nAllow: GET\r\n"), check == HealthCheck::Options);
    }
}

#[tokio::test]
async fn a_client_that_has_offered_compression_may_compress() {
    assert_eq!(read(UPGRADE, 8192).await.unwrap().compression, Compression::Off);
    let offer = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits";
    let upgrade = read(&UPGRADE.replace("Cookie: sid=s1", offer), 8192).await.unwrap();
    assert_eq!(upgrade.compression, Compression::Declined);
    assert!(!String::from_utf8(upgrade.response).unwrap().contains("deflate"));
}

#[tokio::test]
async fn a_listener_that_compresses_accepts_the_first_offer_of_all_lines_that_it_can_keep_to() {
    let config = Config { compression: true, ..Config::default() };
    let offers = "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=8\r\n\
         Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=10";
    let upgrade = read_with(&config, &UPGRADE.replace("Cookie: sid=s1", offers)).await.unwrap();
    assert_eq!(upgrade.compression, Compression::Agreed(Window::Bits10));
    let response = String::from_utf8(upgrade.response).unwrap();
    let answer = "\r\nSec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; \
         client_no_context_takeover; server_max_window_bits=10\r\n";
    assert!(response.contains(answer), "{response}");
    let upgrade = read_with(&config, UPGRADE).await.unwrap();
    assert_eq!(upgrade.compression, Compression::Off);
    assert!(!String::from_utf8(upgrade.response).unwrap().contains("Extensions"));
}

/// A token, as the place where it stands sees it: nobody checks it here.
const TOKEN: &str = "eyJhbGciOiJIUzI1NiJ9.e30.c2ln";

/// A gateway that asks for tokens, with a cookie for them.
fn with_tokens(more: &str) -> Config {
    let text = format!(
        "subprotocols = ['chat.v1']\nallowed_origins = ['https://example.com']\n[auth]\n\
         hs256_secret = '0123456789abcdef0123456789abcdef'\ncookie = 'jwt'\n{more}"
    );
    toml::from_str(&text).unwrap()
}

/// A request with this target and these header lines.
fn request_with(target: &str, lines: &str) -> String {
    let request = UPGRADE.replace("/?auth=abc&room=9", target).replace("Cookie: sid=s1\r\n", "");
    request.replace("\r\n\r\n", &format!("\r\n{lines}\r\n"))
}

#[tokio::test]
async fn a_token_is_taken_from_each_place_and_no_worker_sees_it() {
    let absolute = format!("http://example.com/ws?token={TOKEN}#top");
    for (target, lines, left) in [
        (format!("/ws?a=1&token={TOKEN}&b=2"), String::new(), ("REQUEST_URI", "/ws?a=1&b=2")),
        (format!("/ws?token={TOKEN}"), String::new(), ("REQUEST_URI", "/ws")),
        (format!("/ws?a=1&%74oken={TOKEN}"), String::new(), ("QUERY_STRING", "a=1")),
        (format!("/ws?token=x&+token={TOKEN}"), String::new(), ("QUERY_STRING", "")),
        (absolute, String::new(), ("REQUEST_URI", "http://example.com/ws#top")),
        ("/ws?auth=abc".into(), format!("authorization: bearer {TOKEN}\r\n"), ("QUERY_STRING", "auth=abc")),
        (
            "/ws".into(),
            format!("Sec-WebSocket-Protocol: gw.token, {TOKEN}\r\n"),
            ("HTTP_SEC_WEBSOCKET_PROTOCOL", "gw.token"),
        ),
        (
            "/ws".into(),
            format!("Sec-WebSocket-Protocol: a\r\nSec-WebSocket-Protocol: gw.token,{TOKEN},b\r\n"),
            ("HTTP_SEC_WEBSOCKET_PROTOCOL", "a, gw.token, b"),
        ),
        (
            "/ws".into(),
            format!("Sec-WebSocket-Protocol: gw.token, {TOKEN}, a, gw.token, eyJother\r\n"),
            ("HTTP_SEC_WEBSOCKET_PROTOCOL", "gw.token, a, gw.token"),
        ),
        ("/ws".into(), format!("Cookie: sid=s1; jwt={TOKEN}; x=y\r\n"), ("HTTP_COOKIE", "sid=s1; x=y")),
        ("/ws".into(), format!("Cookie: jwt={TOKEN}\r\n"), ("QUERY_STRING", "")),
    ] {
        let upgrade = read_with(&with_tokens(""), &request_with(&target, &lines)).await.unwrap();
        assert_eq!(upgrade.token.as_deref(), Some(TOKEN.as_bytes()), "{target} {lines}");
        let (server, data) = server_of(&upgrade);
        assert_eq!(server.get(left.0).and_then(Value::as_str), Some(left.1), "{target} {lines}");
        let whole = format!("{data:?}{}", String::from_utf8_lossy(&upgrade.handshake));
        assert!(!whole.contains("eyJ"), "{target} {lines}: {whole}");
    }
}

#[tokio::test]
async fn the_token_is_never_the_subprotocol_that_is_answered() {
    for (offered, answered) in [
        (format!("gw.token, {TOKEN}"), Some("gw.token")),
        (format!("gw.token, {TOKEN}, chat.v1"), Some("chat.v1")),
        ("gw.token".to_owned(), Some("gw.token")),
        (format!("other, {TOKEN}"), None),
    ] {
        let request = request_with("/ws", &format!("Sec-WebSocket-Protocol: {offered}\r\n"));
        let response = read_with(&with_tokens(""), &request).await.unwrap().response;
        let response = String::from_utf8(response).unwrap();
        let answer = response.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Protocol: "));
        assert_eq!(answer, answered, "{offered}");
    }
}

#[tokio::test]
async fn what_is_no_token_of_ours_stays_where_it_is() {
    let header = format!("Authorization: Bearer {TOKEN}\r\n");
    for (config, target, lines, left) in [
        (Config::default(), "/ws?token=a", header.as_str(), ("QUERY_STRING", "token=a")),
        (with_tokens("token_in = ['header']"), "/ws?token=a", "", ("QUERY_STRING", "token=a")),
        (with_tokens(""), "/ws?tokens=a&x[token]=b", "", ("QUERY_STRING", "tokens=a&x[token]=b")),
        (with_tokens(""), "/ws", "Authorization: Basic YTpi\r\n", ("HTTP_AUTHORIZATION", "Basic YTpi")),
        (with_tokens(""), "/ws", "Cookie: jwts=a\r\n", ("HTTP_COOKIE", "jwts=a")),
    ] {
        let upgrade = read_with(&config, &request_with(target, lines)).await.unwrap();
        assert_eq!(upgrade.token, None, "{target} {lines}");
        let (server, _) = server_of(&upgrade);
        assert_eq!(server.get(left.0).and_then(Value::as_str), Some(left.1), "{target} {lines}");
    }
}
