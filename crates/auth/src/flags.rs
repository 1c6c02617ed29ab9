//! The flags `--auth-…` of the gateway, which serialize as the keys of the table `[auth]`.
//!
//! What is not set is left to the file. They are documented here, as `--help`.

use std::path::PathBuf;

use gatewayworker_protocol::SecretKey;
use serde::Serialize;

macro_rules! flags {
    ($($(#[doc = $doc:literal])* [$($arg:tt)*] $name:ident as $key:literal: $type:ty,)*) => {
        /// The flags.
        #[derive(Debug, Clone, Default, clap::Args, Serialize)]
        // The flags that contain these are called Flags, too, and clap takes each name once.
        #[group(skip)]
        pub struct Flags {
            $(
                $(#[doc = $doc])*
                #[arg(long, $($arg)*)]
                #[serde(rename = $key, skip_serializing_if = "Option::is_none")]
                pub $name: Option<$type>,
            )*
        }
    };
}

flags! {
    /// Admit clients by JSON Web Tokens that are signed with this secret (HS256), of 32 bytes at least; better set in the environment, where other users do not see it [default: none]
    [value_name = "SECRET", env = "GATEWAYWORKER_AUTH_HS256_SECRET", hide_env_values = true] auth_hs256_secret as "hs256_secret": SecretKey,
    /// Admit clients by tokens that are signed with a secret in FILE, one on each line: two while it is changed [default: none]
    [value_name = "FILE", env = "GATEWAYWORKER_AUTH_HS256_SECRET_FILE"] auth_hs256_secret_file as "hs256_secret_file": PathBuf,
    /// Admit clients by tokens of the public keys in FILE (PEM): RS256, ES256 or EdDSA, by the key's kind [default: none]
    [value_name = "FILE", env = "GATEWAYWORKER_AUTH_PUBLIC_KEY_FILE"] auth_public_key_file as "public_key_file": PathBuf,
    /// Admit clients by tokens of the keys that URL has, a JSON Web Key Set; https, or http on this host [default: none]
    [value_name = "URL", env = "GATEWAYWORKER_AUTH_JWKS_URL"] auth_jwks_url as "jwks_url": String,
    /// Admit clients by tokens of the keys in FILE, a JSON Web Key Set [default: none]
    [value_name = "FILE", env = "GATEWAYWORKER_AUTH_JWKS_FILE"] auth_jwks_file as "jwks_file": PathBuf,
    /// Fetch the keys of --auth-jwks-url again every so many seconds [default: 300]
    [value_name = "SECONDS", env = "GATEWAYWORKER_AUTH_JWKS_REFRESH_S"] auth_jwks_refresh_s as "jwks_refresh_s": u64,
    /// Fetch keys over http from other hosts, too [default: false]
    [value_name = "BOOL", env = "GATEWAYWORKER_AUTH_ALLOW_INSECURE", num_args = 0..=1, require_equals = true, default_missing_value = "true"] auth_allow_insecure as "allow_insecure": bool,
    /// Accept the certificate of --auth-jwks-url from the authorities in FILE (PEM), too [default: the system's authorities]
    [value_name = "FILE", env = "GATEWAYWORKER_AUTH_CA_FILE"] auth_ca_file as "ca_file": PathBuf,
    /// Take only tokens for NAME (aud); may be repeated [default: any]
    [value_name = "NAME", env = "GATEWAYWORKER_AUTH_AUDIENCE", value_delimiter = ','] auth_audience as "audience": Vec<String>,
    /// Take only tokens of NAME (iss) [default: any]
    [value_name = "NAME", env = "GATEWAYWORKER_AUTH_ISSUER"] auth_issuer as "issuer": String,
    /// Let clocks differ by so many seconds [default: 10]
    [value_name = "SECONDS", env = "GATEWAYWORKER_AUTH_LEEWAY_S"] auth_leeway_s as "leeway_s": u64,
    /// Take tokens that never expire, too [default: false]
    [value_name = "BOOL", env = "GATEWAYWORKER_AUTH_ALLOW_WITHOUT_EXP", num_args = 0..=1, require_equals = true, default_missing_value = "true"] auth_allow_without_exp as "allow_without_exp": bool,
    /// Look for the token in PLACE: query, header or subprotocol; may be repeated [default: all three]
    [value_name = "PLACE", env = "GATEWAYWORKER_AUTH_TOKEN_IN", value_delimiter = ','] auth_token_in as "token_in": Vec<String>,
    /// Look for the token in the cookie NAME, too, which needs allowed-origins [default: none]
    [value_name = "NAME", env = "GATEWAYWORKER_AUTH_COOKIE"] auth_cookie as "cookie": String,
    /// Refuse clients without a token [default: true]
    [value_name = "BOOL", env = "GATEWAYWORKER_AUTH_REQUIRED", num_args = 0..=1, require_equals = true, default_missing_value = "true"] auth_required as "required": bool,
    /// Refuse tokens with more than N groups [default: 100]
    [value_name = "N", env = "GATEWAYWORKER_AUTH_MAX_GROUPS"] auth_max_groups as "max_groups": usize,
}
