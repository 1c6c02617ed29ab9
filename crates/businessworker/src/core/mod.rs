//! The core of the worker: plain data that decides what happens to the events of clients.
//! It has no sockets, tasks, threads or clocks; the worker around it (`link`,
//! `event_queues`, `handler`) and a simulation drive it by the same calls.
//!
//! # The cycle of an event
//!
//! 1. A frame comes from a gateway. [`EventLink::receive`] says what its command is; for an
//!    event go on with 2.
//! 2. [`Clients::try_reserve`] reserves the event's cost. Where it cannot, the gateway is
//!    not read from until 7 has happened for another event, or a gateway is missing.
//! 3. [`Clients::enqueue`] puts the event into its client's queue. [`Enqueued::Start`]
//!    gives it back to be handled now; [`Enqueued::Queued`] ends here, until 7.
//!    A started event may wait, as `concurrency` bounds how many are at 4 to 7.
//! 4. [`Clients::begin`] decides the session: [`Begin::Run`] has it. For [`Begin::Ask`] the
//!    gateway is asked on its call link, and [`Clients::answered`] makes the session of
//!    the answer. [`Begin::Skip`] goes on with 7.
//! 5. The application's handler runs. Its commands go to the gateways' call links. Once a
//!    command that writes a session was handed to its link, [`Clients::note_write`] or
//!    [`Clients::note_merge`] is called.
//! 6. The handler ends. [`Clients::complete`] returns the [`Reply`] for the client's
//!    gateway; it goes to that gateway's call link ([`Reply::into_commands`]), and a
//!    session in it is noted as in 5.
//! 7. [`Clients::finish`] gives back the cost and returns the client's next event, if one
//!    waits; that goes on with 4.
//!
//! Events of different clients are at different steps at the same time. When the event
//! link to a gateway ends, [`Clients::forget_gateway`] is called. A worker that stops says
//! so with [`EventLink::drain`], closes its side of the link, and goes on with what comes.
//!
//! # Acknowledged events
//!
//! A gateway that acknowledges events names a pairing before the first one. Then:
//!
//! - [`Pairings::closed`] says what the call link tells the gateway before it is attached;
//!   when it is, [`Pairings::begin`] makes the [`Epoch`], and says what has become of the one before.
//!   Where something was told, the gateway is asked anything behind it; its answer is noted with
//!   [`Pairings::closed_was_heard`].
//!   [`Clients::supersede`] or [`Clients::lose`]
//!   carries that out. Then [`EventLink::paired`]: events
//!   that come from now on hold the epoch.
//! - Before 4, [`Epoch::turn`] is asked: an event may have to wait, or is dropped
//!   ([`Clients::drop_started`] in the place of 7). What is read of either link is noted with
//!   [`Epoch::hear`] and [`Epoch::hear_call_link`].
//! - After 5, an event is not finished if the fence of the epoch has refused calls of its handler: instead of
//!   6 and 7, [`Epoch::turn`] is asked again.
//! - After 7, the event is noted in [`Epoch::done`]. What [`DoneQueue::take`] gives is told to the
//!   gateway, behind what the handlers said to it.
//! - [`Received::Adopt`] and [`Received::Forget`] go to [`Clients::adopt`] and [`Clients::forget`].
//! - When one of the links ends, so does the epoch: [`Epoch::end`], and [`Clients::hold`] when the event
//!   link has been read to its end. Its events that are not finished wait until the same
//!   process of the gateway is paired again, or the gateway is lost: another process is paired, or
//!   the shell gives it up ([`Pairings::lose`], [`Clients::lose`]). Then they run, asked and told
//!   nothing of the gateway, and [`Clients::close_lost`] is called for each of its clients.
//! - A worker that stops says so with [`EventLink::drain`], and returns the events that have not begun
//!   ([`Clients::return_unbegun`], [`Clients::return_started`], [`Clients::return_arrived`],
//!   [`Enqueued::Returned`]). It keeps them until the gateway says [`Received::Forget`] or
//!   [`Received::Drained`]; if the gateway is lost before, they run here. The gateway ends the link.
//!
//! Beside all that, [`EventLink::reporting`] says when the worker tells a gateway about itself.

mod admission;
mod book;
mod client_state;
mod clients;
mod done_queue;
mod epoch;
mod epoch_clients;
#[cfg(test)]
mod epoch_tests;
mod event;
mod event_budget;
mod event_link;
#[cfg(feature = "otel")]
mod event_trace;
mod hearing;
mod pairings;
mod reporting;
mod session_version;
mod table;
#[cfg(test)]
mod tests;

pub use admission::{Admission, Verdict};
pub use client_state::{Begin, ClientState, Enqueued, SessionQuestion};
pub use clients::{Clients, Handled, HandlerOutcome, Reply, SessionChanges};
pub use done_queue::{DoneQueue, Tell};
pub use epoch::{Epoch, Phase, Turn};
pub use epoch_clients::{Kept, Unfinished};
pub use event::{Event, EventKind};
pub use event_budget::EventBudget;
pub use event_link::{EventLink, Identity, Received};
#[cfg(feature = "otel")]
pub use event_trace::EventTrace;
pub use pairings::{Pairings, Previous};
pub use reporting::{NextReport, Reporting, RoundTrip};
pub use table::{ClientTable, OrderedTable};

#[cfg(test)]
pub(crate) use event::EVENT_COST;
pub(crate) use session_version::normalized;
