//! The worker's configuration: flags, environment and file, as `config/businessworker.toml`
//! shows it.
//!
//! `run` loads it and checks it with [`Config::validate`]; `serve` takes it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use gatewayworker_daemon::{
    CommonFlags, LinkTlsFlags, load_with_former_keys, one_or_many, take_negative_numbers,
};
use gatewayworker_history::Config as HistoryConfig;
use gatewayworker_http::Config as HttpConfig;
use gatewayworker_net::LinkTlsConfig;
use gatewayworker_protocol::SecretKey;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::ConfigError;
use crate::client_calls::{ClientCallsConfig, ClientCallsFlags};
use crate::events_config::{EventsConfig, EventsFlags};
use crate::history_config::HistoryFlags;

/// Takes the events of clients from the gateways and runs the application.
#[derive(Debug, clap::Parser)]
#[command(name = "businessworker", version = gatewayworker_daemon::VERSION, mut_args(take_negative_numbers))]
pub struct Cli {
    /// The flags of every daemon.
    #[command(flatten)]
    pub common: CommonFlags,
    /// The flags of the worker.
    #[command(flatten)]
    pub flags: Flags,
}

/// The worker's flags. A flag that is not set leaves its key to the file.
#[derive(Default, clap::Args, Serialize)]
#[command(mut_arg("admin_listen", |flag| flag.env("GATEWAYWORKER_BUSINESSWORKER_ADMIN_LISTEN")))]
#[serde(rename_all = "snake_case")]
#[command(mut_arg("admin_listen", |flag| flag.env("GATEWAYWORKER_BUSINESSWORKER_ADMIN_LISTEN")))]
pub struct Flags {
    /// The worker's NAME at the gateways [default: BusinessWorker]
    #[arg(long, value_name = "NAME", env = "GATEWAYWORKER_BUSINESSWORKER_NAME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,

    /// The worker's ID among those of its name on this host [default: another for each connection]
    #[arg(long, value_name = "ID", env = "GATEWAYWORKER_BUSINESSWORKER_WORKER_ID")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worker_id: Option<String>,

    /// Learn from the register at ADDRESS where the gateways are; may be given several times [default: 127.0.0.1:1236]
    #[arg(long, value_name = "ADDRESS", env = "GATEWAYWORKER_REGISTER_ADDRESS", value_delimiter = ',')]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub register_address: Option<Vec<String>>,

    /// The key that all daemons of a cluster share; better set in the environment, where other users do not see it [default: none]
    #[arg(long, value_name = "KEY", env = "GATEWAYWORKER_SECRET_KEY", hide_env_values = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_key: Option<SecretKey>,

    /// Run at most N handlers at once [default: 1024]
    #[arg(long, value_name = "N", env = "GATEWAYWORKER_BUSINESSWORKER_CONCURRENCY")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<usize>,

    /// Wait at most MS milliseconds for the gateways' answers to a question [default: 5000]
    #[arg(long, value_name = "MS", env = "GATEWAYWORKER_BUSINESSWORKER_QUESTION_TIMEOUT_MS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub question_timeout_ms: Option<u64>,

    /// Log a handler that takes MS milliseconds, 0 for never [default: 1000]
    #[arg(long, value_name = "MS", env = "GATEWAYWORKER_BUSINESSWORKER_SLOW_HANDLER_WARNING_MS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slow_handler_warning_ms: Option<u64>,

    /// Cancel a handler that takes MS milliseconds, 0 for never [default: 0]
    #[arg(long, value_name = "MS", env = "GATEWAYWORKER_BUSINESSWORKER_HANDLER_TIMEOUT_MS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub handler_timeout_ms: Option<u64>,

    /// Let handlers finish for at most MS milliseconds when asked to stop [default: 10000]
    #[arg(long, value_name = "MS", env = "GATEWAYWORKER_BUSINESSWORKER_SHUTDOWN_TIMEOUT_MS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shutdown_timeout_ms: Option<u64>,

