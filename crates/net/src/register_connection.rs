//! The connection to one register: when to connect, what to send, whether the register has accepted
//! the daemon, when it is silent for too long, and when to try again. `connection_lists` says what its
//! lists are worth.
//!
//! **Signs of life.** Both ends send them, so that each finds out that the other's host is gone. A
//! daemon pings each register, on its own host too, and asks for an answer. A register of ours
//! answers. The original's does not, but sends the list to whoever asks for it once more, so a
//! follower asks for it instead. A gateway hears nothing from an original register, and judges none.
//!
//! Plain data without sockets, tasks and clocks; time is `now_ms`, milliseconds since any start. The
//! shell is `registers`, which announces a gateway or follows the lists. It calls it in this cycle,
//! and so does a simulation:
//!
//! 1. At [`next_deadline`](RegisterConnection::next_deadline), the first of which is at once, call
//!    [`deadline`](RegisterConnection::deadline).
//! 2. On [`Effect::Connect`], connect, and call [`connected`](RegisterConnection::connected); then
//!    [`received`](RegisterConnection::received) for each line. On [`Effect::Disconnect`], close the
//!    connection: it has ended with [`ConnectionEnd::Silent`].
//! 3. Call [`ended`](RegisterConnection::ended) when the connection is over or could not be made.
//! 4. After each call, carry out what [`next_effect`](RegisterConnection::next_effect) returns until
//!    it returns nothing, and look at `next_deadline` again.

use std::collections::VecDeque;
use std::time::Duration;

use gatewayworker_protocol::register::{Message, PING_INTERVAL_SECS};

use crate::connection_end::{ConnectionEnd, unanswered};
use crate::connection_lists::{ConnectionLists, Listed, usable};
use crate::{AwakeDeadline, Backoff};

/// A register that closes a connection within this time refuses it. It sends nothing to a gateway
/// that it accepts.
const REFUSAL_MS: u64 = 1_000;

/// A connection that stood for longer was a success, however it ended.
const SUCCESS_MS: u64 = 10_000;

/// How long a register may be silent that has to say something: one that answers pings, or one that
/// is asked for the list. Almost three pings.
const SILENCE: Duration = Duration::from_secs(29);

/// The state of the connection to one register.
#[derive(Debug)]
pub struct RegisterConnection {
    /// The address of the register, as it is configured.
    register: String,
    /// The first line, which says what the daemon wants of the register.
    hello: Message,
    backoff: Backoff,
    /// When the last attempt to connect began.
    attempt_ms: u64,
    state: State,
    effects: VecDeque<Effect>,
}

#[derive(Debug)]
enum State {
    Waiting {
        until_ms: u64,
    },
    Connecting,
    Connected {
        /// The register has accepted the hello: it has answered, or has let the connection stand.
        is_accepted: bool,
        /// When it is judged by whether the connection still stands.
        judge_ms: Option<u64>,
        ping_ms: u64,
        /// It has answered a ping.
        answers_pings: bool,
        /// Until when it has to send a line, if it has to.
        silence: Option<AwakeDeadline>,
        lists: ConnectionLists,
    },
}

/// What the shell is to do or to report.
#[derive(Debug, PartialEq, Eq)]
pub enum Effect {
    /// Connect to the register.
    Connect,
    /// Send this line.
    Send(Message),
    /// Report that the register has accepted the daemon.
    Accepted,
    /// Note that the register has sent a line.
    Heard {
        /// It has answered a ping on this connection.
        answers_pings: bool,
    },
    /// Close the connection: the register was silent for too long.
    Disconnect,
    /// Take this list of the register.
    List(Listed),
    /// Report why the register is of no use now, and what to do about it.
    Trouble(String),
    /// Report that a line was ignored, and why.
    Ignored(String),
}

impl RegisterConnection {
    /// A connection to `register` that is to be made at once and begins with `hello`.
    pub fn new(register: String, hello: Message) -> Self {
        Self {
            register,
            hello,
            backoff: Backoff::default(),
            attempt_ms: 0,
            state: State::Waiting { until_ms: 0 },
            effects: VecDeque::new(),
        }
    }

    /// The next effect that is to be carried out.
    pub fn next_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When [`deadline`](Self::deadline) is to be called next.
    pub fn next_deadline(&self) -> Option<u64> {
        match &self.state {
            State::Waiting { until_ms } => Some(*until_ms),
            State::Connecting => None,
            State::Connected { judge_ms, ping_ms, silence, lists, .. } => {
                let silence_ms = silence.as_ref().map(AwakeDeadline::next_deadline);
                [*judge_ms, Some(*ping_ms), silence_ms, lists.next_deadline()].into_iter().flatten().min()
            }
        }
    }

