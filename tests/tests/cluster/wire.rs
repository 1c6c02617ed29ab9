//! The inner protocol, byte for byte: a PHP worker with our gateway, and a PHP gateway with our worker. The PHP side is
//! played from recorded bytes of the original.

use std::net::{Ipv4Addr, SocketAddrV4};

use bytes::Bytes;
use gatewayworker::ClientId;
use gatewayworker_protocol::php::{self, Value};
use gatewayworker_protocol::{Command, Frame, Origin, Payload, Question};
use gatewayworker_tests::{Cluster, RawPeer, WsClient, register_as_gateway, soon};
use tokio::net::TcpListener;

/// The bytes of a case of the vectors, with another connection id.
fn php_bytes(name: &str, connection_id: u32) -> Vec<u8> {
    let file = include_str!("../../../crates/protocol/tests/vectors/gateway_protocol.json");
    let file: serde_json::Value = serde_json::from_str(file).unwrap();
    let case = file["frames"].as_array().unwrap().iter().find(|case| case["name"] == name);
    let digits = case.unwrap_or_else(|| panic!("no case {name}"))["wire_hex"].as_str().unwrap();
    let mut bytes: Vec<u8> =
        (0..digits.len()).step_by(2).map(|i| u8::from_str_radix(&digits[i..i + 2], 16).unwrap()).collect();
    bytes[17..21].copy_from_slice(&connection_id.to_be_bytes());
    bytes
}

fn text(value: &Value) -> String {
    String::from_utf8(php::serialize(value)).unwrap()
}

/// A gateway of ours with a PHP worker and a client; the greeting that PHP's
/// events would have sent is left out.
struct Played {
    cluster: Cluster,
    worker: RawPeer,
    client: WsClient,
    origin: Origin,
}

async fn php_worker() -> Played {
    let cluster = Cluster::builder().workers(0).start().await;
    let mut worker = RawPeer::connect(cluster.gateways[0].inner).await;
    worker.send_bytes(&php_bytes("WORKER_CONNECT", 0)).await;
    let client = WsClient::connect_to(cluster.listener(), "/?auth=abc&room=9").await;
    let Command::OnConnect { origin, session } = worker.command().await else {
        panic!("ON_CONNECT comes first")
    };
    assert!(session.is_empty());
    Played { cluster, worker, client, origin }
}

