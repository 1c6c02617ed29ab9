//! What a handler is told beside an event, where the application asks for it.

use gatewayworker_businessworker::{
    CancellationToken, Client, CloseReason, Config, Events, Message, Result, serve,
};
use gatewayworker_protocol::{Command, EventContext, FLAG_EVENT_CONTEXT, FLAG_REDELIVERED};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use crate::fake::{FakeGateway, register, soon};
use crate::support::{INSTANCE, pair};

/// Reports the context of each event, and its id.
struct Contexts {
    asks: bool,
    seen: mpsc::UnboundedSender<(Option<EventContext>, Option<String>)>,
}

impl Contexts {
    fn see(&self, client: &Client) -> Result {
        Ok(self.seen.send((client.context().cloned(), client.event_id()))?)
    }
}

impl Events for Contexts {
    fn takes_context(&self) -> bool {
        self.asks
    }

    async fn on_message(&self, client: &Client, _: Message) -> Result {
        self.see(client)
    }

    async fn on_close(&self, client: &Client, _: CloseReason) -> Result {
        self.see(client)
    }
}

#[tokio::test]
async fn a_handler_reads_the_context_of_its_event_if_the_application_asks() {
    for asks in [true, false] {
        let mut fake = FakeGateway::start().await;
        let (register, _running) = register(&[fake.address]).await;
        let (seen, mut sees) = mpsc::unbounded_channel();
        let config = Config::default().with_register_address([register]);
        let events = Contexts { asks, seen };
        let _serving = AbortOnDropHandle::new(tokio::spawn(serve(config, events, CancellationToken::new())));
        assert_eq!(fake.worker().await.features.unwrap().event_context, asks);
        pair(&mut fake, INSTANCE, 1).await;
        if !asks {
            fake.events([fake.message(1, "hi")]).await;
            assert_eq!(soon(sees.recv()).await, Some((None, None)));
            continue;
        }
        // A gateway that gives it again says the same.
        for flag in [FLAG_EVENT_CONTEXT, FLAG_EVENT_CONTEXT | FLAG_REDELIVERED] {
            send_in_context(&fake, fake.message(1, "hi"), flag).await;
            let (context, id) = soon(sees.recv()).await.unwrap();
            let context = context.unwrap();
            assert_eq!(context.uid_text().as_deref(), Some("ann"));
            assert!(context.is_in_group(b"room-1") && !context.is_in_group(b"room"));
            assert_eq!(id.unwrap(), "0000000000000007-2a");
        }
        send_in_context(&fake, fake.close(1, "client-left"), FLAG_EVENT_CONTEXT).await;
        let (context, _) = soon(sees.recv()).await.unwrap();
        assert_eq!(context.unwrap().groups, ["room-1"]);
        // From a gateway that does not know them.
        fake.events([fake.message(2, "hi")]).await;
        assert_eq!(soon(sees.recv()).await, Some((None, None)));
    }
}

async fn send_in_context(fake: &FakeGateway, event: Command, flag: u8) {
    let mut frame = event.into_frame();
    let mut body = Vec::new();
    EventContext::write(&mut body, 42, Some(b"ann"), ["room-1"]);
    body.extend_from_slice(&frame.body);
    frame.flag |= flag;
    frame.body = body.into();
    let mut bytes = bytes::BytesMut::new();
    frame.encode(&mut bytes);
    fake.send(&bytes).await;
}
