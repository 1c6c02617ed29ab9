//! A register, gateways and workers on free ports, as tasks of the test's process.
//!
//! A test builds a [`Cluster`] (`builder`), gets it when all are linked (`links`), and stops or restarts single
//! daemons (`daemon`). Daemons as processes of their own are in [`process`](crate::process).

mod builder;
mod daemon;
mod links;

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use gatewayworker::{ClientId, CloseReason, Events};
use gatewayworker_businessworker as worker;
use gatewayworker_gateway as gateway;
use gatewayworker_protocol::SecretKey;
use gatewayworker_register as register;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;

pub use builder::ClusterBuilder;
use daemon::Daemon;
pub use daemon::{Application, GatewayDaemon, WorkerDaemon};

use crate::{HttpRequest, Recorder, WsClient};

/// The token of calls over HTTP.
pub const HTTP_TOKEN: &str = "a-token-for-tests";

/// The daemons of one test. Those that still run when it is dropped are asked to stop.
pub struct Cluster {
    /// The register's address.
    pub register: SocketAddr,
    /// The gateways, in the order of starting.
    pub gateways: Vec<GatewayDaemon>,
    /// The workers, in the order of starting.
    pub workers: Vec<WorkerDaemon>,
    /// Where the register shows metrics and health, if the cluster was built with metrics.
    pub register_metrics: Option<SocketAddr>,
    settings: ClusterBuilder,
    register_daemon: Daemon,
}

/// A listener for metrics on a free port, where they are wanted, and its address.
fn metrics_listener(is_wanted: bool) -> (Option<TcpListener>, Option<SocketAddr>) {
    let listen = || gatewayworker_net::listen((Ipv4Addr::LOCALHOST, 0).into(), true, 1024);
    let listener = is_wanted.then(|| listen().expect("a free port"));
    let address = listener.as_ref().map(|listener| listener.local_addr().expect("it is bound"));
    (listener, address)
}

/// The address of a listener, with any free port.
fn any_port(listener: &gateway::ListenerConfig) -> SocketAddr {
    let mut address: SocketAddr = listener.url.address().parse().expect("an IP address and a port");
    address.set_port(0);
    address
}

async fn start_register(
    address: &str,
    settings: &ClusterBuilder,
) -> (SocketAddr, Option<SocketAddr>, Daemon) {
    let (metrics, metrics_address) = metrics_listener(settings.metrics);
    let listener = gatewayworker_net::listen(address.parse().expect("an address"), true, 1024)
        .expect("the port is free");
    let address = listener.local_addr().expect("it is bound");
    let config = register::Config::default().with_secret_key(SecretKey::new(&*settings.secret_key));
    let daemon = Daemon::start(|shutdown| async move {
        let options = register::ServeOptions::new(shutdown).with_metrics_listener(metrics);
        register::serve(listener, config, options).await.expect("it has no TLS that could be wrong");
    });
    (address, metrics_address, daemon)
}

impl Cluster {
    /// Returns the builder of a cluster. Default: one register, one gateway, one worker.
    pub fn builder() -> ClusterBuilder {
        ClusterBuilder::default()
    }

    async fn start_with(settings: ClusterBuilder) -> Self {
        let (register, register_metrics, register_daemon) = start_register("127.0.0.1:0", &settings).await;
        let (gateways, workers) = (settings.gateways, settings.workers);
        let mut cluster = Cluster {
            register,
            gateways: vec![],
            workers: vec![],
            register_metrics,
            settings,
            register_daemon,
        };
        for _ in 0..gateways {
            cluster.start_gateway().await;
        }
        for _ in 0..workers {
            cluster.start_worker().await;
        }
        cluster.linked().await;
        cluster
    }

    /// Starts a cluster of one register, one gateway and one worker.
    pub async fn start() -> Self {
        Self::builder().start().await
    }

    /// The address of the first gateway's first listener.
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

    /// The first worker's address for calls over HTTP.
    ///
    /// # Panics
    /// It has none: see [`ClusterBuilder::http`].
    pub fn http(&self) -> SocketAddr {
        self.workers[0].http.expect("the cluster was built with http")
    }

    /// Returns a call over HTTP to the first worker, with the token.
    pub fn push(&self, call: &str, params: &Value) -> HttpRequest {
        HttpRequest::post(self.http(), &format!("/v1/{call}"), params).token(HTTP_TOKEN)
    }

    /// Starts one more gateway.
    ///
    /// # Panics
    /// It cannot start.
    pub async fn start_gateway(&mut self) {
        let addresses: Vec<_> = self.settings.gateway.listen.iter().map(any_port).collect();
        let inner = SocketAddr::from((Ipv4Addr::LOCALHOST, self.settings.inner_port));
        let daemon = self.gateway_on(&addresses, inner).await;
        self.gateways.push(daemon);
    }

