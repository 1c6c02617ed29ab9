//! Whoever runs the daemon, as the daemon sees them: they may ask it to read its files
//! again, and how it goes.

use std::fmt;
use std::sync::{Arc, OnceLock};

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use crate::supervised;
use crate::{LineWriter, ListenerSource};

/// What the operator may ask for while the daemon runs.
#[derive(Debug)]
pub struct Operator {
    /// To read its files again.
    pub reload: Reload,
    /// How it goes.
    pub stats: Stats,
    /// Not a question: what they hold for the daemon while it comes and goes.
    pub listeners: ListenerSource,
}

impl Operator {
    /// One that never asks for anything.
    pub fn absent() -> Self {
        Self { reload: Reload::never(), stats: Stats::default(), listeners: ListenerSource::default() }
    }
}

/// Tells when a daemon is to read its files again: at SIGHUP, or when its supervisor says
/// so. Dropping it says that there is nothing to read again.
#[derive(Debug)]
pub struct Reload(mpsc::Receiver<ReloadRequest>);

/// That somebody has asked for files to be read again.
#[derive(Debug)]
#[must_use]
pub struct ReloadRequest(By);

/// Who asks for a reload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    /// Somebody who has the log to see what came of it.
    #[cfg_attr(not(unix), allow(dead_code, reason = "there is no such signal"))]
    Sighup,
    /// One who waits for an answer.
    Parent,
}

impl Reload {
    /// One that never asks.
    pub fn never() -> Self {
        Self(mpsc::channel(1).1)
    }

    /// The other end, and this one.
    pub(crate) fn new() -> (AskReload, Self) {
        let (ask, asked) = mpsc::channel(4);
        (AskReload(ask), Self(asked))
    }

    /// Waits until it is asked for. Cancel safe.
    pub async fn next(&mut self) -> ReloadRequest {
        match self.0.recv().await {
            Some(request) => request,
            None => std::future::pending().await,
        }
    }
}

impl ReloadRequest {
    /// What came of it: an error says why what was there before stays in use.
    pub fn done(self, result: Result<(), String>) {
        match (self.0, result) {
            (By::Sighup, _) => {}
            (By::Parent, Ok(())) => supervised::say("reloaded"),
            (By::Parent, Err(why)) => supervised::say(&format!("failed {}", why.replace('\n', ", "))),
        }
    }
}

/// The other end of a [`Reload`].
#[derive(Debug, Clone)]
pub(crate) struct AskReload(mpsc::Sender<ReloadRequest>);

impl AskReload {
    /// Asks, on behalf of whom the log is to name.
    pub(crate) fn ask(&self, by: By) {
        match self.0.try_send(ReloadRequest(by)) {
            Ok(()) => {}
            Err(TrySendError::Full(request)) => request.done(Err("it is at it already".into())),
            Err(TrySendError::Closed(request)) => {
                tracing::info!(?by, "there is nothing to load again");
                request.done(Ok(()));
            }
        }
    }

    /// Passes SIGHUP on, for ever.
    ///
    /// # Errors
    /// When the system refuses.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    #[cfg(unix)]
    pub(crate) fn at_hangup(self) -> std::io::Result<()> {
        use tokio::signal::unix::{SignalKind, signal};
        let mut hangup = signal(SignalKind::hangup())?;
        tokio::spawn(async move {
            while hangup.recv().await.is_some() {
                self.ask(By::Sighup);
            }
        });
        Ok(())
    }

    /// There is no such signal here.
    ///
    /// # Errors
    /// None.
    #[cfg(not(unix))]
    pub(crate) fn at_hangup(self) -> std::io::Result<()> {
        Ok(())
    }
}

/// What a daemon counts, and what keeps it from its work, for whoever asks how it goes.
#[derive(Clone, Default)]
pub struct Stats(Arc<Account>);

#[derive(Default)]
struct Account {
    stats: OnceLock<Box<ReadStats>>,
    problems: OnceLock<Box<ReadProblems>>,
    log: Option<LineWriter>,
}

/// Each figure by its name, in the order in which they are to be shown.
type ReadStats = dyn Fn() -> Vec<(&'static str, u64)> + Send + Sync;

/// A sentence for each problem.
type ReadProblems = dyn Fn() -> Vec<String> + Send + Sync;

impl Stats {
    /// Those of a process that logs to `log`, whose dropped lines are a figure.
    pub(crate) fn of(log: LineWriter) -> Self {
        Self(Arc::new(Account { log: Some(log), ..Account::default() }))
    }

    /// `read` is called, from any thread, whenever somebody asks; it must not block.
    /// What is said first stands.
    pub fn provide(&self, read: impl Fn() -> Vec<(&'static str, u64)> + Send + Sync + 'static) {
        let _ = self.0.stats.set(Box::new(read));
    }

    /// `read` returns what keeps the daemon from its work at the moment, each as a sentence that
    /// says what to do: "the gateway has no worker: …". It is called as the one of
    /// [`Stats::provide`] is.
    pub fn provide_problems(&self, read: impl Fn() -> Vec<String> + Send + Sync + 'static) {
        let _ = self.0.problems.set(Box::new(read));
    }

    /// Returns them as they are now: a JSON object, empty as long as the daemon has not said.
    /// It has `problems`, a list, only where there are any, and `log_lines_dropped` likewise.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        let Account { stats, problems, log } = &*self.0;
        let stats = stats.get().map(|read| read()).unwrap_or_default();
        let dropped = log.as_ref().map(LineWriter::dropped).filter(|dropped| *dropped > 0);
        let problems = problems.get().map(|read| read()).filter(|problems| !problems.is_empty());
        stats
            .into_iter()
            .chain(dropped.map(|dropped| ("log_lines_dropped", dropped)))
            .map(|(name, figure)| (name.to_owned(), serde_json::Value::from(figure)))
            .chain(problems.map(|problems| ("problems".to_owned(), problems.into())))
            .collect()
    }
}

impl fmt::Debug for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Stats").field(&self.to_json()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_asks_too_often_is_not_queued_for_ever() {
        let (ask, mut reload) = Reload::new();
        for _ in 0..100 {
            ask.ask(By::Sighup);
        }
        for _ in 0..4 {
            reload.next().await.done(Ok(()));
        }
        assert!(reload.0.is_empty());
    }

    #[tokio::test]
    async fn one_that_was_dropped_is_asked_in_vain() {
        let (ask, reload) = Reload::new();
        drop(reload);
        ask.ask(By::Sighup);
        assert!(ask.0.is_closed());
    }

    #[test]
    fn stats_are_read_when_asked_for_and_keep_their_order() {
        let stats = Stats::default();
        assert_eq!(stats.to_json().to_string(), "{}");
        let count = Arc::new(std::sync::atomic::AtomicU64::new(1));
        let counted = count.clone();
        stats.provide(move || {
            vec![("workers", counted.load(std::sync::atomic::Ordering::Relaxed)), ("clients", 7)]
        });
        count.store(2, std::sync::atomic::Ordering::Relaxed);
        assert_eq!(stats.to_json().to_string(), r#"{"workers":2,"clients":7}"#);
        stats.provide_problems(|| vec!["there is no worker".into()]);
        let with_problem = r#"{"workers":2,"clients":7,"problems":["there is no worker"]}"#;
        assert_eq!(stats.to_json().to_string(), with_problem);
    }
}
