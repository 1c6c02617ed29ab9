//! The call link's protocol without IO: bytes and time go in; frames, answers and
//! failures come out.
//!
//! Nothing in here has a socket, a task, a thread or a clock. The tokio shell around it is
//! `link/mod.rs`, which owns the socket and the timer; `ask.rs` asks several links at once. A
//! simulator can be another shell.
//!
//! # The cycle that a shell follows
//!
//! [`GatewayList`] says which gateways have a link, given those that the registers list. For
//! each of them, make one [`CallLink`]. Then, for as long as the gateway is connected or
//! listed:
//!
//! 1. Connect. When the connection stands, call [`CallLink::connected`] with something
//!    that implements [`Transmit`]; when the attempt fails, call
//!    [`CallLink::connect_failed`] and try again later.
//! 2. To send a command, push its frame to [`CallLink::connection`]. To ask a question,
//!    call [`CallLink::ask`] with its frame and a token of the shell's own, the *asker*. When it
//!    no longer waits, call [`CallLink::cancel`].
//! 3. When bytes arrive, append them to a buffer that belongs to this connection alone,
//!    and call [`CallLink::receive`] with that buffer. On an error, close the connection
//!    (step 5).
//! 4. When the time of [`CallLink::next_deadline`] has come, read the connection once more
//!    (step 3), then call [`CallLink::handle_timeout`]: the gateway may have answered while the
//!    shell itself was held up.
//! 5. When the connection has ended, for whatever reason, drop its buffer and call
//!    [`CallLink::disconnected`]. Then go on with step 1.
//!
//! After each of these calls, take [`CallLink::take_effects`] and carry the effects out in
//! their order. When every gateway that was asked has an outcome, make one answer of them
//! with [`Answers::gather`].
//!
//! Every asker that [`CallLink::ask`] has accepted gets exactly one [`Effect::Settle`], unless
//! it is cancelled before: then it gets none.

#![cfg_attr(
    not(feature = "internals"),
    allow(unreachable_pub, unused_imports, reason = "only the simulator reaches all of it")
)]

mod answers;
mod call_link;
mod gateway_list;
pub(crate) mod interest;
mod pending;

pub use answers::Answers;
pub(crate) use answers::Outcome;
pub use call_link::{CallLink, Effect, LinkError, Transmit};
pub use gateway_list::GatewayList;
pub use interest::{BarrierId, InterestError, InterestView};
pub use pending::QuestionId;

#[cfg(test)]
mod tests;
