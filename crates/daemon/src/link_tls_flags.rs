//! The flags for TLS between daemons, the same for each of them: the table `[link_tls]`.
//!
//! `gatewayworker-net` has the settings that come of them, and reads the files.

use std::path::PathBuf;

use serde::Serialize;

/// The flags, which serialize as the keys of the table `[link_tls]`; what is not set is left to the file.
#[derive(Debug, Default, clap::Args, Serialize)]
// The flags that contain these are called Flags, too, and clap takes each name once.
#[group(skip)]
pub struct LinkTlsFlags {
    /// Speak TLS with the other daemons, with the certificate in FILE (PEM, with its chain) [default: none]
    #[arg(long, value_name = "FILE", env = "GATEWAYWORKER_LINK_TLS_CERTIFICATE")]
    #[serde(rename = "certificate", skip_serializing_if = "Option::is_none")]
    pub link_tls_certificate: Option<PathBuf>,

    /// The private key of that certificate, in FILE (PEM) [default: none]
    #[arg(long, value_name = "FILE", env = "GATEWAYWORKER_LINK_TLS_KEY")]
    #[serde(rename = "key", skip_serializing_if = "Option::is_none")]
    pub link_tls_key: Option<PathBuf>,

    /// Trust daemons whose certificates are signed by an authority in FILE (PEM), and no others [default: none]
    #[arg(long, value_name = "FILE", env = "GATEWAYWORKER_LINK_TLS_CA")]
    #[serde(rename = "ca", skip_serializing_if = "Option::is_none")]
    pub link_tls_ca: Option<PathBuf>,

    /// The NAME that the certificates of gateways and registers are for [default: gatewayworker]
    #[arg(long, value_name = "NAME", env = "GATEWAYWORKER_LINK_TLS_SERVER_NAME")]
    #[serde(rename = "server_name", skip_serializing_if = "Option::is_none")]
    pub link_tls_server_name: Option<String>,
}
