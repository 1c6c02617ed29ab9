//! The times of a run: how long a fault lasts, and the settings of the daemons that say when it is noticed.
//!
//! The long form has the defaults of the daemons. The short form shortens what can be set, so that a row takes seconds.

use std::time::Duration;

/// The times of a run.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// Whether this is the short form.
    pub is_short: bool,
    /// How long clients are served before the fault.
    pub warm_up: Duration,
    /// The time in which a fault has to be noticed.
    pub detection_limit: Duration,
    /// The time in which a gateway that does not come back has to be given up: the register takes it off its list
    /// within 60 s, and workers wait for `gateway_lost_after_ms` after that.
    pub gateway_lost_limit: Duration,
    /// How long the load goes on after the fault.
    pub after: Duration,
    /// A cut that is shorter than any time-out, with a heartbeat's interval and TCP's longest pause on top.
    pub short_cut: Duration,
    /// A cut, or a freeze, that is noticed.
    pub long_cut: Duration,
    /// How long a frozen worker sleeps.
    pub freeze: Duration,
    /// How long a handler blocks its thread.
    pub block: Duration,
    /// How long a client waits for an answer before it drops its connection, where the row has such clients.
    pub patience: Duration,
    /// How often a row repeats a fault that has to hit a moment.
    pub repeats: u32,
    /// How long the end of a row waits for what is still owed.
    pub settle: Duration,
    link_ping: Duration,
    link_timeout: Duration,
    gateway_lost_after: Duration,
    isolated_after: Duration,
}

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

impl Timing {
    /// The long form.
    pub const LONG: Self = Self {
        is_short: false,
        warm_up: seconds(5),
        detection_limit: seconds(10),
        gateway_lost_limit: seconds(120),
        after: seconds(20),
        short_cut: seconds(5),
        long_cut: seconds(30),
        freeze: seconds(40),
        block: seconds(60),
        patience: seconds(20),
        repeats: 10,
        settle: seconds(45),
        link_ping: ms(2500),
        link_timeout: seconds(9),
        gateway_lost_after: seconds(30),
        isolated_after: seconds(20),
    };

    /// The short form.
    pub const SHORT: Self = Self {
        is_short: true,
        warm_up: ms(500),
        detection_limit: ms(4500),
        gateway_lost_limit: seconds(90),
        after: seconds(5),
        short_cut: ms(600),
        long_cut: seconds(7),
        freeze: seconds(7),
        block: seconds(5),
        patience: seconds(3),
        repeats: 3,
        settle: seconds(8),
        link_ping: ms(500),
        link_timeout: ms(3000),
        gateway_lost_after: seconds(3),
        isolated_after: seconds(4),
    };

    /// Returns how long a first join may wait for a worker: a third of `link_timeout_ms`, 3 s at most.
    pub fn lease(&self) -> Duration {
        (self.link_timeout / 3).min(seconds(3))
    }

    /// Returns the lines of a daemon's configuration that set its time-outs, as far as its `--help` lists them.
    pub fn settings(&self, help: &str) -> String {
        let known = [
            ("link_ping_interval_ms", self.link_ping),
            ("link_timeout_ms", self.link_timeout),
            ("gateway_lost_after_ms", self.gateway_lost_after),
            ("isolated_after_ms", self.isolated_after),
        ];
        let is_listed = |key: &str| help.contains(&format!("--{} ", key.replace('_', "-")));
        let set = known.into_iter().filter(|(key, _)| is_listed(key));
        set.map(|(key, time)| format!("{key} = {}\n", time.as_millis())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_settings_that_the_help_lists_are_set() {
        assert_eq!(Timing::SHORT.settings("--link-ping-interval-ms <MS>\n"), "link_ping_interval_ms = 500\n");
        assert_eq!(Timing::SHORT.settings("--lan-ip <ADDRESS>"), "");
    }
}