    async fn gateway_on(&self, addresses: &[SocketAddr], inner: SocketAddr) -> GatewayDaemon {
        let listen = |address| gatewayworker_net::listen(address, true, 1024).expect("the port is free");
        let inner = listen(inner);
        let sockets: Vec<_> = addresses.iter().map(|address| listen(*address)).collect();
        let addresses: Vec<_> =
            sockets.iter().map(|socket| socket.local_addr().expect("it is bound")).collect();
        let port = inner.local_addr().expect("it is bound").port();
        let config = self.settings.gateway.clone();
        let config = config.with_register_address([self.register.to_string()]).with_lan_port(port);
        let config = config.with_secret_key(SecretKey::new(&*self.settings.secret_key));
        let listeners = gateway::BoundListeners { clients: sockets, inner };
        let (metrics_socket, metrics) = metrics_listener(self.settings.metrics);
        // A runtime of its own will have the socket.
        let metrics_socket = metrics_socket.map(|socket| socket.into_std().expect("a socket"));
        let daemon = Daemon::start_on_thread(|shutdown| async move {
            let metrics = metrics_socket.map(|socket| TcpListener::from_std(socket).expect("a socket"));
            let options = gateway::ServeOptions::new(shutdown).with_metrics_listener(metrics);
            gateway::serve(listeners, config, options).await.expect("the gateway runs");
        });
        let inner = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
        GatewayDaemon { listener: addresses[0], listeners: addresses, inner, metrics, daemon }
    }

    /// Stops a gateway and starts another in its place, with the same addresses.
    ///
    /// # Panics
    /// Either fails.
    pub async fn restart_gateway(&mut self, n: usize) {
        self.restart_gateway_when(n, async || ()).await;
    }

    /// The configuration of gateways that are started, or started again, from now on.
    pub fn gateway_config(&mut self) -> &mut gateway::Config {
        &mut self.settings.gateway
    }

    /// Stops a gateway, runs `meanwhile`, and starts another in its place.
    ///
    /// # Panics
    /// Either fails.
    pub async fn restart_gateway_when(&mut self, n: usize, meanwhile: impl AsyncFnOnce()) {
        self.gateways[n].stop().await;
        meanwhile().await;
        self.gateways[n] = self.gateway_on(&self.gateways[n].listeners, self.gateways[n].inner.into()).await;
    }

    /// Changes the configuration of workers that are started from now on.
    pub fn change_workers(&mut self, change: impl FnOnce(&mut worker::Config)) {
        change(&mut self.settings.worker);
    }

    /// Starts one more worker that records its events.
    ///
    /// # Panics
    /// It cannot start.
    pub async fn start_worker(&mut self) {
        let events = Recorder::default();
        let http = self.settings.worker.http.listen.as_ref().map(|address| {
            gatewayworker_net::listen(address.parse().expect("an address"), true, 1024)
                .expect("the port is free")
        });
        let address = http.as_ref().map(|listener| listener.local_addr().expect("it is bound"));
        let (metrics_socket, metrics) = metrics_listener(self.settings.metrics);
        let daemon = self.worker_with(http, metrics_socket, worker::Metrics::default(), events.clone());
        self.workers.push(WorkerDaemon { events, http: address, metrics, daemon });
    }

    fn worker_with(
        &self,
        http: Option<TcpListener>,
        metrics_listener: Option<TcpListener>,
        metrics: worker::Metrics,
        events: impl Events,
    ) -> Daemon {
        let config = self.settings.worker.clone();
        let config = config
            .with_register_address([self.register.to_string()])
            .with_secret_key(SecretKey::new(&*self.settings.secret_key));
        Daemon::start(|shutdown| async move {
            let options = worker::ServeOptions::new(shutdown)
                .with_http_listener(http)
                .with_metrics_listener(metrics_listener)
                .with_metrics(metrics);
            worker::serve(config, events, options).await.expect("the worker runs");
        })
    }

    /// Starts a worker that runs an application until the returned value is dropped.
    pub fn start_application(&self, events: impl Events) -> Application {
        Application { daemon: self.worker_with(None, None, worker::Metrics::default(), events) }
    }

    /// Starts a worker that runs an application with these metrics. Returns where it shows them, too.
    pub fn start_application_with_metrics(
        &self,
        events: impl Events,
        metrics: worker::Metrics,
    ) -> (Application, SocketAddr) {
        let (listener, address) = metrics_listener(true);
        let daemon = self.worker_with(None, listener, metrics, events);
        (Application { daemon }, address.expect("it is wanted"))
    }

    /// Broadcasts large messages, which `reader` reads, until a client is closed. Returns that client, a slow
    /// consumer, and the reason.
    ///
    /// # Panics
    /// No client is closed, or `reader` misses a message.
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
    /// Either fails.
    pub async fn restart_register(&mut self) {
        self.register_daemon.stop().await;
        let (_, metrics, daemon) = start_register(&self.register.to_string(), &self.settings).await;
        self.register_metrics = metrics;
        self.register_daemon = daemon;
    }
}
