//! What a row has promised, and what was seen: the judgement over a run's counts.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::ledger::Counts;

/// Which counts a row allows to be more than zero. By default none.
#[derive(Debug, Clone, Copy, Default)]
pub struct Allowance {
    /// Events and closes may be handled again, with the mark: a process has died, or was given up.
    pub marked_doubles: bool,
    /// Handlers that the cut has caught may overlap with their successors.
    pub overlap_at_the_cut: bool,
    /// Two workers may have events of a client whose gateway was killed, with the mark.
    pub in_two_workers: bool,
    /// Messages that were with a harmed gateway may be gone with it.
    pub gone_with_gateway: bool,
    /// Connections may be cut off.
    pub cut_off: bool,
    /// New clients may be closed, as no worker admits them in time.
    pub not_admitted: bool,
    /// Closes may be missing.
    pub closes_missing: bool,
    /// Messages may be lost.
    pub lost: bool,
    /// Handlers may be told that what they say does not reach a gateway: their worker is not linked to it yet, or no
    /// more.
    pub unreached: bool,
    /// Handlers that run when the gateway of their client is killed may be told that they say nothing any more.
    pub fenced: bool,
    /// What handlers say on a call link that is cut may end with it.
    pub gone_with_link: bool,
    /// Changes of sessions may be lost.
    pub stale: bool,
    /// A gateway that was taken for lost may come back, and bring events of clients whose close was handled.
    pub behind_close: bool,
}

impl Allowance {
    /// Everything has to be zero.
    pub const NONE: Self = Self {
        marked_doubles: false,
        stale: false,
        behind_close: false,
        unreached: false,
        fenced: false,
        gone_with_link: false,
        overlap_at_the_cut: false,
        in_two_workers: false,
        gone_with_gateway: false,
        cut_off: false,
        not_admitted: false,
        closes_missing: false,
        lost: false,
    };
}

/// Whether a fault has to show, by the sign that the ledger watches for.
#[derive(Debug, Clone, Copy, Default)]
pub enum Detection {
    /// There is no such sign.
    #[default]
    Unwatched,
    /// The fault has to be noticed within this time.
    Within(Duration),
    /// Nobody may be given up.
    Never,
}

/// What became of a row.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Outcome {
    /// The row's name.
    pub row: String,
    /// What it promises.
    pub promised: String,
    /// The counts.
    pub counts: Counts,
    /// Each broken part of the promise, as a sentence.
    pub broken: Vec<String>,
    /// What happened to the clients concerned, if the promise is broken: a paragraph for each.
    pub report: Vec<String>,
    /// What else was seen.
    pub notes: Vec<String>,
    /// How long the row took, in seconds.
    pub seconds: f64,
}

/// Returns a sentence for each count that breaks the promise.
pub fn judge(counts: &Counts, allowed: Allowance, detection: Detection) -> Vec<String> {
    let marked =
        counts.doubled + counts.closes_doubled - counts.doubled_unmarked - counts.closes_doubled_unmarked;
    let said = counts.said.clone().unwrap_or_default();
    let zero = [
        (marked, allowed.marked_doubles, "events or closes doubled, though nobody was given up"),
        (counts.lost, allowed.lost, "messages lost"),
        (counts.unanswered, allowed.lost || allowed.cut_off, "messages without an answer"),
        (counts.gone_with_gateway, allowed.gone_with_gateway, "messages gone with a gateway"),
        (counts.doubled_unmarked, false, "events doubled without the mark"),
        (counts.reordered, false, "events out of order"),
        (
            counts.behind_close_with_gateway,
            allowed.behind_close,
            "events behind the close of a lost gateway's client",
        ),
        (counts.overlapped, false, "handlers overlapped"),
        (counts.overlapped_at_the_cut, allowed.overlap_at_the_cut, "handlers overlapped at the cut"),
        (counts.in_two_workers, allowed.in_two_workers, "marked events of a client in two workers"),
        (counts.stale, allowed.stale, "handlers with a stale session"),
        (counts.closes_missing, allowed.closes_missing, "closes missing"),
        (counts.closes_doubled_unmarked, false, "closes doubled without the mark"),
        (counts.cut_off, allowed.cut_off, "connections cut off"),
        (said.lost, false, "messages to others lost"),
        (said.gone_with_gateway, allowed.gone_with_gateway, "messages to others gone with a gateway"),
        (said.gone_with_link, allowed.gone_with_link, "messages to others gone with a call link"),
        (said.fenced, allowed.fenced, "messages to others refused, as the handler's gateway was gone"),
        (said.unreached, allowed.unreached, "messages to others that reached no gateway"),
        (said.doubled_unsaid, false, "messages to others doubled, though they were said once"),
        (said.reordered, false, "messages to others out of order"),
        (counts.not_admitted, allowed.not_admitted, "new clients not admitted in time"),
    ];
    let broken = zero.into_iter().filter(|(count, is_allowed, _)| *count > 0 && !is_allowed);
    let mut broken: Vec<_> = broken.map(|(count, _, what)| format!("{count} {what}")).collect();
    match (detection, counts.detection_ms.map(Duration::from_millis)) {
        (Detection::Within(_), None) => broken.push("the fault was not noticed".into()),
        (Detection::Within(limit), Some(time)) if time > limit => {
            broken.push(format!("the fault was noticed after {:.1} s", time.as_secs_f64()));
        }
        (Detection::Never, Some(_)) => broken.push("a daemon that lives was given up".into()),
        _ => {}
    }
    broken
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_keep_every_promise() {
        assert!(judge(&Counts::default(), Allowance::default(), Detection::Unwatched).is_empty());
    }

    #[test]
    fn each_count_breaks_a_promise_unless_it_is_allowed() {
        let lost = Counts { lost: 2, ..Counts::default() };
        assert_eq!(judge(&lost, Allowance::default(), Detection::Unwatched), ["2 messages lost"]);
        assert!(
            judge(&lost, Allowance { lost: true, ..Allowance::default() }, Detection::Unwatched).is_empty()
        );
        let marked = Counts { doubled: 3, closes_doubled: 1, ..Counts::default() };
        let allowed = Allowance { marked_doubles: true, ..Allowance::default() };
        assert!(judge(&marked, allowed, Detection::Unwatched).is_empty(), "they have the mark");
        assert_eq!(judge(&marked, Allowance::default(), Detection::Unwatched).len(), 1);
        let unmarked = Counts { doubled_unmarked: 1, closes_doubled_unmarked: 1, ..marked };
        assert_eq!(judge(&unmarked, allowed, Detection::Unwatched).len(), 2);
    }

    #[test]
    fn a_fault_has_to_be_noticed_in_time() {
        let limit = Detection::Within(Duration::from_secs(10));
        let noticed = |ms| Counts { detection_ms: ms, ..Counts::default() };
        assert!(judge(&noticed(Some(9000)), Allowance::default(), limit).is_empty());
        assert_eq!(judge(&noticed(Some(11_000)), Allowance::default(), limit).len(), 1);
        assert_eq!(judge(&noticed(None), Allowance::default(), limit), ["the fault was not noticed"]);
        assert!(judge(&noticed(None), Allowance::default(), Detection::Never).is_empty());
        assert_eq!(judge(&noticed(Some(1)), Allowance::default(), Detection::Never).len(), 1);
    }
}
