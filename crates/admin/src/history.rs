//! The numbers of the last hour: a point a second for five minutes, and a point a minute for the hour. Plain data,
//! without a clock; `monitor` keeps it, and `gatewayworker top` has one, too.

use std::collections::VecDeque;

use gatewayworker_client::inspect::GatewayReport;
use serde::Serialize;
use serde_json::{Value, json};

use crate::cluster::sum;
use crate::growth::Growth;

/// How many points of seconds are kept.
const FINE: usize = 300;

/// How many points of minutes are kept.
const COARSE: usize = 60;

/// The times between two points, in milliseconds.
const SECOND_MS: u64 = 1_000;
const MINUTE_MS: u64 = 60_000;

/// The numbers at one time; `None` where nobody has told them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Point {
    /// In milliseconds since 1970.
    pub at_ms: u64,
    /// Of all gateways.
    pub clients: Option<u64>,
    /// From clients, a second.
    pub messages: Option<f64>,
    /// To clients, a second.
    pub deliveries: Option<f64>,
    /// From clients, a second.
    pub bytes_received: Option<f64>,
    /// To clients, a second.
    pub bytes_sent: Option<f64>,
}

/// The points of the past.
#[derive(Debug, Default)]
pub struct History {
    growth: Growth,
    fine: VecDeque<Point>,
    coarse: VecDeque<Point>,
    /// Of the minute that is not over.
    minute: Vec<Point>,
}

impl History {
    /// Takes what the gateways answer now. `now_ms` is a clock that is never set; `at_ms` is the time since 1970: where
    /// it is set back, the history begins anew.
    pub fn take<'a>(
        &mut self,
        gateways: impl Iterator<Item = &'a GatewayReport> + Clone,
        now_ms: u64,
        at_ms: u64,
    ) {
        self.growth.take(gateways.clone(), now_ms);
        if self.fine.back().is_some_and(|last| at_ms < last.at_ms) {
            self.fine.clear();
            self.coarse.clear();
            self.minute.clear();
        }
        let rate = |stat| self.growth.per_second(stat).map(|rate| (rate * 100.0).round() / 100.0);
        let point = Point {
            at_ms,
            clients: sum(gateways, "clients"),
            messages: rate("messages"),
            deliveries: rate("deliveries"),
            bytes_received: rate("bytes_received"),
            bytes_sent: rate("bytes_sent"),
        };
        if self.minute.first().is_some_and(|first| first.at_ms / MINUTE_MS != at_ms / MINUTE_MS) {
            push(&mut self.coarse, summary(&self.minute), COARSE);
            self.minute.clear();
        }
        // More often than a second it is not asked; a caller that asks at any rate stays within bounds.
        if self.minute.len() < FINE {
            self.minute.push(point);
        }
        push(&mut self.fine, point, FINE);
    }

    /// Returns how fast numbers grow.
    pub fn growth(&self) -> &Growth {
        &self.growth
    }

    /// Returns the points of the last five minutes, the oldest first.
    pub fn fine(&self) -> impl Iterator<Item = &Point> {
        self.fine.iter()
    }

    /// Returns the points behind `after_ms`, as the page gets them.
    pub(crate) fn to_json(&self, after_ms: u64, now_ms: u64) -> Value {
        let points = |points: &VecDeque<Point>| -> Vec<Point> {
            points.iter().filter(|point| point.at_ms > after_ms).copied().collect()
        };
        json!({
            "now_ms": now_ms,
            "fine": {"step_ms": SECOND_MS, "points": points(&self.fine)},
            "coarse": {"step_ms": MINUTE_MS, "points": points(&self.coarse)},
        })
    }
}

fn push(points: &mut VecDeque<Point>, point: Point, most: usize) {
    if points.len() == most {
        points.pop_front();
    }
    points.push_back(point);
}

