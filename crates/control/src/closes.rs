//! `closes`: the clients of a running cluster that have ended last, why, and at whose wish.
//!
//! Every gateway is asked for its last closes, and the last of all are printed: a table, or JSON. The status is 0; 1
//! where a gateway has not answered.

use std::cmp::Reverse;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use gatewayworker_client::inspect::{CloseReport, InspectAnswer, InspectRequest, Inspector};
use serde_json::json;

use crate::cluster_access::Access;
use crate::inspecting::{self, Answers, InspectFlags};
use crate::look::Look;
use crate::table::{Table, text};
use crate::units::duration;

/// The flags of `closes`.
#[derive(Debug, clap::Args)]
pub struct ClosesFlags {
    /// List N closes; a gateway keeps 200
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,

    #[command(flatten)]
    inspect: InspectFlags,
}

/// Prints the last closes: status 0, or 1 if a gateway does not answer.
pub fn run(flags: &ClosesFlags) -> ExitCode {
    flags.inspect.show(async |inspector, access| list(flags, inspector, access).await)
}

async fn list(flags: &ClosesFlags, inspector: &Inspector, access: &Access) -> anyhow::Result<Look> {
    let answers = inspecting::ask(inspector, access, &InspectRequest::Closes { limit: flags.limit }).await?;
    let closes = merge(&answers, flags.limit as usize);
    let mut seen = answers.look();
    if flags.inspect.json {
        seen.notes.push(json!({"closes": closes, "errors": answers.errors()}).to_string());
    } else {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        seen.lines = table(&closes, now.as_millis() as u64).lines(None);
        seen.has_head = true;
    }
    Ok(seen)
}

/// Returns the last closes of all gateways, the latest first.
fn merge(answers: &Answers, limit: usize) -> Vec<CloseReport> {
    let mut merged: Vec<CloseReport> = Vec::new();
    for (_, answer) in &answers.answers {
        if let InspectAnswer::Closes(list) = answer {
            merged.extend(list.closes.iter().cloned());
        }
    }
    // Stable: closes of one gateway stay in its order.
    merged.sort_by_key(|close| Reverse(close.at_ms));
    merged.truncate(limit);
    merged
}

/// Makes the table, with what a narrow terminal has to show first.
fn table(closes: &[CloseReport], now_ms: u64) -> Table {
    let mut table = Table::new([
        "AGO",
        "CLIENT",
        "REASON",
        "CODE",
        "BY",
        "CLOSER",
        "UID",
        "CLIENT'S CODE",
        "CONNECTED",
        "ADDRESS",
        "LISTENER",
    ]);
    let known = |name: &Option<String>| name.as_deref().map_or_else(|| "-".into(), text);
    let number = |code: Option<u16>| code.map_or_else(|| "-".into(), |code| code.to_string());
    for close in closes {
        let said = match &close.client_reason {
            Some(reason) => format!("{} {}", number(close.client_code), text(reason)),
            None => number(close.client_code),
        };
        table.push(vec![
            duration(now_ms.saturating_sub(close.at_ms)),
            text(&close.id),
            text(&close.reason),
            number(close.code),
            close.closed_by.as_str().to_owned(),
            known(&close.closer),
            known(&close.uid),
            said,
            duration(close.age_ms),
            known(&close.address),
            text(&close.listener),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use gatewayworker_client::inspect::{CloseList, ClosedBy};

    use super::*;

    fn close(id: &str, at_ms: u64) -> CloseReport {
        CloseReport { id: id.into(), at_ms, ..CloseReport::default() }
    }

    #[test]
    fn the_last_closes_of_all_gateways_are_merged() {
        let answer =
            |gateway: &str, closes| (gateway.to_owned(), InspectAnswer::Closes(CloseList { closes }));
        let one = answer("a", vec![close("a1", 9), close("a2", 3)]);
        let two = answer("b", vec![close("b1", 5), close("b2", 3)]);
        let answers = Answers { answers: vec![one, two], missing: vec![] };
        let ids: Vec<String> = merge(&answers, 3).into_iter().map(|close| close.id).collect();
        assert_eq!(ids, ["a1", "b1", "a2"]);
    }

    #[test]
    fn who_closed_whom_and_why_fits_on_a_narrow_terminal() {
        let kicked = CloseReport {
            id: "7f00000108fc86622f2b".into(),
            reason: "kicked".into(),
            code: Some(1000),
            closed_by: ClosedBy::Worker,
            closer: Some("127.0.0.1:Chat:0".into()),
            at_ms: 1_000,
            ..CloseReport::default()
        };
        let lines = table(&[kicked], 62_000).lines(Some(80));
        assert!(
            lines[1].starts_with("1 min 1 s  7f00000108fc86622f2b  kicked  1000  worker  127.0.0.1:Chat:0"),
            "{}",
            lines[1]
        );
    }
}
