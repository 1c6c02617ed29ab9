//! The flags of `call` for other clusters: those of the worker, by the same variables.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use gatewayworker_client::SecretKey;
use gatewayworker_client::federation::Federation as Port;
use gatewayworker_federation::{Federation, Options};

/// How a call reaches other clusters.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Other clusters")]
pub(super) struct Flags {
    /// Reach other clusters over NATS at URL; may be given several times [default: the own cluster alone]
    #[arg(
        long,
        value_name = "URL",
        env = "GATEWAYWORKER_FEDERATION",
        value_delimiter = ',',
        hide_env_values = true,
        global = true
    )]
    federation: Vec<String>,

    /// The NAME of the own cluster
    #[arg(long, value_name = "NAME", env = "GATEWAYWORKER_CLUSTER_NAME", global = true)]
    cluster_name: Option<String>,

    /// The key that the clusters sign with; better set in the environment
    #[arg(
        long,
        value_name = "KEY",
        env = "GATEWAYWORKER_FEDERATION_KEY",
        hide_env_values = true,
        global = true
    )]
    federation_key: Option<SecretKey>,

    /// What subjects on NATS begin with [default: gatewayworker.federation]
    #[arg(long, value_name = "PREFIX", env = "GATEWAYWORKER_FEDERATION_PREFIX", global = true)]
    federation_prefix: Option<String>,

    /// Authenticate at NATS with the JWT and the key in FILE
    #[arg(long, value_name = "FILE", env = "GATEWAYWORKER_FEDERATION_CREDENTIALS", global = true)]
    federation_credentials: Option<PathBuf>,

    /// Authenticate at NATS with the NKey of SEED; better set in the environment
    #[arg(
        long,
        value_name = "SEED",
        env = "GATEWAYWORKER_FEDERATION_NKEY",
        hide_env_values = true,
        global = true
    )]
    federation_nkey: Option<SecretKey>,

    /// Trust the authorities in FILE, and not the system's, for TLS with NATS
    #[arg(long, value_name = "FILE", env = "GATEWAYWORKER_FEDERATION_CA", global = true)]
    federation_ca: Option<PathBuf>,

    /// Show the certificate in FILE to NATS
    #[arg(
        long,
        value_name = "FILE",
        requires = "federation_certificate_key",
        env = "GATEWAYWORKER_FEDERATION_CERTIFICATE",
        global = true
    )]
    federation_certificate: Option<PathBuf>,

    /// The key of that certificate
    #[arg(
        long,
        value_name = "FILE",
        requires = "federation_certificate",
        env = "GATEWAYWORKER_FEDERATION_CERTIFICATE_KEY",
        global = true
    )]
    federation_certificate_key: Option<PathBuf>,

    /// Send through JetStream of NATS, as the workers do
    #[arg(
        long,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        default_value_t = false,
        value_name = "BOOL",
        env = "GATEWAYWORKER_FEDERATION_DURABLE",
        global = true
    )]
    federation_durable: bool,
}

impl Flags {
    /// Joins the federation, if one is named.
    ///
    /// # Errors
    /// When the flags cannot work.
    pub(super) async fn join(&self) -> anyhow::Result<Option<Arc<dyn Port>>> {
        if self.federation.is_empty() {
            return Ok(None);
        }
        let name = self
            .cluster_name
            .as_deref()
            .context("cluster_name: federation needs the name of the own cluster")?;
        let key = self.federation_key.clone().unwrap_or_default();
        let mut options = Options::new(&self.federation, name.parse()?, key)
            .with_credentials(self.federation_credentials.clone())
            .with_nkey(self.federation_nkey.clone().filter(|seed| !seed.is_empty()))
            .with_ca(self.federation_ca.clone())
            .with_certificate(
                self.federation_certificate.clone().zip(self.federation_certificate_key.clone()),
            )
            .with_durable(self.federation_durable);
        if let Some(prefix) = &self.federation_prefix {
            options = options.with_prefix(prefix);
        }
        Ok(Some(Arc::new(Federation::join(options).await?)))
    }
}
