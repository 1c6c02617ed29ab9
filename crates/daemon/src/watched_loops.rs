//! The event loops of a process that have to turn while it lives. A daemon runs the future of [`WatchedLoops::watch`]
//! on each thread that has a loop of its own; `service_manager.rs` gives a sign of life to the watchdog if all have
//! turned. Without a watchdog nothing runs.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The watched loops of a process. Clones are the same.
#[derive(Clone, Default)]
pub struct WatchedLoops(Option<Arc<Watch>>);

struct Watch {
    /// How often somebody looks whether the loops have turned.
    interval: Duration,
    loops: Mutex<Vec<Arc<Loop>>>,
}

struct Loop {
    name: String,
    has_turned: AtomicBool,
}

/// A loop that is watched as long as this lives.
struct Watched(WatchedLoops, Arc<Loop>);

impl WatchedLoops {
    /// Loops which somebody looks at every `interval`.
    pub(crate) fn every(interval: Duration) -> Self {
        Self(Some(Arc::new(Watch { interval, loops: Mutex::default() })))
    }

    /// Watches the loop that runs the returned future, and calls it `name`. The future never ends; the loop is
    /// watched, from now on, until it is dropped. It turns twice as often as somebody looks, and never without a
    /// watchdog.
    pub fn watch(&self, name: String) -> impl Future<Output = ()> + Send + use<> {
        let watched = self.0.as_ref().map(|watch| {
            let one = Arc::new(Loop { name, has_turned: AtomicBool::new(true) });
            watch.loops.lock().unwrap_or_else(PoisonError::into_inner).push(one.clone());
            (watch.interval, Watched(self.clone(), one))
        });
        async move {
            let Some((interval, watched)) = watched else { return std::future::pending().await };
            loop {
                watched.1.has_turned.store(true, Ordering::Relaxed);
                tokio::time::sleep(interval / 2).await;
            }
        }
    }

    /// Returns the names of the loops that have not turned since the last call.
    pub(crate) fn take_stuck(&self) -> Vec<String> {
        let Some(watch) = &self.0 else { return Vec::new() };
        let loops = watch.loops.lock().unwrap_or_else(PoisonError::into_inner);
        let stuck = loops.iter().filter(|one| !one.has_turned.swap(false, Ordering::Relaxed));
        stuck.map(|one| one.name.clone()).collect()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let Some(watch) = &self.0.0 else { return };
        watch.loops.lock().unwrap_or_else(PoisonError::into_inner).retain(|one| !Arc::ptr_eq(one, &self.1));
    }
}

impl fmt::Debug for WatchedLoops {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WatchedLoops")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_loop_that_hangs_is_named_until_it_turns_or_ends() {
        let loops = WatchedLoops::every(Duration::from_secs(2));
        let (mut turns, hangs) = (Box::pin(loops.watch("turns".into())), loops.watch("hangs".into()));
        assert_eq!(loops.take_stuck(), Vec::<String>::new(), "they have only just begun");
        let _ = tokio::time::timeout(Duration::from_secs(2), &mut turns).await;
        assert_eq!(loops.take_stuck(), ["hangs"]);
        drop(hangs);
        let _ = tokio::time::timeout(Duration::from_secs(2), &mut turns).await;
        assert_eq!(loops.take_stuck(), Vec::<String>::new());
        assert_eq!(loops.take_stuck(), ["turns"]);
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_watched_without_a_watchdog() {
        let loops = WatchedLoops::default();
        let watched = loops.watch("any".into());
        assert!(tokio::time::timeout(Duration::from_secs(60), watched).await.is_err());
        assert_eq!(loops.take_stuck(), Vec::<String>::new());
    }
}
