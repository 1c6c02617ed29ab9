//! Where a cluster is, and how to be let in: its registers, its key, and TLS. `call`, `connections`, `groups`, `top` and
//! `status --register-address` have these flags. Why no gateway is found says
//! `gatewayworker_admin::registers`.

mod environment_file;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, anyhow};
pub(crate) use gatewayworker_admin::Access;
use gatewayworker_client::SecretKey;
use gatewayworker_daemon::{LinkTlsFlags, one_or_many, read_secret_file};
use gatewayworker_net::LinkTlsConfig;
use serde::Deserialize;
use serde::de::DeserializeOwned;

pub(crate) use environment_file::EnvironmentFile;

/// The flags of a command that may find the cluster by a file or by a register.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Cluster")]
#[group(skip)]
pub(crate) struct AccessFlags {
    /// Learn from the register at ADDRESS where the gateways are; may be given several times [default: 127.0.0.1:1236]
    #[arg(
        long,
        visible_alias = "register",
        global = true,
        value_name = "ADDRESS",
        env = "GATEWAYWORKER_REGISTER_ADDRESS",
        value_delimiter = ','
    )]
    pub(crate) register_address: Option<Vec<String>>,

    #[command(flatten)]
    pub(crate) key: KeyFlags,

    /// Take what is not set here from FILE, a businessworker.toml or gateway.toml
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

/// The flags of a command by which gateways and registers let it in.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Cluster")]
#[group(skip)]
pub(crate) struct KeyFlags {
    /// The key of the cluster; better set in the environment, where other users do not see it [default: none]
    #[arg(long, global = true, value_name = "KEY", env = "GATEWAYWORKER_SECRET_KEY", hide_env_values = true)]
    secret_key: Option<SecretKey>,

    /// Read the key of the cluster from FILE, its first line; it wins over --secret-key
    #[arg(long, global = true, value_name = "FILE")]
    secret_key_file: Option<PathBuf>,

    #[command(flatten)]
    link_tls: LinkTlsFlags,

    /// Wait at most MS milliseconds for the register, and for the gateways' answers [default: 5000]
    #[arg(long, global = true, value_name = "MS", env = "GATEWAYWORKER_CALL_QUESTION_TIMEOUT_MS")]
    #[arg(allow_negative_numbers = true, value_parser = clap::value_parser!(u64).range(1..))]
    question_timeout_ms: Option<u64>,
}

/// The settings that are read from a daemon's file; the others are ignored.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct File {
    #[serde(deserialize_with = "one_or_many")]
    register_address: Vec<String>,
    secret_key: SecretKey,
    link_tls: LinkTlsConfig,
    question_timeout_ms: Option<u64>,
}

impl AccessFlags {
    /// Merges flags, environment, file and defaults; the former win. A cluster that is named by neither a register nor a
    /// file is that of `configs`, the directory of a cluster's configuration. A key in there is shown to no other
    /// cluster.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub(crate) fn access_or_of(&self, configs: Option<&Path>) -> anyhow::Result<Access> {
        let is_named = self.is_named();
        let files = ["gateway.toml", "businessworker.toml"].map(|name| Some(configs?.join(name)));
        let file = files.into_iter().flatten().find(|file| !is_named && file.is_file());
        let environment = match configs.filter(|_| !is_named) {
            Some(configs) => EnvironmentFile::read(configs)?,
            None => EnvironmentFile::default(),
        };
        let registers = self.register_address.as_deref();
        self.key.access_over(registers, environment, file.as_deref().or(self.config.as_deref()))
    }

    /// Whether a flag or a variable names the cluster, so that it is not that of a directory with a configuration.
    pub(crate) fn is_named(&self) -> bool {
        self.config.is_some() || self.register_address.is_some()
    }
}

