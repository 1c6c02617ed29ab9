//! A live system that goes from one cluster to two, and back, as `docs/guide/clusters.md` says: no client of the first cluster is closed,
//! and none misses a message. `FEDERATION_CLIENTS` is the number of clients; 200 where it is not set.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::{StreamExt, stream};
use gatewayworker::federation::{Federation, Options};
use gatewayworker::{Gateway, SecretKey};
use gatewayworker_tests::{Cluster, NatsServer, WsClient, eventually, soon};
use tokio::task::JoinHandle;
use tokio::time::interval;

use crate::federation::{KEY, federate, name};

/// A client that reads numbers until "end", or until it is closed.
struct Reader {
    count: Arc<AtomicU64>,
    task: JoinHandle<Read>,
}

struct Read {
    numbers: Vec<u64>,
    is_closed: bool,
}

/// What a client has read: all numbers from some one to the last, once each.
#[derive(Debug, PartialEq)]
struct Summary {
    last: u64,
    is_in_order: bool,
    is_closed: bool,
}

impl Reader {
    async fn connect(listener: SocketAddr) -> Self {
        let (mut client, _) = WsClient::greeted(listener).await;
        let count = Arc::new(AtomicU64::new(0));
        let counted = count.clone();
        let task = tokio::spawn(async move {
            let mut numbers = Vec::new();
            loop {
                let message = client.next().await.filter(|message| !message.is_close());
                let Some(message) = message else { return Read { numbers, is_closed: true } };
                let Ok(text) = message.into_text() else { continue };
                match text.parse() {
                    Ok(number) => {
                        numbers.push(number);
                        counted.fetch_add(1, Ordering::Relaxed);
                    }
                    Err(_) => return Read { numbers, is_closed: false },
                }
            }
        });
        Self { count, task }
    }

    fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Checks that it has missed nothing between the first number and the last.
    async fn read(self) -> Summary {
        let Read { numbers, is_closed } = soon("the last message", self.task).await.unwrap();
        let (first, last) = (*numbers.iter().min().unwrap(), *numbers.iter().max().unwrap());
        let mut sorted = numbers.clone();
        sorted.sort_unstable();
        assert!(sorted.into_iter().eq(first..=last), "each number once: {numbers:?}");
        let is_in_order = numbers.is_sorted();
        Summary { last, is_in_order, is_closed }
    }
}

async fn readers(cluster: &Cluster, count: usize) -> Vec<Reader> {
    let connect = |n: usize| Reader::connect(cluster.gateways[n % cluster.gateways.len()].listener);
    stream::iter(0..count).map(connect).buffer_unordered(50).collect().await
}

/// Sends numbers to everybody, ten in a second, until it is told to stop. Returns the last one.
fn send(api: Gateway, mut stop: tokio::sync::oneshot::Receiver<()>) -> JoinHandle<u64> {
    tokio::spawn(async move {
        let mut pace = interval(Duration::from_millis(100));
        for n in 0.. {
            tokio::select! {
                _ = pace.tick() => {}
                _ = &mut stop => {
                    api.send_to_all("end").await.unwrap();
                    return n - 1;
                }
            }
            let delivery = api.send_to_all(n.to_string()).await.unwrap();
            assert!(delivery.is_complete(), "{delivery:?}");
        }
        unreachable!()
    })
}

/// Waits until each has read so many more numbers.
async fn all_read(readers: &[Reader], more: u64) {
    let before: Vec<u64> = readers.iter().map(Reader::count).collect();
    eventually("each client to read some numbers", async || {
        readers.iter().zip(&before).all(|(reader, before)| reader.count() >= before + more)
    })
    .await;
}

pub(crate) async fn a_live_system_goes_from_one_cluster_to_two_and_back_and_loses_nothing() {
    let clients = std::env::var("FEDERATION_CLIENTS").map_or(200, |count| count.parse().unwrap());
    let mut first = Cluster::builder().gateways(2).workers(2).start().await;

    // 1. NATS, and a backend that pushes all the time.
    let nats = NatsServer::start();
    let options = Options::new([nats.url()], name("sh-1"), SecretKey::new(KEY));
    let federation = Federation::join(options).await.unwrap();
    let api =
        Gateway::builder([first.register.to_string()]).federation(Arc::new(federation) as Arc<_>).connect();
    let (stop, stopped) = tokio::sync::oneshot::channel();
    let sending = send(api.clone(), stopped);
    let old = readers(&first, clients).await;
    all_read(&old, 3).await;

    // 2. The workers are replaced, one after the other.
    first.change_workers(|config| federate(config, "sh-1", vec![nats.url()]));
    for _ in 0..2 {
        first.start_worker().await;
        first.workers.remove(0).stop().await;
    }
    all_read(&old, 3).await;

    // 3. and 4. The second cluster, and clients that go there.
    let mut second = Cluster::builder().gateways(2).workers(2);
    second = second.gateway(|config| config.shutdown_spread_ms = 500);
    let mut second = second.worker(|config| federate(config, "bj-1", vec![nats.url()])).start().await;
    let new = readers(&second, clients / 2).await;
    all_read(&new, 10).await;
    all_read(&old, 3).await;
    assert_eq!(api.client_count().await.unwrap() as usize, clients + clients / 2);

    // Back: the second cluster's gateways stop, and its clients come back to the first one.
    for gateway in &mut second.gateways {
        gateway.stop().await;
    }
    let mut out_of_order = 0;
    for reader in new {
        let Summary { is_in_order, is_closed, .. } = reader.read().await;
        assert!(is_closed);
        // While a partition goes from one worker to another, order is not promised.
        out_of_order += usize::from(!is_in_order);
    }
    eprintln!("{out_of_order} clients of the second cluster have read numbers in another order");
    let back = readers(&first, clients / 2).await;
    for worker in &mut second.workers {
        worker.stop().await;
    }
    eventually("the second cluster to be gone", async || {
        api.client_count().await.is_ok_and(|count| count as usize == clients + clients / 2)
    })
    .await;
    all_read(&back, 3).await;
    all_read(&old, 3).await;

    stop.send(()).unwrap();
    let last = soon("the sender", sending).await.unwrap();
    let all = Summary { last, is_in_order: true, is_closed: false };
    for reader in old.into_iter().chain(back) {
        assert_eq!(reader.read().await, all, "nobody was closed, and nobody has missed anything");
    }
    eprintln!(
        "{clients} clients went from one cluster to two and back: {last} messages to each, none missed"
    );
}
