//! Backends of events over HTTP that answer a request twice, on a connection that is kept: the second response is nobody's.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use gatewayworker_businessworker::{EventName, EventsConfig};
use gatewayworker_tests::{WsClient, eventually};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::events_over_http::{cluster_of, echo};

/// A backend that echoes messages, and answers each a second time.
#[derive(Default)]
struct Twice {
    accepted: AtomicUsize,
    ended: AtomicUsize,
    /// Requests on the connection that has had the most.
    most_requests: AtomicUsize,
    /// What a second response waits for; without it, it follows the first in the same write.
    permits: Option<Semaphore>,
}

impl Twice {
    /// Starts the backend; returns the settings of a worker that sends messages to it.
    async fn start(self: &Arc<Self>) -> EventsConfig {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut config = EventsConfig::default();
        config.url = vec![format!("http://{}/", listener.local_addr().unwrap())];
        config.send = vec![EventName::Message];
        let this = self.clone();
        tokio::spawn(async move {
            loop {
                let (connection, _) = listener.accept().await.unwrap();
                this.accepted.fetch_add(1, Ordering::SeqCst);
                let this = this.clone();
                tokio::spawn(async move {
                    this.serve(connection).await;
                    this.ended.fetch_add(1, Ordering::SeqCst);
                });
            }
        });
        config
    }

    /// Answers the requests of a connection until the other side ends it.
    async fn serve(&self, mut connection: TcpStream) {
        let unasked = json!({"calls": [{"call": "send_to_client", "params": {"message": "unasked"}}]});
        let mut read = Vec::new();
        let mut requests = 0;
        loop {
            let mut piece = [0; 4096];
            let Ok(len @ 1..) = connection.read(&mut piece).await else { return };
            read.extend_from_slice(&piece[..len]);
            let body = read.windows(4).position(|window| window == b"\r\n\r\n").map(|end| end + 4);
            let Some(event) = body.and_then(|at| serde_json::from_slice::<Value>(&read[at..]).ok()) else {
                continue;
            };
            read.clear();
            requests += 1;
            self.most_requests.fetch_max(requests, Ordering::SeqCst);
            let (first, second) = (response(&echo(&event)), response(&unasked));
            match &self.permits {
                None => drop(connection.write_all((first + &second).as_bytes()).await),
                Some(permits) => {
                    connection.write_all(first.as_bytes()).await.unwrap();
                    permits.acquire().await.unwrap().forget();
                    let _ = connection.write_all(second.as_bytes()).await;
                }
            }
        }
    }

    /// Waits until the worker has ended all connections.
    async fn has_no_connection(&self) {
        eventually("the connections to end", async || {
            self.ended.load(Ordering::SeqCst) == self.accepted.load(Ordering::SeqCst)
        })
        .await;
    }
}

fn response(body: &Value) -> String {
    let body = body.to_string();
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

#[tokio::test]
async fn a_second_response_right_behind_the_first_ends_the_connection_and_answers_no_event() {
    let backend = Arc::new(Twice::default());
    let (cluster, _worker) = cluster_of(&backend.start().await).await;
    let mut clients = Vec::new();
    for _ in 0..5 {
        clients.push(WsClient::connect(cluster.listener()).await);
    }
    for n in 0..20 {
        for (name, client) in clients.iter_mut().enumerate() {
            client.send(&format!("{name}-{n}")).await;
        }
    }
    for n in 0..20 {
        for (name, client) in clients.iter_mut().enumerate() {
            assert_eq!(client.text().await, format!("{name}-{n}"));
        }
    }
    backend.has_no_connection().await;
    assert_eq!(backend.most_requests.load(Ordering::SeqCst), 1, "no connection is used again");
}

#[tokio::test]
async fn a_response_on_an_idle_connection_ends_it_and_answers_no_event() {
    let backend = Arc::new(Twice { permits: Some(Semaphore::new(0)), ..Twice::default() });
    let (cluster, _worker) = cluster_of(&backend.start().await).await;
    let mut clients =
        [WsClient::connect(cluster.listener()).await, WsClient::connect(cluster.listener()).await];
    for n in 0..10 {
        let client = &mut clients[n % 2];
        client.send(&n.to_string()).await;
        assert_eq!(client.text().await, n.to_string());
        let before = backend.ended.load(Ordering::SeqCst);
        assert_eq!(before + 1, backend.accepted.load(Ordering::SeqCst), "the connection is kept");
        backend.permits.as_ref().unwrap().add_permits(1);
        backend.has_no_connection().await;
    }
}
