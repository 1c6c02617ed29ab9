//! The spans of events: which there are, how they nest, and what they say.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use gatewayworker::gateway::TraceParent;
use gatewayworker::opentelemetry::trace::{FutureExt, TraceContextExt, Tracer};
use gatewayworker::opentelemetry::{Context, global};
use gatewayworker::{Client, CloseReason, Events, Message, Result};
use gatewayworker_tests::{Cluster, WsClient, eventually, soon};
use tokio::sync::Notify;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use crate::collector::{Received, names};
use crate::with_spans;

/// Asks within a span of its own and answers, or fails where a message asks for that.
struct Answers {
    /// A client has been closed.
    closed: Arc<Notify>,
}

impl Events for Answers {
    async fn on_close(&self, _: &Client, _: CloseReason) -> Result {
        self.closed.notify_one();
        Ok(())
    }

    async fn on_message(&self, client: &Client, message: Message) -> Result {
        if message.text()? == "fail" {
            client.send("failed").await?;
            return Err("a secret of the client's".into());
        }
        let own = Context::current_with_span(global::tracer("the application").start("look it up"));
        client.gateway().client_count().with_context(own.clone()).await?;
        own.span().end();
        client.gateway().send_to_uid(["a", "b"], "nobody").await?;
        client.send("answered").await?;
        Ok(())
    }
}

/// Sends a message in a cluster that traces all events, and returns the answer.
async fn answer_to(message: &str) -> String {
    let builder = Cluster::builder().workers(0).gateway(|config| config.trace_sample = 1.0);
    let mut cluster = builder.start().await;
    let closed = Arc::new(Notify::new());
    let application = cluster.start_application(Answers { closed: closed.clone() });
    let mut client = WsClient::connect(cluster.listener()).await;
    client.send(message).await;
    let answer = client.text().await;
    client.close().await;
    soon("the close", closed.notified()).await;
    application.stop().await;
    cluster.gateways[0].stop().await;
    answer
}

fn find<'s>(spans: &'s [Received], name: &str, event: &str) -> &'s Received {
    let all = || spans.iter().filter(|one| one.span.name == name);
    let about = |one: &&Received| one.attribute("gatewayworker.event").as_deref() == Some(event);
    let found = all().find(about);
    found.unwrap_or_else(|| panic!("no {name} of {event}: {:?}", names(spans)))
}

fn below<'s>(spans: &'s [Received], parent: &Received) -> Vec<&'s Received> {
    spans.iter().filter(|one| one.is_child_of(parent)).collect()
}

#[test]
fn the_way_of_a_message_is_one_trace_from_its_coming_to_its_done() {
    let run = async {
        assert_eq!(answer_to("a secret of the client's").await, "answered");
    };
    with_spans("spans::the_way_of_a_message_is_one_trace_from_its_coming_to_its_done", run, |spans| {
        for one in spans {
            let text = format!("{:?}", one.span);
            assert!(!text.contains("secret"), "{text}");
            assert_eq!(one.authorization, "bearer of-the-test");
        }
        let event = find(spans, "gateway.event", "on_message");
        assert_eq!((event.span.kind, event.span.parent_span_id.len()), (2, 0), "a server's, and the root");
        assert_eq!(event.service, "gatewayworker-gateway");
        assert!(event.attribute("gatewayworker.worker").unwrap().contains("BusinessWorker:"));
        assert_eq!(event.attribute("gatewayworker.client_id").unwrap().len(), 20);
        let children = below(spans, event);
        let [wait, handler] = children[..] else { panic!("{:?}", names(spans)) };
        assert_eq!((&*wait.span.name, &*handler.span.name), ("worker.wait", "worker.handler"));
        assert_eq!(handler.service, "gatewayworker-businessworker");
        assert_eq!(handler.attribute("gatewayworker.event").unwrap(), "on_message");
        assert_eq!(handler.attribute("gatewayworker.client_id"), event.attribute("gatewayworker.client_id"));
        assert!(wait.is_within(event) && handler.is_within(event), "{:?} {:?}", event.span, handler.span);
        let within: Vec<Received> = below(spans, handler).into_iter().cloned().collect();
        let mut within_names = names(&within);
        within_names.sort();
        assert_eq!(within_names, ["look it up", "worker.send SEND_TO_ONE", "worker.send SEND_TO_UID"]);
        let own = within.iter().find(|one| one.span.name == "look it up").unwrap();
        let questions: Vec<Received> = below(spans, own).into_iter().cloned().collect();
        assert_eq!(names(&questions), ["worker.question GET_CLIENT_COUNT_BY_GROUP"]);
        let to_uids = within.iter().find(|one| names(&[(*one).clone()])[0].ends_with("SEND_TO_UID")).unwrap();
        assert_eq!(to_uids.attribute("gatewayworker.targets").unwrap(), "2");
        assert_eq!(to_uids.attribute("gatewayworker.gateways").unwrap(), "1");
        for event in ["on_connect", "on_websocket_connect", "on_close"] {
            let of_gateway = find(spans, "gateway.event", event);
            assert!(find(spans, "worker.handler", event).is_child_of(of_gateway));
        }
        // Nothing of an event that was given up.
        assert!(spans.iter().all(|one| one.span.status.as_ref().is_none_or(|status| status.code != 2)));
    });
}

