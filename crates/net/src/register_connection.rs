//! The connection to one register: when to connect, what to send, whether the register has accepted
//! the daemon, and when to try again.
//!
//! Plain data without sockets, tasks and clocks; time is `now_ms`, milliseconds since any start. The
//! shell is `registers`, which announces a gateway or follows the lists. It calls it in this cycle,
//! and so does a simulation:
//!
//! 1. At [`next_deadline`](RegisterConnection::next_deadline), the first of which is at once, call
//!    [`deadline`](RegisterConnection::deadline).
//! 2. On [`Effect::Connect`], connect, and call [`connected`](RegisterConnection::connected); then
//!    [`received`](RegisterConnection::received) for each line.
//! 3. Call [`ended`](RegisterConnection::ended) when the connection is over or could not be made.
//! 4. After each call, carry out what [`next_effect`](RegisterConnection::next_effect) returns until
//!    it returns nothing, and look at `next_deadline` again.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};

use gatewayworker_protocol::register::{Message, PING_INTERVAL_SECS};

use crate::Backoff;

/// A register that closes a connection within this time refuses it. It sends nothing to a gateway
/// that it accepts.
const REFUSAL_MS: u64 = 1_000;

/// A connection that stood for longer was a success, however it ended.
const SUCCESS_MS: u64 = 10_000;

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
        ping_ms: Option<u64>,
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
    /// Take this list of all gateways of the register, in place of its last one.
    List(Vec<String>),
    /// Report why the register is of no use now, and what to do about it.
    Trouble(String),
    /// Report that a line was ignored, and why.
    Ignored(String),
}

