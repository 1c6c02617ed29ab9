//! HTTP push: every call of the Gateway API for any language, one POST each.
//!
//! `POST /v1/send_to_group` with `{"group": "news", "message": "hello"}` and a token
//! does what [`Gateway::send_to_group`](gatewayworker_client::Gateway::send_to_group)
//! does. The calls, their parameters and their answers are declared in one table,
//! [`gatewayworker_client::calls`]. This crate adds what HTTP needs:
//!
//! - `config`: the settings,
//! - `server`: the listener, and what answers its requests,
//! - `authorization`: the origins and the token that a request needs,
//! - `routes`: the paths, and the answers to requests,
//! - [`api`]: the form of answers and errors, bodies and tokens, which the admin page has, too,
//! - `openapi`: the description of all this for programs,
//! - `stats`, `request_counts`: counters; `shared`: what all requests share.
//!
//! A request comes from `server` through `authorization` to `routes`, which makes its calls on a
//! [`Gateway`](gatewayworker_client::Gateway). A businessworker serves this where `http.listen` is
//! set, as it has a link to every gateway.

pub mod api;
mod authorization;
mod config;
mod config_error;
mod openapi;
mod request_counts;
mod routes;
mod server;
mod shared;
mod stats;

pub use api::MIN_TOKEN_LEN;
pub use config::{Config, FORMER_KEYS, Flags};
pub use config_error::ConfigError;
pub use openapi::document as openapi;
pub use request_counts::RequestCounts;
pub use server::{bind, serve};
