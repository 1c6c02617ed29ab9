//! The rows that break their promise today, each with its reason.
//!
//! The test of a row in `NOT_YET` fails when the row keeps its promise, so an entry does not outlive its reason.

/// Names of rows, and why they fail.
pub const NOT_YET: &[(&str, &str)] = &[
    ("worker-killed", LOST),
    ("only-worker-killed", LOST),
    ("worker-killed-at-most-once", "the gateway has no such setting"),
    ("gateway-killed", NO_BOOKS),
    ("worker-frozen", SILENT),
    ("worker-frozen-and-awake", SILENT),
    ("gateway-frozen", NO_BOOKS),
    ("gateway-frozen-and-awake", "a handler runs without the session that its gateway does not answer with"),
    ("worker-drained", MOVED),
    ("worker-drained-at-its-limit", "what is not done at the limit of a drain is discarded"),
    ("worker-drained-gateway-frozen", MOVED),
    ("worker-reloaded", MOVED),
    ("worker-cut-30s", SILENT),
    ("worker-cut-for-good", SILENT),
    ("worker-deaf-30s", SILENT),
    ("worker-deaf-for-good", SILENT),
    ("worker-mute-30s", SILENT),
    ("worker-mute-for-good", SILENT),
    ("event-link-cut", SILENT),
    ("call-link-cut", SILENT),
    ("both-links-cut", SILENT),
    ("gateway-host-lost", NO_BOOKS),
    ("poison", LOST),
    ("no-descriptors", LOST),
    ("log-on-full-disk", LOST),
    ("log-unread", LOST),
    ("clocks-apart", LOST),
    ("soak", LOST),
];

/// Names of rows that break their promise now and then, and why. Their tests prove nothing until that is mended.
pub const UNSTEADY: &[(&str, &str)] = &[(
    "gateway-host-cut-30s",
    "events come over the new event link before the call link stands, and their sessions are not written",
)];

const LOST: &str = "what is under way to a worker that dies is lost";
const SILENT: &str = "nothing looks whether a silent worker is alive";
const MOVED: &str = "a client moves while its handlers still run in the worker that drains";
const NO_BOOKS: &str = "a worker has no books of the clients of a gateway, and does not notice its death";

/// Returns why a row breaks its promise each time, if it does.
pub fn reason(row: &str) -> Option<&'static str> {
    NOT_YET.iter().find(|(name, _)| *name == row).map(|(_, reason)| *reason)
}

/// Whether a row breaks its promise now and then.
pub fn is_unsteady(row: &str) -> bool {
    UNSTEADY.iter().any(|(name, _)| *name == row)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_is_a_row() {
        for (name, _) in NOT_YET.iter().chain(UNSTEADY) {
            assert!(crate::rows::all().iter().any(|row| row.name == *name), "{name}");
        }
    }
}
