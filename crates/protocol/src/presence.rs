//! What gateways of ours tell each other about presence: who is in which room.
//!
//! A gateway reports the uids that its clients have in presence rooms to the gateways that keep these rooms.
//! [`PresenceReport`] is a question on a call link (`question/presence_report.rs`), [`PresenceAnswer`] says that it is
//! applied. Both are JSON. `docs/decisions/0017-presence.md` has the rules.

use std::net::SocketAddrV4;

use serde::{Deserialize, Serialize};

/// The most changes in a report.
pub const MAX_CHANGES: usize = 1_000;

/// A report stops growing when its changes have so many bytes, without what JSON adds.
pub const MAX_REPORT_BYTES: usize = 256 * 1024;

/// What a gateway has in presence rooms, or what has changed there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PresenceReport {
    /// The gateway that reports, by its address for workers.
    pub from: SocketAddrV4,
    /// The list of gateways by which it has found the receiver, as a hash.
    pub list: u64,
    /// The number of the series to which the report belongs. A series begins with all that the gateway has.
    pub series: u64,
    /// The first report of its series.
    pub begins: bool,
    /// Behind this report the series has named everything. What was reported before the series, and not in it, is gone.
    pub is_complete: bool,
    /// What is there, or not.
    pub changes: Vec<PresenceChange>,
}

/// A uid of a room on the reporting gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PresenceChange {
    /// The room's name.
    pub room: String,
    /// The uid.
    pub uid: String,
    /// What others see of it, a JSON object as text; `None` where the gateway has no client of the uid in the room.
    pub data: Option<String>,
    /// The room's owner has applied before that the uid is there.
    pub is_known: bool,
}

/// The answer to a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "result")]
pub enum PresenceAnswer {
    /// It is applied, and join and leave are said from now on.
    Applied,
    /// It is applied; the receiver waits for other gateways before it says anything. Report the same again later.
    Settling,
    /// The series is not known: begin a new one.
    UnknownSeries,
    /// This gateway keeps no rooms: presence is not set there.
    Off,
}

impl PresenceReport {
    /// Reads a report; `None` where it cannot be read.
    pub fn from_json(json: &[u8]) -> Option<Self> {
        let report: Self = serde_json::from_slice(json).ok()?;
        (report.changes.len() <= MAX_CHANGES).then_some(report)
    }

    /// Returns the report as JSON.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }
}

impl PresenceAnswer {
    /// Reads an answer; `None` where it cannot be read.
    pub fn from_json(json: &[u8]) -> Option<Self> {
        serde_json::from_slice(json).ok()
    }

    /// Returns the answer as JSON.
    pub fn to_json(self) -> Vec<u8> {
        serde_json::to_vec(&self).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_and_answers_are_read_as_they_were_written() {
        let change = |data: Option<&str>| PresenceChange {
            room: "room-1".into(),
            uid: "\"7\"".into(),
            data: data.map(Into::into),
            is_known: data.is_some(),
        };
        let report = PresenceReport {
            from: "127.0.0.1:2300".parse().unwrap(),
            list: u64::MAX,
            series: 3,
            begins: true,
            is_complete: false,
            changes: vec![change(Some(r#"{"name":"Ann"}"#)), change(None)],
        };
        assert_eq!(PresenceReport::from_json(&report.to_json()), Some(report.clone()));
        let too_long = PresenceReport { changes: vec![change(None); MAX_CHANGES + 1], ..report };
        assert_eq!(PresenceReport::from_json(&too_long.to_json()), None);
        assert_eq!(PresenceReport::from_json(b"{}"), None);
        for answer in [PresenceAnswer::Applied, PresenceAnswer::UnknownSeries] {
            assert_eq!(PresenceAnswer::from_json(&answer.to_json()), Some(answer));
        }
        assert_eq!(PresenceAnswer::Settling.to_json(), br#"{"result":"settling"}"#);
    }
}
