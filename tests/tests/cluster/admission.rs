//! Admission in `on_websocket_connect`: what a client and others receive before and after the worker's answer.

use std::sync::Arc;

use gatewayworker::{Admission, Client, ClientId, CloseReason, Events, Gateway, Handshake, Message, Result};
use gatewayworker_protocol::{Command, Features, Hello, Origin, SecretKey};
use gatewayworker_tests::{Application, Cluster, Happened, RawPeer, WsClient, eventually, soon};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_tungstenite::tungstenite::Message as WsMessage;

/// Greets a client with its id, puts it into the group `hall` and under the uid `u`,
/// and lets it in when the test does: with `?code=`, refuses it.
#[derive(Clone)]
struct Doorman {
    admissions: Arc<Semaphore>,
    gateway: watch::Sender<Option<Gateway>>,
    closed: mpsc::UnboundedSender<CloseReason>,
}

const FORBIDDEN: &str = r#"{"status":403,"message":"who are you?"}"#;

impl Events for Doorman {
    async fn on_worker_start(&self, gateway: &Gateway) -> Result {
        self.gateway.send_replace(Some(gateway.clone()));
        Ok(())
    }

    async fn on_connect(&self, client: &Client) -> Result {
        client.send(client.id().to_string()).await?;
        Ok(())
    }

    async fn on_websocket_connect(&self, client: &Client, handshake: &Handshake) -> Result<Admission> {
        client.join_group("hall").await?;
        client.bind_uid("u").await?;
        client.session().insert("asked", true)?;
        self.admissions.acquire().await?.forget();
        Ok(match handshake.get("code") {
            Some(code) => Admission::refuse_with(FORBIDDEN).with_code(code.parse()?),
            None => Admission::Admit,
        })
    }

    async fn on_message(&self, client: &Client, message: Message) -> Result {
        client.send(message).await?;
        Ok(())
    }

    async fn on_close(&self, _: &Client, reason: CloseReason) -> Result {
        let _ = self.closed.send(reason);
        Ok(())
    }
}

struct Guarded {
    cluster: Cluster,
    doorman: Application,
    admissions: Arc<Semaphore>,
    api: Gateway,
    closed: mpsc::UnboundedReceiver<CloseReason>,
}

async fn guarded() -> Guarded {
    let cluster = Cluster::builder().workers(0).start().await;
    let (closed, closes) = mpsc::unbounded_channel();
    let doorman =
        Doorman { admissions: Arc::new(Semaphore::new(0)), gateway: watch::Sender::new(None), closed };
    let application = cluster.start_application(doorman.clone());
    let mut gateway = doorman.gateway.subscribe();
    let api = soon("the worker's start", gateway.wait_for(Option::is_some)).await.unwrap().clone().unwrap();
    Guarded { cluster, doorman: application, admissions: doorman.admissions, api, closed: closes }
}

/// A client that has been greeted, and about which nobody has decided.
async fn knock(cluster: &Cluster, query: &str) -> (WsClient, ClientId) {
    let mut client = WsClient::connect_to(cluster.listener(), query).await;
    let id = client.text().await.parse().unwrap();
    (client, id)
}

#[tokio::test]
async fn a_refused_client_gets_the_last_message_and_then_the_close_code() {
    let Guarded { cluster, doorman: _doorman, admissions, mut closed, .. } = guarded().await;
    let (mut client, _) = knock(&cluster, "/?code=4403").await;
    client.send("let me in").await;
    admissions.add_permits(1);
    assert_eq!(client.text().await, FORBIDDEN);
    assert_eq!(client.close_code().await, 4403);
    assert_eq!(soon("its close", closed.recv()).await, Some(CloseReason::Refused));
}

#[tokio::test]
async fn a_close_code_that_may_not_be_sent_becomes_a_policy_violation() {
    let Guarded { cluster, doorman: _doorman, admissions, .. } = guarded().await;
    admissions.add_permits(3);
    for code in [0, 1006, 5000] {
        let (mut client, _) = knock(&cluster, &format!("/?code={code}")).await;
        assert_eq!(client.close_code().await, 1008, "{code}");
    }
}

#[tokio::test]
async fn a_pending_client_receives_only_its_own_messages_and_is_not_counted() {
    let Guarded { cluster, doorman: _doorman, admissions, api, .. } = guarded().await;
    let (mut client, id) = knock(&cluster, "/").await;
    client.send("said too early").await;
    eventually("its uid to be bound", async || !api.client_ids_by_uid("u").await.unwrap().is_empty()).await;

    api.send_to_all("to all").await.unwrap();
    api.send_to_client(id, "to you").await.unwrap();
    assert_eq!(api.client_count().await.unwrap(), 0);
    assert!(api.client_ids().await.unwrap().is_empty());
    assert!(api.sessions().await.unwrap().is_empty());
    assert!(api.is_online(id).await.unwrap());
    assert_eq!(client.text().await, "to you");

    admissions.add_permits(1);
    assert_eq!(client.text().await, "to all");
    assert_eq!(client.text().await, "said too early");
    assert_eq!(api.client_ids().await.unwrap(), [id]);
    assert_eq!(api.client_count().await.unwrap(), 1);
    api.send_to_all("to all now").await.unwrap();
    assert_eq!(client.text().await, "to all now");
}

