//! Daemons that stop, die and start again.

use gatewayworker::{CloseReason, Gateway};
use gatewayworker_tests::process::{Process, free_port};
use gatewayworker_tests::{Cluster, Happened, WsClient, eventually, soon};
use tokio_tungstenite::tungstenite::Message;

#[tokio::test]
async fn clients_of_two_gateways_and_two_workers_talk_to_each_other() {
    let cluster = Cluster::builder().gateways(2).workers(2).start().await;
    let mut clients = Vec::new();
    for n in 0..8 {
        clients.push(WsClient::greeted(cluster.gateways[n % 2].listener).await);
    }
    let all: Vec<_> = clients.iter().map(|(_, id)| *id).collect();
    // Each worker has half of each gateway's clients.
    for worker in &cluster.workers {
        let mut here = 0;
        while !worker.events.is_quiet().await {
            if let Happened::Connect(id) = worker.events.next().await {
                here += usize::from(all.contains(&id));
            }
        }
        assert_eq!(here, 4);
    }
    clients[0].0.send("broadcast hello").await;
    for (client, _) in &mut clients {
        assert_eq!(client.text().await, "broadcast hello");
    }
}

#[tokio::test]
async fn a_worker_that_stops_leaves_its_clients_to_the_others() {
    let mut cluster = Cluster::builder().workers(2).start().await;
    let mut clients = Vec::new();
    for _ in 0..4 {
        clients.push(WsClient::greeted(cluster.listener()).await.0);
    }
    cluster.workers[0].stop().await;
    for (n, client) in clients.iter_mut().enumerate() {
        client.send(&format!("still {n}")).await;
        assert_eq!(client.text().await, format!("still {n}"));
    }
}

#[tokio::test]
async fn a_client_waits_for_the_next_worker() {
    let mut cluster = Cluster::builder().workers(0).start().await;
    let listener = cluster.listener();
    let early = tokio::spawn(async move { WsClient::greeted(listener).await });
    tokio::task::yield_now().await;
    cluster.start_worker().await;
    soon("the early client to be let in", early).await.unwrap();
}

#[tokio::test]
async fn a_client_that_waits_too_long_for_a_worker_gets_503() {
    let cluster = Cluster::builder().workers(0).gateway(|config| config.worker_wait_ms = 50).start().await;
    let Err(refused) = WsClient::try_connect(cluster.listener(), "/").await else {
        panic!("nobody can serve it")
    };
    assert!(refused.to_string().contains("503"), "{refused}");
}

#[tokio::test]
async fn messages_wait_for_the_next_worker() {
    let mut cluster = Cluster::start().await;
    let (mut client, id) = WsClient::greeted(cluster.listener()).await;
    cluster.workers[0].stop().await;
    for n in 0..100 {
        client.send(&n.to_string()).await;
    }
    let (leaver, left) = (client, id);
    let mut client = leaver;
    cluster.workers.clear();
    cluster.start_worker().await;
    for n in 0..100 {
        assert_eq!(client.text().await, n.to_string());
    }
    client.close().await;
    assert_eq!(cluster.events().next_close().await.0, left);
}

#[tokio::test]
async fn a_close_waits_for_the_next_worker() {
    let mut cluster = Cluster::start().await;
    let (client, id) = WsClient::greeted(cluster.listener()).await;
    cluster.workers[0].stop().await;
    client.close().await;
    cluster.workers.clear();
    cluster.start_worker().await;
    assert_eq!(cluster.events().next_close().await.0, id);
}

#[tokio::test]
async fn a_stopping_gateway_sends_close_frames_and_tells_every_close() {
    let mut cluster = Cluster::start().await;
    let (mut first, first_id) = WsClient::greeted(cluster.listener()).await;
    let (mut second, second_id) = WsClient::greeted(cluster.listener()).await;
    let reading = async { (first.close_code().await, second.close_code().await) };
    let (codes, ()) = tokio::join!(reading, cluster.gateways[0].stop());
    assert_eq!(codes, (1001, 1001));
    let mut closed = [cluster.events().next_close().await, cluster.events().next_close().await];
    closed.sort_by_key(|(id, _)| *id);
    let mut expected = [(first_id, CloseReason::Shutdown), (second_id, CloseReason::Shutdown)];
    expected.sort_by_key(|(id, _)| *id);
    assert_eq!(closed, expected);
}

#[tokio::test]
async fn a_restarted_gateway_is_found_again() {
    let mut cluster = Cluster::start().await;
    let _ = WsClient::greeted(cluster.listener()).await;
    cluster.restart_gateway(0).await;
    cluster.linked().await;
    let (mut client, _) = WsClient::greeted(cluster.listener()).await;
    client.send("broadcast back").await;
    assert_eq!(client.text().await, "broadcast back");
}

