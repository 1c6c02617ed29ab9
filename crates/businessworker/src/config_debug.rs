//! `Debug` of the configuration and of its flags: all fields, but the URLs in `federation`, which may hold a password.
//!
//! `config.rs` has both types. A field that is missing here does not compile.

use std::fmt;

use crate::Config;
use crate::config::Flags;

macro_rules! debug_without_urls {
    ($name:literal, $self:ident, $f:ident, $urls:expr, [$($before:ident)*] federation [$($after:ident)*]) => {{
        let Self { $($before,)* federation: _, $($after,)* } = $self;
        $f.debug_struct($name)
            $(.field(stringify!($before), $before))*
            .field("federation", &vec!["***"; $urls])
            $(.field(stringify!($after), $after))*
            .finish()
    }};
}

impl<A: fmt::Debug> fmt::Debug for Config<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        debug_without_urls!("Config", self, f, self.federation.len(), [
            name worker_id register_address secret_key concurrency question_timeout_ms slow_handler_warning_ms
            handler_timeout_ms shutdown_timeout_ms link_ping_interval_ms link_timeout_ms interest
            gateway_lost_after_ms unix_links threads metrics_listen
        ] federation [
            cluster_name federation_key federation_prefix federation_credentials federation_nkey federation_ca federation_certificate
            federation_certificate_key federation_durable link_tls admin http events client_calls history app
        ])
    }
}

impl fmt::Debug for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        debug_without_urls!("Flags", self, f, self.federation.as_ref().map_or(0, Vec::len), [
            name worker_id register_address secret_key concurrency question_timeout_ms slow_handler_warning_ms
            handler_timeout_ms shutdown_timeout_ms link_ping_interval_ms link_timeout_ms interest
            gateway_lost_after_ms unix_links threads metrics_listen
        ] federation [
            cluster_name federation_key federation_prefix federation_credentials federation_nkey federation_ca federation_certificate
            federation_certificate_key federation_durable http events client_calls history admin link_tls
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_in_a_url_is_not_shown() {
        let urls = || vec!["nats://me:hunter2@10.0.0.9".to_owned()];
        let config = Config { federation: urls(), ..<Config>::default() };
        let flags = Flags { federation: Some(urls()), ..Flags::default() };
        for shown in [format!("{config:?}"), format!("{flags:?}")] {
            assert!(shown.contains(r#"federation: ["***"]"#) && !shown.contains("hunter2"), "{shown}");
        }
    }
}
