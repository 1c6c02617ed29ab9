//! The parts that all daemons share, so that the crate of a daemon has only its own:
//!
//! - [`load`]: one configuration out of flags, environment, file and defaults,
//! - [`FormerKeys`]: keys of a file that have moved into a table,
//! - [`LinkTlsFlags`]: the flags for TLS between daemons,
//! - [`unknown_variables`]: settings that are mistyped in the environment,
//! - [`run`]: logging, file limit, runtime, signals and exit status around a daemon's `serve`,
//! - [`Log`], [`LineWriter`]: a log that never blocks its daemon,
//! - [`Warnings`]: the last warnings of a log, [`read_secret_file`]: a key or a token in a file,
//! - [`Operator`]: requests to read files again, [`Stats`] for those who ask, and a [`ListenerSource`],
//! - [`ServiceManager`]: what systemd is told, and [`WatchedLoops`], without which it is not told that all is well,
//! - [`child_protocol`]: the messages between a daemon and the supervisor that runs it as a child process,
//! - [`LineSplitter`]: lines of bounded length out of a stream of bytes,
//! - [`Counter`], [`Histogram`]: numbers for the stats and the metrics,
//! - [`error_chain`]: an error with its causes, in one line,
//! - [`build_info`]: version, commit and date,
//! - [`accept_loop`]: accepting that survives a lack of file descriptors,
//! - [`OpenFiles`]: how many connections there is room for; [`ProcessUsage`]: processor time and memory,
//! - [`serve_http`], [`serve_on_thread`]: HTTP connections with limits; a thread of their own,
//! - [`https_client_config`]: whose certificates HTTP clients of a daemon accept,
//! - [`check_exposure`], [`resolve`], [`bind`]: addresses, safe by default.
//!
//! It knows no daemon, and nothing of the protocol between them. Its errors are for people: each says in one line
//! what is wrong, where, and what to do.

mod accept;
mod address;
pub mod child_protocol;
mod client_tls;
mod config;
mod counter;
mod environment;
mod error_chain;
mod exposure;
mod former_keys;
mod histogram;
mod http_server;
mod inherited_listeners;
mod limits;
mod line_splitter;
mod line_writer;
mod link_tls_flags;
mod listener_source;
mod lists;
mod logging;
mod notify_socket;
mod operator;
mod process_usage;
mod run;
mod secret_file;
mod service_manager;
mod signals;
mod stats;
mod suggest;
mod supervised;
mod supervisor_link;
mod threads;
mod version;
mod warnings;
mod watched_loops;

pub use accept::{accept_loop, accept_unix_links};
pub use address::{AddressError, bind, bind_as, check_address, resolve};
pub use client_tls::{ClientTlsError, http_client_config, https_client_config};
pub use config::{CommonFlags, ConfigError, load, load_with_former_keys, take_negative_numbers};
pub use counter::Counter;
pub use environment::{settings, unknown_variables};
pub use error_chain::error_chain;
pub use exposure::{ExposureError, check_exposure};
pub use former_keys::FormerKeys;
pub use histogram::{Histogram, HistogramCounts};
pub use http_server::{HttpHandler, HttpLimits, serve_http, serve_on_thread};
pub use limits::OpenFiles;
pub use line_splitter::LineSplitter;
pub use line_writer::LineWriter;
pub use link_tls_flags::LinkTlsFlags;
pub use listener_source::{BindError, ListenerError, ListenerSource};
pub use lists::one_or_many;
pub use logging::{Log, LogError, LogFormat, log_time, wants_colour};
pub use operator::{Operator, Reload, ReloadRequest};
pub use process_usage::ProcessUsage;
pub use run::{Runtime, run};
pub use secret_file::{SecretFileError, read_secret_file};
pub use service_manager::ServiceManager;
pub use signals::{Signal, Signals};
pub use stats::Stats;
pub use threads::check_threads;
pub use version::{BuildInfo, VERSION, build_info};
pub use warnings::{Warning, Warnings};
pub use watched_loops::WatchedLoops;