#[tokio::test]
async fn a_restarted_register_learns_all_gateways_again_and_no_client_notices() {
    let mut cluster = Cluster::start().await;
    let (mut client, _) = WsClient::greeted(cluster.listener()).await;
    cluster.restart_register().await;
    client.send("meanwhile").await;
    assert_eq!(client.text().await, "meanwhile");
    // A gateway and a worker that come now find the others, and are found.
    cluster.start_gateway().await;
    cluster.start_worker().await;
    cluster.linked().await;
}

#[tokio::test]
async fn daemons_find_each_other_in_any_order_of_start() {
    let (register, inner, listener) = (free_port(), free_port(), free_port());
    let register = format!("127.0.0.1:{register}");
    let (inner, url) = (inner.to_string(), format!("websocket://127.0.0.1:{listener}"));
    let gateway = ["gateway", "--listen", &url, "--lan-port", &inner, "--register-address", &register];
    let worker = ["businessworker", "--register-address", &register];
    let _gateway = Process::start(&gateway);
    let _worker = Process::start(&worker);
    let _register = Process::start(&["register", "--listen", &register]);
    eventually("the chat to greet", async || {
        let Ok(mut client) = WsClient::try_connect(([127, 0, 0, 1], listener).into(), "/").await else {
            return false;
        };
        client.json().await["message"] == "连接成功"
    })
    .await;
}

#[tokio::test]
async fn killed_daemons_are_replaced_and_the_chat_goes_on() {
    let (register, inner, listener) = (free_port(), free_port(), free_port());
    let register = format!("127.0.0.1:{register}");
    let (inner, url) = (inner.to_string(), format!("websocket://127.0.0.1:{listener}"));
    let listener = ([127, 0, 0, 1], listener).into();
    let gateway = ["gateway", "--listen", &url, "--lan-port", &inner, "--register-address", &register];
    let worker = ["businessworker", "--register-address", &register];
    let _register = Process::start(&["register", "--listen", &register]);
    let first_worker = Process::start(&worker);
    let first_gateway = Process::start(&gateway);
    let api = Gateway::builder([register.clone()]).connect();

    let mut client = arrive(listener).await;
    first_worker.kill();
    let _second_worker = Process::start(&worker);
    client.send(r#"{"type":"ping"}"#).await;
    assert_eq!(client.json().await["type"], "pong", "a new worker has taken the client over");

    first_gateway.kill();
    // Its first ping may have been answered twice: the worker was killed right behind the answer.
    while let Some(message) = client.next().await {
        assert!(message.to_text().is_ok_and(|text| text.contains("pong")), "{message}");
    }
    let _second_gateway = Process::start(&gateway);
    let mut client = arrive(listener).await;
    client.send(r#"{"type":"ping"}"#).await;
    pong(&mut client).await;
    eventually("only the new client to be known", async || api.client_count().await.is_ok_and(|n| n == 1))
        .await;
}

#[tokio::test]
async fn a_gateway_that_stops_without_a_worker_logs_how_many_closes_are_lost() {
    let directory = tempfile::tempdir().expect("a directory");
    let log = directory.path().join("gateway.log");
    let (register, inner, listener) = (free_port(), free_port(), free_port());
    let register = format!("127.0.0.1:{register}");
    let (inner, url) = (inner.to_string(), format!("websocket://127.0.0.1:{listener}"));
    let listener = ([127, 0, 0, 1], listener).into();
    let gateway = ["gateway", "--listen", &url, "--lan-port", &inner, "--register-address", &register];
    let _register = Process::start(&["register", "--listen", &register]);
    let worker = Process::start(&["businessworker", "--register-address", &register]);
    let mut gateway = Process::logging_to(&log, &gateway);
    let (leaver, stayer) = (arrive(listener).await, arrive(listener).await);
    worker.kill();
    leaver.close().await;
    gateway.signal("TERM");
    assert_eq!(gateway.status().await, Some(0));
    drop(stayer);
    let log = std::fs::read_to_string(log).expect("a log");
    assert!(log.contains("on_close is lost for these clients") && log.contains("closes=2"), "{log}");
}

/// Connects as soon as the gateway lets one in, takes the greeting, and waits until the
/// worker has let it in too: one that dies before that takes the client with it.
async fn arrive(listener: std::net::SocketAddr) -> WsClient {
    let mut arrived = None;
    eventually("a gateway to let a client in", async || {
        let Ok(mut client) = WsClient::try_connect(listener, "/").await else { return false };
        let greeted = matches!(client.next().await, Some(Message::Text(_)));
        if greeted {
            client.send(r#"{"type":"ping"}"#).await;
            pong(&mut client).await;
        }
        arrived = Some(client);
        greeted
    })
    .await;
    arrived.expect("it is there")
}

/// Waits for a pong. Before it, the chat may say who has left: also the clients of a gateway that is lost.
async fn pong(client: &mut WsClient) {
    loop {
        let message = client.json().await;
        match message["type"].as_str() {
            Some("pong") => return,
            Some("system") => {}
            _ => panic!("{message}"),
        }
    }
}
