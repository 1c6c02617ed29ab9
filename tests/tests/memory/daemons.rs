//! A register, a gateway and a worker whose allocations are told apart.
//!
//! The gateway has one shard, and its thread is its own. The worker greets each client.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use gatewayworker::{Client, Events, Result};
use gatewayworker_businessworker as worker;
use gatewayworker_gateway as gateway;
use gatewayworker_register as register;
use gatewayworker_tests::tls::Certificate;
use tokio_util::sync::CancellationToken;

use crate::Way;
use crate::counting::{Owner, count_for};

/// What clients connect to. The daemons stop when it is dropped.
pub(crate) struct Daemons {
    pub(crate) address: SocketAddr,
    /// The gateway's certificate, where clients speak TLS.
    pub(crate) certificate: Option<Certificate>,
    pub(crate) way: Way,
    shutdown: CancellationToken,
    threads: Vec<std::thread::JoinHandle<()>>,
}

/// The longest message of a client, in bytes.
pub(crate) const MAX_MESSAGE: usize = 1 << 20;

/// The worker's application.
struct Greeting;

impl Events for Greeting {
    async fn on_connect(&self, client: &Client) -> Result {
        client.send("welcome").await?;
        Ok(())
    }
}

impl Daemons {
    /// Starts them, with a listener for such clients.
    pub(crate) fn start(way: Way) -> Self {
        let certificate = (way == Way::Tls).then(Certificate::default);
        let listen = match &certificate {
            Some(certificate) => certificate.listener("wss://127.0.0.1:0"),
            None => format!(
                "listen = 'websocket://127.0.0.1:0'\ncompression = {}\nresume = {}",
                way == Way::Compressing,
                way == Way::Resuming
            ),
        };
        let listen = format!("max_message_bytes = {MAX_MESSAGE}\n{listen}");
        let [register, clients, inner] = [(); 3].map(|()| listener());
        let (register_address, address) = (register.local_addr().unwrap(), clients.local_addr().unwrap());
        let config: gateway::Config = toml::from_str(&listen).unwrap();
        let config = config
            .with_shards(1)
            .with_register_address([register_address.to_string()])
            .with_lan_port(inner.local_addr().unwrap().port());
        let shutdown = CancellationToken::new();
        let token = shutdown.clone();
        let gateway = std::thread::spawn(move || {
            count_for(Owner::Gateway);
            runtime().block_on(async {
                let clients = vec![tokio::net::TcpListener::from_std(clients).unwrap()];
                let inner = tokio::net::TcpListener::from_std(inner).unwrap();
                let listeners = gateway::BoundListeners { clients, inner };
                gateway::serve(listeners, config, gateway::ServeOptions::new(token)).await.unwrap();
            });
        });
        let token = shutdown.clone();
        let others = std::thread::spawn(move || {
            runtime().block_on(async {
                let listener = tokio::net::TcpListener::from_std(register).unwrap();
                let options = register::ServeOptions::new(token.clone());
                let register = register::serve(listener, register::Config::default(), options);
                let config = worker::Config::default().with_register_address([register_address.to_string()]);
                let options = worker::ServeOptions::new(token);
                let worker = worker::serve(config, Greeting, options);
                let (register, worker) = tokio::join!(register, worker);
                register.unwrap();
                worker.unwrap();
            });
        });
        Self { address, certificate, way, shutdown, threads: vec![gateway, others] }
    }
}

impl Drop for Daemons {
    fn drop(&mut self) {
        self.shutdown.cancel();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn listener() -> TcpListener {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.set_nonblocking(true).unwrap();
    listener
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}
