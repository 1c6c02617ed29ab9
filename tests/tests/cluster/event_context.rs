//! What a worker that asks is told beside each event, by a real gateway.

use gatewayworker::{Client, CloseReason, EventContext, Events, Result};
use gatewayworker_tests::{Cluster, WsClient, soon};
use tokio::sync::mpsc;

/// Puts each client that speaks into a group, and reports what it is told beside messages and closes.
struct Joins {
    asks: bool,
    seen: mpsc::UnboundedSender<(Option<EventContext>, Option<String>)>,
}

impl Joins {
    fn see(&self, client: &Client) -> Result {
        Ok(self.seen.send((client.context().cloned(), client.event_id()))?)
    }
}

impl Events for Joins {
    fn takes_context(&self) -> bool {
        self.asks
    }

    async fn on_message(&self, client: &Client, _: gatewayworker::Message) -> Result {
        self.see(client)?;
        client.bind_uid("ann").await?;
        client.join_group("room-1").await?;
        client.send("joined").await?;
        Ok(())
    }

    async fn on_close(&self, client: &Client, _: CloseReason) -> Result {
        self.see(client)
    }
}

#[tokio::test]
async fn an_event_tells_the_uid_and_the_groups_as_they_were_before_it() {
    for asks in [true, false] {
        let cluster = Cluster::builder().workers(0).start().await;
        let (seen, mut sees) = mpsc::unbounded_channel();
        let _worker = cluster.start_application(Joins { asks, seen });
        let mut client = WsClient::connect(cluster.gateways[0].listeners[0]).await;
        let mut told = Vec::new();
        for _ in 0..2 {
            client.send("hi").await;
            assert_eq!(client.text().await, "joined");
            told.push(soon("a message", sees.recv()).await.unwrap());
        }
        drop(client);
        told.push(soon("the close", sees.recv()).await.unwrap());
        if !asks {
            assert_eq!(told, [(None, None), (None, None), (None, None)]);
            continue;
        }
        let contexts: Vec<_> = told.iter().map(|(context, _)| context.clone().unwrap()).collect();
        assert_eq!((&contexts[0].uid, contexts[0].groups.len()), (&None, 0));
        for context in &contexts[1..] {
            assert_eq!(context.uid_text().as_deref(), Some("ann"));
            assert_eq!(context.groups, ["room-1"]);
        }
        let ids: std::collections::BTreeSet<_> = told.iter().map(|(_, id)| id.clone().unwrap()).collect();
        assert_eq!(ids.len(), 3, "each event has an id of its own");
    }
}
