//! INSPECT, ours: what an operator wants to know about a gateway. The body is JSON, and so is the answer; `inspect` has
//! both.

use super::Question;
use crate::inspect::InspectRequest;
use crate::{Frame, code};

pub(super) fn decode(frame: &Frame) -> Question {
    Question::Inspect(InspectRequest::from_json(&frame.body))
}

pub(super) fn encode(request: &InspectRequest) -> Frame {
    Frame { cmd: code::INSPECT, body: request.to_json().into(), ..Frame::default() }
}
