//! The worker's part in a federation of clusters: made from its configuration.
//!
//! `serve` joins before it makes the client library's handle, serves other clusters from when the worker is ready, and
//! leaves when it drains.

use gatewayworker_client::Gateway;
use gatewayworker_client::federation::OwnCluster;
use gatewayworker_federation::{Error, Federation, Options, Stats};
use gatewayworker_metrics::Families;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::{error, warn};

use crate::{Config, ConfigError};

/// How long a worker that stops waits for its part in the federation: longer than that needs, whatever NATS does.
const LEFT: std::time::Duration = std::time::Duration::from_secs(6);

/// The `federation` for the own cluster alone, as `call` knows it: both read the same variable.
const OFF: &str = "off";

/// The options that the configuration makes; `None` without `federation`, or where it is [`OFF`].
///
/// # Errors
/// When they cannot work.
pub(crate) fn options<A>(config: &Config<A>) -> Result<Option<Options>, ConfigError> {
    if config.federation.is_empty() || config.federation == [OFF] {
        return Ok(None);
    }
    let name = config.cluster_name.as_deref().ok_or(ConfigError::NoClusterName)?;
    let name = name.parse().map_err(|error| ConfigError::Federation(Box::new(error)))?;
    let mut options = Options::new(&config.federation, name, config.federation_key.clone())
        .with_credentials(config.federation_credentials.clone())
        .with_ca(config.federation_ca.clone())
        .with_durable(config.federation_durable);
    if let Some(prefix) = &config.federation_prefix {
        options = options.with_prefix(prefix);
    }
    if !config.federation_nkey.is_empty() {
        options = options.with_nkey(config.federation_nkey.clone());
    }
    let (certificate, key) = (&config.federation_certificate, &config.federation_certificate_key);
    match (certificate, key) {
        (Some(certificate), Some(key)) => {
            options = options.with_certificate((certificate.clone(), key.clone()));
        }
        (None, None) => {}
        _ => return Err(ConfigError::FederationCertificate),
    }
    options.validate().map_err(|error| ConfigError::Federation(Box::new(error)))?;
    Ok(Some(options))
}

/// Joins the federation, if there is one.
///
/// # Errors
/// When it cannot be joined, whether NATS is there or not.
pub(crate) async fn join(config: &Config) -> Result<Option<Federation>, Error> {
    match options(config) {
        Ok(Some(options)) => Federation::join(options).await.map(Some),
        Ok(None) => Ok(None),
        Err(error) => Err(Error::Invalid(error.into())),
    }
}

/// A worker that serves other clusters.
pub(crate) struct Serving {
    stop: CancellationToken,
    task: AbortOnDropHandle<()>,
}

impl Serving {
    /// Begins to serve.
    pub(crate) fn begin(federation: Federation, gateway: &Gateway) -> Self {
        let stop = CancellationToken::new();
        let own = OwnCluster::of(gateway);
        let task = tokio::spawn({
            let stop = stop.clone();
            async move {
                if let Err(error) = federation.serve(own, stop).await {
                    error!(%error, "the worker does not serve other clusters any more: start it again");
                }
            }
        });
        Self { stop, task: AbortOnDropHandle::new(task) }
    }

    /// Begins to leave to others what this worker does for its cluster.
    pub(crate) fn begin_leave(&self) {
        self.stop.cancel();
    }

    /// Waits until others have it, for [`LEFT`] at most.
    pub(crate) async fn left(self) {
        match timeout(LEFT, self.task).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => error!(%error, "the task that serves other clusters panicked"),
            Err(_) => {
                warn!("the worker stops without leaving the federation in order: NATS takes nothing from it")
            }
        }
    }
}

/// The numbers for Prometheus; zeros without a federation.
pub(crate) fn metrics(stats: &Stats, into: &mut Families) {
    into.gauge(
        "gatewayworker_federation_connected",
        "1 while NATS is connected, which joins clusters; otherwise 0.",
        u64::from(stats.is_connected),
    );
    into.gauge("gatewayworker_federation_clusters", "Other clusters that are known.", stats.clusters.len());
    into.counters(
        "gatewayworker_federation_calls_total",
        "Calls to and from other clusters, by what has become of them.",
        "result",
        [
            ("published", stats.published),
            ("left_out", stats.left_out),
            ("published_late", stats.published_late),
            ("not_published", stats.not_published),
            ("received", stats.received),
            ("undelivered", stats.undelivered),
            ("missed", stats.missed),
            ("late", stats.late),
        ],
    );
    into.gauge(
        "gatewayworker_federation_durable_kept",
        "Calls to other clusters that wait for JetStream's acknowledgement.",
        stats.durable_kept,
    );
    into.counters(
        "gatewayworker_federation_durable_total",
        "Calls through JetStream, by what has become of them; published_again counts publications, each of one or more calls.",
        "result",
        [
            ("acknowledged", stats.durable_acknowledged),
            ("published_again", stats.durable_published_again),
            ("given_up", stats.durable_given_up),
            ("duplicate", stats.durable_duplicates),
        ],
    );
    into.counters(
        "gatewayworker_federation_rejected_total",
        "Messages on NATS that were dropped, by reason.",
        "reason",
        [
            ("unsigned", stats.rejected_unsigned),
            ("unreadable", stats.rejected_unreadable),
            ("stale", stats.rejected_stale),
            ("replayed", stats.rejected_replayed),
            ("misplaced", stats.rejected_misplaced),
            ("overlapping", stats.rejected_overlapping),
        ],
    );
}

/// The numbers for `status`.
pub(crate) fn stats(stats: &Stats) -> Vec<(&'static str, u64)> {
    vec![
        // The others are shown as parts of this.
        ("federation", stats.clusters.len() as u64),
        ("federation_connected", stats.is_connected.into()),
        ("federation_published", stats.published),
        ("federation_left_out", stats.left_out),
        ("federation_published_late", stats.published_late),
        ("federation_not_published", stats.not_published),
        ("federation_received", stats.received),
        ("federation_undelivered", stats.undelivered),
        ("federation_missed", stats.missed),
        ("federation_late", stats.late),
        ("federation_questions", stats.questions),
        ("federation_slow", stats.slow),
        ("federation_durable_kept", stats.durable_kept),
        ("federation_durable_acknowledged", stats.durable_acknowledged),
        ("federation_durable_published_again", stats.durable_published_again),
        ("federation_durable_given_up", stats.durable_given_up),
        ("federation_durable_duplicates", stats.durable_duplicates),
        ("federation_rejected_unsigned", stats.rejected_unsigned),
        ("federation_rejected_unreadable", stats.rejected_unreadable),
        ("federation_rejected_stale", stats.rejected_stale),
        ("federation_rejected_replayed", stats.rejected_replayed),
        ("federation_rejected_misplaced", stats.rejected_misplaced),
        ("federation_rejected_overlapping", stats.rejected_overlapping),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn off_is_no_server() {
        let config = |urls: &str| -> Config {
            let text =
                format!("federation = '{urls}'\ncluster_name = 'sh-1'\nfederation_key = '0123456789abcdef'");
            toml::from_str(&text).unwrap()
        };
        assert!(options(&config("off")).unwrap().is_none());
        config("off").validate().unwrap();
        assert!(options(&config("nats://10.0.0.9")).unwrap().is_some());
    }
}
