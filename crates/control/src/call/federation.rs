//! How `call` reaches other clusters: as the workers of its cluster do. The settings are flags, by the same variables as the worker's; then
//! those of the file `environment` and of `businessworker.toml`, where `call` reads its registers and its key from there, too.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use gatewayworker_client::SecretKey;
use gatewayworker_client::federation::Federation as Port;
use gatewayworker_daemon::one_or_many;
use gatewayworker_federation::{Federation, Options};
use serde::Deserialize;

use crate::cluster_access::{AccessFlags, EnvironmentFile, read_settings};

/// The `--federation` that reaches the own cluster alone, whatever the files say.
const OFF: &str = "off";

/// How a call reaches other clusters.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Other clusters")]
#[group(skip)]
pub(super) struct Flags {
    /// Reach other clusters over NATS at URL, nats://host:port or nats://user:password@host:port; may be given several times; off for the own cluster alone [default: as the worker's file says]
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

    /// Send through JetStream of NATS [default: as the workers do]
    #[arg(
        long,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        value_name = "BOOL",
        env = "GATEWAYWORKER_FEDERATION_DURABLE",
        global = true
    )]
    federation_durable: Option<bool>,
}

/// The settings of one source. An empty one is not set.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Settings {
    #[serde(deserialize_with = "one_or_many")]
    federation: Vec<String>,
    cluster_name: Option<String>,
    federation_key: SecretKey,
    federation_prefix: Option<String>,
    federation_credentials: Option<PathBuf>,
    federation_nkey: SecretKey,
    federation_ca: Option<PathBuf>,
    federation_certificate: Option<PathBuf>,
    federation_certificate_key: Option<PathBuf>,
    federation_durable: Option<bool>,
}

impl Flags {
    /// Returns the options with which to join; `None` for the own cluster alone.
    ///
    /// # Errors
    /// When a file cannot be read, or the settings cannot work.
    pub(super) fn options(
        &self,
        access: &AccessFlags,
        configs: Option<&Path>,
    ) -> anyhow::Result<Option<Options>> {
        let configs = configs.filter(|_| !access.is_named());
        let file = configs.map(|configs| configs.join("businessworker.toml")).filter(|file| file.is_file());
        let file = file.as_deref().or(access.config.as_deref());
        let of_file = match file {
            Some(file) => read_settings::<Settings>(file)?.with_paths_relative_to(file),
            None => Settings::default(),
        };
        let environment = match configs {
            Some(configs) => EnvironmentFile::read(configs)?,
            None => EnvironmentFile::default(),
        };
        let settings = self.settings().or(Settings::of(&environment)).or(of_file);
        if settings.federation.is_empty() || settings.federation == [OFF] {
            return Ok(None);
        }
        let unreadable = environment.unreadable.filter(|_| settings.federation_key.is_empty());
        settings.options().map(Some).map_err(|error| match unreadable {
            Some(file) => error.context(format!(
                "other clusters: {} cannot be read by this user, use root, or --federation off",
                file.display()
            )),
            None => error,
        })
    }

    fn settings(&self) -> Settings {
        Settings {
            federation: self.federation.clone(),
            cluster_name: self.cluster_name.clone(),
            federation_key: self.federation_key.clone().unwrap_or_default(),
            federation_prefix: self.federation_prefix.clone(),
            federation_credentials: self.federation_credentials.clone(),
            federation_nkey: self.federation_nkey.clone().unwrap_or_default(),
            federation_ca: self.federation_ca.clone(),
            federation_certificate: self.federation_certificate.clone(),
            federation_certificate_key: self.federation_certificate_key.clone(),
            federation_durable: self.federation_durable,
        }
    }
}

impl Settings {
    fn of(environment: &EnvironmentFile) -> Self {
        let text = |name: &str| environment.federation.get(name).cloned();
        let path = |name: &str| text(name).map(PathBuf::from);
        let secret = |name: &str| text(name).map(SecretKey::new).unwrap_or_default();
        let urls = text("FEDERATION").unwrap_or_default();
        Self {
            federation: urls
                .split(',')
                .map(str::trim)
                .filter(|url| !url.is_empty())
                .map(Into::into)
                .collect(),
            cluster_name: text("CLUSTER_NAME"),
            federation_key: secret("FEDERATION_KEY"),
            federation_prefix: text("FEDERATION_PREFIX"),
            federation_credentials: path("FEDERATION_CREDENTIALS"),
            federation_nkey: secret("FEDERATION_NKEY"),
            federation_ca: path("FEDERATION_CA"),
            federation_certificate: path("FEDERATION_CERTIFICATE"),
            federation_certificate_key: path("FEDERATION_CERTIFICATE_KEY"),
            federation_durable: text("FEDERATION_DURABLE").and_then(|text| text.parse().ok()),
        }
    }