    /// Show each gateway every MS milliseconds that this worker lives [default: 2500]
    #[arg(long, value_name = "MS", env = "GATEWAYWORKER_BUSINESSWORKER_LINK_PING_INTERVAL_MS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub link_ping_interval_ms: Option<u64>,

    /// Take a link as dead when nothing comes from its gateway for MS milliseconds [default: 9000]
    #[arg(long, value_name = "MS", env = "GATEWAYWORKER_BUSINESSWORKER_LINK_TIMEOUT_MS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub link_timeout_ms: Option<u64>,

    /// Send messages to groups and uids only to gateways of ours that may have one [default: true]
    #[arg(long, value_name = "BOOL", env = "GATEWAYWORKER_INTEREST", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interest: Option<bool>,

    /// Take a gateway as lost that is not linked and no register has listed for MS milliseconds [default: 30000]
    #[arg(long, value_name = "MS", env = "GATEWAYWORKER_BUSINESSWORKER_GATEWAY_LOST_AFTER_MS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway_lost_after_ms: Option<u64>,

    /// Link to gateways of this host over Unix sockets, where they offer that, instead of TCP [default: true]
    #[arg(
        long,
        value_name = "BOOL",
        env = "GATEWAYWORKER_UNIX_LINKS",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true"
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unix_links: Option<bool>,

    /// Run handlers on N threads, 0 for one on each core [default: 0]
    #[arg(long, value_name = "N", env = "GATEWAYWORKER_BUSINESSWORKER_THREADS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threads: Option<usize>,

    /// Show metrics and health at ADDRESS, host:port, over HTTP [default: none]
    #[arg(long, value_name = "ADDRESS", env = "GATEWAYWORKER_BUSINESSWORKER_METRICS_LISTEN")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics_listen: Option<String>,

    /// Reach other clusters over NATS at URL, nats://host:port or nats://user:password@host:port; may be given several times [default: none]
    #[arg(
        long,
        value_name = "URL",
        env = "GATEWAYWORKER_FEDERATION",
        value_delimiter = ',',
        hide_env_values = true
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub federation: Option<Vec<String>>,

    /// The NAME of this cluster among those that NATS joins [default: none]
    #[arg(long, value_name = "NAME", env = "GATEWAYWORKER_CLUSTER_NAME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster_name: Option<String>,

    /// The key that the clusters sign with, at least 16 characters; better set in the environment [default: none]
    #[arg(long, value_name = "KEY", env = "GATEWAYWORKER_FEDERATION_KEY", hide_env_values = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub federation_key: Option<SecretKey>,

    /// Begin the subjects on NATS with PREFIX [default: gatewayworker.federation]
    #[arg(long, value_name = "PREFIX", env = "GATEWAYWORKER_FEDERATION_PREFIX")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub federation_prefix: Option<String>,

    /// Authenticate at NATS with the JWT and the key in FILE [default: none]
    #[arg(long, value_name = "FILE", env = "GATEWAYWORKER_FEDERATION_CREDENTIALS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub federation_credentials: Option<PathBuf>,

    /// Authenticate at NATS with the NKey of SEED; better set in the environment [default: none]
    #[arg(long, value_name = "SEED", env = "GATEWAYWORKER_FEDERATION_NKEY", hide_env_values = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub federation_nkey: Option<SecretKey>,

    /// Trust the authorities in FILE, and not the system's, for TLS with NATS [default: those of the system]
    #[arg(long, value_name = "FILE", env = "GATEWAYWORKER_FEDERATION_CA")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub federation_ca: Option<PathBuf>,

    /// Show the certificate in FILE to NATS [default: none]
    #[arg(long, value_name = "FILE", env = "GATEWAYWORKER_FEDERATION_CERTIFICATE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub federation_certificate: Option<PathBuf>,

