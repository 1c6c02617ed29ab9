//! Commands on their way to gateways: what a handler's answer costs up to the socket, what the fence and the notes
//! of an event add, and a broadcast to several gateways.

#![allow(missing_docs, clippy::unwrap_used)]

use std::io::Read;
use std::net::{SocketAddr, SocketAddrV4, TcpStream};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use gatewayworker_client::worker::{EventCalls, Fence, WorkerHandle, Written};
use gatewayworker_client::{ClientId, Gateway, Liveness};
use gatewayworker_microbench::Suite;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::watch;

/// A worker's handle whose links stand, and its gateways.
struct Cluster {
    runtime: Rc<Runtime>,
    worker: WorkerHandle,
    gateways: Vec<(SocketAddrV4, TcpStream)>,
    /// What is read goes here.
    chunk: Vec<u8>,
}

impl Cluster {
    fn start(runtime: &Rc<Runtime>, gateways: usize) -> Self {
        runtime.block_on(async {
            let mut listeners = Vec::new();
            for _ in 0..gateways {
                listeners.push(TcpListener::bind("127.0.0.1:0").await.unwrap());
            }
            let list = listeners.iter().map(|listener| listener.local_addr().unwrap().to_string()).collect();
            let hour = Duration::from_secs(3600);
            let worker = WorkerHandle::builder(watch::channel(list).1)
                .liveness(Liveness::new(hour, 2 * hour))
                .connect();
            let mut accepted = Vec::new();
            for listener in listeners {
                let SocketAddr::V4(address) = listener.local_addr().unwrap() else { unreachable!() };
                let stream = listener.accept().await.unwrap().0.into_std().unwrap();
                stream.set_nonblocking(false).unwrap();
                worker.gateway().connected(address).await;
                accepted.push((address, stream));
            }
            // The first use of the handle waits for its gateways; the others do not.
            assert!(
                worker
                    .gateway()
                    .join_group(ClientId::new(accepted[0].0, 1), "g")
                    .await
                    .unwrap()
                    .is_complete()
            );
            Self { runtime: runtime.clone(), worker, gateways: accepted, chunk: vec![0; 64 * 1024] }
        })
    }

    fn own(&self) -> SocketAddrV4 {
        self.gateways[0].0
    }

    /// Lets the links write what waits, and reads it off the sockets.
    fn write(&mut self) {
        self.runtime.block_on(async {
            for _ in 0..8 {
                tokio::task::yield_now().await;
            }
        });
        for (_, stream) in &mut self.gateways {
            stream.set_nonblocking(true).unwrap();
            while stream.read(&mut self.chunk).is_ok_and(|read| read > 0) {}
        }
    }
}

fn main() {
    let runtime = Rc::new(tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap());
    let mut suite = Suite::default();

    let mut cluster = Cluster::start(&runtime, 1);
    let (gateway, id) = (cluster.worker.gateway().clone(), ClientId::new(cluster.own(), 7));
    let mut count = 0;
    suite.add("send to one client", move || {
        send(&gateway, id);
        written_now_and_then(&mut cluster, &mut count);
    });

    let mut cluster = Cluster::start(&runtime, 1);
    let id = ClientId::new(cluster.own(), 7);
    let fence = Arc::new(Fence::new());
    let event = Arc::new(EventCalls::new(cluster.own()));
    let gateway = cluster.worker.gateway_of_event(event, fence);
    let mut count = 0;
    suite.add("send to one client, in an event", move || {
        send(&gateway, id);
        written_now_and_then(&mut cluster, &mut count);
    });

    let mut cluster = Cluster::start(&runtime, 4);
    let gateway = cluster.worker.gateway().clone();
    let mut count = 0;
    suite.add("send to all over 4 gateways", move || {
        send_to_all(&gateway);
        written_now_and_then(&mut cluster, &mut count);
    });

    let mut cluster = Cluster::start(&runtime, 4);
    let fence = Arc::new(Fence::new());
    let mut count = 0;
    suite.add("send to all over 4 gateways, in an event, and its mark", move || {
        let event = Arc::new(EventCalls::new(cluster.own()));
        let gateway = cluster.worker.gateway_of_event(event.clone(), fence.clone());
        send_to_all(&gateway);
        let mark = event.take_mark().unwrap();
        assert_eq!(mark.state(), Written::Waiting);
        written_now_and_then(&mut cluster, &mut count);
        mark
    });
    suite.measure();
}

fn send(gateway: &Gateway, id: ClientId) {
    let sent = gateway.send_to_client(id, Bytes::from_static(&[b'x'; 64])).into_future().now_or_never();
    assert!(sent.unwrap().unwrap().is_complete());
}

fn send_to_all(gateway: &Gateway) {
    let sent = gateway.send_to_all(Bytes::from_static(&[b'x'; 64])).into_future().now_or_never();
    assert!(sent.unwrap().unwrap().is_complete());
}

/// Many commands leave in one write, as under load.
fn written_now_and_then(cluster: &mut Cluster, count: &mut u32) {
    *count += 1;
    if count.is_multiple_of(64) {
        cluster.write();
    }
}