    /// Relative paths in a file begin at its directory.
    fn with_paths_relative_to(mut self, file: &Path) -> Self {
        let paths = [
            &mut self.federation_credentials,
            &mut self.federation_ca,
            &mut self.federation_certificate,
            &mut self.federation_certificate_key,
        ];
        if let Some(directory) = file.parent() {
            paths.into_iter().flatten().for_each(|path| *path = directory.join(&*path));
        }
        self
    }

    /// These settings, and where one is not set, that of `other`.
    fn or(self, other: Self) -> Self {
        let secret = |own: SecretKey, other| if own.is_empty() { other } else { own };
        Self {
            federation: if self.federation.is_empty() { other.federation } else { self.federation },
            cluster_name: self.cluster_name.or(other.cluster_name),
            federation_key: secret(self.federation_key, other.federation_key),
            federation_prefix: self.federation_prefix.or(other.federation_prefix),
            federation_credentials: self.federation_credentials.or(other.federation_credentials),
            federation_nkey: secret(self.federation_nkey, other.federation_nkey),
            federation_ca: self.federation_ca.or(other.federation_ca),
            federation_certificate: self.federation_certificate.or(other.federation_certificate),
            federation_certificate_key: self.federation_certificate_key.or(other.federation_certificate_key),
            federation_durable: self.federation_durable.or(other.federation_durable),
        }
    }

    fn options(self) -> anyhow::Result<Options> {
        let name = self.cluster_name.context("cluster_name: federation needs the name of the own cluster")?;
        let nkey = Some(self.federation_nkey).filter(|seed| !seed.is_empty());
        let mut options = Options::new(self.federation, name.parse()?, self.federation_key)
            .with_credentials(self.federation_credentials)
            .with_nkey(nkey)
            .with_ca(self.federation_ca)
            .with_certificate(self.federation_certificate.zip(self.federation_certificate_key))
            .with_durable(self.federation_durable.unwrap_or(false));
        if let Some(prefix) = self.federation_prefix {
            options = options.with_prefix(prefix);
        }
        options.validate()?;
        Ok(options)
    }
}

/// Joins the federation, if there is one.
///
/// # Errors
/// When it cannot be joined, whether NATS is there or not.
pub(super) async fn join(options: Option<Options>) -> anyhow::Result<Option<Arc<dyn Port>>> {
    let Some(options) = options else { return Ok(None) };
    let federation: Arc<dyn Port> = Arc::new(Federation::join(options).await?);
    Ok(Some(federation))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        access: AccessFlags,

        #[command(flatten)]
        federation: Flags,
    }

    /// What the flags make in a directory with these files: the options as text, or the error.
    fn options(files: &[(&str, &str)], arguments: &[&str]) -> Option<String> {
        let directory = tempfile::tempdir().unwrap();
        files.iter().for_each(|(name, text)| std::fs::write(directory.path().join(name), text).unwrap());
        let cli = Cli::parse_from([&["call"], arguments].concat());
        match cli.federation.options(&cli.access, Some(directory.path())) {
            Ok(options) => options.map(|options| format!("{options:?}")),
            Err(error) => Some(format!("{error:#}")),
        }
    }

    const FILE: (&str, &str) = (
        "businessworker.toml",
        "name = 'Chat'\nfederation = 'nats://10.0.0.9'\ncluster_name = 'sh-1'\nfederation_key = '0123456789abcdef'\n",
    );

    #[test]
    fn the_settings_are_those_of_the_clusters_own_workers() {
        assert!(options(&[FILE], &[]).unwrap().contains("sh-1"));
        let environment =
            ("environment", "GATEWAYWORKER_CLUSTER_NAME=bj-1\nGATEWAYWORKER_FEDERATION_PREFIX=other\n");
        let of_both = options(&[FILE, environment], &[]).unwrap();
        assert!(of_both.contains("bj-1") && of_both.contains("other"), "{of_both}");
        assert!(options(&[FILE], &["--cluster-name", "gz-1"]).unwrap().contains("gz-1"));
        assert_eq!(options(&[], &[]), None);
    }

    #[test]
    fn another_cluster_is_asked_alone_and_so_is_the_own_one_with_off() {
        assert_eq!(options(&[FILE], &["--register", "10.0.0.2:1236"]), None);
        assert_eq!(options(&[FILE], &["--federation", "off"]), None);
    }

    #[test]
    fn a_setting_that_is_missing_is_named() {
        let nameless = ("businessworker.toml", "federation = 'nats://10.0.0.9'");
        assert!(options(&[nameless], &[]).unwrap().starts_with("cluster_name: "));
        let keyless = ("businessworker.toml", "federation = 'nats://10.0.0.9'\ncluster_name = 'sh-1'");
        assert!(options(&[keyless], &[]).unwrap().starts_with("federation_key: "));
    }
}