    /// The key of that certificate, in FILE [default: none]
    #[arg(long, value_name = "FILE", env = "GATEWAYWORKER_FEDERATION_CERTIFICATE_KEY")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub federation_certificate_key: Option<PathBuf>,

    /// Send to other clusters through JetStream of NATS, at least once [default: at most once, without it]
    #[arg(
        long,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        value_name = "BOOL",
        env = "GATEWAYWORKER_FEDERATION_DURABLE"
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub federation_durable: Option<bool>,

    /// Calls over HTTP.
    #[command(flatten)]
    pub http: gatewayworker_http::Flags,

    /// Events over HTTP.
    #[command(flatten)]
    pub events: EventsFlags,

    /// Calls of clients.
    #[command(flatten)]
    pub client_calls: ClientCallsFlags,

    /// The history of groups.
    #[command(flatten)]
    pub history: HistoryFlags,

    /// A page for operators.
    #[command(flatten)]
    pub admin: gatewayworker_admin::Flags,

    /// TLS between daemons.
    #[command(flatten)]
    pub link_tls: LinkTlsFlags,
}

/// The worker's configuration, the keys of its file; `A` are the application's.
///
/// In code it is made from its default: `Config::default().with_name("Chat")`, or by
/// setting fields.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, bound = "A: DeserializeOwned + Default")]
#[non_exhaustive]
pub struct Config<A = NoSettings> {
    /// The worker's name at the gateways; the same for all workers of an application.
    /// `BusinessWorker` by default.
    pub name: String,
    /// The worker's id among those of its name on its host. Two workers with the same id
    /// would take each other's links away. By default another for each connection.
    pub worker_id: Option<String>,
    /// The registers, `host:port` each; one, or a list. `127.0.0.1:1236` by default.
    #[serde(deserialize_with = "one_or_many")]
    pub register_address: Vec<String>,
    /// The cluster's key; empty for none, the default.
    pub secret_key: SecretKey,
    /// The number of handlers that run at once; 1024 by default.
    pub concurrency: usize,
    /// The longest time for a question to the gateways, in milliseconds; 5000 by default.
    pub question_timeout_ms: u64,
    /// The time after which a handler is logged as slow, in milliseconds; 0 for never.
    /// 1000 by default.
    pub slow_handler_warning_ms: u64,
    /// The time after which a handler is cancelled, in milliseconds; 0 for never, the
    /// default.
    pub handler_timeout_ms: u64,
    /// The time for handlers to end after the worker was asked to stop, in milliseconds;
    /// 10000 by default.
    pub shutdown_timeout_ms: u64,
    /// How often the worker shows each gateway that it lives, in milliseconds; 2500 by default.
    /// Gateways of ours know it by that, whatever the handlers do.
    pub link_ping_interval_ms: u64,
    /// How long a gateway may be silent before its links are closed and made again, in
    /// milliseconds; 9000 by default. At least twice `link_ping_interval_ms`, and not less than
    /// twice the gateways' own interval. For half of that time events of a silent gateway are
    /// still begun.
    pub link_timeout_ms: u64,
    /// Whether messages to groups and uids, and questions about them, go only to gateways that may have one;
    /// true by default. Gateways of the original are sent everything.
    pub interest: bool,
    /// How long a gateway that is not linked, and that the registers do not list, is waited for
    /// before it is lost, in milliseconds; 30000 by default. Then `on_close` runs for its clients,
    /// with [`GatewayLost`](crate::CloseReason::GatewayLost).
    pub gateway_lost_after_ms: u64,
    /// Whether links to gateways of this host go over Unix sockets; they do by default, where the gateway
    /// runs as the same user or as root.
    pub unix_links: bool,
    /// The number of threads for handlers, beside the one that serves the links; 0 for one
    /// on each core, the default.
    pub threads: usize,
    /// Where metrics and health are shown over HTTP, `host:port`; `None` for nowhere, the default.
    pub metrics_listen: Option<String>,
    /// The URLs of NATS, which joins this cluster with others; none by default, and with `off` alone. It needs the cargo feature
    /// `federation`. A URL may hold a password.
    #[serde(deserialize_with = "one_or_many")]
    pub federation: Vec<String>,
    /// The name of this cluster among those that NATS joins; needed with `federation`.
    pub cluster_name: Option<String>,
    /// The key that all joined clusters sign with, at least 16 bytes; needed with `federation`.
    pub federation_key: SecretKey,
    /// What subjects on NATS begin with; `gatewayworker.federation` by default.
    pub federation_prefix: Option<String>,
    /// A file with a JWT and a key, to authenticate at NATS; `None` for none, the default.
    pub federation_credentials: Option<PathBuf>,
    /// The seed of an NKey, to authenticate at NATS; empty for none, the default.
    pub federation_nkey: SecretKey,
    /// A PEM file with authorities to trust instead of those of the system, for TLS with NATS.
    pub federation_ca: Option<PathBuf>,
    /// A PEM file with a certificate to show to NATS.
    pub federation_certificate: Option<PathBuf>,
    /// A PEM file with its key.
    pub federation_certificate_key: Option<PathBuf>,
    /// Whether sends to other clusters go through JetStream, at least once; off by default. It is the same for all workers of a cluster.
    pub federation_durable: bool,
    /// TLS with gateways and registers; off by default.
    pub link_tls: LinkTlsConfig,
    /// A page for operators; off by default. [`run`](crate::run) serves it; a program that calls
    /// [`serve`](crate::serve()) does so by itself.
    pub admin: gatewayworker_admin::Config,
    /// Calls over HTTP.
    pub http: HttpConfig,
    /// Events over HTTP, for the stock worker and programs like it: see `gatewayworker-webhook`. An application with
    /// handlers of its own does not look at it.
    pub events: EventsConfig,
    /// What clients may call, for the stock worker and programs like it: see [`ClientCalls`](crate::ClientCalls). An
    /// application that does not wrap its handlers in that does not look at it.
    pub client_calls: ClientCallsConfig,
    /// The history of groups; off by default. An application gets it by `History::of`.
    pub history: HistoryConfig,
    /// The application's own settings.
    pub app: A,
}

