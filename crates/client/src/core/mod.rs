//! The call link's protocol without IO: bytes and time go in; frames, answers and
//! failures come out.
//!
//! Nothing in here has a socket, a task, a thread or a clock. The tokio shell around it is
//! `link.rs`, which owns the socket and the timer; `ask.rs` asks several links at once. A
//! simulator can be another shell.
//!
//! # The cycle that a shell follows
//!
//! For each gateway, make one [`CallLink`]. Then, for as long as the gateway is listed:
//!
//! 1. Connect. When the connection stands, call [`CallLink::connected`] with something
//!    that implements [`Transmit`]; when the attempt fails, call
//!    [`CallLink::connect_failed`] and try again later.
//! 2. To send a command, push its frame to [`CallLink::connection`]. To ask a question,
//!    call [`CallLink::ask`] with a token of the shell's own, the *asker*. When the asker
//!    no longer waits, call [`CallLink::cancel`].
//! 3. When bytes arrive, append them to a buffer that belongs to this connection alone,
//!    and call [`CallLink::receive`] with that buffer. On an error, close the connection
//!    (step 5).
//! 4. When the time of [`CallLink::next_deadline`] has come, call
//!    [`CallLink::handle_timeout`].
//! 5. When the connection has ended, for whatever reason, drop its buffer and call
//!    [`CallLink::disconnected`]. Then go on with step 1.
//!
//! After each of these calls, take [`CallLink::take_effects`] and carry the effects out in
//! their order. When every gateway that was asked has an outcome, make one answer of them
//! with [`Answers::gather`].
//!
//! Every asker gets exactly one [`Effect::Settle`], except one that was cancelled: it gets
//! none.

#![cfg_attr(
    not(feature = "internals"),
    allow(unreachable_pub, unused_imports, reason = "only the simulator reaches all of it")
)]

mod answers;
mod call_link;
mod pending;

pub use answers::Answers;
pub use call_link::{CallLink, Effect, LinkError, Transmit};
pub use pending::QuestionId;

#[cfg(test)]
mod tests {
    use std::net::SocketAddrV4;
    use std::time::{Duration, Instant};

    use bytes::{Bytes, BytesMut};
    use gatewayworker_net::PushError;
    use gatewayworker_protocol::{Question, SecretKey, frame_answer};

    use super::*;
    use crate::{AskError, Unreached};

    /// A connection that forgets what is pushed.
    struct Nowhere;

    impl Transmit for Nowhere {
        fn push(&mut self, _: impl FnOnce(&mut BytesMut)) -> Result<(), PushError> {
            Ok(())
        }
    }

    /// Follows the cycle at the head of this module, with two gateways.
    #[test]
    fn a_gateway_that_dies_while_two_are_asked_makes_the_answer_incomplete() {
        let now = Instant::now();
        let gateways = [2300, 2301].map(|port| SocketAddrV4::new([127, 0, 0, 1].into(), port));
        let mut links = gateways.map(|gateway| {
            let mut link = CallLink::new(SecretKey::default(), Duration::from_secs(5));
            link.connected(Nowhere, now).unwrap();
            link.ask(Question::Count(None), gateway, now).unwrap();
            link
        });
        let mut answer = BytesMut::new();
        frame_answer(b"i:3;", &mut answer);
        let mut part = BytesMut::from(&answer[..answer.len() - 1]);
        links[0].receive(&mut answer, now).unwrap();
        links[1].receive(&mut part, now).unwrap();
        links[1].disconnected();

        let effects = links.iter_mut().flat_map(CallLink::take_effects);
        let outcomes = effects.filter_map(|effect| match effect {
            Effect::Settle { asker, outcome } => Some((asker, outcome)),
            Effect::Flush | Effect::Close(_) => None,
        });
        let answer = Answers::new(outcomes.collect())
            .gather(|_, answer: Bytes| Some(answer.len()), |sum: &mut usize, part| *sum += part);
        let Err(AskError::Incomplete { partial: 4, missing }) = answer else { panic!("{answer:?}") };
        assert_eq!(missing, [(gateways[1], Unreached::Lost)]);
    }
}
