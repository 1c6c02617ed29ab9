//! `connections --id … --outbox`: what waits to be written to one client.

use gatewayworker_client::ClientId;
use gatewayworker_client::inspect::{InspectAnswer, InspectRequest, Inspector, OutboxReport};

use crate::cluster_access::Access;
use crate::inspecting;
use crate::look::Look;
use crate::table::Table;
use crate::trace::payload;
use crate::units::bytes;

/// Lists the frames that wait for a client, and shows what is in them where `payloads` says so.
pub(crate) async fn look(
    id: ClientId,
    payloads: bool,
    json: bool,
    inspector: &Inspector,
    access: &Access,
) -> anyhow::Result<Look> {
    let request = InspectRequest::Outbox { id: id.to_string(), payloads };
    let answers = inspecting::ask(inspector, access, &request).await?;
    let found = answers.answers.iter().find_map(|(_, answer)| match answer {
        InspectAnswer::Outbox(found) => found.as_ref(),
        _ => None,
    });
    match found {
        None => Ok(answers.not_connected(id)),
        Some(report) if json => Ok(Look { notes: vec![serde_json::to_string(report)?], ..Look::default() }),
        Some(report) => Ok(Look { lines: lines(report, payloads), ..Look::default() }),
    }
}

/// Returns a heading, and a line for each frame.
fn lines(report: &OutboxReport, payloads: bool) -> Vec<String> {
    let OutboxReport { bytes: waiting, total, is_blocked, frames } = report;
    let socket = if *is_blocked { "full" } else { "not full" };
    let mut lines = vec![format!("{} wait in {total} frames, the socket is {socket}", bytes(*waiting))];
    if frames.is_empty() {
        return lines;
    }
    let head: &[&str] = if payloads { &["KIND", "BYTES", "PAYLOAD"] } else { &["KIND", "BYTES"] };
    let mut table = Table::new(head);
    for frame in frames {
        let code = frame.code.map(|code| format!(" {code}")).unwrap_or_default();
        let mut row = vec![format!("{}{code}", frame.kind.as_str()), bytes(frame.bytes)];
        if payloads {
            row.push(payload(&frame.preview));
        }
        table.push(row);
    }
    lines.push(String::new());
    lines.extend(table.lines(None));
    let more = total.saturating_sub(frames.len() as u64);
    if more > 0 {
        lines.push(format!("and {more} more"));
    }
    lines
}

#[cfg(test)]
mod tests {
    use gatewayworker_client::inspect::{FrameKind, OutboxFrame, Preview};

    use super::*;

    #[test]
    fn an_outbox_is_shown_frame_by_frame() {
        let frame = |kind, payload: &[u8]| OutboxFrame {
            kind,
            bytes: payload.len() as u64,
            code: None,
            preview: Preview::new(payload, 3),
        };
        let frames = vec![frame(FrameKind::Raw, b"rest"), frame(FrameKind::Text, b"a\x1b")];
        let report = OutboxReport { bytes: 1_500, total: 60, is_blocked: true, frames };
        let expected = [
            "1.5 kB wait in 60 frames, the socket is full",
            "",
            "KIND  BYTES  PAYLOAD",
            "raw   4 B    res…",
            "text  2 B    a\u{fffd}",
            "and 58 more",
        ];
        assert_eq!(lines(&report, true), expected);
        assert_eq!(lines(&report, false)[2..4], ["KIND  BYTES", "raw   4 B"]);
        let empty = OutboxReport::default();
        assert_eq!(lines(&empty, true), ["0 B wait in 0 frames, the socket is not full"]);
    }
}