impl KeyFlags {
    /// Merges registers, these flags, a file and defaults.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub(crate) fn access(&self, registers: Option<&[String]>, file: Option<&Path>) -> anyhow::Result<Access> {
        self.access_over(registers, EnvironmentFile::default(), file)
    }

    /// As [`access`](Self::access), with the settings of `environment` over those of the file.
    fn access_over(
        &self,
        registers: Option<&[String]>,
        environment: EnvironmentFile,
        file: Option<&Path>,
    ) -> anyhow::Result<Access> {
        let mut of_file: File = match file {
            Some(path) => read_settings(path)?,
            None => File::default(),
        };
        if !environment.register_address.is_empty() {
            of_file.register_address = environment.register_address;
        }
        of_file.secret_key = environment.secret_key.unwrap_or(of_file.secret_key);
        let mut registers = registers.map_or(of_file.register_address, <[String]>::to_vec);
        if registers.is_empty() {
            registers.push("127.0.0.1:1236".into());
        }
        let limit = self.question_timeout_ms.or(of_file.question_timeout_ms);
        let link_tls = environment.link_tls.over(of_file.link_tls.with_paths_relative_to(file));
        let has_key_flag = self.secret_key.is_some() || self.secret_key_file.is_some();
        Ok(Access {
            registers,
            secret_key: match (&self.secret_key, &self.secret_key_file) {
                (_, Some(file)) => read_secret_file(file)?,
                (Some(key), None) => key.clone(),
                (None, None) => of_file.secret_key,
            },
            tls: self.link_tls.over(link_tls).load_for_connecting()?,
            question_timeout: limit.map_or(Access::QUESTION_TIMEOUT, Duration::from_millis),
            unreadable: environment.unreadable.filter(|_| !has_key_flag),
        })
    }
}

/// Reads some settings of a daemon's file; the others are ignored.
///
/// # Errors
/// When the file cannot be read. The error quotes nothing of it.
pub(crate) fn read_settings<T: DeserializeOwned>(path: &Path) -> anyhow::Result<T> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    toml::from_str(&text).map_err(|error: toml::de::Error| {
        // Neither its text nor its message: both may quote a secret.
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        anyhow!("{}, line {line}, is not valid: --check-config says why", path.display())
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        flags: AccessFlags,
    }

    fn flags(arguments: &[&str]) -> AccessFlags {
        Cli::parse_from([&["call"], arguments].concat()).flags
    }

    #[test]
    fn the_key_of_a_configuration_is_shown_to_its_own_cluster_only() {
        let directory = tempfile::tempdir().unwrap();
        let text = "register_address = \"10.0.0.1:1236\"\nsecret_key = \"k\"\nlisten = []\n";
        std::fs::write(directory.path().join("gateway.toml"), text).unwrap();
        let own = flags(&[]).access_or_of(Some(directory.path())).unwrap();
        assert_eq!((own.registers, own.secret_key.expose()), (vec!["10.0.0.1:1236".to_owned()], "k"));
        let other = flags(&["--register", "10.0.0.2:1236"]).access_or_of(Some(directory.path())).unwrap();
        assert_eq!((other.registers, other.secret_key.expose()), (vec!["10.0.0.2:1236".to_owned()], ""));
    }

    #[test]
    fn the_environment_of_the_units_wins_over_the_configuration_but_not_over_flags() {
        let directory = tempfile::tempdir().unwrap();
        let configs = Some(directory.path());
        std::fs::write(directory.path().join("gateway.toml"), "secret_key = \"k\"\n").unwrap();
        let text = "GATEWAYWORKER_SECRET_KEY=e\nGATEWAYWORKER_REGISTER_ADDRESS=10.0.0.1:1236\n";
        std::fs::write(directory.path().join("environment"), text).unwrap();
        let own = flags(&[]).access_or_of(configs).unwrap();
        assert_eq!((own.registers, own.secret_key.expose()), (vec!["10.0.0.1:1236".to_owned()], "e"));
        let by_flag = flags(&["--secret-key", "f"]).access_or_of(configs).unwrap();
        assert_eq!((by_flag.registers, by_flag.secret_key.expose()), (vec!["10.0.0.1:1236".to_owned()], "f"));
        let other = flags(&["--register", "10.0.0.2:1236"]).access_or_of(configs).unwrap();
        assert_eq!((other.registers, other.secret_key.expose()), (vec!["10.0.0.2:1236".to_owned()], ""));
    }

    #[test]
    fn a_key_may_stand_in_a_file() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("key");
        std::fs::write(&file, "the key\n").unwrap();
        let file = file.to_str().unwrap();
        assert_eq!(
            flags(&["--secret-key-file", file]).access_or_of(None).unwrap().secret_key.expose(),
            "the key"
        );
        std::fs::write(file, "\n").unwrap();
        let error = flags(&["--secret-key-file", file]).access_or_of(None).unwrap_err();
        assert!(error.to_string().contains("has nothing in its first line"), "{error}");
    }
}
