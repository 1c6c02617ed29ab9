//! The last messages of groups: for newcomers, and for members who return and want the ones they missed.
//!
//! ```no_run
//! # use gatewayworker_client::{ClientId, Gateway};
//! # async fn example(gateway: &Gateway, client: ClientId) -> Result<(), gatewayworker_history::Error> {
//! use gatewayworker_history::History;
//!
//! let history = History::open("memory:", gateway)?;
//! history.publish("room-1", "hello").await?;
//!
//! let page = history.last("room-1", 50).await?;
//! println!("{:?} and then on from {}", page.messages, page.position);
//! # Ok(()) }
//! ```
//!
//! A message that is published is kept first, and then sent to the members of the group. Its [`Position`] says where it
//! stands: a client that comes back with the last position that it has seen gets what it missed, and whether that is all.
//!
//! # Guarantees
//!
//! - **Kept, then sent.** What a member has received is in the history, until it is too old or too much, or the store
//!   loses it. What is in the history may not have been sent: if the worker dies in between, or a gateway is not reached.
//! - **One sequence for each group.** The store numbers the messages of a group, whichever worker publishes them: 1, 2, 3, …
//!   within one *epoch*. When the store has lost, or may have lost, what it knew of a group, the epoch is another one, and
//!   a client with the old one is told that its gap is not whole.
//! - **In that order**, where one worker publishes to a group. Messages of several workers to one group may overtake
//!   each other on their way to a member; their positions say so.
//! - **A group is forgotten** when nothing was published to it for `max_age_ms`: its next message begins a new epoch.
//! - [`History::join`] lets a client join and reads what it missed, without a gap in between: a message may come twice, and
//!   none is missing. [`Seen`] drops what came twice.
//!
//! # Modules
//!
//! `history` is what an application calls; `calls` has the same by name, for HTTP push and the shell. `sequencer` keeps and sends messages in order; `store` opens what keeps them:
//! `memory`, where `ownership` finds out whether another worker does so, too, `redis`, or `nats`, for which `collected` reads. `page` and `position` say
//! what is read, `settings` how much is kept, `stats` what was done; all of these but `store` and `sequencer` are plain data.

mod calls;
#[cfg(feature = "nats")]
mod collected;
mod config;
mod error;
mod history;
mod memory;
#[cfg(feature = "nats")]
mod nats;
mod ownership;
mod page;
mod position;
#[cfg(feature = "redis")]
mod redis;
mod sequencer;
mod settings;
mod stats;
mod store;

pub use config::Config;
pub use error::{Error, MAX_GROUP};
pub use history::{History, MAX_PAGE, Published};
pub use page::{Entry, Page};
pub use position::{Position, PositionError, Seen, Sight};
pub use settings::{PrefixSettings, Settings, SettingsError};
pub use stats::{Kept, PUBLISH_RESULTS, READ_CALLS, READ_RESULTS, STORE_ERRORS, Stats};
pub use store::check_url;