    /// Acts on the deadlines that have passed.
    pub fn deadline(&mut self, now_ms: u64) {
        let asks_for_list = self.asks_for_list();
        match &mut self.state {
            State::Waiting { until_ms } if *until_ms <= now_ms => {
                self.attempt_ms = now_ms;
                self.state = State::Connecting;
                self.effects.push_back(Effect::Connect);
            }
            State::Waiting { .. } | State::Connecting => {}
            State::Connected { judge_ms, ping_ms, answers_pings, silence, lists, .. } => {
                if *ping_ms <= now_ms {
                    *ping_ms = next_ping(now_ms);
                    let answered_by_a_list = asks_for_list && !*answers_pings;
                    let ping = if answered_by_a_list { self.hello.clone() } else { PING };
                    self.effects.push_back(Effect::Send(ping));
                }
                self.effects.extend(lists.deadline(now_ms).map(Effect::List));
                if silence.as_mut().is_some_and(|silence| silence.has_passed(now_ms)) {
                    *silence = None;
                    self.effects.push_back(Effect::Disconnect);
                }
                if judge_ms.is_some_and(|at_ms| at_ms <= now_ms) {
                    *judge_ms = None;
                    self.judge();
                }
            }
        }
    }

    /// The connection is made.
    pub fn connected(&mut self, now_ms: u64) {
        self.state = State::Connected {
            is_accepted: false,
            judge_ms: Some(now_ms + REFUSAL_MS),
            ping_ms: next_ping(now_ms),
            answers_pings: false,
            silence: self.asks_for_list().then(|| AwakeDeadline::new(SILENCE, now_ms)),
            lists: ConnectionLists::default(),
        };
        self.effects.push_back(Effect::Send(self.hello.clone()));
        self.effects.push_back(Effect::Send(PING));
    }

    /// The register has sent this line, here without its end.
    pub fn received(&mut self, line: &[u8], now_ms: u64) {
        let message = match Message::parse(line) {
            Ok(message) => message,
            Err(error) => return self.effects.push_back(Effect::Ignored(error.to_string())),
        };
        self.accept();
        let State::Connected { answers_pings, silence, lists, .. } = &mut self.state else { return };
        if message == Message::Pong {
            *answers_pings = true;
            silence.get_or_insert_with(|| AwakeDeadline::new(SILENCE, now_ms));
        }
        if let Some(silence) = silence {
            silence.restart(now_ms);
        }
        self.effects.push_back(Effect::Heard { answers_pings: *answers_pings });
        let Message::BroadcastAddresses { addresses, complete } = message else { return };
        let sent = addresses.len();
        let list = usable(addresses);
        if list.len() < sent {
            let why = format!("a list of {sent} gateways has {} that cannot be", sent - list.len());
            self.effects.push_back(Effect::Ignored(why));
        }
        self.effects.push_back(Effect::List(lists.received(list, complete, now_ms)));
    }

    /// The connection is over. `jitter`, drawn from 0 to 1, is where in its range the wait before
    /// the next attempt lies.
    pub fn ended(&mut self, end: &ConnectionEnd, now_ms: u64, jitter: f64) {
        let why = end.explain(&self.register, self.is_accepted());
        self.effects.push_back(Effect::Trouble(why));
        if now_ms.saturating_sub(self.attempt_ms) > SUCCESS_MS {
            self.backoff.reset();
        }
        let wait_ms = u64::try_from(self.backoff.next_wait_at(jitter).as_millis()).unwrap_or(u64::MAX);
        self.state = State::Waiting { until_ms: now_ms.saturating_add(wait_ms) };
    }

    /// Judges the register by a connection that has stood for a while. It answers a hello that asks
    /// for the list; it is silent to a gateway that it accepts.
    fn judge(&mut self) {
        if self.asks_for_list() && !self.is_accepted() {
            self.effects.push_back(Effect::Trouble(unanswered(&self.register)));
        } else {
            self.accept();
        }
    }

    /// Whether the daemon follows the register, which then has something to say.
    fn asks_for_list(&self) -> bool {
        matches!(self.hello, Message::WorkerConnect { .. })
    }

