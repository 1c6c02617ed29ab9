//! The state of a daemon's connections to its registers: `status` and the health endpoints show it,
//! and the daemon decides by it which gateways are lost, or that it is isolated itself.
//!
//! [`RegisterTroubles`] and [`RegisterView`] are plain data with the time as an argument;
//! [`RegisterLinks`] shares them between the tasks of a daemon. `registers` writes it.

use std::collections::BTreeMap;
use std::net::SocketAddrV4;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::connection_lists::Listed;
use crate::register_view::{RegisterView, WitnessLimits};

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

    /// Whether the register is of use now.
    pub fn is_up(&self, register: &str) -> bool {
        self.by_register.get(register) == Some(&None)
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

/// The registers of a running daemon. Clones share them.
#[derive(Debug, Clone)]
pub struct RegisterLinks {
    state: Arc<Mutex<State>>,
    /// The clock of `state` begins here.
    started: Instant,
}

#[derive(Debug)]
struct State {
    troubles: RegisterTroubles,
    view: RegisterView,
}

impl Default for RegisterLinks {
    /// With the default [`WitnessLimits`].
    fn default() -> Self {
        Self::new(WitnessLimits::default())
    }
}

impl RegisterLinks {
    /// How long no register may be connected before that is a problem for a daemon that is
    /// linked: its links stay, and a register that starts again is back within seconds.
    pub const GRACE: Duration = Duration::from_secs(10);

    /// The links of a daemon without a register yet.
    pub fn new(limits: WitnessLimits) -> Self {
        let state = State { troubles: RegisterTroubles::default(), view: RegisterView::new(limits) };
        Self { state: Arc::new(Mutex::new(state)), started: Instant::now() }
    }

    /// Returns why no register has been connected for `age` at least, each with what to do;
    /// `None` while one is, or has been since.
    pub fn trouble(&self, age: Duration) -> Option<String> {
        self.lock().troubles.trouble(age, self.now_ms())
    }

    /// Whether the register at this address has accepted the daemon, and is of use to it now.
    pub fn is_up(&self, register: &str) -> bool {
        self.lock().troubles.is_up(register)
    }

    /// Whether the registers bear witness that there is no gateway at `address`; for a daemon that
    /// [follows](crate::registers::follow) them.
    ///
    /// They do if one that qualifies does not list it, and no other lists it. A register qualifies
    /// when its connection has stood for over 60 s and it was heard within the last 25 s
    /// ([`WitnessLimits`]). A process that was stopped has no witness until it has read what arrived
    /// meanwhile, and what a register said before may be the first of it: conclude something only
    /// where this holds for a while of *awake* time, which [`HeldFor`](crate::HeldFor) counts.
    pub fn is_absent(&self, address: SocketAddrV4) -> bool {
        self.lock().view.is_absent(address, self.now_ms())
    }

    /// Whether a register is connected and, if it answers pings as ours do, was heard within the
    /// last 25 s ([`WitnessLimits::fresh`]).
    pub fn in_touch(&self) -> bool {
        self.lock().view.in_touch(self.now_ms())
    }

    /// Notes that the register has accepted the daemon.
    pub(crate) fn up(&self, register: &str) {
        let now_ms = self.now_ms();
        let mut state = self.lock();
        state.troubles.set(register, None, now_ms);
        state.view.connected(register, now_ms);
    }

    /// Notes why the register is of no use, connected or not.
    pub(crate) fn down(&self, register: &str, why: String) {
        self.lock().troubles.set(register, Some(why), self.now_ms());
    }

    /// Notes that the connection to the register is over.
    pub(crate) fn disconnected(&self, register: &str) {
        self.lock().view.disconnected(register, self.now_ms());
    }

    /// Notes that the register has sent a line, and whether it has answered a ping on this connection.
    pub(crate) fn heard(&self, register: &str, answers_pings: bool) {
        self.lock().view.heard(register, answers_pings, self.now_ms());
    }

    /// Notes which gateways the register lists.
    pub(crate) fn listed(&self, register: &str, listed: Listed) {
        self.lock().view.listed(register, listed);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
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