/// The settings of an application that has none: any key is an unknown one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoSettings {}

impl<A: Default> Default for Config<A> {
    fn default() -> Self {
        Self {
            name: "BusinessWorker".into(),
            worker_id: None,
            register_address: vec!["127.0.0.1:1236".into()],
            secret_key: SecretKey::default(),
            concurrency: 1024,
            question_timeout_ms: 5_000,
            slow_handler_warning_ms: 1_000,
            handler_timeout_ms: 0,
            shutdown_timeout_ms: 10_000,
            link_ping_interval_ms: 2_500,
            link_timeout_ms: 9_000,
            interest: true,
            gateway_lost_after_ms: 30_000,
            unix_links: true,
            threads: 0,
            metrics_listen: None,
            federation: Vec::new(),
            cluster_name: None,
            federation_key: SecretKey::default(),
            federation_prefix: None,
            federation_credentials: None,
            federation_nkey: SecretKey::default(),
            federation_ca: None,
            federation_certificate: None,
            federation_certificate_key: None,
            federation_durable: false,
            link_tls: LinkTlsConfig::default(),
            admin: gatewayworker_admin::Config::default(),
            http: HttpConfig::default(),
            events: EventsConfig::default(),
            client_calls: ClientCallsConfig::default(),
            history: HistoryConfig::default(),
            app: A::default(),
        }
    }
}

