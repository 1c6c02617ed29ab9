//! INSPECT: what an operator sees of gateways and clients that run.

use std::time::Duration;

use bytes::BytesMut;
use gatewayworker::SecretKey;
use gatewayworker::client::inspect::{
    ClientList, ClientQuery, ClientReport, ClientSort, GatewayReport, GroupReport, InspectAnswer,
    InspectError, InspectRequest, Inspector,
};
use gatewayworker_protocol::code;
use gatewayworker_protocol::{Frame, frame_answer};
use gatewayworker_tests::{Cluster, RawPeer, TcpClient, WsClient, eventually, register_as_gateway, soon};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

fn inspector(cluster: &Cluster, key: &str, limit: Duration) -> Inspector {
    Inspector::builder([cluster.register.to_string()])
        .secret_key(SecretKey::new(key))
        .timeout(limit)
        .connect()
}

const LIMIT: Duration = Duration::from_secs(10);

/// The answer of the only gateway.
async fn ask(inspector: &Inspector, request: InspectRequest) -> InspectAnswer {
    let mut answers = soon("the answer", inspector.ask(&request)).await;
    assert_eq!(answers.len(), 1, "one gateway");
    answers.remove(0).1.unwrap()
}

async fn gateway(inspector: &Inspector) -> GatewayReport {
    let InspectAnswer::Gateway(report) = ask(inspector, InspectRequest::Gateway).await else { panic!() };
    *report
}

async fn clients(inspector: &Inspector, query: ClientQuery) -> ClientList {
    let InspectAnswer::Clients(list) = ask(inspector, InspectRequest::Clients(query)).await else { panic!() };
    list
}

#[tokio::test]
async fn a_gateway_reports_itself_its_registers_and_its_workers() {
    let cluster = Cluster::builder().workers(2).secret_key("k").start().await;
    let (_client, _) = WsClient::greeted(cluster.listener()).await;
    let inspector = inspector(&cluster, "k", LIMIT);
    eventually("the client's events to be finished", async || {
        gateway(&inspector).await.stats["unfinished"] == 0
    })
    .await;
    let report = gateway(&inspector).await;
    assert_eq!(report.address, cluster.gateways[0].inner.to_string());
    assert_eq!((report.instance.len(), report.stopping, report.problems.len()), (16, false, 0));
    assert!(!report.version.is_empty() && report.uptime_ms > 0);
    assert_eq!((report.stats["clients"], report.stats["workers"]), (1, 2));
    let [listener] = &*report.listeners else { panic!("{:?}", report.listeners) };
    assert_eq!(listener.url, format!("websocket://{}", cluster.listener()));
    assert_eq!(listener.clients, 1);
    let [register] = &*report.registers else { panic!("{:?}", report.registers) };
    assert_eq!((&register.address, register.connected), (&cluster.register.to_string(), true));
    assert_eq!(report.workers.iter().map(|worker| worker.clients).sum::<u64>(), 1);
    for worker in &report.workers {
        assert!(worker.key.starts_with("127.0.0.1:"), "{worker:?}");
        let address = worker.address.as_deref().expect("the other end of its link");
        // The workers are of this process, and their links Unix sockets where there are such.
        assert!(
            address == format!("unix:{}", std::process::id()) || address.starts_with("127.0.0.1:"),
            "{worker:?}"
        );
        assert_eq!(worker.process.as_ref().map(String::len), Some(16));
        assert_eq!((&*worker.state, worker.unfinished, worker.unfinished_bytes), ("open", 0, 0));
    }
}

#[tokio::test]
async fn a_gateway_without_a_worker_says_so() {
    let cluster = Cluster::builder().workers(0).start().await;
    let report = gateway(&inspector(&cluster, "", LIMIT)).await;
    assert!(report.workers.is_empty());
    assert!(report.problems[0].starts_with("the gateway has no worker"), "{:?}", report.problems);
}

