//! How fast the numbers of a cluster grow: plain data, without a clock. `gatewayworker top` and the page's history use
//! it.
//!
//! A rate is the difference of two looks at the same process of a gateway. One that starts again counts from 0 under
//! another id, so that it never seems to count backwards.

use std::collections::BTreeMap;

use gatewayworker_client::inspect::GatewayReport;

/// The numbers that only grow and are shown with their rate, by their names in `status --json`.
pub const GROWING: [&str; 8] = [
    "messages",
    "deliveries",
    "bytes_received",
    "bytes_sent",
    "closed",
    "rejected",
    "redelivered",
    "dropped",
];

/// How long a process that does not answer is remembered, in milliseconds.
const REMEMBERED_MS: u64 = 60_000;

/// The numbers of each gateway's process when it last answered, and how fast they grow.
#[derive(Debug, Default)]
pub struct Growth {
    before: BTreeMap<String, Numbers>,
    per_second: BTreeMap<&'static str, f64>,
}

#[derive(Debug)]
struct Numbers {
    at_ms: u64,
    stats: BTreeMap<&'static str, u64>,
}

impl Growth {
    /// Takes what the gateways answer now. A process that was not seen before has no rate yet; one that has missed a
    /// look has that of the time since it answered.
    pub fn take<'a>(&mut self, gateways: impl IntoIterator<Item = &'a GatewayReport>, now_ms: u64) {
        self.per_second.clear();
        for gateway in gateways {
            let number = |stat| Some((stat, *gateway.stats.get(stat)?));
            let stats: BTreeMap<_, _> = GROWING.into_iter().filter_map(number).collect();
            if let Some(before) = self.before.get(&gateway.instance)
                && now_ms > before.at_ms
            {
                let seconds = (now_ms - before.at_ms) as f64 / 1000.0;
                for (stat, now) in &stats {
                    if let Some(before) = before.stats.get(stat) {
                        *self.per_second.entry(stat).or_default() +=
                            now.saturating_sub(*before) as f64 / seconds;
                    }
                }
            }
            self.before.insert(gateway.instance.clone(), Numbers { at_ms: now_ms, stats });
        }
        self.before.retain(|_, numbers| now_ms.saturating_sub(numbers.at_ms) <= REMEMBERED_MS);
    }

    /// Returns by how much a number of [`GROWING`] grows in a second, in all gateways together; `None` where no process
    /// has answered twice, or none has it.
    pub fn per_second(&self, stat: &str) -> Option<f64> {
        self.per_second.get(stat).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gateway(instance: &str, stats: &[(&str, u64)]) -> GatewayReport {
        GatewayReport {
            instance: instance.into(),
            stats: stats.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect(),
            ..GatewayReport::default()
        }
    }

    #[test]
    fn a_rate_is_the_difference_of_two_looks_at_the_same_process() {
        let mut growth = Growth::default();
        growth.take(&[gateway("1", &[("closed", 10)])], 1_000);
        assert_eq!(growth.per_second("closed"), None, "at the first look");
        // The first gateway has closed 4 in 2 s; the second is new, whatever it has counted.
        growth.take(&[gateway("1", &[("closed", 14)]), gateway("2", &[("closed", 900)])], 3_000);
        assert_eq!(growth.per_second("closed"), Some(2.0));
        assert_eq!(growth.per_second("messages"), None, "no gateway has it");
        // The first has started again with another id, and counts from 0.
        growth.take(&[gateway("3", &[("closed", 1)]), gateway("2", &[("closed", 903)])], 4_000);
        assert_eq!(growth.per_second("closed"), Some(3.0));
    }

    #[test]
    fn a_gateway_that_has_missed_a_look_has_the_rate_of_the_time_since_it_answered() {
        let mut growth = Growth::default();
        growth.take(&[gateway("1", &[("messages", 0)])], 0);
        growth.take(&[], 1_000);
        assert_eq!(growth.per_second("messages"), None, "nobody has answered");
        growth.take(&[gateway("1", &[("messages", 100)])], 2_000);
        assert_eq!(growth.per_second("messages"), Some(50.0));
        growth.take(&[], 100_000);
        growth.take(&[gateway("1", &[("messages", 900)])], 101_000);
        assert_eq!(growth.per_second("messages"), None, "it was forgotten");
    }
}
