//! A register, gateways and workers on free ports, in this process.

use std::collections::HashSet;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use gatewayworker::{ClientId, CloseReason, Events};
use gatewayworker_businessworker as worker;
use gatewayworker_gateway as gateway;
use gatewayworker_protocol::SecretKey;
use gatewayworker_register as register;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::{Happened, HttpRequest, Recorder, WsClient, eventually, soon};

/// What callers over HTTP show.
pub const HTTP_TOKEN: &str = "a-token-for-tests";

/// The daemons of one test. What still runs when it is dropped is asked to stop.
pub struct Cluster {
    /// Where the register listens.
    pub register: SocketAddr,
    /// The gateways, in the order of starting.
    pub gateways: Vec<GatewayDaemon>,
    /// The workers, in the order of starting.
    pub workers: Vec<WorkerDaemon>,
    settings: ClusterBuilder,
    register_daemon: Daemon,
}

/// A daemon's task and the way to end it.
struct Daemon {
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

impl Daemon {
    fn start<F: Future<Output = ()> + Send + 'static>(run: impl FnOnce(CancellationToken) -> F) -> Self {
        let shutdown = CancellationToken::new();
        Self { task: tokio::spawn(run(shutdown.clone())), shutdown }
    }

    /// The same for a daemon that is bound to its thread: it has one.
    fn start_apart<F: Future<Output = ()>>(
        run: impl FnOnce(CancellationToken) -> F + Send + 'static,
    ) -> Self {
        let shutdown = CancellationToken::new();
        let token = shutdown.clone();
        let (end, ended) = oneshot::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(run(token));
            let _ = end.send(());
        });
        Self {
            task: tokio::spawn(async { ended.await.expect("the daemon's thread did not panic") }),
            shutdown,
        }
    }

    async fn stop(&mut self) {
        self.shutdown.cancel();
        soon("a daemon's end", &mut self.task).await.expect("the daemon did not panic");
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

/// A gateway of the cluster.
pub struct GatewayDaemon {
    /// Where clients come in: at the first listener,
    pub listener: SocketAddr,
    /// and at all of them, in the configuration's order.
    pub listeners: Vec<SocketAddr>,
    /// Where workers come in, and what is announced.
    pub inner: SocketAddrV4,
    daemon: Daemon,
}

impl GatewayDaemon {
    /// Asks it to stop, and waits until it has.
    ///
    /// # Panics
    /// When it does not.
    pub async fn stop(&mut self) {
        self.daemon.stop().await;
    }
}

/// A worker of the cluster.
pub struct WorkerDaemon {
    /// What happened to its clients.
    pub events: Recorder,
    /// Where it takes calls over HTTP, if its configuration says that it does.
    pub http: Option<SocketAddr>,
    daemon: Daemon,
}

impl WorkerDaemon {
    /// Asks it to stop, and waits until it has.
    ///
    /// # Panics
    /// When it does not.
    pub async fn stop(&mut self) {
        self.daemon.stop().await;
    }
}

/// A worker that runs an application. Dropped, it is asked to stop.
pub struct Application {
    daemon: Daemon,
}

impl Application {
    /// Stops it, and waits until it has.
    ///
    /// # Panics
    /// When it does not.
    pub async fn stop(mut self) {
        self.daemon.stop().await;
    }
}

/// What a cluster is to be like.
#[derive(Clone)]
pub struct ClusterBuilder {
    gateways: usize,
    workers: usize,
    secret_key: String,
    gateway: gateway::Config,
    worker: worker::Config,
}

impl ClusterBuilder {
    /// So many gateways, instead of one.
    pub fn gateways(mut self, n: usize) -> Self {
        self.gateways = n;
        self
    }

    /// So many workers, instead of one.
    pub fn workers(mut self, n: usize) -> Self {
        self.workers = n;
        self
    }

    /// A key for all daemons.
    pub fn secret_key(mut self, key: &str) -> Self {
        self.secret_key = key.into();
        self
    }

    /// Gives the gateways these listeners, on any ports: `listen` as in their file.
    ///
    /// # Panics
    /// When it is no such thing.
    pub fn listen(mut self, toml: &str) -> Self {
        let config: gateway::Config = toml::from_str(toml).expect("a gateway's configuration");
        self.gateway.listen = config.listen;
        self
    }

    /// Changes the gateways' configuration.
    pub fn gateway(mut self, change: impl FnOnce(&mut gateway::Config)) -> Self {
        change(&mut self.gateway);
        self
    }

    /// Changes the workers' configuration.
    pub fn worker(mut self, change: impl FnOnce(&mut worker::Config)) -> Self {
        change(&mut self.worker);
        self
    }

    /// Workers take calls over HTTP, with [`HTTP_TOKEN`].
    pub fn http(self) -> Self {
        self.worker(|config| {
            config.http = worker::HttpConfig::new("127.0.0.1:0", SecretKey::new(HTTP_TOKEN));
        })
    }

    /// Starts the daemons, and returns when every worker is linked to every gateway.
    ///
    /// # Panics
    /// When that does not happen.
    pub async fn start(self) -> Cluster {
        let (register, register_daemon) = start_register("127.0.0.1:0", &self.secret_key).await;
        let (gateways, workers) = (self.gateways, self.workers);
        let mut cluster =
            Cluster { register, gateways: vec![], workers: vec![], settings: self, register_daemon };
        for _ in 0..gateways {
            cluster.start_gateway().await;
        }
        for _ in 0..workers {
            cluster.start_worker().await;
        }
        cluster.linked().await;
        cluster
    }
}

/// Where a listener is, on any port.
fn any_port(listener: &gateway::ListenerConfig) -> SocketAddr {
    let mut address: SocketAddr = listener.url.address().parse().expect("an IP address and a port");
    address.set_port(0);
    address
}

async fn start_register(address: &str, key: &str) -> (SocketAddr, Daemon) {
    let listener = gatewayworker_net::listen(address.parse().expect("an address"), true, 1024)
        .expect("the port is free");
    let address = listener.local_addr().expect("it is bound");
    let config = register::Config::default().with_secret_key(SecretKey::new(key));
    let daemon = Daemon::start(|shutdown| async move {
        register::serve(listener, config, shutdown).await;
    });
    (address, daemon)
}

impl Cluster {
    /// One register, one gateway, one worker, unless told otherwise.
    pub fn builder() -> ClusterBuilder {
        ClusterBuilder {
            gateways: 1,
            workers: 1,
            secret_key: String::new(),
            // Two shards, however many cores there are: what crosses them is to be tested.
            gateway: gateway::Config { shards: 2, shutdown_spread_ms: 50, ..gateway::Config::default() },
            worker: worker::Config::default(),
        }
    }

    /// A cluster of one of each.
    pub async fn start() -> Self {
        Self::builder().start().await
    }

    /// The first gateway's listener.
    pub fn listener(&self) -> SocketAddr {
        self.gateways[0].listener
    }

    /// The first worker's events.
    pub fn events(&self) -> &Recorder {
        &self.workers[0].events
    }

    /// The first worker's Gateway handle.
    pub async fn api(&self) -> gatewayworker::Gateway {
        self.events().gateway().await
    }

    /// Where the first worker takes calls over HTTP.
    ///
    /// # Panics
    /// When it does not: see [`ClusterBuilder::http`].
    pub fn http(&self) -> SocketAddr {
        self.workers[0].http.expect("the cluster was built with http")
    }

    /// A call over HTTP, with the token.
    pub fn push(&self, call: &str, params: &Value) -> HttpRequest {
        HttpRequest::post(self.http(), &format!("/v1/{call}"), params).token(HTTP_TOKEN)
    }

    /// Starts one more gateway.
    ///
    /// # Panics
    /// When it cannot.
    pub async fn start_gateway(&mut self) {
        let addresses: Vec<_> = self.settings.gateway.listen.iter().map(any_port).collect();
        let daemon = self.gateway_on(&addresses, SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await;
        self.gateways.push(daemon);
    }

    async fn gateway_on(&self, addresses: &[SocketAddr], inner: SocketAddr) -> GatewayDaemon {
        let listen = |address| gatewayworker_net::listen(address, true, 1024).expect("the port is free");
        let inner = listen(inner);
        let sockets: Vec<_> = addresses.iter().map(|address| listen(*address)).collect();
        let addresses: Vec<_> =
            sockets.iter().map(|socket| socket.local_addr().expect("it is bound")).collect();
        let port = inner.local_addr().expect("it is bound").port();
        let config = gateway::Config {
            register_address: vec![self.register.to_string()],
            secret_key: SecretKey::new(&*self.settings.secret_key),
            lan_port: port,
            ..self.settings.gateway.clone()
        };
        let listeners = gateway::BoundListeners { clients: sockets, inner };
        let daemon = Daemon::start_apart(|shutdown| async move {
            gateway::serve(listeners, config, shutdown).await.expect("the gateway runs");
        });
        let inner = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
        GatewayDaemon { listener: addresses[0], listeners: addresses, inner, daemon }
    }

    /// Stops a gateway and starts another in its place, with the same addresses.
    ///
    /// # Panics
    /// When either fails.
    pub async fn restart_gateway(&mut self, n: usize) {
        self.restart_gateway_when(n, async || ()).await;
    }

    /// The same; the other starts when `missed` says that it has been missed.
    ///
    /// # Panics
    /// When either fails.
    pub async fn restart_gateway_when(&mut self, n: usize, missed: impl AsyncFnOnce()) {
        self.gateways[n].stop().await;
        missed().await;
        self.gateways[n] = self.gateway_on(&self.gateways[n].listeners, self.gateways[n].inner.into()).await;
    }

    /// Starts one more worker that notes what happens.
    ///
    /// # Panics
    /// When it cannot.
    pub async fn start_worker(&mut self) {
        let events = Recorder::default();
        let http = self.settings.worker.http.listen.as_ref().map(|address| {
            gatewayworker_net::listen(address.parse().expect("an address"), true, 1024)
                .expect("the port is free")
        });
        let address = http.as_ref().map(|listener| listener.local_addr().expect("it is bound"));
        let daemon = self.worker_with(http, events.clone());
        self.workers.push(WorkerDaemon { events, http: address, daemon });
    }

    fn worker_with(&self, http: Option<TcpListener>, events: impl Events) -> Daemon {
        let config = self.settings.worker.clone();
        let config = config
            .with_register_address([self.register.to_string()])
            .with_secret_key(SecretKey::new(&*self.settings.secret_key));
        Daemon::start(|shutdown| async move {
            let options = worker::ServeOptions::new(shutdown).with_http_listener(http);
            worker::serve(config, events, options).await.expect("the worker runs");
        })
    }

    /// Starts a worker that runs an application, as long as what is returned is held.
    pub fn start_application(&self, events: impl Events) -> Application {
        Application { daemon: self.worker_with(None, events) }
    }

    /// Sends everybody much, which `reader` reads, until some client is closed: who it was
    /// that did not read, and the reason.
    ///
    /// # Panics
    /// When nobody is, or `reader` misses something.
    pub async fn broadcast_until_a_close<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        reader: &mut WsClient<S>,
    ) -> (ClientId, CloseReason) {
        let api = self.api().await;
        let message = "x".repeat(50_000);
        let mut sent = 0;
        let closed = self.events().next_close();
        tokio::pin!(closed);
        loop {
            assert!(sent < 2000, "100 MB wait for a client that reads nothing");
            api.send_to_all(message.clone()).await.expect("it is sent");
            assert_eq!(reader.text().await.len(), message.len());
            sent += 1;
            tokio::select! {
                biased;
                closed = &mut closed => return closed,
                () = std::future::ready(()) => {}
            }
        }
    }

    /// Stops the register and starts another at its address.
    ///
    /// # Panics
    /// When either fails.
    pub async fn restart_register(&mut self) {
        self.register_daemon.stop().await;
        let (_, daemon) = start_register(&self.register.to_string(), &self.settings.secret_key).await;
        self.register_daemon = daemon;
    }

    /// Waits until every worker takes events of every gateway and can call it.
    ///
    /// # Panics
    /// When that does not happen.
    pub async fn linked(&self) {
        if self.gateways.is_empty() || self.workers.is_empty() {
            return;
        }
        let api = self.workers[0].events.gateway().await;
        for worker in &self.workers {
            let api = worker.events.gateway().await;
            for gateway in &self.gateways {
                soon("a call link", api.connected(gateway.inner)).await;
            }
        }
        let mut before = None;
        eventually("the gateways to answer", async || {
            before = api.client_count().await.ok();
            before.is_some()
        })
        .await;
        // A worker's event link has no other sign than that clients come to it.
        let mut connected: Vec<HashSet<ClientId>> = vec![HashSet::new(); self.workers.len()];
        for gateway in &self.gateways {
            let mut seen = vec![false; self.workers.len()];
            // They stay until all is seen: the next one goes to whoever has the fewest.
            let mut trials = Vec::new();
            eventually("clients to reach every worker", async || {
                let (client, id) = WsClient::greeted(gateway.listener).await;
                trials.push(client);
                for (n, worker) in self.workers.iter().enumerate() {
                    while !worker.events.is_quiet().await {
                        match worker.events.next().await {
                            Happened::Connect(of) if of == id => {
                                seen[n] = true;
                                connected[n].insert(id);
                            }
                            // One that was another gateway's trial.
                            Happened::Close(of, _) => {
                                connected[n].remove(&of);
                            }
                            _ => {}
                        }
                    }
                }
                seen.iter().all(|seen| *seen)
            })
            .await;
            for trial in trials {
                trial.close().await;
            }
        }
        let gone = async || api.client_count().await.ok() == before;
        eventually("the trial clients to be gone", gone).await;
        for (worker, mut connected) in self.workers.iter().zip(connected) {
            // A worker hears of a close after the gateway has forgotten the client.
            while !connected.is_empty() {
                connected.remove(&worker.events.next_close().await.0);
            }
            while !worker.events.is_quiet().await {
                worker.events.next().await;
            }
        }
    }
}
