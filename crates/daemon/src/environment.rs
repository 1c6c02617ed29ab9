//! Finds environment variables that look like settings and are none: a daemon would ignore a mistyped name without
//! a word. Daemons and the control tool log the warnings at their start.

use crate::suggest::{nearest, similarity};

const PREFIX: &str = "GATEWAYWORKER_";

/// The settings of all daemons and of the control tool, without their prefix: a process has the variables of the
/// others too.
const SETTINGS: &[&str] = &[
    "ADMIN_HOSTS",
    "ADMIN_LISTEN",
    "ADMIN_TOKEN",
    "ADMIN_TOKEN_FILE",
    "ALLOW_INSECURE",
    "AUTH_ALLOW_INSECURE",
    "AUTH_ALLOW_WITHOUT_EXP",
    "AUTH_AUDIENCE",
    "AUTH_CA_FILE",
    "AUTH_COOKIE",
    "AUTH_HS256_SECRET",
    "AUTH_HS256_SECRET_FILE",
    "AUTH_ISSUER",
    "AUTH_JWKS_FILE",
    "AUTH_JWKS_REFRESH_S",
    "AUTH_JWKS_URL",
    "AUTH_LEEWAY_S",
    "AUTH_MAX_GROUPS",
    "AUTH_PUBLIC_KEY_FILE",
    "AUTH_REQUIRED",
    "AUTH_TOKEN_IN",
    "BUSINESSWORKER",
    "BUSINESSWORKER_ADMIN_LISTEN",
    "BUSINESSWORKER_CONCURRENCY",
    "BUSINESSWORKER_GATEWAY_LOST_AFTER_MS",
    "BUSINESSWORKER_HANDLER_TIMEOUT_MS",
    "BUSINESSWORKER_LINK_PING_INTERVAL_MS",
    "BUSINESSWORKER_LINK_TIMEOUT_MS",
    "BUSINESSWORKER_METRICS_LISTEN",
    "BUSINESSWORKER_NAME",
    "BUSINESSWORKER_QUESTION_TIMEOUT_MS",
    "BUSINESSWORKER_SHUTDOWN_TIMEOUT_MS",
    "BUSINESSWORKER_SLOW_HANDLER_WARNING_MS",
    "BUSINESSWORKER_THREADS",
    "BUSINESSWORKER_WORKER_ID",
    "CALL_QUESTION_TIMEOUT_MS",
    "CLIENT_CALLS_FROM_TOKEN",
    "CLIENT_CALLS_JOIN",
    "CLIENT_CALLS_MAX_GROUPS",
    "CLIENT_CALLS_MAX_MESSAGE_BYTES",
    "CLIENT_CALLS_MAX_NAME_BYTES",
    "CLIENT_CALLS_PRESENCE",
    "CLIENT_CALLS_PUBLISH",
    "CLUSTER_NAME",
    "CONFIG_DIR",
    "EVENTS_CA_FILE",
    "EVENTS_CONCURRENCY",
    "EVENTS_MAX_CALLS",
    "EVENTS_MAX_DELIVERIES",
    "EVENTS_MAX_RESPONSE_BYTES",
    "EVENTS_NEXT_SECRET",
    "EVENTS_ON_FAILURE",
    "EVENTS_RETRY_DELAY_MS",
    "EVENTS_SECRET",
    "EVENTS_SEND",
    "EVENTS_TIMEOUT_MS",
    "EVENTS_URL",
    "FEDERATION",
    "FEDERATION_CA",
    "FEDERATION_CERTIFICATE",
    "FEDERATION_CERTIFICATE_KEY",
    "FEDERATION_CREDENTIALS",
    "FEDERATION_DURABLE",
    "FEDERATION_KEY",
    "FEDERATION_NKEY",
    "FEDERATION_PREFIX",
    "GATEWAY",
    "GATEWAY_ADMIN_LISTEN",
    "GATEWAY_ADMISSION_TIMEOUT_MS",
    "GATEWAY_ALLOWED_ORIGINS",
    "GATEWAY_BYTE_BURST",
    "GATEWAY_COMPRESSION",
    "GATEWAY_COMPRESSION_LEVEL",
    "GATEWAY_COMPRESSION_MIN_BYTES",
    "GATEWAY_CONNECT_BURST_PER_ADDRESS",
    "GATEWAY_DELIVERY",
    "GATEWAY_HANDSHAKE_TIMEOUT_MS",
    "GATEWAY_HEALTH_PATH",
    "GATEWAY_ISOLATED_AFTER_MS",
    "GATEWAY_LAN_IP",
    "GATEWAY_LAN_LISTEN",
    "GATEWAY_LAN_PORT",
    "GATEWAY_LINK_OUTBOX_BYTES",
    "GATEWAY_LINK_PING_INTERVAL_MS",
    "GATEWAY_LINK_TIMEOUT_MS",
    "GATEWAY_LISTEN",
    "GATEWAY_MAX_BYTES_PER_SECOND",
    "GATEWAY_MAX_CLIENTS_PER_UID",
    "GATEWAY_MAX_CONNECTIONS",
    "GATEWAY_MAX_CONNECTIONS_PER_ADDRESS",
    "GATEWAY_MAX_CONNECTS_PER_SECOND_PER_ADDRESS",
    "GATEWAY_MAX_DELIVERIES",
    "GATEWAY_MAX_GROUPS_PER_CLIENT",
    "GATEWAY_MAX_HEADER_BYTES",
    "GATEWAY_MAX_LINKS",
    "GATEWAY_MAX_MESSAGES_PER_SECOND",
    "GATEWAY_MAX_MESSAGE_BYTES",
    "GATEWAY_MAX_NAME_BYTES",
    "GATEWAY_MAX_SESSION_BYTES",
    "GATEWAY_MAX_WAITING",
    "GATEWAY_MESSAGE_BURST",
    "GATEWAY_METRICS_LISTEN",
    "GATEWAY_NAME",
    "GATEWAY_OUTBOX_BUDGET_BYTES",
    "GATEWAY_OUTBOX_BYTES",
    "GATEWAY_PATH",
    "GATEWAY_PING_DATA",
    "GATEWAY_PING_FRAME",
    "GATEWAY_PING_INTERVAL",
    "GATEWAY_PING_NOT_RESPONSE_LIMIT",
    "GATEWAY_PRESENCE_DATA",
    "GATEWAY_PRESENCE_GATEWAY_LOST_AFTER_MS",
    "GATEWAY_PRESENCE_GROUPS",
    "GATEWAY_PRESENCE_JOIN",
    "GATEWAY_PRESENCE_LEAVE",
    "GATEWAY_PRESENCE_LINGER_MS",
    "GATEWAY_PROXY_PROTOCOL",
    "GATEWAY_RATE_LIMIT_POLICY",
    "GATEWAY_REAL_IP_HEADER",
    "GATEWAY_RESUME",
    "GATEWAY_RESUME_BYTES",
    "GATEWAY_RESUME_MS",
    "GATEWAY_RESUME_PING_MS",
    "GATEWAY_ROUTING",
    "GATEWAY_SHARDS",
    "GATEWAY_SHUTDOWN_SPREAD_MS",
    "GATEWAY_SHUTDOWN_TIMEOUT_MS",
    "GATEWAY_SLOW_CONSUMER",
    "GATEWAY_SUBPROTOCOLS",
    "GATEWAY_TRACE_PARENT",
    "GATEWAY_TRACE_SAMPLE",
    "GATEWAY_TRUSTED_PROXIES",
    "GATEWAY_WEBSOCKET_TYPE",
    "GATEWAY_WORKER_WAIT_MS",
    "HISTORY_MAX_AGE_MS",
    "HISTORY_MAX_GROUPS",
    "HISTORY_MAX_MEMORY_BYTES",
    "HISTORY_MAX_MESSAGES",
    "HISTORY_MAX_MESSAGE_BYTES",
    "HISTORY_URL",
    "HTTP_ALLOWED_ORIGINS",
    "HTTP_CONCURRENCY",
    "HTTP_LISTEN",
    "HTTP_MAX_AUTH_FAILURES_PER_MINUTE",
    "HTTP_MAX_BATCH",
    "HTTP_MAX_BODY_BYTES",
    "HTTP_MAX_CONNECTIONS",
    "HTTP_READ_TIMEOUT_MS",
    "HTTP_REQUEST_TIMEOUT_MS",
    "HTTP_TOKEN",
    "HTTP_TRUSTED_PROXIES",
    "INTEREST",
    "LINK_TLS_CA",
    "LINK_TLS_CERTIFICATE",
    "LINK_TLS_KEY",
    "LINK_TLS_SERVER_NAME",
    "LOG_FILE",
    "LOG_FORMAT",
    "REGISTER",
    "REGISTER_ADDRESS",
    "REGISTER_ADMIN_LISTEN",
    "REGISTER_LISTEN",
    "REGISTER_MAX_CONNECTIONS",
    "REGISTER_MAX_UNAUTHENTICATED",
    "REGISTER_METRICS_LISTEN",
    "RUN_DIR",
    "SECRET_KEY",
    "UNIX_LINKS",
];