#[tokio::test]
async fn clients_of_all_shards_are_listed_with_what_they_have() {
    let cluster = Cluster::builder().listen(r#"listen = ["websocket://0.0.0.0:0", "text://0.0.0.0:0"]"#);
    let cluster = cluster.start().await;
    let (api, inspector) = (cluster.api().await, inspector(&cluster, "", LIMIT));
    let mut crowd = Vec::new();
    for n in 0..5_usize {
        let (mut client, id) = WsClient::greeted(cluster.listener()).await;
        for _ in 0..n {
            client.send("hello").await;
        }
        crowd.push((client, id));
    }
    let _line = TcpClient::connect(cluster.gateways[0].listeners[1]).await;
    let (_, first) = &crowd[0];
    api.bind_uid(*first, "ann").await.unwrap();
    api.join_group(*first, "room").await.unwrap();
    let list = || {
        clients(&inspector, ClientQuery { sort: ClientSort::Messages, limit: 2, ..ClientQuery::default() })
    };
    eventually("all messages", async || {
        let list = list().await;
        list.total == 6 && list.clients[0].messages == 4 && list.clients.iter().all(|one| one.unfinished == 0)
    })
    .await;
    let ids: Vec<String> = list().await.clients.into_iter().map(|client| client.id).collect();
    assert_eq!(ids, [crowd[4].1.to_string(), crowd[3].1.to_string()]);
    let ann = ClientQuery { uid: Some("ann".into()), ..ClientQuery::default() };
    eventually("ann", async || clients(&inspector, ann.clone()).await.total == 1).await;
    let found = clients(&inspector, ann).await.clients.remove(0);
    assert_eq!((found.id.clone(), found.uid.clone()), (first.to_string(), Some("ann".to_owned())));
    let ClientReport { groups, listener, outbox_bytes, worker, is_pending, address, .. } = &found;
    assert_eq!((*groups, *outbox_bytes, *is_pending), (1, 0, false));
    assert!(address.as_ref().unwrap().starts_with("127.0.0.1:"), "{found:?}");
    assert!(listener.starts_with("websocket://"), "{found:?}");
    assert!(worker.starts_with("127.0.0.1:"), "{found:?}");
    let of_port = |port: u16| ClientQuery { listener: Some(port.to_string()), ..ClientQuery::default() };
    assert_eq!(clients(&inspector, of_port(cluster.gateways[0].listeners[1].port())).await.total, 1);
    let url = ClientQuery { listener: Some(listener.clone()), ..ClientQuery::default() };
    assert_eq!(clients(&inspector, url).await.total, 5);
}

#[tokio::test]
async fn one_client_is_shown_in_full_and_its_session_if_it_is_not_too_long() {
    let cluster = Cluster::start().await;
    let (api, inspector) = (cluster.api().await, inspector(&cluster, "", LIMIT));
    let (_client, id) = WsClient::greeted(cluster.listener()).await;
    let detail = async || match ask(&inspector, InspectRequest::Client { id: id.to_string() }).await {
        InspectAnswer::Client(Some(detail)) => detail,
        other => panic!("{other:?}"),
    };
    for group in ["one", "two"] {
        api.join_group(id, group).await.unwrap();
    }
    api.set_session(id, &json!({"name": "ann", "n": [1]})).await.unwrap();
    eventually("the session", async || detail().await.session == Some(json!({"name": "ann", "n": [1]})))
        .await;
    assert_eq!(detail().await.group_names, ["one", "two"]);
    api.set_session(id, &json!({"long": "x".repeat(70_000)})).await.unwrap();
    eventually("the long session", async || detail().await.session_bytes > 70_000).await;
    assert_eq!(detail().await.session, None);
    let nobody = InspectRequest::Client { id: format!("{:.12}00000000", id.to_string()) };
    assert_eq!(ask(&inspector, nobody).await, InspectAnswer::Client(None));
}

#[tokio::test]
async fn the_largest_groups_are_listed_with_the_members_of_all_shards() {
    let cluster = Cluster::start().await;
    let (api, inspector) = (cluster.api().await, inspector(&cluster, "", LIMIT));
    let mut crowd = Vec::new();
    for n in 0..6 {
        let (client, id) = WsClient::greeted(cluster.listener()).await;
        api.join_group(id, "everybody").await.unwrap();
        if n < 3 {
            api.join_group(id, "half").await.unwrap();
        }
        api.join_group(id, format!("only {n}").as_str()).await.unwrap();
        crowd.push(client);
    }
    let expected = [("everybody", 6), ("half", 3)];
    let expected = expected.map(|(name, members)| GroupReport { name: name.into(), members });
    eventually("all groups", async || {
        let answer = ask(&inspector, InspectRequest::Groups { limit: 2 }).await;
        matches!(answer, InspectAnswer::Groups(list) if list.groups == expected)
    })
    .await;
}

#[tokio::test]
async fn without_the_key_nobody_is_told_anything() {
    let cluster = Cluster::builder().secret_key("k").start().await;
    let limit = Duration::from_millis(300);
    assert!(inspector(&cluster, "another", limit).ask(&InspectRequest::Gateway).await.is_empty());
    // One that knows the gateway's address needs the key there, too.
    let inner = cluster.gateways[0].inner.to_string();
    let stranger = inspector(&cluster, "another", LIMIT);
    let error = soon("a refusal", stranger.ask_one(&inner, &InspectRequest::Gateway)).await.unwrap_err();
    assert!(matches!(&error, InspectError::Closed { gateway } if *gateway == inner), "{error:?}");
    let mut silent = RawPeer::connect(cluster.gateways[0].inner).await;
    silent
        .send(gatewayworker_protocol::Command::Ask(gatewayworker_protocol::Question::Inspect(
            InspectRequest::Gateway,
        )))
        .await;
    assert!(silent.frame().await.is_none(), "it is closed without an answer");
}

#[tokio::test]
async fn a_question_that_a_gateway_does_not_know_or_cannot_answer_has_a_reason() {
    let cluster = Cluster::start().await;
    let inspector = inspector(&cluster, "", LIMIT);
    for (request, words) in [
        (InspectRequest::Unknown, "does not know this question"),
        (InspectRequest::Client { id: "nobody".into() }, "is no client id"),
        (
            InspectRequest::Clients(ClientQuery { address: Some("here".into()), ..ClientQuery::default() }),
            "is no IPv4 address",
        ),
        (
            InspectRequest::Clients(ClientQuery { listener: Some("1".into()), ..ClientQuery::default() }),
            "has no listener",
        ),
    ] {
        let mut answers = soon("the answer", inspector.ask(&request)).await;
        let error = answers.remove(0).1.unwrap_err();
        assert!(matches!(&error, InspectError::Refused { why, .. } if why.contains(words)), "{error}");
    }
}

/// The inner port of a gateway that the test plays.
async fn played() -> (String, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    (listener.local_addr().unwrap().to_string(), listener)
}

#[tokio::test]
async fn a_gateway_that_does_not_answer_keeps_nobody_from_the_others() {
    // A worker would link to the silent gateway, too.
    let cluster = Cluster::builder().workers(0).start().await;
    let (silent, listener) = played().await;
    let _announced = register_as_gateway(cluster.register, silent.parse().unwrap()).await;
    let inspector = inspector(&cluster, "", Duration::from_millis(700));
    eventually("both gateways", async || inspector.gateways().await.len() == 2).await;
    let answers = soon("the time limit", inspector.ask(&InspectRequest::Gateway)).await;
    for (gateway, answer) in answers {
        match answer {
            Ok(_) => assert_eq!(gateway, cluster.gateways[0].inner.to_string()),
            Err(error) => assert_eq!(
                error.to_string(),
                format!(
                    "the gateway at {silent} has not answered INSPECT in time: it hangs, or it is of PHP or of an older version"
                )
            ),
        }
    }
    // It was asked on a connection of its own, with nothing before and nothing behind.
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut bytes = Vec::new();
    soon("the end of the connection", stream.read_to_end(&mut bytes)).await.unwrap();
    let mut bytes = BytesMut::from(&bytes[..]);
    let frame = Frame::parse(&mut bytes, 1000).unwrap().unwrap();
    assert_eq!((frame.cmd, &frame.body[..], bytes.len()), (code::INSPECT, &br#"{"about":"gateway"}"#[..], 0));
}

#[tokio::test]
async fn an_answer_of_a_newer_version_is_an_error_and_so_is_an_endless_one() {
    let cluster = Cluster::builder().gateways(0).workers(0).start().await;
    let inspector = inspector(&cluster, "", LIMIT);
    let mut unknown = BytesMut::new();
    frame_answer(br#"{"weather":{}}"#, &mut unknown);
    for answer in [unknown.to_vec(), u32::MAX.to_be_bytes().to_vec()] {
        let (address, listener) = played().await;
        let serving = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(&answer).await.unwrap();
            stream
        });
        let error = soon("it", inspector.ask_one(&address, &InspectRequest::Gateway)).await.unwrap_err();
        assert!(matches!(error, InspectError::BadAnswer { .. }), "{error}");
        drop(serving.await);
    }
}
