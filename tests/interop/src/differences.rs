//! The intended differences between ours and the original. Every other difference is a fault.
//!
//! `results` looks an unequal step up here, and the tables of the documentation are made from this list.

use serde_json::{Value, json};

use crate::combination::{Combination, Kind};

/// An intended difference.
pub struct Difference {
    /// The name in tables.
    pub name: &'static str,
    /// The daemon that causes it, when it is ours.
    pub whose: Daemon,
    /// The behaviour of the original.
    pub original: &'static str,
    /// Our behaviour.
    pub ours: &'static str,
    /// The reason.
    pub why: &'static str,
    /// The affected steps, by the beginning of their names, each with a function from the original's outcome to ours.
    shows: &'static [(&'static str, Outcome)],
}

type Outcome = fn(&Value) -> Value;

/// The daemons of a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Daemon {
    /// The register.
    Register,
    /// The gateways.
    Gateway,
    /// The worker.
    Worker,
}

/// All intended differences.
pub const DIFFERENCES: &[Difference] = &[
    Difference {
        name: "close-frame",
        whose: Daemon::Gateway,
        original: "The client sees the end of TCP when it is closed (1006 in a browser).",
        ours: "The client receives a close frame first: 1000, the code of the refusal if a handler of ours refuses its handshake, or 1001 with a reason if it answers no ping.",
        why: "RFC 6455 requires it, and a page can distinguish it from a broken network.",
        shows: &[
            ("a client that the handler of the handshake closes", closed),
            ("a client that the handler of the handshake closes", refused),
            ("a handler closes", closed),
            ("a client that does not answer pings", silent),
            ("11.1 closeClient($b)", |theirs| heard(theirs, "B")),
            ("11.2 closeClient($c, 'bye')", |theirs| heard(theirs, "C")),
        ],
    },
    Difference {
        name: "cookie-lines",
        whose: Daemon::Gateway,
        original: "Cookies in several header lines are joined with a comma, so that the first one contains the others in its value.",
        ours: "Each is a cookie.",
        why: "RFC 9113 8.2.3 joins them with a semicolon, and proxies from HTTP/2 may split them.",
        shows: &[("what a handler sees of a URL, and of headers in several lines", split_cookies)],
    },
    Difference {
        name: "binary",
        whose: Daemon::Gateway,
        original: "A binary message that is sent back arrives as text, even if it is not UTF-8. Browsers then close.",
        ours: "From a handler of ours it arrives as binary. A PHP handler cannot say that it is binary: then it arrives as binary if it is not UTF-8.",
        why: "A text frame has to be UTF-8. `websocket_type = \"text\"` restores the original's behaviour for UTF-8 messages.",
        shows: &[
            ("a binary message that is not UTF-8", |_| json!(r"binary \xff\x00\xfe")),
            ("a binary message", |_| json!("binary plain")),
        ],
    },
    Difference {
        name: "counted-when-let-in",
        whose: Daemon::Gateway,
        original: "Every TCP connection is a client. It is counted, and `onConnect` runs, before the handshake.",
        ours: "A connection is a client after its handshake.",
        why: "A port scan or a health check runs no application code and is in no list.",
        shows: &[("how many clients are counted, with a connection that has said nothing", |_| json!(1))],
    },
    Difference {
        name: "plain-http",
        whose: Daemon::Gateway,
        original: "Plain HTTP is answered with 400.",
        ours: "It is answered with 426, Upgrade Required.",
        why: "This status says what the gateway expects.",
        shows: &[("the status that plain HTTP is answered with", |_| json!("426"))],
    },
    Difference {
        name: "waits-for-a-worker",
        whose: Daemon::Gateway,
        original: "While no worker is linked, the gateway closes clients that send a message, and rejects new ones.",
        ours: "These clients wait for the next worker, bounded in time and number.",
        why: "So a restart of the only worker is no outage.",
        shows: &[
            ("a client speaks while no worker is there", |_| json!([null, "anybody there?"])),
            ("a client that comes while no worker is there is served by the next one", |_| json!(true)),
            ("one that was silent while no worker was there", |_| json!(["count 2", "members 2"])),
        ],
    },
    Difference {
        name: "stop-closes-clients",
        whose: Daemon::Gateway,
        original: "A gateway that is stopped ends, and `onClose` runs for none of its clients.",
        ours: "Its clients get a close frame, 1001, and `onClose` runs for each.",
        why: "So presence that is stored in a database is cleaned up. (After a crash of either it is not.)",
        shows: &[
            ("the client of a gateway that is stopped", |_| json!(["closed 1001"])),
            ("what the other gateway's client hears of it, stopped", |_| json!("gone Ann")),
        ],
    },
    Difference {
        name: "objects-handled",
        whose: Daemon::Worker,
        original: "A handler may keep objects in `$_SESSION`.",
        ours: "A handler that reads such a session receives an error, and the session stays unchanged.",
        why: "Objects belong to classes of a PHP program. A handler of ours reads data only.",
        shows: &[("a handler that uses a session with an object", |_| json!([]))],
    },
];

/// Returns the difference that explains the outcome `here` of a step, where the original's is another.
pub fn explain(who: Combination, step: &str, original: &Value, here: &Value) -> Option<&'static Difference> {
    expected(who).find(|difference| {
        let shows = difference.shows.iter();
        shows.filter(|(name, _)| step.starts_with(name)).any(|(_, expected)| expected(original) == *here)
    })
}

/// Returns the differences that this combination must show.
pub fn expected(who: Combination) -> impl Iterator<Item = &'static Difference> {
    let kind = move |whose| match whose {
        Daemon::Register => who.register,
        Daemon::Gateway => who.gateway,
        Daemon::Worker => who.worker,
    };
    DIFFERENCES.iter().filter(move |difference| kind(difference.whose) == Kind::Ours)
}

/// Adds a close frame where the original has sent none.
fn closed(theirs: &Value) -> Value {
    closed_with(theirs, 1000)
}

/// Adds the close frame of a refusal without a code.
fn refused(theirs: &Value) -> Value {
    closed_with(theirs, 1008)
}

/// Adds the close frame of a client that does not answer pings.
fn silent(theirs: &Value) -> Value {
    closed_with(theirs, 1001)
}

fn split_cookies(theirs: &Value) -> Value {
    let seen = theirs.as_str().unwrap_or_default();
    json!(seen.replace(r#"{"one":"1,two=2"}"#, r#"{"one":"1","two":"2"}"#))
}

fn closed_with(theirs: &Value, code: u16) -> Value {
    let mut heard = theirs.clone();
    if let Some(last) = heard.as_array_mut().and_then(|heard| heard.last_mut()).filter(|last| *last == "end")
    {
        *last = json!(format!("closed {code}"));
    }
    heard
}

fn heard(theirs: &Value, client: &str) -> Value {
    let mut outcome = theirs.clone();
    outcome["heard"][client] = closed(&theirs["heard"][client]);
    outcome
}
