//! The flags for TLS between daemons, the same for each of them: the table `[link_tls]`.
//!
//! `gatewayworker-net` has the settings that come of them, and reads the files.

use std::path::PathBuf;

use gatewayworker_net::LinkTlsConfig;
use serde::Serialize;

/// The flags, which serialize as the keys of the table `[link_tls]`; what is not set is left to the file. Subcommands
/// have them, too.
#[derive(Debug, Default, clap::Args, Serialize)]
// The flags that contain these are called Flags, too, and clap takes each name once.
#[group(skip)]
pub struct LinkTlsFlags {
    /// Speak TLS with the other daemons, and show them the certificate in FILE (PEM, with its chain) [default: none]
    #[arg(long, global = true, value_name = "FILE", env = "GATEWAYWORKER_LINK_TLS_CERTIFICATE")]
    #[serde(rename = "certificate", skip_serializing_if = "Option::is_none")]
    pub link_tls_certificate: Option<PathBuf>,

    /// The private key of that certificate, in FILE (PEM) [default: none]
    #[arg(long, global = true, value_name = "FILE", env = "GATEWAYWORKER_LINK_TLS_KEY")]
    #[serde(rename = "key", skip_serializing_if = "Option::is_none")]
    pub link_tls_key: Option<PathBuf>,

    /// Trust daemons whose certificates are signed by an authority in FILE (PEM), and no others [default: none]
    #[arg(long, global = true, value_name = "FILE", env = "GATEWAYWORKER_LINK_TLS_CA")]
    #[serde(rename = "ca", skip_serializing_if = "Option::is_none")]
    pub link_tls_ca: Option<PathBuf>,

    /// The NAME that the certificates of gateways and registers are for [default: gatewayworker]
    #[arg(long, global = true, value_name = "NAME", env = "GATEWAYWORKER_LINK_TLS_SERVER_NAME")]
    #[serde(rename = "server_name", skip_serializing_if = "Option::is_none")]
    pub link_tls_server_name: Option<String>,
}

impl LinkTlsFlags {
    /// Returns the settings of a file, with those of the flags in their place where they are set.
    #[must_use]
    pub fn over(&self, mut file: LinkTlsConfig) -> LinkTlsConfig {
        let Self { link_tls_certificate, link_tls_key, link_tls_ca, link_tls_server_name } = self;
        let over = |flag: &Option<PathBuf>, setting: &mut Option<PathBuf>| {
            if flag.is_some() {
                setting.clone_from(flag);
            }
        };
        over(link_tls_certificate, &mut file.certificate);
        over(link_tls_key, &mut file.key);
        over(link_tls_ca, &mut file.ca);
        file.server_name = link_tls_server_name.clone().or(file.server_name);
        file
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_stand_over_the_settings_of_a_file() {
        let mut file = LinkTlsConfig::default();
        (file.ca, file.key) = (Some("file-ca".into()), Some("file-key".into()));
        let flags = LinkTlsFlags { link_tls_ca: Some("flag-ca".into()), ..LinkTlsFlags::default() };
        let both = flags.over(file);
        assert_eq!((both.ca, both.key), (Some("flag-ca".into()), Some("file-key".into())));
        assert_eq!((both.certificate, both.server_name), (None, None));
    }
}