/// The prefixes of the settings of one daemon.
const DAEMONS: [&str; 6] = ["BUSINESSWORKER_", "CLIENT_CALLS_", "EVENTS_", "GATEWAY_", "HTTP_", "REGISTER_"];

/// The least similarity, from 0.0 to 1.0, of a mistyped name to the setting that is meant.
const MISTYPED: f64 = 0.8;

/// Returns a warning for each `GATEWAYWORKER_…` variable of the process that is nearly the name
/// of a setting, or begins like one. Others may be an application's own.
pub fn unknown_variables() -> Vec<String> {
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    let mut warnings: Vec<_> = names.filter_map(|name| warning(&name)).collect();
    warnings.sort();
    warnings
}

fn warning(name: &str) -> Option<String> {
    let setting = name.strip_prefix(PREFIX)?;
    if SETTINGS.contains(&setting) || is_of_kubernetes(setting) {
        return None;
    }
    let daemon = DAEMONS.iter().find_map(|daemon| setting.strip_prefix(daemon));
    // The daemon's name is missing, or one too many.
    let other = SETTINGS.iter().find(|one| {
        daemon == Some(one) || one.strip_suffix(setting).is_some_and(|rest| DAEMONS.contains(&rest))
    });
    let near =
        || nearest(setting, SETTINGS.iter().copied()).filter(|one| similarity(setting, one) >= MISTYPED);
    match other.copied().or_else(near) {
        Some(near) => {
            Some(format!("the environment has {name}, which is no setting: is {PREFIX}{near} meant?"))
        }
        None if daemon.is_some() => Some(format!("the environment has {name}, which is no setting")),
        None => None,
    }
}