    fn is_accepted(&self) -> bool {
        matches!(self.state, State::Connected { is_accepted: true, .. })
    }

    fn accept(&mut self) {
        if let State::Connected { is_accepted, .. } = &mut self.state
            && !std::mem::replace(is_accepted, true)
        {
            self.effects.push_back(Effect::Accepted);
        }
    }
}

/// A ping of ours. A register of another make does not read its key.
const PING: Message = Message::Ping { answer: true };

fn next_ping(now_ms: u64) -> u64 {
    now_ms + PING_INTERVAL_SECS * 1_000
}

#[cfg(test)]
mod tests {
    use gatewayworker_protocol::SecretKey;

    use super::*;

    fn follower(register: &str) -> RegisterConnection {
        let hello = Message::WorkerConnect { secret_key: SecretKey::default() };
        RegisterConnection::new(register.into(), hello)
    }

    fn announcer(register: &str) -> RegisterConnection {
        let hello = Message::GatewayConnect { address: "a:1".into(), secret_key: SecretKey::default() };
        RegisterConnection::new(register.into(), hello)
    }

    fn effects(connection: &mut RegisterConnection) -> Vec<Effect> {
        std::iter::from_fn(|| connection.next_effect()).collect()
    }

    fn connect(connection: &mut RegisterConnection, now_ms: u64) {
        assert!(connection.next_deadline().is_some_and(|at_ms| at_ms <= now_ms));
        connection.deadline(now_ms);
        assert_eq!(effects(connection), [Effect::Connect]);
        connection.connected(now_ms);
        assert_eq!(effects(connection), [Effect::Send(connection.hello.clone()), Effect::Send(PING)]);
    }

    /// Acts on all deadlines until `until_ms`, that one too.
    fn pass_deadlines(connection: &mut RegisterConnection, until_ms: u64) -> Vec<Effect> {
        let mut seen = Vec::new();
        while let Some(at_ms) = connection.next_deadline().filter(|at_ms| *at_ms <= until_ms) {
            connection.deadline(at_ms);
            seen.extend(effects(connection));
        }
        seen
    }

    fn list(addresses: &[&str]) -> Vec<String> {
        addresses.iter().map(|&address| address.to_owned()).collect()
    }

    fn list_line(addresses: &[&str]) -> Vec<u8> {
        Message::BroadcastAddresses { addresses: list(addresses), complete: true }.to_line().into_bytes()
    }

    const HEARD: Effect = Effect::Heard { answers_pings: false };
    const PONG: &[u8] = br#"{"event":"pong"}"#;
    const LIST: &[u8] = br#"{"event":"broadcast_addresses","addresses":["a:1"]}"#;

    #[test]
    fn a_list_is_taken_and_shows_that_the_register_has_accepted() {
        let mut connection = follower("192.0.2.1:1236");
        connect(&mut connection, 0);
        connection.received(LIST, 0);
        assert_eq!(
            effects(&mut connection),
            [Effect::Accepted, HEARD, Effect::List(Listed::Some(list(&["a:1"])))]
        );
        connection.received(b"hello", 0);
        assert!(matches!(effects(&mut connection)[..], [Effect::Ignored(_)]));
    }

    #[test]
    fn what_cannot_be_an_address_is_reported() {
        let mut connection = follower("192.0.2.1:1236");
        connect(&mut connection, 0);
        connection.received(&list_line(&["a:1", "", "b 1"]), 0);
        let taken = effects(&mut connection);
        assert!(matches!(&taken[2], Effect::Ignored(why) if why.contains("3 gateways has 2")), "{taken:?}");
        assert_eq!(taken[3], Effect::List(Listed::Some(list(&["a:1"]))));
    }

    #[test]
    fn a_register_that_does_not_answer_a_follower_is_reported_and_may_still_answer() {
        let mut connection = follower("127.0.0.1:1236");
        connect(&mut connection, 0);
        assert_eq!(connection.next_deadline(), Some(1_000));
        connection.deadline(1_000);
        let reported = effects(&mut connection);
        assert!(matches!(&reported[..], [Effect::Trouble(why)] if why.contains("has not answered yet")));
        connection.received(LIST, 2_000);
        assert_eq!(effects(&mut connection)[0], Effect::Accepted);
    }

