//! What an operator may ask a gateway about itself, and its answers: the JSON of INSPECT.
//!
//! [`InspectRequest`] is the body of the question, [`InspectAnswer`] is the answer. `question/inspect.rs` puts the
//! request into a frame, the gateway makes the answers, the client library's `Inspector` asks. The two sides may be of
//! different versions: unknown fields are ignored, missing ones have a default, and a gateway answers a request that
//! it does not know with [`InspectAnswer::Error`].
//!
//! Sizes are in bytes, times in milliseconds. Uids and groups are text: bytes that are not UTF-8 are replaced, and
//! names over [`MAX_NAME_BYTES`] are cut.

mod closes;
mod outbox;
mod preview;
mod trace;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::php;
pub use crate::report::{HandlerTimes, HandlersReport, RunningHandler};

pub use closes::{CloseList, CloseReport, ClosedBy, MAX_CLOSES};
pub use outbox::{MAX_OUTBOX_FRAMES, MAX_OUTBOX_PAYLOAD, OutboxFrame, OutboxReport};
pub use preview::Preview;
pub use trace::{
    Direction, FrameKind, MAX_TRACE_PAYLOAD, MAX_TRACE_SECONDS, TRACE_SECONDS, TRACE_SILENCE, TraceLine,
    TracedFrame,
};

/// How many clients or groups an answer lists at most, whatever the request says.
pub const MAX_LISTED: u32 = 1000;

/// How many are listed where the request does not say it.
pub const LISTED: u32 = 20;

/// The longest uid, group or address of a register in an answer, in bytes.
pub const MAX_NAME_BYTES: usize = 256;

/// The longest session that an answer shows, in bytes as it is stored.
pub const MAX_SESSION_BYTES: usize = 64 * 1024;

/// A question about a gateway: the body of INSPECT, `{"about":"clients","sort":"outbox"}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "about", rename_all = "snake_case")]
#[non_exhaustive]
pub enum InspectRequest {
    /// The gateway itself, its registers and its workers. Answer: [`InspectAnswer::Gateway`].
    Gateway,
    /// The clients that a query lets through. Answer: [`InspectAnswer::Clients`].
    Clients(ClientQuery),
    /// One client in full. Answer: [`InspectAnswer::Client`].
    Client {
        /// The client id, 20 hexadecimal digits.
        id: String,
    },
    /// The largest groups. Answer: [`InspectAnswer::Groups`].
    Groups {
        /// How many to list: from 1 to [`MAX_LISTED`].
        #[serde(default = "listed")]
        limit: u32,
    },
    /// One client's frames from now on, on a connection of its own. Answers: at once one without a byte, or
    /// [`InspectAnswer::Error`]; then an [`InspectAnswer::Trace`] for each frame, until one is [`TraceLine::End`]. An
    /// answer without a byte is a sign of life.
    Trace {
        /// The client id.
        id: String,
        /// Show what is in the frames.
        #[serde(default)]
        payloads: bool,
        /// For how long: from 1 to [`MAX_TRACE_SECONDS`].
        #[serde(default = "trace_seconds")]
        seconds: u32,
    },
    /// What waits to be written to a client. Answer: [`InspectAnswer::Outbox`].
    Outbox {
        /// The client id.
        id: String,
        /// Show what is in the frames.
        #[serde(default)]
        payloads: bool,
    },
    /// The last closes. Answer: [`InspectAnswer::Closes`].
    Closes {
        /// How many to list: from 1 to [`MAX_CLOSES`].
        #[serde(default = "listed")]
        limit: u32,
    },
    /// What the handlers of the workers do, with the clients of those that run for long. Answer:
    /// [`InspectAnswer::Handlers`].
    Handlers,
    /// A request of another version, or one that cannot be read. Answer: [`InspectAnswer::Error`].
    #[serde(other)]
    Unknown,
}

/// The answer to an [`InspectRequest`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum InspectAnswer {
    /// The gateway.
    Gateway(Box<GatewayReport>),
    /// Clients.
    Clients(ClientList),
    /// A client; `None` where the gateway has no such client.
    Client(Option<Box<ClientDetail>>),
    /// Groups.
    Groups(GroupList),
    /// What the handlers of the workers do.
    Handlers(HandlerList),
    /// Why there is no answer, in a sentence.
    Error(String),
    /// A line of a trace: one of many answers.
    Trace(TraceLine),
    /// What waits for a client; `None` where the gateway has no such client.
    Outbox(Option<OutboxReport>),
    /// The last closes.
    Closes(CloseList),
}