/// Whether Kubernetes sets such a variable for a service called `gatewayworker-…`.
fn is_of_kubernetes(setting: &str) -> bool {
    setting.ends_with("_PORT") && !setting.ends_with("LAN_PORT")
        || ["_SERVICE_HOST", "_SERVICE_PORT", "_PORT_"].iter().any(|part| setting.contains(part))
}

/// Returns the environment variables of all settings.
#[doc(hidden)]
pub fn settings() -> impl Iterator<Item = String> {
    SETTINGS.iter().map(|setting| format!("{PREFIX}{setting}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_variable_is_named_with_the_one_that_is_meant() {
        for (wrong, meant) in [
            ("GATEWAY_PING_INTERVALL", "GATEWAY_PING_INTERVAL"),
            ("GATEWAY_LISTN", "GATEWAY_LISTEN"),
            ("SECRETKEY", "SECRET_KEY"),
            ("BUISNESSWORKER_THREADS", "BUSINESSWORKER_THREADS"),
            ("PING_INTERVAL", "GATEWAY_PING_INTERVAL"),
            ("GATEWAY_SECRET_KEY", "SECRET_KEY"),
            ("BUSINESSWORKER_REGISTER_ADDRESS", "REGISTER_ADDRESS"),
            ("LOGFORMAT", "LOG_FORMAT"),
        ] {
            let warning = warning(&format!("GATEWAYWORKER_{wrong}")).unwrap_or_default();
            assert!(warning.ends_with(&format!("is GATEWAYWORKER_{meant} meant?")), "{wrong}: {warning}");
        }
        let warning = warning("GATEWAYWORKER_GATEWAY_DANCE").unwrap();
        assert!(warning.ends_with("GATEWAYWORKER_GATEWAY_DANCE, which is no setting"), "{warning}");
    }

    #[test]
    fn settings_and_other_programs_variables_get_no_warning() {
        let others = ["PHP_VENDOR", "PHP", "INTEROP_RESULTS", "MY_APPLICATION"];
        let kubernetes = ["GATEWAY_SERVICE_HOST", "GATEWAY_PORT", "REGISTER_PORT_1236_TCP_ADDR"];
        for setting in SETTINGS.iter().copied().chain(others).chain(kubernetes) {
            assert_eq!(warning(&format!("GATEWAYWORKER_{setting}")), None);
        }
        assert_eq!(warning("PING_INTERVALL"), None);
    }
}
