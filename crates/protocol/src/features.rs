//! What gateways and workers of this project tell each other about themselves.
//!
//! PHP peers read none of it. A worker lists its [`Features`] in its [`Hello`]; a gateway that
//! finds a list there answers with a ping that lists its own ([`PingBody::Welcome`]). A worker
//! that stops sends [`PingBody::Draining`], and a gateway lets it go with [`PingBody::Drained`]. Neither
//! side uses a feature that the other has not listed.
//!
//! This file reads and writes the lists. What a feature changes is decided by the gateway's
//! worker table and the worker's event link.
//!
//! [`Hello`]: crate::Hello

use std::borrow::Cow;

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Value, json};

use crate::{MAX_FRAME_LEN, MAX_LARGE_FRAME_LEN, hex_id};

/// What a peer can do beyond the original's protocol.
///
/// On the wire it is a JSON list of names. Names that are not known here are left out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Features {
    /// `close-reason`: ON_CLOSE carries a [`CloseReason`](crate::CloseReason).
    pub close_reason: bool,
    /// `admission`: the worker admits or refuses each client after its handshake; the gateway
    /// waits for that, also while the worker drains.
    pub admission: bool,
    /// `channel`: PUBLISH is passed on to the worker.
    pub channel: bool,
    /// `large-frames`: frames may have up to [`MAX_LARGE_FRAME_LEN`] bytes.
    pub large_frames: bool,
    /// `close-detail`: ON_CLOSE may carry a [`ClientCloseFrame`](crate::ClientCloseFrame) behind
    /// its reason.
    pub close_detail: bool,
    /// `acknowledged-events`: the worker says when it has handled an event, and the gateway gives an
    /// event that was not handled to another worker.
    pub acknowledged_events: bool,
    /// `worker-reports`: the worker tells the gateway about itself with REPORT, and the gateway answers with REPORTED.
    pub worker_reports: bool,
    /// `trace-context`: an event that is traced carries a [`TraceContext`](crate::TraceContext).
    pub trace_context: bool,
    /// `interest`: the gateway tells those who ask for it which groups and uids it may have.
    pub interest: bool,
    /// `event-context`: each event carries an [`EventContext`](crate::EventContext).
    pub event_context: bool,
    /// `detached-events`: the worker is told when the connection of a client that may come back is cut, and when the
    /// client has come back.
    pub detached_events: bool,
}

/// What a gateway names in its answer to a worker that lists `acknowledged-events`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pairing {
    /// The id of the gateway's process, drawn at its start. Client ids mean something only with it.
    pub instance: u64,
    /// The epoch: one pairing of a worker's event link and call link with the gateway. Its end ends
    /// both links, and nothing of it is obeyed any more.
    pub epoch: u32,
}

impl Features {
    /// Every feature of this version.
    pub const ALL: Self = Self {
        close_reason: true,
        admission: true,
        channel: true,
        large_frames: true,
        close_detail: true,
        acknowledged_events: true,
        worker_reports: true,
        trace_context: true,
        interest: true,
        event_context: true,
        detached_events: true,
    };

    /// The features with these names; unknown names are ignored.
    pub fn from_names<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let mut features = Self::default();
        for name in names {
            match name {
                "close-reason" => features.close_reason = true,
                "admission" => features.admission = true,
                "channel" => features.channel = true,
                "large-frames" => features.large_frames = true,
                "close-detail" => features.close_detail = true,
                "acknowledged-events" => features.acknowledged_events = true,
                "worker-reports" => features.worker_reports = true,
                "trace-context" => features.trace_context = true,
                "interest" => features.interest = true,
                "event-context" => features.event_context = true,
                "detached-events" => features.detached_events = true,
                _ => {}
            }
        }
        features
    }

    /// The names of the features, always in the same order.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        [
            (self.close_reason, "close-reason"),
            (self.admission, "admission"),
            (self.channel, "channel"),
            (self.large_frames, "large-frames"),
            (self.close_detail, "close-detail"),
            (self.acknowledged_events, "acknowledged-events"),
            (self.worker_reports, "worker-reports"),
            (self.trace_context, "trace-context"),
            (self.interest, "interest"),
            (self.event_context, "event-context"),
            (self.detached_events, "detached-events"),
        ]
        .into_iter()
        .filter_map(|(listed, name)| listed.then_some(name))
    }

    /// The longest frame that the peer takes, header included, in bytes.
    pub fn max_frame_len(self) -> usize {
        if self.large_frames { MAX_LARGE_FRAME_LEN } else { MAX_FRAME_LEN }
    }
}

impl Serialize for Features {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.names())
    }
}

impl<'de> Deserialize<'de> for Features {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let names = Vec::<Cow<'de, str>>::deserialize(deserializer)?;
        Ok(Self::from_names(names.iter().map(AsRef::as_ref)))
    }
}