impl<A: DeserializeOwned + Default> Config<A> {
    /// Reads the configuration from flags, environment and file; what is not set there has its
    /// default. Nothing is checked beyond its type.
    ///
    /// # Errors
    /// When the file cannot be read, or a value in it has another type.
    pub fn load(cli: &Cli) -> anyhow::Result<Self> {
        let mut config: Self =
            load_with_former_keys(&cli.common, &cli.flags, gatewayworker_http::FORMER_KEYS)?;
        config.link_tls = config.link_tls.with_paths_relative_to(cli.common.config.as_deref());
        config.admin = config.admin.with_paths_relative_to(cli.common.config.as_deref());
        config.take_federation_paths_relative_to(cli.common.config.as_deref());
        Ok(config)
    }
}

impl<A> Config<A> {
    /// Checks what the types cannot.
    ///
    /// # Errors
    /// The first value that cannot work, in one line that begins with its key.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if self.name.is_empty() {
            return Err(ConfigError::EmptyName);
        }
        if self.register_address.is_empty() {
            return Err(ConfigError::NoRegister);
        }
        for address in &self.register_address {
            let port = address.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
            if port.is_none() {
                return Err(ConfigError::RegisterAddress(address.clone()));
            }
        }
        if self.concurrency == 0 {
            return Err(ConfigError::NoConcurrency);
        }
        if self.threads > 1024 {
            return Err(ConfigError::TooManyThreads(self.threads));
        }
        if self.question_timeout_ms == 0 {
            return Err(ConfigError::NoQuestionTimeout);
        }
        let (interval_ms, timeout_ms) = (self.link_ping_interval_ms, self.link_timeout_ms);
        if interval_ms == 0 {
            return Err(ConfigError::NoLinkPingInterval);
        }
        if timeout_ms / 2 < interval_ms {
            return Err(ConfigError::ShortLinkTimeout { timeout_ms, interval_ms });
        }
        gatewayworker_metrics::check(self.metrics_listen.as_deref())?;
        self.admin.validate(&self.secret_key)?;
        self.link_tls.load_for_connecting()?;
        if self.federation.is_empty()
            && let Some(key) = self.key_of_federation()
        {
            return Err(ConfigError::WithoutFederation(key));
        }
        #[cfg(feature = "federation")]
        crate::federation::options(self)?;
        #[cfg(not(feature = "federation"))]
        if !self.federation.is_empty() {
            return Err(ConfigError::NoFederation);
        }
        self.client_calls.validate()?;
        self.history.validate()?;
        self.events.validate()?;
        if self.events.is_on() && self.handler_timeout_ms > 0 {
            return Err(ConfigError::HandlerTimeoutWithEvents);
        }
        self.http.validate(&self.secret_key).map_err(|error| ConfigError::Http(error.into()))
    }

    /// Splits the configuration into the worker's settings and the application's.
    pub fn split(self) -> (Config, A) {
        let config = Config {
            name: self.name,
            worker_id: self.worker_id,
            register_address: self.register_address,
            secret_key: self.secret_key,
            concurrency: self.concurrency,
            question_timeout_ms: self.question_timeout_ms,
            slow_handler_warning_ms: self.slow_handler_warning_ms,
            handler_timeout_ms: self.handler_timeout_ms,
            shutdown_timeout_ms: self.shutdown_timeout_ms,
            link_ping_interval_ms: self.link_ping_interval_ms,
            link_timeout_ms: self.link_timeout_ms,
            interest: self.interest,
            gateway_lost_after_ms: self.gateway_lost_after_ms,
            unix_links: self.unix_links,
            threads: self.threads,
            metrics_listen: self.metrics_listen,
            admin: self.admin,
            federation: self.federation,
            cluster_name: self.cluster_name,
            federation_key: self.federation_key,
            federation_prefix: self.federation_prefix,
            federation_credentials: self.federation_credentials,
            federation_nkey: self.federation_nkey,
            federation_ca: self.federation_ca,
            federation_certificate: self.federation_certificate,
            federation_certificate_key: self.federation_certificate_key,
            federation_durable: self.federation_durable,
            link_tls: self.link_tls,
            http: self.http,
            events: self.events,
            client_calls: self.client_calls,
            history: self.history,
            app: NoSettings {},
        };
        (config, self.app)
    }

    /// Returns a key that is set and means something only with `federation`. Secrets are not among them: they may be set for
    /// several programs at once.
    fn key_of_federation(&self) -> Option<&'static str> {
        let keys = [
            ("cluster_name", self.cluster_name.is_some()),
            ("federation_prefix", self.federation_prefix.is_some()),
            ("federation_credentials", self.federation_credentials.is_some()),
            ("federation_ca", self.federation_ca.is_some()),
            ("federation_certificate", self.federation_certificate.is_some()),
            ("federation_certificate_key", self.federation_certificate_key.is_some()),
            ("federation_durable", self.federation_durable),
        ];
        keys.into_iter().find(|(_, is_set)| *is_set).map(|(key, _)| key)
    }

    /// Takes relative paths of the federation's files as beginning at the folder of this configuration file.
    fn take_federation_paths_relative_to(&mut self, file: Option<&Path>) {
        let Some(folder) = file.and_then(Path::parent) else { return };
        let paths = [
            &mut self.federation_credentials,
            &mut self.federation_ca,
            &mut self.federation_certificate,
            &mut self.federation_certificate_key,
        ];
        paths.into_iter().flatten().for_each(|path| *path = folder.join(&path));
    }

    pub(crate) fn question_timeout(&self) -> Duration {
        Duration::from_millis(self.question_timeout_ms)
    }

    pub(crate) fn slow_handler_warning(&self) -> Duration {
        match self.slow_handler_warning_ms {
            0 => Duration::MAX,
            // While the backend is away, every handler waits: its log line says so once.
            _ if self.events.is_on() => Duration::MAX,
            ms => Duration::from_millis(ms),
        }
    }

    pub(crate) fn handler_timeout(&self) -> Option<Duration> {
        (self.handler_timeout_ms > 0).then(|| Duration::from_millis(self.handler_timeout_ms))
    }

    pub(crate) fn link_ping_interval(&self) -> Duration {
        Duration::from_millis(self.link_ping_interval_ms)
    }

    pub(crate) fn link_timeout(&self) -> Duration {
        Duration::from_millis(self.link_timeout_ms)
    }

    pub(crate) fn gateway_lost_after(&self) -> Duration {
        Duration::from_millis(self.gateway_lost_after_ms)
    }

    pub(crate) fn shutdown_timeout(&self) -> Duration {
        Duration::from_millis(self.shutdown_timeout_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct App {
        database: String,
    }

    /// The environment is that of all daemons of a machine, and of `start`.
    #[test]
    fn the_page_has_a_variable_of_this_daemons_own() {
        let command = <Cli as clap::CommandFactory>::command();
        let listen = command.get_arguments().find(|flag| flag.get_id() == "admin_listen").unwrap();
        assert_eq!(listen.get_env().unwrap(), "GATEWAYWORKER_BUSINESSWORKER_ADMIN_LISTEN");
    }

    #[test]
    fn the_config_file_in_the_repository_has_every_key_with_its_default() {
        let text = include_str!("../../../config/businessworker.toml");
        let shipped = Config::default().with_metrics_listen("127.0.0.1:9603");
        assert_eq!(toml::from_str::<Config>(text).unwrap(), shipped);
        // Every key is there, or shown as a comment where its default is to be missing,
        // and behind a line on it.
        let lines: Vec<&str> = text.lines().collect();
        for key in [
            "name",
            "# worker_id",
            "register_address",
            "secret_key",
            "concurrency",
            "question_timeout_ms",
            "slow_handler_warning_ms",
            "handler_timeout_ms",
            "shutdown_timeout_ms",
            "threads",
            "metrics_listen",
        ] {
            let at = lines.iter().position(|line| line.starts_with(&format!("{key} = ")));
            let at = at.unwrap_or_else(|| panic!("{key} is missing"));
            assert!(lines[at - 1].starts_with("# "), "{key} has no line on it");
        }
        let (_, http) = text.split_once("\n[http]\n").unwrap();
        let lines: Vec<&str> = http.lines().collect();
        for key in gatewayworker_http::FORMER_KEYS.keys {
            let name = if *key == "listen" { "# listen" } else { key };
            let at = lines.iter().position(|line| line.starts_with(&format!("{name} = ")));
            let at = at.unwrap_or_else(|| panic!("{key} is missing"));
            assert!(lines[at - 1].starts_with("# "), "{key} has no line on it");
        }
        assert!(text.contains("\n[app]"));
    }

    #[test]
    fn settings_of_a_federation_without_one_are_refused_but_a_key_alone_is_not() {
        let refused = |toml: &str| {
            let config: Config = toml::from_str(toml).unwrap();
            config.validate().unwrap_err().to_string()
        };
        for key in ["cluster_name", "federation_prefix", "federation_ca"] {
            let error = refused(&format!("{key} = 'sh-1'"));
            assert!(error.starts_with(&format!("{key}: it is of no use without federation")), "{error}");
        }
        assert!(refused("federation_durable = true").starts_with("federation_durable: "));
        toml::from_str::<Config>("federation_key = 'the environment of many'").unwrap().validate().unwrap();
    }

    #[test]
    fn the_flags_are_consistent() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }

    /// The settings that these flags of a table make, without a file.
    fn of_flags(table: &str, given: &[(&str, &str)]) -> Config {
        let flags = given.iter().map(|(name, value)| format!("--{table}-{name}={value}"));
        let arguments = ["worker".to_owned()].into_iter().chain(flags);
        Config::load(&<Cli as clap::Parser>::try_parse_from(arguments).unwrap()).unwrap()
    }

    #[test]
    fn each_flag_for_http_sets_its_key() {
        let given = [
            ("listen", "127.0.0.1:1"),
            ("token", "0123456789abcdef"),
            ("allowed-origins", "https://a,https://b"),
            ("trusted-proxies", "10.0.0.1,::1"),
            ("max-auth-failures-per-minute", "2"),
            ("max-connections", "3"),
            ("concurrency", "4"),
            ("max-body-bytes", "5"),
            ("max-batch", "6"),
            ("read-timeout-ms", "7"),
            ("request-timeout-ms", "8"),
        ];
        let config = of_flags("http", &given);
        let mut expected = HttpConfig::new("127.0.0.1:1", SecretKey::new("0123456789abcdef"));
        expected.allowed_origins = vec!["https://a".into(), "https://b".into()];
        expected.trusted_proxies = vec!["10.0.0.1".parse().unwrap(), "::1".parse().unwrap()];
        expected.max_auth_failures_per_minute = 2;
        expected.max_connections = 3;
        expected.concurrency = 4;
        expected.max_body_bytes = 5;
        expected.max_batch = 6;
        expected.read_timeout_ms = 7;
        expected.request_timeout_ms = 8;
        assert_eq!(config.http, expected);
        assert_eq!(config.split().0.http, expected);
        assert_eq!(Config::<App>::default().http, HttpConfig::default());
    }

    #[test]
    fn each_flag_for_the_history_sets_its_key() {
        let given = [
            ("url", "redis://10.0.0.9/"),
            ("max-messages", "2"),
            ("max-age-ms", "3"),
            ("max-message-bytes", "4"),
            ("max-groups", "5"),
            ("max-memory-bytes", "6"),
        ];
        let config = of_flags("history", &given);
        let mut expected = HistoryConfig::at("redis://10.0.0.9/");
        expected.max_messages = 2;
        expected.max_age_ms = 3;
        expected.max_message_bytes = 4;
        expected.max_groups = 5;
        expected.max_memory_bytes = 6;
        assert_eq!(config.history, expected);
        assert_eq!(config.split().0.history, expected);
        let refused = of_flags("history", &[("max-messages", "0")]).validate().unwrap_err();
        assert_eq!(refused.to_string(), "history.max_messages = 0: from 1 to 10000");
    }

    #[test]
    fn the_table_of_the_history_has_prefixes_and_refuses_keys_that_it_does_not_know() {
        let config = |text: &str| toml::from_str::<Config>(&format!("[history]\nurl = 'memory:'\n{text}"));
        let prefixes = "[[history.prefixes]]\nprefix = 'room-'\nmax_messages = 7";
        let [one] = &config(prefixes).unwrap().history.prefixes[..] else { panic!("there is one") };
        assert_eq!((&*one.prefix, one.max_messages, one.max_age_ms), ("room-", Some(7), None));
        assert!(config("max_mesages = 1").unwrap_err().to_string().contains("max_mesages"));
        let twice = config(&format!("{prefixes}\n{prefixes}")).unwrap().validate().unwrap_err();
        assert!(twice.to_string().starts_with("history.prefixes: \"room-\""), "{twice}");
    }

    #[test]
    fn a_former_key_is_the_key_of_the_table() {
        let keys = [
            "listen = '127.0.0.1:1'",
            "token = '0123456789abcdef'",
            "allowed_origins = ['https://a']",
            "trusted_proxies = ['::1']",
            "max_auth_failures_per_minute = 2",
            "max_connections = 3",
            "concurrency = 4",
            "max_body_bytes = 5",
            "max_batch = 6",
            "read_timeout_ms = 7",
            "request_timeout_ms = 8",
        ];
        let load = |text: &str| {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), text).unwrap();
            let path = file.path().to_str().unwrap();
            let cli = <Cli as clap::Parser>::try_parse_from(["worker", "--config", path]).unwrap();
            Config::<NoSettings>::load(&cli).unwrap().http
        };
        let former = load(&keys.map(|key| format!("http_{key}\n")).concat());
        assert_eq!(former, load(&format!("[http]\n{}", keys.join("\n"))));
        assert_ne!(former, HttpConfig::default());
    }

    #[test]
    fn the_application_has_its_own_table_and_unknown_keys_are_refused() {
        let config: Config<App> = toml::from_str("name = 'Chat'\n[app]\ndatabase = 'here'").unwrap();
        assert_eq!(config.app, App { database: "here".into() });
        assert!(toml::from_str::<Config<App>>("database = 'here'").is_err());
        assert!(toml::from_str::<Config<App>>("[app]\nnothing = 1").is_err());
        assert!(toml::from_str::<Config>("[app]\nnothing = 1").is_err());
    }

    #[test]
    fn register_address_is_one_or_a_list() {
        let one: Config = toml::from_str("register_address = 'a:1'").unwrap();
        assert_eq!(one.register_address, ["a:1"]);
        let many: Config = toml::from_str("register_address = ['a:1', 'b:2']").unwrap();
        assert_eq!(many.register_address, ["a:1", "b:2"]);
    }

    #[test]
    fn a_value_that_cannot_work_is_named_by_its_key() {
        let wrong = [
            ("name = ''", "name"),
            ("register_address = []", "register_address"),
            ("register_address = 'nowhere'", "register_address"),
            ("concurrency = 0", "concurrency"),
            ("question_timeout_ms = 0", "question_timeout_ms"),
            ("link_ping_interval_ms = 0", "link_ping_interval_ms"),
            ("link_timeout_ms = 4999", "link_timeout_ms"),
            ("http.listen = '127.0.0.1:0'", "http.token"),
            ("http.max_batch = 0", "http.max_batch"),
        ];
        for (text, key) in wrong {
            let config: Config = toml::from_str(text).unwrap();
            let error = config.validate().unwrap_err().to_string();
            assert!(error.starts_with(&format!("{key}: ")), "{error}");
        }
        Config::<App>::default().validate().unwrap();
    }
}