#[test]
fn the_span_of_a_handler_that_fails_says_so_and_not_why() {
    let run = async {
        assert_eq!(answer_to("fail").await, "failed");
    };
    with_spans("spans::the_span_of_a_handler_that_fails_says_so_and_not_why", run, |spans| {
        let status = find(spans, "worker.handler", "on_message").span.status.clone().unwrap();
        assert_eq!((status.code, &*status.message), (2, "the handler failed"));
    });
}

#[test]
fn without_trace_sample_nothing_is_sent() {
    let run = async {
        let mut cluster = Cluster::start().await;
        let (mut client, _) = WsClient::greeted(cluster.listener()).await;
        client.send("hi").await;
        assert_eq!(client.text().await, "hi");
        client.close().await;
        cluster.workers[0].stop().await;
        cluster.gateways[0].stop().await;
    };
    with_spans("spans::without_trace_sample_nothing_is_sent", run, |spans| {
        assert_eq!(names(spans), Vec::<String>::new());
    });
}

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

async fn connect_with_parent(cluster: &Cluster) -> WsClient {
    let mut request = format!("ws://{}/", cluster.listener()).into_client_request().unwrap();
    request.headers_mut().insert("traceparent", PARENT.parse().unwrap());
    let stream = tokio::net::TcpStream::connect(cluster.listener()).await.unwrap();
    WsClient::over(stream, request).await.unwrap()
}

#[test]
fn a_clients_own_trace_is_the_parent_of_its_connect_where_that_is_accepted() {
    let run = async {
        for accepts in [false, true] {
            let trace_parent = if accepts { TraceParent::Accept } else { TraceParent::Ignore };
            let builder = Cluster::builder().gateway(|config| config.trace_parent = trace_parent);
            let mut cluster = builder.start().await;
            let mut client = connect_with_parent(&cluster).await;
            client.text().await;
            client.send("hi").await;
            assert_eq!(client.text().await, "hi");
            client.close().await;
            cluster.workers[0].stop().await;
            cluster.gateways[0].stop().await;
        }
    };
    let test = "spans::a_clients_own_trace_is_the_parent_of_its_connect_where_that_is_accepted";
    with_spans(test, run, |spans| {
        let events: Vec<_> = spans.iter().filter(|one| one.span.name == "gateway.event").cloned().collect();
        let mut names = names(&events);
        names.sort();
        assert_eq!(names, ["gateway.event on_connect", "gateway.event on_websocket_connect"]);
        let id = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        for event in events {
            assert_eq!(id(&event.span.trace_id), PARENT[3..35]);
            assert_eq!(id(&event.span.parent_span_id), PARENT[36..52]);
        }
    });
}

/// Loses its first message with its worker: that never ends.
struct Stuck(AtomicUsize);

impl Events for Stuck {
    async fn on_message(&self, client: &Client, _: Message) -> Result {
        if !client.redelivered() {
            self.0.fetch_add(1, Ordering::SeqCst);
            std::future::pending().await
        }
        client.send("handled").await?;
        Ok(())
    }
}

#[test]
fn a_redelivered_event_goes_on_in_its_trace() {
    let run = async {
        let builder = Cluster::builder().workers(0).gateway(|config| config.trace_sample = 1.0);
        let builder = builder.worker(|config| config.shutdown_timeout_ms = 300);
        let mut cluster = builder.start().await;
        let first = Arc::new(Stuck(AtomicUsize::new(0)));
        let application = cluster.start_application(first.clone());
        let mut client = WsClient::connect(cluster.listener()).await;
        client.send("hi").await;
        eventually("the handler begins", async || first.0.load(Ordering::SeqCst) == 1).await;
        let next = cluster.start_application(Stuck(AtomicUsize::new(1)));
        // It does not finish the message, which the gateway takes back.
        soon("the end of the first worker", application.stop()).await;
        assert_eq!(client.text().await, "handled");
        client.close().await;
        next.stop().await;
        cluster.gateways[0].stop().await;
    };
    with_spans("spans::a_redelivered_event_goes_on_in_its_trace", run, |spans| {
        let event = find(spans, "gateway.event", "on_message");
        assert_eq!(event.attribute("gatewayworker.redelivered").as_deref(), Some("true"));
        let is_handler = |one: &&&Received| one.span.name == "worker.handler";
        let below = below(spans, event);
        let handlers: Vec<_> = below.iter().filter(is_handler).collect();
        let again = handlers.iter().filter(|one| one.attribute("gatewayworker.redelivered").is_some());
        assert_eq!(again.count(), 1, "{:?}", names(spans));
    });
}
