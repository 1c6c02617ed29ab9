//! The close frame of a client, as `on_close` sees it.

use gatewayworker::{Client, ClientCloseFrame, CloseReason, Events, Result};
use gatewayworker_tests::{Cluster, TcpClient, WsClient, soon};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

/// Greets each client, closes it when it says `close me`, and records its close.
struct Closes(mpsc::UnboundedSender<(CloseReason, Option<ClientCloseFrame>)>);

impl Events for Closes {
    async fn on_connect(&self, client: &Client) -> Result {
        client.send("welcome").await?;
        Ok(())
    }

    async fn on_message(&self, client: &Client, _: gatewayworker::Message) -> Result {
        assert_eq!(client.close_frame(), None);
        client.close().await?;
        Ok(())
    }

    async fn on_close(&self, client: &Client, reason: CloseReason) -> Result {
        self.0.send((reason, client.close_frame().cloned()))?;
        Ok(())
    }
}

#[tokio::test]
async fn on_close_sees_the_code_and_the_reason_with_which_a_client_closed() {
    let cluster = Cluster::builder()
        .workers(0)
        .listen("listen = ['websocket://127.0.0.1:0', 'text://127.0.0.1:0']")
        .start()
        .await;
    let (sender, mut closes) = mpsc::unbounded_channel();
    let _worker = cluster.start_application(Closes(sender));
    let [ws, text] = *cluster.gateways[0].listeners else { panic!("two listeners") };
    let mut next_close = async || soon("a close", closes.recv()).await.expect("the worker runs");

    for (said, seen) in [
        (Some((4001, "bye")), Some(ClientCloseFrame::new(4001, "bye"))),
        (Some((1000, "")), Some(ClientCloseFrame::new(1000, ""))),
        (Some((3000, "tschüß, 2 mal")), Some(ClientCloseFrame::new(3000, "tschüß, 2 mal"))),
        (None, None),
    ] {
        let mut client = WsClient::connect(ws).await;
        assert_eq!(client.text().await, "welcome");
        let frame = said.map(|(code, reason)| CloseFrame { code: u16::into(code), reason: reason.into() });
        client.send_message(Message::Close(frame)).await;
        assert_eq!(client.close_code().await, said.map_or(1005, |(code, _)| code), "it is answered");
        assert_eq!(next_close().await, (CloseReason::ClientLeft, seen));
    }

    let mut vanishes = WsClient::connect(ws).await;
    assert_eq!(vanishes.text().await, "welcome");
    drop(vanishes);
    assert_eq!(next_close().await, (CloseReason::ClientLeft, None), "its connection just ended");

    let mut kicked = WsClient::connect(ws).await;
    assert_eq!(kicked.text().await, "welcome");
    kicked.send("close me").await;
    assert_eq!(kicked.close_code().await, 1000);
    assert_eq!(next_close().await, (CloseReason::Kicked, None), "its close frame is an answer");

    let mut line = TcpClient::connect(text).await;
    assert_eq!(line.line().await, "welcome");
    drop(line);
    assert_eq!(next_close().await, (CloseReason::ClientLeft, None), "its protocol has no close frame");
}
