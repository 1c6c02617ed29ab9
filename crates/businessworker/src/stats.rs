//! What has happened to events, in numbers.

use std::fmt;

use gatewayworker_daemon::Counter;

/// Counters; they only grow.
#[derive(Debug, Default)]
pub(crate) struct HandlerStats {
    pub(crate) events: Counter,
    pub(crate) errors: Counter,
    pub(crate) panics: Counter,
    pub(crate) slow: Counter,
    pub(crate) cancelled: Counter,
    pub(crate) refused: Counter,
    pub(crate) sessions_asked: Counter,
    pub(crate) sessions_lost: Counter,
}

impl fmt::Display for HandlerStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { events, errors, panics, slow, cancelled, refused, sessions_asked, sessions_lost } = self;
        write!(
            f,
            "events={events} errors={errors} panics={panics} slow={slow} cancelled={cancelled} \
             refused={refused} sessions_asked={sessions_asked} sessions_lost={sessions_lost}"
        )
    }
}