#[tokio::test]
async fn a_php_worker_receives_a_clients_events_as_from_the_original() {
    let Played { cluster, mut worker, mut client, origin } = php_worker().await;
    assert_eq!(origin.gateway, cluster.gateways[0].inner);
    assert_eq!(origin.gateway_port, cluster.listener().port());
    assert_eq!(*origin.client.ip(), Ipv4Addr::LOCALHOST);

    let frame = worker.frame().await.unwrap();
    assert_eq!((frame.cmd, frame.flag), (205, 0));
    let data = php::unserialize(&frame.body).unwrap();
    let data = data.as_array().unwrap();
    assert_eq!(text(data.get("get").unwrap()), r#"a:2:{s:4:"auth";s:3:"abc";s:4:"room";s:1:"9";}"#);

    client.send("你好").await;
    let expected = Frame { flag: 1, body: "你好".into(), ..origin.frame(3) };
    assert_eq!(worker.frame().await.unwrap(), expected);
    worker.send_bytes(&php_bytes("SET_SESSION", origin.connection_id)).await;
    worker.send_bytes(&php_bytes("SEND_TO_ONE", origin.connection_id)).await;
    assert_eq!(client.text().await, "hi");
    client.close().await;
    let close = worker.frame().await.unwrap();
    assert_eq!((close.cmd, &close.ext[..], &close.body[..]), (4, &br#"a:1:{s:1:"a";i:1;}"#[..], &b""[..]));
}

#[tokio::test]
async fn a_php_workers_commands_work_as_in_the_original() {
    let Played { cluster: _cluster, mut worker, mut client, origin } = php_worker().await;
    let id = origin.connection_id;
    let said = |name: &str| php_bytes(name, id);
    for name in ["SEND_TO_ONE", "SEND_TO_ONE raw", "SEND_TO_ALL", "SEND_TO_ALL excluding"] {
        worker.send_bytes(&said(name)).await;
        assert_eq!(client.text().await, "hi", "{name}");
    }
    worker.send_bytes(&said("BIND_UID")).await;
    worker.send_bytes(&said("SEND_TO_UID")).await;
    assert_eq!(client.text().await, "hi");
    worker.send_bytes(&said("JOIN_GROUP")).await;
    worker.send_bytes(&said("SEND_TO_GROUP")).await;
    assert_eq!(client.text().await, "hi");
    worker.send_bytes(&said("KICK with message")).await;
    assert_eq!(client.text().await, "bye");
    assert_eq!(client.close_code().await, 1000);
}

#[tokio::test]
async fn questions_are_answered_in_order_in_phps_bytes_and_after_earlier_commands() {
    let Played { cluster, mut worker, client: _client, origin } = php_worker().await;
    let id = origin.connection_id;
    // A client library's link, which says nothing first where there is no key.
    let mut asker = RawPeer::connect(cluster.gateways[0].inner).await;
    let mut burst = Vec::new();
    for name in ["BIND_UID", "JOIN_GROUP", "SET_SESSION", "UPDATE_SESSION"] {
        burst.extend(php_bytes(name, id));
    }
    let asks = [
        Question::IsOnline(id),
        Question::IsOnline(id ^ 2),
        Question::Session(id),
        Question::Session(id ^ 2),
        Question::ConnectionsByUid("u1".into()),
        Question::BatchConnectionsByUid(vec!["u1".into(), "42".into()]),
        Question::GroupIds,
        Question::Count(Some("room1".into())),
        Question::Count(None),
        Question::BatchCount(vec!["room1".into(), "7".into()]),
        Question::AllSessions,
    ];
    asker.send_bytes(&burst).await;
    let session = r#"a:2:{s:1:"a";i:1;s:1:"b";a:1:{s:1:"x";d:1.5;}}"#;
    for ask in &asks {
        asker.send(Command::Ask(ask.clone())).await;
    }
    asker.send_bytes(&php_bytes("SELECT all", 0)).await;
    for expected in [
        "i:1;".to_owned(),
        "i:0;".to_owned(),
        session.to_owned(),
        "N;".to_owned(),
        format!("a:1:{{i:0;i:{id};}}"),
        format!("a:2:{{s:2:\"u1\";a:1:{{i:0;i:{id};}}i:42;a:0:{{}}}}"),
        "a:1:{i:0;s:5:\"room1\";}".to_owned(),
        "i:1;".to_owned(),
        "i:1;".to_owned(),
        "a:2:{s:5:\"room1\";i:1;i:7;i:0;}".to_owned(),
        format!("a:1:{{i:{id};s:{}:\"{session}\";}}", session.len()),
        format!("a:1:{{i:{id};a:1:{{s:3:\"uid\";s:2:\"u1\";}}}}"),
    ] {
        assert_eq!(String::from_utf8(asker.answer().await.to_vec()).unwrap(), expected);
    }
    // A worker's own link answers too, as the original's does.
    assert_eq!(text(&worker_ask(&mut worker, Question::IsOnline(id)).await), "i:1;");
}

/// Asks on a worker's link. The handshake's event stands before the answer.
async fn worker_ask(worker: &mut RawPeer, question: Question) -> Value {
    assert_eq!(worker.frame().await.unwrap().cmd, 205);
    worker.ask(question).await
}

#[tokio::test]
async fn questions_in_a_flood_of_sends_are_answered_in_order() {
    let Played { cluster, worker: _worker, mut client, origin } = php_worker().await;
    let mut asker = RawPeer::connect(cluster.gateways[0].inner).await;
    let mut flood = bytes::BytesMut::new();
    for n in 0..500_u32 {
        Command::SendToOne { to: origin.connection_id, message: Payload::plain(n.to_string()) }
            .encode(&mut flood);
        let online = if n % 3 == 0 { origin.connection_id } else { origin.connection_id ^ 2 };
        Command::Ask(Question::IsOnline(online)).encode(&mut flood);
    }
    asker.send_bytes(&flood).await;
    for n in 0..500 {
        let expected = if n % 3 == 0 { "i:1;" } else { "i:0;" };
        assert_eq!(asker.answer().await, expected, "{n}");
        assert_eq!(client.text().await, n.to_string());
    }
}

/// A PHP gateway that a worker of ours has come to, with its two links.
struct PhpGateway {
    /// Commands and questions come here.
    calls: RawPeer,
    /// Events go here.
    events: RawPeer,
    port: u16,
    _announced: tokio::net::TcpStream,
    _cluster: Cluster,
}

impl PhpGateway {
    /// Sends one of the original's events, as coming from this gateway.
    async fn tell(&mut self, name: &str) {
        let mut event = php_bytes(name, 7);
        event[9..11].copy_from_slice(&self.port.to_be_bytes());
        self.events.send_bytes(&event).await;
    }

    /// Answers a question with a value, as PHP does.
    async fn answer(&mut self, value: &str) {
        let mut out = bytes::BytesMut::new();
        gatewayworker_protocol::frame_answer(value.as_bytes(), &mut out);
        self.calls.send_bytes(&out).await;
    }
}

async fn php_gateway() -> PhpGateway {
    let cluster = Cluster::builder().gateways(0).start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let announced = register_as_gateway(cluster.register, address).await;
    // The link for calls comes first, and says nothing where there is no key.
    let (calls, _) = soon("a call link", listener.accept()).await.unwrap();
    let (events, _) = soon("an event link", listener.accept()).await.unwrap();
    let (calls, mut events) = (RawPeer::over(calls), RawPeer::over(events));
    let Command::WorkerConnect(hello) = events.command().await else {
        panic!("an event link says who it is")
    };
    assert!(hello.worker_key.is_some_and(|key| key.starts_with("BusinessWorker:")));
    assert_eq!(hello.secret_key.unwrap().expose(), "");
    PhpGateway { calls, events, port: address.port(), _announced: announced, _cluster: cluster }
}

#[tokio::test]
async fn a_worker_of_ours_handles_a_php_gateways_events() {
    let mut php = php_gateway().await;
    php.tell("CMD_ON_CONNECT empty").await;
    php.tell("ON_WEBSOCKET_CONNECT array body").await;
    let greeting = php.calls.frame().await.unwrap();
    let id = ClientId::new(SocketAddrV4::new(Ipv4Addr::LOCALHOST, php.port), 7);
    let expected = Frame { cmd: 5, connection_id: 7, body: id.to_string().into(), ..Frame::default() };
    assert_eq!(greeting, expected);

    php.tell("ON_MESSAGE with session and utf-8 body").await;
    let echo = php.calls.frame().await.unwrap();
    assert_eq!((echo.cmd, echo.connection_id, echo.flag), (5, 7, 1));
    assert_eq!(echo.body, r#"{"type":"chat","content":"你好"}"#);
    php.tell("ON_MESSAGE binary body").await;
    assert_eq!(php.calls.frame().await.unwrap().body, &b"\x00\xff\xfe\x80"[..]);
}

#[tokio::test]
async fn a_worker_asks_a_php_gateway_for_a_session_that_may_be_stale() {
    let mut php = php_gateway().await;
    php.tell("CMD_ON_CONNECT empty").await;
    php.calls.frame().await.unwrap();
    // Two messages that left the gateway before the first one's handler wrote.
    let mut message = Frame {
        cmd: 3,
        local_ip: Ipv4Addr::LOCALHOST,
        local_port: php.port,
        connection_id: 7,
        body: "count".into(),
        ..Frame::default()
    };
    message.ext = Bytes::from_static(br#"a:1:{s:4:"name";s:3:"php";}"#);
    let mut burst = bytes::BytesMut::new();
    message.encode(&mut burst);
    message.encode(&mut burst);
    php.events.send_bytes(&burst).await;

    let Command::SendToOne { message: first, .. } = php.calls.command().await else {
        panic!("the first count")
    };
    assert_eq!(first, Payload::plain("1"));
    let Command::SetSession { session, .. } = php.calls.command().await else {
        panic!("the session, written back")
    };
    assert_eq!(session, &br#"a:2:{s:4:"name";s:3:"php";s:5:"count";i:1;}"#[..]);
    assert_eq!(php.calls.command().await, Command::Ask(Question::Session(7)));
    php.answer(r#"a:2:{s:4:"name";s:3:"php";s:5:"count";i:1;}"#).await;
    let Command::SendToOne { message: second, .. } = php.calls.command().await else {
        panic!("the second count")
    };
    assert_eq!(second, Payload::plain("2"));
}

#[tokio::test]
async fn uids_and_groups_in_a_list_are_valid_php_array_keys() {
    let Played { cluster, worker: _worker, mut client, origin } = php_worker().await;
    let mut caller = RawPeer::connect(cluster.gateways[0].inner).await;
    let id = origin.connection_id;
    caller.send(Command::BindUid { connection_id: id, uid: "1".into() }).await;
    caller.send(Command::JoinGroup { connection_id: id, group: "1".into() }).await;
    let frame = |cmd, ext: &'static str, body: &'static str| {
        let mut bytes = bytes::BytesMut::new();
        Frame { cmd, ext: ext.into(), body: body.into(), ..Frame::default() }.encode(&mut bytes);
        bytes
    };
    caller.send_bytes(&frame(14, "[true]", "to uid true")).await;
    assert_eq!(client.text().await, "to uid true");
    caller.send_bytes(&frame(14, r#"["01","1.0",null,false]"#, "to nobody")).await;
    caller.send_bytes(&frame(14, "[1.9]", "to uid 1.9")).await;
    assert_eq!(client.text().await, "to uid 1.9");
    caller.send_bytes(&frame(22, r#"{"group":[null,true],"exclude":null}"#, "to group true")).await;
    assert_eq!(client.text().await, "to group true");

    let list = r#"[true,false,null,1.9,"08","8"]"#;
    caller.send_bytes(&frame(16, list, "")).await;
    let none = "a:0:{}";
    let expected =
        format!(r#"a:5:{{i:1;a:1:{{i:0;i:{id};}}i:0;{none}s:0:"";{none}s:2:"08";{none}i:8;{none}}}"#);
    assert_eq!(caller.answer().await, expected);
    caller.send_bytes(&frame(28, list, "")).await;
    assert_eq!(caller.answer().await, r#"a:5:{i:1;i:1;i:0;i:0;s:0:"";i:0;s:2:"08";i:0;i:8;i:0;}"#);
    for (ext, rows) in [
        (r#"{"fields":["uid"],"where":{"uid":[true]}}"#, 1),
        (r#"{"fields":["uid"],"where":{"uid":[false]}}"#, 0),
        (r#"{"fields":["uid"],"where":[5]}"#, 0),
        (r#"{"fields":["uid"],"where":"x"}"#, 0),
        (r#"{"fields":["uid"],"where":[]}"#, 1),
        (r#"{"fields":["uid"],"where":"0"}"#, 1),
    ] {
        caller.send_bytes(&frame(25, ext, "")).await;
        let answer = php::unserialize(&caller.answer().await).unwrap();
        assert_eq!(answer.as_array().unwrap().len(), rows, "{ext}");
    }
}

#[tokio::test]
async fn a_session_with_objects_and_references_is_merged() {
    let Played { cluster, worker: _worker, client: _client, origin } = php_worker().await;
    let mut caller = RawPeer::connect(cluster.gateways[0].inner).await;
    let id = origin.connection_id;
    let session = r#"a:2:{s:1:"a";O:3:"Foo":1:{s:1:"x";i:1;}s:1:"b";r:2;}"#.into();
    caller.send(Command::SetSession { connection_id: id, session }).await;
    let session = r#"a:2:{s:1:"n";i:2;s:4:"user";O:8:"stdClass":1:{s:4:"self";r:3;}}"#.into();
    caller.send(Command::UpdateSession { connection_id: id, session }).await;
    caller.send(Command::Ask(Question::Session(id))).await;
    let merged = r#"a:4:{s:1:"a";O:3:"Foo":1:{s:1:"x";i:1;}s:1:"b";r:2;s:1:"n";i:2;s:4:"user";O:8:"stdClass":1:{s:4:"self";r:6;}}"#;
    assert_eq!(caller.answer().await, merged);
    let deep = format!("a:1:{{i:0;{}a:0:{{}}{}}}", "a:1:{i:0;".repeat(4000), "}".repeat(4000));
    caller.send(Command::SetSession { connection_id: id, session: deep.clone().into() }).await;
    caller.send(Command::UpdateSession { connection_id: id, session: deep.clone().into() }).await;
    caller.send(Command::Ask(Question::Session(id))).await;
    assert_eq!(caller.answer().await, deep);
}
