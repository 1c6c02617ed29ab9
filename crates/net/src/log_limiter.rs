//! A limit of one log line a second for events that anybody can cause, such as connections.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::sleep;

/// How long a line holds back others of its kind.
const WINDOW: Duration = Duration::from_secs(1);

/// Limits one kind of log line to one a second.
///
/// The first event is logged at once. Events within the following second are counted, and
/// logged as one line with their number when that second is over. So nobody can fill a
/// disk with log lines by connecting, and no event goes unmentioned.
///
/// One limiter is for one kind of line; clones share it.
#[derive(Clone, Default)]
pub struct LogLimiter(Arc<Mutex<Window>>);

type Line = Box<dyn FnOnce(u64) + Send>;

/// The second after a line.
#[derive(Default)]
struct Window {
    is_open: bool,
    /// Writes the line of the first event that was held back.
    line: Option<Line>,
    /// Events held back.
    count: u64,
}

impl LogLimiter {
    /// Calls `write` with the number of events that its line stands for: at once with 1, or
    /// when the current second is over with the number of its events. Of these, only the
    /// first one's `write` is called.
    ///
    /// Spawns a task that ends after a quiet second; a limiter has at most one.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn log(&self, write: impl FnOnce(u64) + Send + 'static) {
        let mut window = self.lock();
        if window.is_open {
            window.count += 1;
            window.line.get_or_insert_with(|| Box::new(write));
            return;
        }
        window.is_open = true;
        drop(window);
        write(1);
        tokio::spawn(self.clone().write_held_back());
    }

    /// Writes one line a second until a second brought no event.
    async fn write_held_back(self) {
        loop {
            sleep(WINDOW).await;
            let mut window = self.lock();
            let count = std::mem::take(&mut window.count);
            let Some(line) = window.line.take() else {
                window.is_open = false;
                return;
            };
            drop(window);
            line(count);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Window> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for LogLimiter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogLimiter").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn logs_the_first_event_at_once_and_the_rest_of_a_second_as_one_line() {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let limiter = LogLimiter::default();
        let log = |name: &'static str| {
            let lines = lines.clone();
            limiter.log(move |count| lines.lock().unwrap().push((name, count)));
        };
        log("first");
        log("second");
        log("third");
        assert_eq!(*lines.lock().unwrap(), [("first", 1)]);
        sleep(WINDOW * 2).await;
        assert_eq!(*lines.lock().unwrap(), [("first", 1), ("second", 2)]);
        sleep(WINDOW * 2).await;
        log("fourth");
        assert_eq!(*lines.lock().unwrap(), [("first", 1), ("second", 2), ("fourth", 1)]);
    }
}
