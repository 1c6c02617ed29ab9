//! Reading files again, which is what SIGHUP asks a daemon for.

use tokio::sync::watch;

/// Tells when a daemon is to read its files again: at SIGHUP, and where there is no such
/// signal never. Dropping it says that there is nothing to read again.
#[derive(Debug)]
pub struct Reload(watch::Receiver<()>);

impl Reload {
    /// One that never asks.
    pub fn never() -> Self {
        Self(watch::channel(()).1)
    }

    /// The other end, and this one.
    pub(crate) fn new() -> (watch::Sender<()>, Self) {
        let (ask, asked) = watch::channel(());
        (ask, Self(asked))
    }

    /// Waits until it is asked for; several times since the last are one. Cancel safe.
    pub async fn next(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending().await
        }
    }
}

/// Passes SIGHUP on to `ask`, for ever.
///
/// # Errors
/// When the system refuses.
///
/// # Panics
/// Outside a tokio runtime.
#[cfg(unix)]
pub(crate) fn pass_on(ask: watch::Sender<()>) -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut hangup = signal(SignalKind::hangup())?;
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            if ask.send(()).is_err() {
                tracing::info!(signal = "SIGHUP", "there is nothing to load again");
            }
        }
    });
    Ok(())
}

/// There is no such signal here.
///
/// # Errors
/// None.
#[cfg(not(unix))]
pub(crate) fn pass_on(_ask: watch::Sender<()>) -> std::io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn asking_twice_before_it_is_heard_is_asking_once() {
        let (ask, mut reload) = Reload::new();
        ask.send(()).unwrap();
        ask.send(()).unwrap();
        reload.next().await;
        assert!(!reload.0.has_changed().unwrap());
    }

    #[tokio::test]
    async fn one_that_was_dropped_is_missed() {
        let (ask, reload) = Reload::new();
        drop(reload);
        assert!(ask.send(()).is_err());
    }
}