/// Returns the point of a minute: the last number of clients that is known, and the means of what is known of the rates.
fn summary(minute: &[Point]) -> Point {
    let mean = |of: fn(&Point) -> Option<f64>| {
        let known: Vec<f64> = minute.iter().filter_map(of).collect();
        let mean = known.iter().sum::<f64>() / known.len() as f64;
        (!known.is_empty()).then(|| (mean * 100.0).round() / 100.0)
    };
    Point {
        at_ms: minute.last().map_or(0, |last| last.at_ms),
        clients: minute.iter().rev().find_map(|point| point.clients),
        messages: mean(|point| point.messages),
        deliveries: mean(|point| point.deliveries),
        bytes_received: mean(|point| point.bytes_received),
        bytes_sent: mean(|point| point.bytes_sent),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gateway(instance: &str, clients: u64, messages: u64) -> GatewayReport {
        let stats = [("clients".to_owned(), clients), ("messages".to_owned(), messages)].into();
        GatewayReport { instance: instance.into(), stats, ..GatewayReport::default() }
    }

    /// Takes a look each second, from `from` on.
    fn take(history: &mut History, seconds: std::ops::Range<u64>, at: impl Fn(u64) -> Vec<GatewayReport>) {
        for second in seconds {
            history.take(at(second).iter(), second * 1000, second * 1000);
        }
    }

    #[test]
    fn seconds_are_kept_for_five_minutes_and_minutes_for_an_hour() {
        let mut history = History::default();
        take(&mut history, 0..2 * 3600, |second| vec![gateway("1", second, second * 10)]);
        assert_eq!((history.fine.len(), history.coarse.len()), (300, 60));
        let last = history.fine.back().unwrap();
        assert_eq!((last.at_ms, last.clients, last.messages), (7_199_000, Some(7_199), Some(10.0)));
        let last = history.coarse.back().unwrap();
        assert_eq!((last.at_ms, last.clients, last.messages), (7_139_000, Some(7_139), Some(10.0)));
        assert_eq!(last.deliveries, None, "no gateway has it");
    }

    #[test]
    fn what_nobody_has_told_is_not_known_and_does_not_count_in_the_minute() {
        let mut history = History::default();
        take(&mut history, 0..61, |second| match second {
            10..30 => vec![],
            // It starts again while nobody looks.
            30.. => vec![gateway("2", 7, (second - 30) * 20)],
            _ => vec![gateway("1", 5, second * 10)],
        });
        let of = |second: usize| history.fine[second];
        assert_eq!((of(9).messages, of(9).clients), (Some(10.0), Some(5)));
        assert_eq!((of(10).messages, of(10).clients), (None, None));
        assert_eq!((of(30).messages, of(30).clients), (None, Some(7)), "it has answered once");
        assert_eq!(of(31).messages, Some(20.0));
        let minute = history.coarse[0];
        // Nine seconds of 10, and 29 of 20.
        assert_eq!((minute.clients, minute.messages), (Some(7), Some(17.63)));
    }

    #[test]
    fn only_points_behind_a_time_are_told_where_one_is_given() {
        let mut history = History::default();
        take(&mut history, 0..130, |second| vec![gateway("1", second, 0)]);
        let all = history.to_json(0, 130_000);
        assert_eq!(all["fine"]["points"].as_array().unwrap().len(), 129, "the first is of 1970");
        assert_eq!(all["coarse"]["points"].as_array().unwrap().len(), 2);
        let some = history.to_json(127_000, 130_000);
        assert_eq!(some["fine"]["points"].as_array().unwrap().len(), 2);
        assert_eq!(some["fine"]["points"][0]["at_ms"], 128_000);
        assert_eq!(some["coarse"], json!({"step_ms": 60_000, "points": []}));
    }

    #[test]
    fn a_clock_that_is_set_back_begins_the_history_anew() {
        let mut history = History::default();
        let one = [gateway("1", 1, 0)];
        history.take(one.iter(), 1_000, 90_000);
        history.take(one.iter(), 2_000, 30_000);
        assert_eq!(history.fine().map(|point| point.at_ms).collect::<Vec<_>>(), [30_000]);
    }
}
