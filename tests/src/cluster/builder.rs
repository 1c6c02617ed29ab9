//! The builder of a test's cluster: how many daemons, and their configurations.

use gatewayworker_businessworker as worker;
use gatewayworker_gateway as gateway;
use gatewayworker_protocol::SecretKey;

use super::{Cluster, HTTP_TOKEN};

/// The settings of a cluster. [`ClusterBuilder::start`] starts it.
#[derive(Clone)]
pub struct ClusterBuilder {
    pub(super) gateways: usize,
    pub(super) workers: usize,
    pub(super) secret_key: String,
    pub(super) gateway: gateway::Config,
    pub(super) worker: worker::Config,
    pub(super) metrics: bool,
    pub(super) inner_port: u16,
}

impl Default for ClusterBuilder {
    fn default() -> Self {
        let mut gateway = gateway::Config::default().with_shards(shards());
        gateway.shutdown_spread_ms = 50;
        Self {
            gateways: 1,
            workers: 1,
            secret_key: String::new(),
            gateway,
            worker: worker::Config::default(),
            metrics: false,
            inner_port: 0,
        }
    }
}

/// The shards of each gateway: `TEST_SHARDS`, or two on any machine, so that tests cross them.
fn shards() -> usize {
    let set = std::env::var("TEST_SHARDS").ok();
    set.map_or(2, |shards| shards.parse().expect("TEST_SHARDS is a number"))
}

impl ClusterBuilder {
    /// Starts `n` gateways instead of one.
    pub fn gateways(mut self, n: usize) -> Self {
        self.gateways = n;
        self
    }

    /// Starts `n` workers instead of one.
    pub fn workers(mut self, n: usize) -> Self {
        self.workers = n;
        self
    }

    /// Sets the secret key of all daemons. Default: none.
    pub fn secret_key(mut self, key: &str) -> Self {
        self.secret_key = key.into();
        self
    }

    /// Sets the gateways' listeners: `listen` as in their file. Each gets a free port.
    ///
    /// # Panics
    /// `toml` is no valid configuration.
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

    /// Lets workers accept calls over HTTP, with [`HTTP_TOKEN`].
    pub fn http(self) -> Self {
        self.worker(|config| {
            config.http = worker::HttpConfig::new("127.0.0.1:0", SecretKey::new(HTTP_TOKEN));
        })
    }

    /// Sets the inner port of the only gateway. Default: a free one.
    pub fn inner_port(mut self, port: u16) -> Self {
        self.inner_port = port;
        self
    }

    /// Lets all daemons show metrics and health.
    pub fn metrics(mut self) -> Self {
        self.metrics = true;
        self
    }

    /// Starts the daemons, and returns when every worker is linked to every gateway.
    ///
    /// # Panics
    /// A daemon does not start, or a link is not there in time.
    pub async fn start(self) -> Cluster {
        Cluster::start_with(self).await
    }
}