/// Which clients to list, and in which order. A client has to meet all conditions that are set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClientQuery {
    /// The order: those with the highest value come first.
    pub sort: ClientSort,
    /// How many to list: from 1 to [`MAX_LISTED`]; [`LISTED`] by default.
    pub limit: u32,
    /// The client id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The uid that the client is bound to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// A group that the client is a member of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// The client's IPv4 address: `10.0.0.7`, `10.0.0.7:50000`, or its first numbers with a dot behind them, `10.0.`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// The listener that the client came to: its URL, or its port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listener: Option<String>,
}

/// By which value clients are sorted; the highest comes first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientSort {
    /// The bytes that wait to be written to the client.
    #[default]
    Outbox,
    /// How long the client has been connected.
    Age,
    /// The messages that the client has sent.
    Messages,
    /// The client's events that no worker has finished.
    Unfinished,
    /// How long the first of these has waited.
    Oldest,
}

/// A gateway.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct GatewayReport {
    /// The version of its program.
    pub version: String,
    /// The id of its process, 16 hexadecimal digits, drawn at its start.
    pub instance: String,
    /// Since its start.
    pub uptime_ms: u64,
    /// The address that it announces, which is a part of every client id.
    pub address: String,
    /// It closes its clients, and ends.
    pub stopping: bool,
    /// Where clients connect.
    pub listeners: Vec<ListenerReport>,
    /// The numbers of `status --json`, by the same names.
    pub stats: BTreeMap<String, u64>,
    /// What keeps it from its work, each a sentence that says what to do.
    pub problems: Vec<String>,
    /// What an operator has to mend though it does its work, each a sentence.
    pub notices: Vec<String>,
    /// The registers that it announces itself to.
    pub registers: Vec<RegisterReport>,
    /// The workers that are linked, by their keys.
    pub workers: Vec<WorkerReport>,
}

/// A listener of a gateway.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ListenerReport {
    /// Its URL, with the port that it is bound to.
    pub url: String,
    /// Its connections, those among them that are not clients yet.
    pub clients: u64,
}

/// A register, as a gateway sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RegisterReport {
    /// Its address, as the gateway's configuration has it.
    pub address: String,
    /// The gateway is announced there.
    pub connected: bool,
}

/// A worker, as a gateway sees it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct WorkerReport {
    /// Its IP address, its name and its id: `127.0.0.1:Chat:0`.
    pub key: String,
    /// The other end of its event link: an address, or `unix:4242` for the process 4242 of the gateway's host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// The id of its process, 16 hexadecimal digits; a worker of PHP has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<String>,
    /// `open`, `draining` or `closing`.
    pub state: String,
    /// The clients whose events go to it.
    pub clients: u64,
    /// The events that it has and has not finished; always 0 for a worker that does not acknowledge events.
    pub unfinished: u64,
    /// Their bytes.
    pub unfinished_bytes: u64,
    /// For how long the client that waits longest has waited for its first unfinished event; 0 if none waits.
    pub oldest_ms: u64,
    /// The version of its program. This and what follows is what it has reported itself; a worker of PHP, or of an
    /// earlier version, reports nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Since its start, when it reported.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uptime_ms: Option<u64>,
    /// How long a frame to the gateway and its answer take, exact to a microsecond; or how long the worker waits for
    /// the next answer, if that is longer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub round_trip_ms: Option<f64>,
    /// How long ago it reported: five seconds at most, unless its process stands still.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub report_age_ms: Option<u64>,
    /// What its handlers do, without the clients: [`InspectRequest::Handlers`] names them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub handlers: Option<HandlersReport>,
}

/// What the handlers of the workers do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HandlerList {
    /// The workers that report it, by their keys.
    pub workers: Vec<WorkerHandlers>,
}

