//! What all daemons share, so that each of them is only what sets it apart:
//!
//! - [`load`]: one configuration out of flags, environment, file and defaults,
//! - [`unknown_variables`]: settings that are mistyped in the environment,
//! - [`run`]: logging, file limit, runtime, signals and exit status around a daemon's `serve`,
//! - [`Log`], [`LineWriter`]: a log that waits for nobody,
//! - [`Operator`]: who may ask how it goes, and for files to be read again,
//! - [`Counter`]: what has happened so far, in numbers,
//! - [`accept_loop`]: accepting that survives a lack of file descriptors,
//! - [`OpenFiles`]: how many connections there is room for,
//! - [`check_exposure`], [`resolve`], [`bind`]: addresses, safe by default.
//!
//! It knows no daemon and no wire. Its errors are for people: each says in one
//! line what is wrong, where, and what to do.

mod accept;
mod address;
pub mod child_protocol;
mod config;
mod counter;
mod environment;
mod exposure;
mod limits;
mod line_splitter;
mod line_writer;
mod listener_source;
mod lists;
mod logging;
mod operator;
mod run;
mod signals;
mod stats;
mod suggest;
mod supervised;
mod supervisor_link;
mod threads;

pub use accept::accept_loop;
pub use address::{bind, bind_as, check_address, resolve};
pub use config::{CommonFlags, load, take_negative_numbers};
pub use counter::Counter;
pub use environment::{settings, unknown_variables};
pub use exposure::check_exposure;
pub use limits::OpenFiles;
pub use line_splitter::LineSplitter;
pub use line_writer::LineWriter;
pub use listener_source::ListenerSource;
pub use lists::one_or_many;
pub use logging::{Log, LogFormat, wants_colour};
pub use operator::{Operator, Reload, ReloadRequest};
pub use run::{Runtime, run};
pub use signals::{Signal, Signals};
pub use stats::Stats;
pub use threads::check_threads;
