//! The file `environment` beside the daemons' configuration, which the units of the Debian package read
//! (`EnvironmentFile`): the key of the cluster, and where the registers are. What stands there wins over the files in
//! TOML, for the daemons as for the commands that ask them.
//!
//! Only root can read the package's. Other users are asked nothing more while the cluster has no key; where it has one,
//! the error names the file (`registers.rs`).

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::Context;
use gatewayworker_client::SecretKey;
use gatewayworker_daemon::LinkTlsFlags;

/// The settings of the file that say where a cluster is, and how to be let in.
#[derive(Debug, Default)]
pub(crate) struct EnvironmentFile {
    pub(crate) register_address: Vec<String>,
    pub(crate) secret_key: Option<SecretKey>,
    pub(crate) link_tls: LinkTlsFlags,
    /// The variables about other clusters, by their names without `GATEWAYWORKER_`.
    pub(crate) federation: BTreeMap<String, String>,
    /// Where the history of groups is.
    pub(crate) history_url: Option<String>,
    /// The path of a file that this user may not read.
    pub(crate) unreadable: Option<PathBuf>,
}

impl EnvironmentFile {
    /// Reads the file in `directory`. One that does not exist sets nothing.
    ///
    /// # Errors
    /// When it cannot be read, for another reason than its permissions.
    pub(crate) fn read(directory: &Path) -> anyhow::Result<Self> {
        let path = directory.join("environment");
        match std::fs::read_to_string(&path) {
            Ok(text) => Ok(Self::parse(&text)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Self::default()),
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                Ok(Self { unreadable: Some(path), ..Self::default() })
            }
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    /// Takes the variables from the text, as systemd does: one a line, perhaps in quotes. A value that goes on in the
    /// next line is not understood.
    fn parse(text: &str) -> Self {
        let mut file = Self::default();
        let lines = text.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';']));
        for (name, value) in lines.filter_map(|line| line.split_once('=')) {
            let value = unquoted(value.trim());
            if value.is_empty() {
                continue;
            }
            match name.trim() {
                "GATEWAYWORKER_REGISTER_ADDRESS" => {
                    file.register_address =
                        value.split(',').map(|address| address.trim().to_owned()).collect();
                }
                "GATEWAYWORKER_SECRET_KEY" => file.secret_key = Some(SecretKey::new(value)),
                "GATEWAYWORKER_LINK_TLS_CERTIFICATE" => {
                    file.link_tls.link_tls_certificate = Some(value.into());
                }
                "GATEWAYWORKER_LINK_TLS_KEY" => file.link_tls.link_tls_key = Some(value.into()),
                "GATEWAYWORKER_LINK_TLS_CA" => file.link_tls.link_tls_ca = Some(value.into()),
                "GATEWAYWORKER_LINK_TLS_SERVER_NAME" => {
                    file.link_tls.link_tls_server_name = Some(value.to_owned());
                }
                "GATEWAYWORKER_HISTORY_URL" => file.history_url = Some(value.to_owned()),
                name => {
                    let name = name.strip_prefix("GATEWAYWORKER_").unwrap_or_default();
                    if name == "CLUSTER_NAME" || name.starts_with("FEDERATION") {
                        file.federation.insert(name.to_owned(), value.to_owned());
                    }
                }
            }
        }
        file
    }
}

fn unquoted(value: &str) -> &str {
    let within = |quote| value.strip_prefix(quote)?.strip_suffix(quote);
    within('"').or_else(|| within('\'')).unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_settings_as_systemd_does() {
        let text = "# A comment\n#GATEWAYWORKER_SECRET_KEY=no\nGATEWAYWORKER_SECRET_KEY=\"a=b c\"\n\
            RUST_LOG=info\nGATEWAYWORKER_REGISTER_ADDRESS=10.0.0.1:1236,10.0.0.2:1236\n\
            GATEWAYWORKER_LINK_TLS_CA='ca.pem'\nGATEWAYWORKER_LINK_TLS_KEY=\n";
        let file = EnvironmentFile::parse(text);
        assert_eq!(file.secret_key.unwrap().expose(), "a=b c");
        assert_eq!(file.register_address, ["10.0.0.1:1236", "10.0.0.2:1236"]);
        assert_eq!(file.link_tls.link_tls_ca.as_deref(), Some(Path::new("ca.pem")));
        assert_eq!(file.link_tls.link_tls_key, None);
    }

    #[test]
    fn a_file_that_does_not_exist_sets_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let file = EnvironmentFile::read(directory.path()).unwrap();
        assert!(file.secret_key.is_none() && file.unreadable.is_none());
    }
}
