//! How it goes with the connections to the registers, for whoever asks a daemon.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The state of a daemon's connections to its registers. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct RegisterLinks(Arc<Mutex<Links>>);

#[derive(Debug, Default)]
struct Links {
    /// Why a register is no help, by its address; `None` where it is one.
    troubles: BTreeMap<String, Option<String>>,
    /// Since when none has been one.
    down_since: Option<Instant>,
}

impl RegisterLinks {
    /// How long no register may be connected before that is a problem for a daemon that is
    /// linked: its links stay, and a register that starts again is back within seconds.
    pub const GRACE: Duration = Duration::from_secs(10);

    /// Returns why no register has been connected for `age` at least, each with what to do;
    /// `None` while one is, or has been until then.
    pub fn trouble(&self, age: Duration) -> Option<String> {
        let links = self.links();
        links.down_since.filter(|since| since.elapsed() >= age)?;
        let troubles: Vec<_> = links.troubles.values().flatten().map(String::as_str).collect();
        Some(troubles.join("; "))
    }

    /// The register took what the daemon said.
    pub(crate) fn up(&self, register: &str) {
        self.set(register, None);
    }

    /// The register is no help, and why.
    pub(crate) fn down(&self, register: &str, why: String) {
        self.set(register, Some(why));
    }

    fn set(&self, register: &str, trouble: Option<String>) {
        let mut links = self.links();
        links.troubles.insert(register.to_owned(), trouble);
        let any_up = links.troubles.values().any(Option::is_none);
        links.down_since = if any_up { None } else { links.down_since.or_else(|| Some(Instant::now())) };
    }

    fn links(&self) -> MutexGuard<'_, Links> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
}