/// What the handlers of a worker do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct WorkerHandlers {
    /// The key of the worker.
    pub key: String,
    /// How long ago it reported.
    pub report_age_ms: u64,
    /// What it reported. The handlers that run for long have their clients, also those of other gateways.
    #[serde(flatten)]
    pub handlers: HandlersReport,
}

/// The clients that a query lets through.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClientList {
    /// How many there are, listed or not. Clients may come and go while they are counted.
    pub total: u64,
    /// The first of them.
    pub clients: Vec<ClientReport>,
}

/// A client.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClientReport {
    /// Its client id.
    pub id: String,
    /// The uid that it is bound to.
    pub uid: Option<String>,
    /// How many groups it is a member of.
    pub groups: u64,
    /// Its IPv4 address and port; `None` for one that came over IPv6.
    pub address: Option<String>,
    /// The URL of the listener that it came to.
    pub listener: String,
    /// How long it has been connected; exact to a second.
    pub age_ms: u64,
    /// How many messages it has sent; no more than 4,294,967,295 are counted.
    pub messages: u64,
    /// Bytes that wait to be written to it, and what it costs to hold them.
    pub outbox_bytes: u64,
    /// Its events that no worker has finished. A worker that does not acknowledge events has finished each at once.
    pub unfinished: u64,
    /// The key of its worker.
    pub worker: String,
    /// Its worker has not said yet whether it is admitted.
    pub is_pending: bool,
    /// How long its first unfinished event has been the first; 0 if it has none.
    pub oldest_ms: u64,
}

/// A client in full.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClientDetail {
    /// The client.
    #[serde(flatten)]
    pub client: ClientReport,
    /// Its groups, in the order in which it joined them; the first [`MAX_LISTED`].
    pub group_names: Vec<String>,
    /// Its session; `None` where it is over [`MAX_SESSION_BYTES`], or has no form in JSON.
    pub session: Option<Value>,
    /// The size of the session as it is stored.
    pub session_bytes: u64,
    /// How long nothing was heard of it.
    pub silent_ms: u64,
    /// Nothing is read from it for now: it sends faster than it may, or than its worker takes.
    pub is_paused: bool,
}

/// The largest groups of a gateway.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct GroupList {
    /// The largest first.
    pub groups: Vec<GroupReport>,
}

/// A group.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct GroupReport {
    /// Its name.
    pub name: String,
    /// How many clients of the gateway are members.
    pub members: u64,
}

impl Default for ClientQuery {
    fn default() -> Self {
        Self {
            sort: ClientSort::default(),
            limit: LISTED,
            id: None,
            uid: None,
            group: None,
            address: None,
            listener: None,
        }
    }
}

/// Returns a stored session as JSON; `None` where it is over [`MAX_SESSION_BYTES`] or has no form in JSON.
pub fn session_to_json(stored: &[u8]) -> Option<Value> {
    if stored.is_empty() {
        return Some(Value::Object(serde_json::Map::new()));
    }
    let is_short = stored.len() <= MAX_SESSION_BYTES;
    is_short.then(|| php::unserialize(stored).ok()?.into_json()).flatten()
}

fn listed() -> u32 {
    LISTED
}

fn trace_seconds() -> u32 {
    TRACE_SECONDS
}

impl InspectRequest {
    /// Reads a body. What cannot be read is [`Unknown`](Self::Unknown), as the peer waits for an answer.
    pub fn from_json(body: &[u8]) -> Self {
        serde_json::from_slice(body).unwrap_or(Self::Unknown)
    }

    /// The body.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("strings and numbers always serialize")
    }
}

impl InspectAnswer {
    /// Reads an answer; `None` where it is none, or one of a version that is not known here.
    pub fn from_json(answer: &[u8]) -> Option<Self> {
        serde_json::from_slice(answer).ok()
    }