#[tokio::test]
async fn an_admitted_client_receives_the_deferred_messages_of_its_group_and_uid() {
    let Guarded { cluster, doorman: _doorman, admissions, api, .. } = guarded().await;
    let (mut client, id) = knock(&cluster, "/").await;
    eventually("its uid to be bound", async || !api.client_ids_by_uid("u").await.unwrap().is_empty()).await;
    api.send_to_group(["hall"], "to the hall").await.unwrap();
    api.send_to_uid(["u"], "to u").await.unwrap();
    api.send_to_client(id, "first").await.unwrap();
    assert_eq!(client.text().await, "first");
    admissions.add_permits(1);
    assert_eq!(client.text().await, "to the hall");
    assert_eq!(client.text().await, "to u");
}

#[tokio::test]
async fn a_refused_client_receives_no_deferred_message() {
    let Guarded { cluster, doorman: _doorman, admissions, api, .. } = guarded().await;
    let (mut client, _) = knock(&cluster, "/?code=4403").await;
    eventually("its uid to be bound", async || !api.client_ids_by_uid("u").await.unwrap().is_empty()).await;
    api.send_to_group(["hall"], "to the hall").await.unwrap();
    api.send_to_uid(["u"], "to u").await.unwrap();
    api.send_to_all("to all").await.unwrap();
    // A question sees what was said before it.
    api.client_count().await.unwrap();
    admissions.add_permits(1);
    assert_eq!(client.text().await, FORBIDDEN);
    assert_eq!(client.close_code().await, 4403);
}

#[tokio::test]
async fn a_stopping_worker_answers_the_handshakes_it_has_received() {
    for (query, admitted) in [("/", true), ("/?code=4403", false)] {
        let Guarded { mut cluster, doorman, admissions, .. } = guarded().await;
        let (mut client, _) = knock(&cluster, query).await;
        cluster.start_worker().await;
        let other = cluster.events().gateway().await;
        drop(doorman);
        // The other takes new clients as soon as the first is off the gateway's list.
        let mut greeted = Vec::new();
        eventually("the other to be alone", async || {
            let (client, id) = WsClient::greeted(cluster.listener()).await;
            greeted.push(client);
            let noted = !cluster.events().is_quiet().await;
            noted && cluster.events().next().await == Happened::Connect(id) && greeted.len() > 2
        })
        .await;
        client.send("said while it stops").await;
        other.client_count().await.unwrap();
        assert!(cluster.events().is_quiet().await, "nobody has let it in");
        admissions.add_permits(10);
        if admitted {
            assert_eq!(client.text().await, "said while it stops");
        } else {
            assert_eq!(client.text().await, FORBIDDEN);
            assert_eq!(client.close_code().await, 4403);
        }
    }
}

/// A worker that says it answers, and what it is asked.
async fn silent_worker(cluster: &Cluster) -> (RawPeer, WsClient, Origin) {
    let mut worker = RawPeer::connect(cluster.gateways[0].inner).await;
    let features = Some(Features::from_names(["close-reason", "admission"]));
    let (worker_key, secret_key) = (Some("Silent:0".into()), Some(SecretKey::default()));
    worker.send(Command::WorkerConnect(Hello { worker_key, secret_key, features, process: None })).await;
    let client = WsClient::connect(cluster.listener()).await;
    let Command::OnConnect { origin, .. } = worker.command().await else { panic!("it comes") };
    let Command::OnWebSocketConnect { asks, .. } = worker.command().await else { panic!("its handshake") };
    assert!(asks);
    (worker, client, origin)
}

#[tokio::test]
async fn a_pending_client_whose_worker_dies_is_closed_with_1013() {
    let mut cluster = Cluster::builder().workers(0).start().await;
    let (worker, mut client, _) = silent_worker(&cluster).await;
    client.send("said before").await;
    drop(worker);
    assert_eq!(client.close_code().await, 1013);
    cluster.start_worker().await;
    assert_eq!(cluster.events().next_close().await.1, CloseReason::NotAdmitted);
}

#[tokio::test]
async fn a_pending_client_is_closed_with_1013_at_the_time_limit() {
    let cluster =
        Cluster::builder().workers(0).gateway(|config| config.admission_timeout_ms = 50).start().await;
    let (mut worker, mut client, origin) = silent_worker(&cluster).await;
    assert_eq!(client.close_code().await, 1013);
    let Command::OnClose { reason, .. } = worker.command().await else { panic!("it is gone") };
    assert_eq!(reason, "not-admitted");
    // Nor does it help to say so later, to this client or about the next.
    worker.send(Command::Admit(origin.connection_id)).await;
    let mut next = WsClient::connect(cluster.listener()).await;
    assert_eq!(next.close_code().await, 1013);
}

#[tokio::test]
async fn a_client_admitted_late_gets_earlier_and_later_messages() {
    let cluster = Cluster::builder().workers(0).start().await;
    let (mut worker, mut client, origin) = silent_worker(&cluster).await;
    let to_all = |text: &'static str| Command::SendToAll {
        to: gatewayworker_protocol::Audience::Everyone,
        message: gatewayworker_protocol::Payload::plain(text),
    };
    worker.send(to_all("meanwhile")).await;
    worker
        .send(Command::SendToOne {
            to: origin.connection_id,
            message: gatewayworker_protocol::Payload::plain("before"),
        })
        .await;
    worker.send(Command::Admit(origin.connection_id)).await;
    worker.send(Command::Admit(origin.connection_id)).await;
    worker.send(to_all("now")).await;
    for text in ["before", "meanwhile", "now"] {
        assert_eq!(client.next().await, Some(WsMessage::text(text)));
    }
}