/// The body of a PING.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PingBody {
    /// Empty: a sign of life, the only ping that PHP peers send.
    Empty,
    /// `{"features":[…]}`: what the gateway can do. It follows a worker's hello. To a worker with
    /// acknowledged events it names the pairing, too: `"instance":"…","epoch":…`.
    Welcome {
        /// What the gateway can do.
        features: Features,
        /// The pairing, where events are acknowledged.
        pairing: Option<Pairing>,
    },
    /// `{"draining":true}`: the worker is stopping. It takes no new clients, and still handles the
    /// events that it has. With acknowledged events the gateway answers with [`Drained`](Self::Drained);
    /// without, the worker closes its side next.
    Draining,
    /// `{"drained":true}`, from a gateway to a worker with acknowledged events: no event is unfinished
    /// there, and none of its clients is the worker's any more. The gateway closes the link behind it. A
    /// link that ends before has failed, whatever the worker was doing.
    Drained,
}

impl PingBody {
    /// Reads the body of a PING; `None` where it says nothing that is known here.
    pub fn parse(body: &[u8]) -> Option<Self> {
        if body.is_empty() {
            return Some(Self::Empty);
        }
        let body: Value = serde_json::from_slice(body).ok()?;
        if body.get("draining").and_then(Value::as_bool) == Some(true) {
            return Some(Self::Draining);
        }
        if body.get("drained").and_then(Value::as_bool) == Some(true) {
            return Some(Self::Drained);
        }
        let names = body.get("features")?.as_array()?;
        let features = Features::from_names(names.iter().filter_map(Value::as_str));
        let instance = body.get("instance").and_then(Value::as_str).and_then(hex_id::from_text);
        let epoch = body.get("epoch").and_then(Value::as_u64).and_then(|epoch| u32::try_from(epoch).ok());
        let pairing = instance.zip(epoch).map(|(instance, epoch)| Pairing { instance, epoch });
        Some(Self::Welcome { features, pairing })
    }

    /// The bytes of the body.
    pub fn encode(self) -> Bytes {
        match self {
            Self::Empty => Bytes::new(),
            Self::Welcome { features, pairing: None } => json!({ "features": features }).to_string().into(),
            Self::Welcome { features, pairing: Some(Pairing { instance, epoch }) } => {
                // Alphabetical: `serde_json` keeps the order or sorts, as the features of other crates say.
                json!({ "epoch": epoch, "features": features, "instance": hex_id::to_text(instance) })
                    .to_string()
                    .into()
            }
            Self::Draining => Bytes::from_static(br#"{"draining":true}"#),
            Self::Drained => Bytes::from_static(br#"{"drained":true}"#),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Hello;

    fn welcome(features: Features) -> PingBody {
        PingBody::Welcome { features, pairing: None }
    }

    #[test]
    fn a_ping_says_what_it_said_when_it_is_read_again() {
        let some = Features { channel: true, ..Features::default() };
        for (body, wire) in [
            (PingBody::Empty, ""),
            (PingBody::Draining, r#"{"draining":true}"#),
            (PingBody::Drained, r#"{"drained":true}"#),
            (welcome(Features::default()), r#"{"features":[]}"#),
            (welcome(some), r#"{"features":["channel"]}"#),
            (
                welcome(Features::ALL),
                r#"{"features":["close-reason","admission","channel","large-frames","close-detail","acknowledged-events","worker-reports","trace-context","interest","event-context","detached-events"]}"#,
            ),
            (
                PingBody::Welcome { features: some, pairing: Some(Pairing { instance: 0xabc, epoch: 7 }) },
                r#"{"epoch":7,"features":["channel"],"instance":"0000000000000abc"}"#,
            ),
        ] {
            assert_eq!(body.encode(), wire);
            assert_eq!(PingBody::parse(wire.as_bytes()), Some(body), "{wire}");
        }
    }

    #[test]
    fn a_ping_with_nothing_known_in_it_says_nothing() {
        for body in [
            "\0",
            "no JSON",
            "[]",
            "3",
            r#"{"draining":false}"#,
            r#"{"drained":1}"#,
            r#"{"features":"channel"}"#,
            "{}",
        ] {
            assert_eq!(PingBody::parse(body.as_bytes()), None, "{body}");
        }
    }

    #[test]
    fn unknown_names_are_ignored() {
        let body = br#"{"features":["of tomorrow",7,null,"admission"],"more":1}"#;
        let admission = Features { admission: true, ..Features::default() };
        assert_eq!(PingBody::parse(body), Some(welcome(admission)));
    }

    #[test]
    fn a_hello_without_a_list_differs_from_one_whose_list_is_empty_or_unknown() {
        let features = |hello: &str| serde_json::from_str::<Hello>(hello).unwrap().features;
        assert_eq!(features(r#"{"secret_key":""}"#), None);
        assert_eq!(features(r#"{"features":[]}"#), Some(Features::default()));
        assert_eq!(features(r#"{"features":["of tomorrow"]}"#), Some(Features::default()));
        assert_eq!(
            features(r#"{"features":["large-fr\u0061mes"]}"#).unwrap().names().next(),
            Some("large-frames")
        );
    }

    #[test]
    fn only_a_peer_with_large_frames_gets_them() {
        assert_eq!(Features::default().max_frame_len(), MAX_FRAME_LEN);
        assert_eq!(Features::ALL.max_frame_len(), MAX_LARGE_FRAME_LEN);
    }
}
