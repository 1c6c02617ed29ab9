//! A page for the operators of a cluster, over HTTP: `gatewayworker start` serves it, and any daemon with
//! `admin.listen`.
//!
//! The page is a few files that are built in (`page/`), and a JSON API below `/api/`. Without the token it shows numbers:
//! no client's id, uid, address, session or message. With it, it looks at single clients and makes calls.
//!
//! A daemon [`open`]s the listener, and [`Page::start`]s to serve beside its own work, on a thread that nothing else
//! uses. It does not steer the daemon that serves it: it asks the gateways over their inner ports, as
//! `gatewayworker connections` and `gatewayworker call` do.
//!
//! What it knows, as plain data without sockets and clocks:
//!
//! - [`cluster`]: what the gateways have answered, and what keeps the cluster from its work,
//! - [`growth`]: how fast numbers grow; `history`: the last hour; `monitor`: all of it, as the page shows it.
//!
//! What runs it:
//!
//! - `config`: the settings; `page`: the listener and the thread,
//! - [`access`]: where a cluster is, and its key; [`registers`]: why no gateway is found,
//! - `poller`: asks all gateways each second,
//! - `server`: answers requests; `guard`: who may make them; `files`, `open_api`, `token_api`, `trace_api`: the
//!   answers.
//!
//! `gatewayworker status` and `top` use `cluster`, `growth`, `access` and `registers`, too.

pub mod access;
pub mod cluster;
mod config;
mod files;
pub mod growth;
mod guard;
mod history;
mod monitor;
mod open_api;
mod page;
mod poller;
pub mod registers;
mod server;
mod shared;
mod token_api;
mod trace_api;

pub use access::{Access, reachable};
pub use config::{Config, ConfigError, Flags};
pub use history::{History, Point};
pub use monitor::DaemonLook;
pub use page::{About, OpenError, Page, ServedPage, open};
