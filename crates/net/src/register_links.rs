//! The state of a daemon's connections to its registers, which `status` and the health endpoints
//! show.
//!
//! [`RegisterTroubles`] is plain data with the time as an argument; [`RegisterLinks`] shares it
//! between the tasks of a daemon. `registers` writes it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The troubles of a daemon with its registers.
#[derive(Debug, Default)]
pub struct RegisterTroubles {
    /// Why a register is of no use now, by its address; `None` while it is.
    by_register: BTreeMap<String, Option<String>>,
    /// Since when no register has been of use.
    down_since_ms: Option<u64>,
}

impl RegisterTroubles {
    /// Notes why a register is of no use from now on; `None` if it is from now on.
    pub fn set(&mut self, register: &str, trouble: Option<String>, now_ms: u64) {
        self.by_register.insert(register.to_owned(), trouble);
        let any_up = self.by_register.values().any(Option::is_none);
        self.down_since_ms = if any_up { None } else { self.down_since_ms.or(Some(now_ms)) };
    }

    /// Returns why no register has been of use for `age` at least, each with what to do; `None`
    /// while one is, or has been since.
    pub fn trouble(&self, age: Duration, now_ms: u64) -> Option<String> {
        let down_ms = now_ms.saturating_sub(self.down_since_ms?);
        if Duration::from_millis(down_ms) < age {
            return None;
        }
        let troubles: Vec<_> = self.by_register.values().flatten().map(String::as_str).collect();
        Some(troubles.join("; "))
    }
}

/// The troubles of a running daemon with its registers. Clones share them.
#[derive(Debug, Clone)]
pub struct RegisterLinks {
    troubles: Arc<Mutex<RegisterTroubles>>,
    /// The clock of `troubles` begins here.
    started: Instant,
}

impl Default for RegisterLinks {
    fn default() -> Self {
        Self { troubles: Arc::default(), started: Instant::now() }
    }
}

impl RegisterLinks {
    /// How long no register may be connected before that is a problem for a daemon that is
    /// linked: its links stay, and a register that starts again is back within seconds.
    pub const GRACE: Duration = Duration::from_secs(10);

    /// Returns why no register has been connected for `age` at least, each with what to do;
    /// `None` while one is, or has been since.
    pub fn trouble(&self, age: Duration) -> Option<String> {
        self.lock().trouble(age, self.now_ms())
    }

    /// Notes that the register has accepted the daemon.
    pub(crate) fn up(&self, register: &str) {
        self.lock().set(register, None, self.now_ms());
    }

    /// Notes why the register is of no use.
    pub(crate) fn down(&self, register: &str, why: String) {
        self.lock().set(register, Some(why), self.now_ms());
    }

    fn lock(&self) -> MutexGuard<'_, RegisterTroubles> {
        self.troubles.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now_ms(&self) -> u64 {
        self.started.elapsed().as_millis().try_into().unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_trouble_only_while_no_register_is_up_and_for_as_long_as_one_asks() {
        let links = RegisterLinks::default();
        links.down("a", "a is down".into());
        links.down("b", "b is down".into());
        assert_eq!(links.trouble(Duration::ZERO).as_deref(), Some("a is down; b is down"));
        assert_eq!(links.trouble(Duration::from_secs(3600)), None);
        links.up("b");
        assert_eq!(links.trouble(Duration::ZERO), None);
        links.down("b", "b is gone".into());
        assert_eq!(links.trouble(Duration::ZERO).as_deref(), Some("a is down; b is gone"));
    }

    #[test]
    fn trouble_counts_from_when_the_last_register_went() {
        let mut troubles = RegisterTroubles::default();
        troubles.set("a", Some("a is down".into()), 0);
        troubles.set("b", None, 0);
        troubles.set("b", Some("b is down".into()), 7_000);
        troubles.set("a", Some("a is still down".into()), 9_000);
        let age = Duration::from_secs(10);
        assert_eq!(troubles.trouble(age, 16_999), None);
        assert_eq!(troubles.trouble(age, 17_000).as_deref(), Some("a is still down; b is down"));
    }
}
