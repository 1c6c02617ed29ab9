//! HTTP push: every call of the Gateway API for any language, one POST each.
//!
//! `POST /v1/send_to_group` with `{"group": "news", "message": "hello"}` and a token
//! does what [`Gateway::send_to_group`](gatewayworker_client::Gateway::send_to_group)
//! does. Which calls there are, what they take and answer is one table's business,
//! [`gatewayworker_client::calls`]; here is what HTTP adds to it: who may call
//! (`guard`), how much and how slowly (`server`), and what is answered (`routes`,
//! `problem`, `openapi`).
//!
//! A businessworker serves this where `http.listen` is set: it has a link to every
//! gateway anyway. It could be served by anything that holds a
//! [`Gateway`](gatewayworker_client::Gateway).

mod answer;
mod config;
mod failures;
mod guard;
mod openapi;
mod patient;
mod problem;
mod routes;
mod server;
mod stats;

pub use config::{Config, FORMER_KEYS, Flags, MIN_TOKEN_LEN};
pub use server::{bind, serve};