    #[test]
    fn a_register_that_does_not_answer_a_follower_for_long_is_connected_to_anew() {
        let mut connection = follower("127.0.0.1:1236");
        connect(&mut connection, 0);
        assert!(!pass_deadlines(&mut connection, 29_999).contains(&Effect::Disconnect));
        assert!(pass_deadlines(&mut connection, 30_000).contains(&Effect::Disconnect));
        connection.ended(&ConnectionEnd::Silent, 30_000, 1.0);
        assert!(
            matches!(&effects(&mut connection)[..], [Effect::Trouble(why)] if why.contains("not answered"))
        );
        assert_eq!(connection.next_deadline(), Some(31_000));
    }

    #[test]
    fn an_announcement_is_accepted_when_the_connection_stands_and_is_pinged_on_every_host() {
        for register in ["192.0.2.1:1236", "127.0.0.1:1236"] {
            let mut connection = announcer(register);
            connect(&mut connection, 500);
            connection.deadline(1_499);
            assert_eq!(effects(&mut connection), []);
            connection.deadline(1_500);
            assert_eq!(effects(&mut connection), [Effect::Accepted]);
            for ping in [10_500, 20_500] {
                assert_eq!(connection.next_deadline(), Some(ping));
                connection.deadline(ping);
                assert_eq!(effects(&mut connection), [Effect::Send(PING)]);
            }
        }
    }

    #[test]
    fn a_gateway_never_takes_a_register_for_dead_that_answers_no_pings() {
        let mut connection = announcer("192.0.2.1:1236");
        connect(&mut connection, 0);
        assert!(!pass_deadlines(&mut connection, 3_600_000).contains(&Effect::Disconnect));
    }

    #[test]
    fn a_register_that_has_answered_a_ping_and_falls_silent_is_connected_to_anew() {
        for mut connection in [announcer("192.0.2.1:1236"), follower("192.0.2.1:1236")] {
            connect(&mut connection, 0);
            connection.received(PONG, 0);
            let heard = Effect::Heard { answers_pings: true };
            assert_eq!(effects(&mut connection), [Effect::Accepted, heard]);
            let sent = pass_deadlines(&mut connection, 10_000);
            assert!(sent.ends_with(&[Effect::Send(PING)]), "{sent:?}");
            connection.received(PONG, 10_000);
            assert!(!pass_deadlines(&mut connection, 39_999).contains(&Effect::Disconnect));
            assert!(pass_deadlines(&mut connection, 40_000).contains(&Effect::Disconnect));
            connection.ended(&ConnectionEnd::Silent, 40_000, 1.0);
            let reported = effects(&mut connection).pop();
            assert!(
                matches!(&reported, Some(Effect::Trouble(why)) if why.contains("has been silent for too long"))
            );
        }
    }

    #[test]
    fn a_follower_asks_a_register_that_answers_no_pings_for_the_list_again() {
        let mut connection = follower("192.0.2.1:1236");
        connect(&mut connection, 0);
        for now_ms in (0..300_000).step_by(10_000) {
            connection.received(LIST, now_ms);
            effects(&mut connection);
            let sent = pass_deadlines(&mut connection, now_ms + 10_000);
            assert!(sent.contains(&Effect::Send(connection.hello.clone())), "{sent:?}");
            assert!(!sent.contains(&Effect::Disconnect), "the list is a sign of life");
        }
    }

    #[test]
    fn a_daemon_that_was_stopped_reads_before_it_takes_the_register_for_dead() {
        let mut connection = follower("192.0.2.1:1236");
        connect(&mut connection, 0);
        connection.received(PONG, 0);
        connection.deadline(120_000);
        assert!(!effects(&mut connection).contains(&Effect::Disconnect));
        connection.received(PONG, 120_001);
        assert!(!pass_deadlines(&mut connection, 149_000).contains(&Effect::Disconnect));
    }

    #[test]
    fn waits_grow_until_a_connection_has_stood_for_a_while() {
        let mut connection = follower("192.0.2.1:1236");
        let mut now_ms = 0;
        for wait_ms in [1_000, 2_000, 4_000, 5_000, 5_000] {
            connect(&mut connection, now_ms);
            connection.ended(&ConnectionEnd::Closed, now_ms, 1.0);
            effects(&mut connection);
            assert_eq!(connection.next_deadline(), Some(now_ms + wait_ms));
            now_ms += wait_ms;
        }
        connect(&mut connection, now_ms);
        now_ms += SUCCESS_MS + 1;
        connection.ended(&ConnectionEnd::Closed, now_ms, 0.0);
        effects(&mut connection);
        assert_eq!(connection.next_deadline(), Some(now_ms + 500));
    }
}