    /// The answer as JSON.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("text, numbers and JSON always serialize")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_request_is_what_it_was_when_it_is_read_again() {
        let query = ClientQuery { sort: ClientSort::Age, uid: Some("ann".into()), ..ClientQuery::default() };
        for (request, wire) in [
            (InspectRequest::Gateway, json!({"about": "gateway"})),
            (
                InspectRequest::Clients(query),
                json!({"about": "clients", "sort": "age", "limit": 20, "uid": "ann"}),
            ),
            (InspectRequest::Client { id: "7f".into() }, json!({"about": "client", "id": "7f"})),
            (InspectRequest::Groups { limit: 5 }, json!({"about": "groups", "limit": 5})),
            (
                InspectRequest::Trace { id: "7f".into(), payloads: true, seconds: 9 },
                json!({"about": "trace", "id": "7f", "payloads": true, "seconds": 9}),
            ),
            (
                InspectRequest::Outbox { id: "7f".into(), payloads: false },
                json!({"about": "outbox", "id": "7f", "payloads": false}),
            ),
            (InspectRequest::Closes { limit: 5 }, json!({"about": "closes", "limit": 5})),
            (InspectRequest::Handlers, json!({"about": "handlers"})),
        ] {
            assert_eq!(serde_json::from_slice::<Value>(&request.to_json()).unwrap(), wire);
            assert_eq!(InspectRequest::from_json(&request.to_json()), request);
        }
    }

    #[test]
    fn a_request_of_another_version_is_read_as_far_as_it_is_known() {
        for (body, request) in [
            (r#"{"about":"gateway","more":1}"#, InspectRequest::Gateway),
            (r#"{"about":"clients","colour":"red"}"#, InspectRequest::Clients(ClientQuery::default())),
            (r#"{"about":"groups"}"#, InspectRequest::Groups { limit: LISTED }),
            (r#"{"about":"closes"}"#, InspectRequest::Closes { limit: LISTED }),
            (
                r#"{"about":"trace","id":"7f"}"#,
                InspectRequest::Trace { id: "7f".into(), payloads: false, seconds: TRACE_SECONDS },
            ),
            (r#"{"about":"weather","city":"Paris"}"#, InspectRequest::Unknown),
            (r#"{"about":"clients","sort":"height"}"#, InspectRequest::Unknown),
            (r#"{"about":"clients","limit":-1}"#, InspectRequest::Unknown),
            ("no JSON", InspectRequest::Unknown),
            ("", InspectRequest::Unknown),
        ] {
            assert_eq!(InspectRequest::from_json(body.as_bytes()), request, "{body}");
        }
    }

    #[test]
    fn an_answer_of_another_version_is_read_as_far_as_it_is_known() {
        let list = ClientList { total: 3, ..ClientList::default() };
        for (answer, read) in [
            (r#"{"clients":{"total":3,"more":true}}"#, Some(InspectAnswer::Clients(list))),
            (r#"{"client":null}"#, Some(InspectAnswer::Client(None))),
            (r#"{"error":"why"}"#, Some(InspectAnswer::Error("why".into()))),
            (r#"{"weather":{}}"#, None),
            ("i:1;", None),
        ] {
            assert_eq!(InspectAnswer::from_json(answer.as_bytes()), read, "{answer}");
        }
    }

    #[test]
    fn a_worker_that_reports_nothing_has_no_fields_of_a_report() {
        let silent = WorkerReport { key: "php".into(), ..WorkerReport::default() };
        let json = serde_json::to_value(&silent).unwrap();
        assert_eq!((json.get("version"), json.get("handlers")), (None, None));
        let tells = WorkerReport {
            round_trip_ms: Some(0.31),
            handlers: Some(HandlersReport { running: 2, ..HandlersReport::default() }),
            ..silent
        };
        let json = serde_json::to_value(&tells).unwrap();
        assert_eq!((&json["round_trip_ms"], &json["handlers"]["running"]), (&json!(0.31), &json!(2)));
        assert_eq!(serde_json::from_value::<WorkerReport>(json).unwrap(), tells);
    }

    #[test]
    fn a_client_in_full_has_the_fields_of_a_client_beside_its_own() {
        let client = ClientReport { id: "7f".into(), messages: 3, ..ClientReport::default() };
        let detail = ClientDetail { client, group_names: vec!["room".into()], ..ClientDetail::default() };
        let answer = InspectAnswer::Client(Some(Box::new(detail)));
        let json: Value = serde_json::from_slice(&answer.to_json()).unwrap();
        assert_eq!((&json["client"]["id"], &json["client"]["group_names"]), (&json!("7f"), &json!(["room"])));
        assert_eq!(InspectAnswer::from_json(&answer.to_json()), Some(answer));
    }
}
