//! Peers that behave badly: that break off, that do not read, that have no key.

use std::time::Duration;

use bytes::BytesMut;
use gatewayworker_protocol::{Command, Question, SecretKey};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::harness::{Peer, client, connected, flood, gateway, hello, soon};

#[tokio::test]
async fn commands_that_a_worker_sent_before_it_broke_off_take_effect() {
    let gateway = gateway(|config| config.link_outbox_bytes = 100_000).await;
    let mut asker = Peer::connect(&gateway).await;
    for round in 0..8 {
        let mut worker = Peer::worker(&gateway, &format!("W:{round}")).await;
        // The messages of the last round's client go to this worker first.
        let (mut client, connection_id) = tokio::join!(client(&gateway), connected(&mut worker));
        flood(&mut client).await;
        let join = |n| Command::JoinGroup { connection_id, group: format!("{n} of {round}").into() };
        worker.send((0..1000).map(join)).await;
        // It has unread events, which resets the connection.
        drop(worker);
        let last = Question::Count(Some(format!("999 of {round}").into()));
        let is_member = async {
            while asker.ask(last.clone()).await.as_int() != Some(1) {
                tokio::task::yield_now().await;
            }
        };
        soon("member of the last group", is_member).await;
    }
}

#[tokio::test]
async fn a_gateway_that_stops_sends_every_close_to_a_worker_that_sends_meanwhile() {
    let gateway = gateway(|_| ()).await;
    let mut worker = Peer::worker(&gateway, "W:0").await;
    let mut client = client(&gateway).await;
    let connection_id = connected(&mut worker).await;
    // So much that the close does not arrive before the worker reads again.
    flood(&mut client).await;
    gateway.shutdown.cancel();
    let mut end = Vec::new();
    soon("end of the client", client.read_to_end(&mut end)).await.unwrap_or_default();
    let mut last = None;
    while let Some(command) = worker.command().await.expect("no reset") {
        last = Some(command);
        let command = Command::UnbindUid { connection_id, uid: "u".into() };
        let mut out = BytesMut::new();
        command.encode(&mut out);
        let _ = worker.stream.try_write(&out);
    }
    assert!(matches!(last, Some(Command::OnClose { .. })), "{last:?}");
    drop(worker);
    soon("end of the gateway", gateway.task).await.unwrap();
}

#[tokio::test]
async fn only_a_peer_with_the_key_may_send_long_frames() {
    let gateway = gateway(|config| config.secret_key = SecretKey::new("right")).await;
    let mut stranger = Peer::connect(&gateway).await;
    // The length of a frame that a peer with the key may send.
    stranger.stream.write_all(&(1_u32 << 20).to_be_bytes()).await.unwrap();
    let end = tokio::time::timeout(Duration::from_secs(5), stranger.command()).await;
    assert!(end.expect("the end at the length, not at the time limit").unwrap().is_none());
    let mut known = Peer::connect(&gateway).await;
    let large = Command::SetSession { connection_id: 1, session: vec![b'x'; 1 << 20].into() };
    known.send([Command::ClientConnect(hello("", "right")), large]).await;
    assert_eq!(known.ask(Question::Count(None)).await.as_int(), Some(0));
}
