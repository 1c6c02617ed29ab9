//! INSPECT: who closed whom, and what waits for a client that does not read.

use std::time::Duration;

use gatewayworker::client::inspect::{
    CloseReport, ClosedBy, FrameKind, InspectAnswer, InspectRequest, Inspector, OutboxReport, Preview,
};
use gatewayworker::{ClientId, CloseReason, Gateway};
use gatewayworker_tests::{Cluster, WsClient, eventually, soon};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

fn inspector(cluster: &Cluster) -> Inspector {
    Inspector::builder([cluster.register.to_string()]).timeout(Duration::from_secs(10)).connect()
}

async fn ask(inspector: &Inspector, request: InspectRequest) -> InspectAnswer {
    let mut answers = soon("the answer", inspector.ask(&request)).await;
    assert_eq!(answers.len(), 1, "one gateway");
    answers.remove(0).1.unwrap()
}

/// The latest close, once it is that of this client.
async fn close_of(inspector: &Inspector, id: ClientId) -> CloseReport {
    let latest = async || {
        let InspectAnswer::Closes(list) = ask(inspector, InspectRequest::Closes { limit: 1 }).await else {
            panic!("no closes")
        };
        list.closes.into_iter().next().filter(|close| close.id == id.to_string())
    };
    eventually("the close", async || latest().await.is_some()).await;
    latest().await.unwrap()
}

#[tokio::test]
async fn the_last_closes_say_who_closed_whom_and_why() {
    let cluster = Cluster::start().await;
    let (worker, inspector) = (cluster.api().await, inspector(&cluster));
    let backend = Gateway::builder([cluster.register.to_string()]).connect();

    let (mut leaving, id) = WsClient::greeted(cluster.listener()).await;
    worker.bind_uid(id, "ann").await.unwrap();
    eventually("the uid", async || worker.is_uid_online("ann").await.unwrap()).await;
    let frame = CloseFrame { code: 4001.into(), reason: "bye".into() };
    leaving.send_message(Message::Close(Some(frame))).await;
    let close = close_of(&inspector, id).await;
    assert_eq!(
        (close.uid.as_deref(), &*close.reason, close.closed_by),
        (Some("ann"), "client-left", ClosedBy::Client)
    );
    assert_eq!((close.client_code, close.client_reason.as_deref()), (Some(4001), Some("bye")));
    assert_eq!((close.code, close.closer), (Some(4001), None), "the answer has the same code");
    assert!(close.address.unwrap().starts_with("127.0.0.1:") && close.listener.starts_with("websocket://"));
    assert!(close.at_ms > 1_600_000_000_000 && close.age_ms < 60_000);

    let (_kicked, id) = WsClient::greeted(cluster.listener()).await;
    worker.close_client(id).await.unwrap();
    let close = close_of(&inspector, id).await;
    assert_eq!((&*close.reason, close.closed_by, close.code), ("kicked", ClosedBy::Worker, Some(1000)));
    assert!(close.closer.as_ref().unwrap().starts_with("127.0.0.1:BusinessWorker:"), "{close:?}");
    assert_eq!((close.uid, close.client_code), (None, None));

    let (_kicked, id) = WsClient::greeted(cluster.listener()).await;
    backend.destroy_client(id).await.unwrap();
    let close = close_of(&inspector, id).await;
    assert_eq!((&*close.reason, close.closed_by, close.code), ("destroyed", ClosedBy::Call, None));
    // The client library is of this process, and its link a Unix socket where there are such.
    let closer = close.closer.clone().expect("the client library's end of its link");
    let over_tcp = closer.parse::<std::net::SocketAddr>().is_ok_and(|peer| peer.ip().is_loopback());
    assert!(over_tcp || closer == format!("unix:{}", std::process::id()), "{close:?}");

    let mut refused = WsClient::connect_to(cluster.listener(), "/?refuse=no").await;
    refused.close_code().await;
    let closes = || async {
        let InspectAnswer::Closes(list) = ask(&inspector, InspectRequest::Closes { limit: 200 }).await else {
            panic!("no closes")
        };
        list.closes
    };
    eventually("the refusal", async || closes().await[0].reason == "refused").await;
    // Behind these is what the test's cluster has closed itself, to see that it is ready.
    let reasons: Vec<String> = closes().await.into_iter().take(4).map(|close| close.reason).collect();
    assert_eq!(reasons, ["refused", "destroyed", "kicked", "client-left"]);
    assert_eq!(closes().await[0].closed_by, ClosedBy::Worker);
}

#[tokio::test]
async fn closes_by_limits_and_heartbeats_are_named_after_them() {
    let listen = r#"
        [[listen]]
        url = "websocket://0.0.0.0:0"
        max_message_bytes = 100
        [[listen]]
        url = "websocket://0.0.0.0:0"
        ping_interval = 0.2
        ping_not_response_limit = 1
    "#;
    let cluster = Cluster::builder().listen(listen).start().await;
    let inspector = inspector(&cluster);
    let (mut talker, id) = WsClient::greeted(cluster.listener()).await;
    talker.send(&"x".repeat(200)).await;
    let close = close_of(&inspector, id).await;
    assert_eq!((&*close.reason, close.closed_by, close.code), ("too-large", ClosedBy::Limit, Some(1009)));
    let (_silent, id) = WsClient::greeted(cluster.gateways[0].listeners[1]).await;
    let close = close_of(&inspector, id).await;
    assert_eq!((&*close.reason, close.closed_by, close.code), ("timed-out", ClosedBy::Heartbeat, Some(1001)));
    assert_eq!(close.reason, CloseReason::TimedOut.to_string());
}

#[tokio::test]
async fn the_outbox_of_a_client_that_does_not_read_is_listed() {
    let cluster = Cluster::builder().gateway(|config| config.outbox_bytes = 64 << 20).start().await;
    let (api, inspector) = (cluster.api().await, inspector(&cluster));
    let (_slow, id) = WsClient::greeted(cluster.listener()).await;
    let outbox =
        async |payloads| match ask(&inspector, InspectRequest::Outbox { id: id.to_string(), payloads }).await
        {
            InspectAnswer::Outbox(Some(report)) => report,
            other => panic!("{other:?}"),
        };
    assert_eq!(outbox(true).await, OutboxReport::default());
    let long = "x".repeat(1_000_000);
    eventually("a full socket", async || {
        api.send_to_client(id, long.clone()).await.unwrap();
        outbox(false).await.is_blocked
    })
    .await;
    api.send_to_client(id, "the last").await.unwrap();
    eventually("the last message", async || {
        outbox(true).await.frames.last().is_some_and(|frame| frame.bytes == 8)
    })
    .await;
    let report = outbox(true).await;
    assert_eq!(report.total, report.frames.len() as u64);
    assert!(report.bytes > report.frames.iter().map(|frame| frame.bytes).sum());
    let last = report.frames.last().unwrap();
    assert_eq!((last.kind, last.preview.payload.as_deref()), (FrameKind::Text, Some("the last")));
    assert!(report.frames[0].preview.cut, "{:?}", report.frames[0]);
    assert!(outbox(false).await.frames.iter().all(|frame| frame.preview == Preview::default()));
    let nobody = ClientId::new(cluster.gateways[0].inner, 1).to_string();
    assert_eq!(
        ask(&inspector, InspectRequest::Outbox { id: nobody, payloads: true }).await,
        InspectAnswer::Outbox(None)
    );
}
