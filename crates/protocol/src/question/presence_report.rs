//! PRESENCE_REPORT, ours: what a gateway has in presence rooms. The body is JSON, and so is the answer; `presence` has
//! both.

use super::Question;
use crate::presence::PresenceReport;
use crate::{Frame, code};

pub(super) fn decode(frame: &Frame) -> Question {
    Question::PresenceReport(PresenceReport::from_json(&frame.body).map(Box::new))
}

pub(super) fn encode(report: Option<&PresenceReport>) -> Frame {
    let body = report.map(PresenceReport::to_json).unwrap_or_default();
    Frame { cmd: code::PRESENCE_REPORT, body: body.into(), ..Frame::default() }
}