/// Why a connection is over.
#[derive(Debug)]
pub enum ConnectionEnd {
    /// It could not be made.
    Unreachable(io::Error),
    /// The register closed it.
    Closed,
    /// Reading or writing failed.
    Failed(io::Error),
    /// A line was longer than `limit` bytes.
    LineTooLong {
        /// The limit, in bytes.
        limit: usize,
    },
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
        match self.state {
            State::Waiting { until_ms } => Some(until_ms),
            State::Connecting => None,
            State::Connected { judge_ms, ping_ms, .. } => judge_ms.into_iter().chain(ping_ms).min(),
        }
    }

    /// Acts on the deadlines that have passed.
    pub fn deadline(&mut self, now_ms: u64) {
        match &mut self.state {
            State::Waiting { until_ms } if *until_ms <= now_ms => {
                self.attempt_ms = now_ms;
                self.state = State::Connecting;
                self.effects.push_back(Effect::Connect);
            }
            State::Waiting { .. } | State::Connecting => {}
            State::Connected { judge_ms, ping_ms, .. } => {
                if ping_ms.is_some_and(|at_ms| at_ms <= now_ms) {
                    *ping_ms = Some(next_ping(now_ms));
                    self.effects.push_back(Effect::Send(Message::Ping));
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
        // The original pings no register on its own host; a peer that never pinged may be silent for
        // as long as its connection stands.
        let pings = !self.register.starts_with("127.0.0.1");
        self.state = State::Connected {
            is_accepted: false,
            judge_ms: Some(now_ms + REFUSAL_MS),
            ping_ms: pings.then(|| next_ping(now_ms)),
        };
        self.effects.push_back(Effect::Send(self.hello.clone()));
    }

    /// The register has sent this line, here without its end.
    pub fn received(&mut self, line: &[u8]) {
        match Message::parse(line) {
            Ok(message) => {
                self.accept();
                self.effects.push_back(Effect::Heard { answers_pings: false });
                if let Message::BroadcastAddresses { addresses } = message {
                    self.effects.push_back(Effect::List(addresses));
                }
            }
            Err(error) => self.effects.push_back(Effect::Ignored(error.to_string())),
        }
    }

    /// The connection is over. `jitter`, drawn from 0 to 1, is where in its range the wait before
    /// the next attempt lies.
    pub fn ended(&mut self, end: &ConnectionEnd, now_ms: u64, jitter: f64) {
        let why = self.why(end);
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
        if let (Message::WorkerConnect { .. }, false) = (&self.hello, self.is_accepted()) {
            let why = format!("the register at {} has not answered yet: is it one?", self.register);
            self.effects.push_back(Effect::Trouble(why));
        } else {
            self.accept();
        }
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

    fn why(&self, end: &ConnectionEnd) -> String {
        let register = &self.register;
        let is_accepted = self.is_accepted();
        match end {
            ConnectionEnd::Unreachable(error) => format!(
                "the register at {register} cannot be reached ({error}): does it run, and is \
                 register_address right?"
            ),
            ConnectionEnd::LineTooLong { limit } => format!(
                "the peer at {register} is not a register: it sent a line longer than {limit} bytes; is \
                 register_address right?"
            ),
            ConnectionEnd::Closed if is_accepted => {
                format!("the register at {register} closed the connection: it has stopped")
            }
            ConnectionEnd::Closed => self.refused(),
            // It closed before it had read everything.
            ConnectionEnd::Failed(error)
                if !is_accepted
                    && matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) =>
            {
                self.refused()
            }
            ConnectionEnd::Failed(error) => {
                format!("the connection to the register at {register} failed: {error}")
            }
        }
    }

    /// The register closes a connection at once, and without a word, where the key is another one.
    fn refused(&self) -> String {
        let register = &self.register;
        format!("the register at {register} closed the connection at once: is the secret_key the same?")
    }
}

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

    fn effects(connection: &mut RegisterConnection) -> Vec<Effect> {
        std::iter::from_fn(|| connection.next_effect()).collect()
    }

    fn connect(connection: &mut RegisterConnection, now_ms: u64) {
        assert!(connection.next_deadline().is_some_and(|at_ms| at_ms <= now_ms));
        connection.deadline(now_ms);
        assert_eq!(effects(connection), [Effect::Connect]);
        connection.connected(now_ms);
        assert_eq!(effects(connection), [Effect::Send(connection.hello.clone())]);
    }

    const HEARD: Effect = Effect::Heard { answers_pings: false };
    const LIST: &[u8] = br#"{"event":"broadcast_addresses","addresses":["a:1"]}"#;

    #[test]
    fn a_list_is_taken_and_shows_that_the_register_has_accepted() {
        let mut connection = follower("192.0.2.1:1236");
        connect(&mut connection, 0);
        connection.received(LIST);
        assert_eq!(effects(&mut connection), [Effect::Accepted, HEARD, Effect::List(vec!["a:1".into()])]);
        connection.received(LIST);
        assert_eq!(effects(&mut connection), [HEARD, Effect::List(vec!["a:1".into()])]);
        connection.received(b"hello");
        assert!(matches!(effects(&mut connection)[..], [Effect::Ignored(_)]));
    }

    #[test]
    fn a_register_that_does_not_answer_a_follower_is_reported_and_may_still_answer() {
        let mut connection = follower("127.0.0.1:1236");
        connect(&mut connection, 0);
        assert_eq!(connection.next_deadline(), Some(1_000));
        connection.deadline(1_000);
        let reported = effects(&mut connection);
        assert!(matches!(&reported[..], [Effect::Trouble(why)] if why.contains("has not answered yet")));
        assert_eq!(connection.next_deadline(), None, "on its own host nothing is pinged");
        connection.received(LIST);
        assert_eq!(effects(&mut connection)[0], Effect::Accepted);
    }

    #[test]
    fn an_announcement_is_accepted_when_the_connection_stands_and_is_pinged() {
        let hello = Message::GatewayConnect { address: "a:1".into(), secret_key: SecretKey::default() };
        let mut connection = RegisterConnection::new("192.0.2.1:1236".into(), hello);
        connect(&mut connection, 500);
        connection.deadline(1_499);
        assert_eq!(effects(&mut connection), []);
        connection.deadline(1_500);
        assert_eq!(effects(&mut connection), [Effect::Accepted]);
        for ping in [25_500, 50_500] {
            assert_eq!(connection.next_deadline(), Some(ping));
            connection.deadline(ping);
            assert_eq!(effects(&mut connection), [Effect::Send(Message::Ping)]);
        }
    }

    #[test]
    fn the_end_says_whether_the_register_refused_or_has_stopped() {
        let reset = || ConnectionEnd::Failed(ErrorKind::ConnectionReset.into());
        for (accepted, end, expected) in [
            (false, ConnectionEnd::Closed, "is the secret_key the same?"),
            (false, reset(), "is the secret_key the same?"),
            (true, ConnectionEnd::Closed, "it has stopped"),
            (true, reset(), "failed: connection reset"),
            (false, ConnectionEnd::Unreachable(ErrorKind::ConnectionRefused.into()), "cannot be reached ("),
            (true, ConnectionEnd::LineTooLong { limit: 7 }, "is not a register"),
        ] {
            let mut connection = follower("192.0.2.1:1236");
            connect(&mut connection, 0);
            if accepted {
                connection.received(LIST);
                effects(&mut connection);
            }
            connection.ended(&end, 10, 1.0);
            let reported = effects(&mut connection);
            assert!(
                matches!(&reported[..], [Effect::Trouble(why)] if why.contains(expected)),
                "{reported:?}"
            );
        }
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
