//! A register, gateways and workers in this process, with real clients. Each subject has a module.

#![allow(clippy::unwrap_used, reason = "a test fails where it unwraps")]

mod access;
mod admin_page;
mod admin_page_access;
mod admission;
mod api;
mod bad_input;
mod client_calls;
mod client_calls_flood;
mod close_frame;
mod closing;
#[cfg(unix)]
mod descriptors;
mod event_context;
mod events_over_http;
mod events_over_http_failures;
mod events_over_http_twice;
mod heartbeat;
mod http_limits;
mod http_openapi;
mod http_push;
mod inspecting;
mod inspecting_closes;
mod inspecting_shell;
mod interest;
mod limits;
mod link_tls;
mod listeners;
mod metrics;
mod metrics_names;
mod outside;
mod presence;
mod restarts;
mod resume;
mod resume_bad_input;
mod resume_compressed;
mod resume_elsewhere;
mod resume_events;
mod resume_limits;
mod rfc6455;
mod rfc7692;
mod sessions;
mod tls;
mod tokens;
mod traces;
#[cfg(unix)]
mod traces_shell;
#[cfg(target_os = "linux")]
mod unix_links;
mod waiting;
mod wire;
mod worker_reports;
