//! The output: progress on stderr, a table of medians on stdout at the end, and JSON for scripts. It measures nothing.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt::Write;
use std::io::{IsTerminal, Write as _};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::{Map, Value, json};

/// One figure of one round.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Metric {
    pub(crate) name: Cow<'static, str>,
    pub(crate) unit: &'static str,
    pub(crate) value: f64,
}

impl Metric {
    pub(crate) fn new(name: impl Into<Cow<'static, str>>, unit: &'static str, value: f64) -> Self {
        Metric { name: name.into(), unit, value }
    }
}

/// All rounds of one system.
#[derive(Clone, Debug, Default)]
pub(crate) struct System {
    /// Its name in the table; may be empty.
    pub(crate) name: String,
    pub(crate) url: String,
    pub(crate) pids: Vec<u32>,
    pub(crate) rounds: Vec<Vec<Metric>>,
    pub(crate) faults: Vec<String>,
}

impl System {
    /// Returns the median of each metric over the rounds, in the order of the first round.
    pub(crate) fn medians(&self) -> Vec<Metric> {
        let Some(first) = self.rounds.first() else { return Vec::new() };
        let all = |name: &str| {
            let same = self.rounds.iter().flatten().filter(|metric| metric.name == name);
            median(same.map(|metric| metric.value).collect())
        };
        first.iter().map(|metric| Metric { value: all(&metric.name), ..metric.clone() }).collect()
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => values[count / 2],
        count => (values[count / 2 - 1] + values[count / 2]) / 2.0,
    }
}

/// The ratio of the first system's median to another's, unless that is zero.
fn ratio(metric: &Metric, others: &[Metric]) -> Option<f64> {
    let other = others.iter().find(|other| other.name == metric.name)?;
    (other.value != 0.0).then(|| metric.value / other.value)
}

/// Formats the table of medians: one column per system, and with `ratios` the first system's ratio to each other one.
pub(crate) fn table(case: &str, systems: &[System], ratios: bool) -> String {
    let others = if ratios { systems.len() } else { 0 };
    let medians: Vec<_> = systems.iter().map(System::medians).collect();
    let mut out = String::new();
    let rounds = systems.first().map_or(0, |system| system.rounds.len());
    let of = if rounds > 1 { format!(", medians of {rounds} rounds") } else { String::new() };
    let _ = writeln!(out, "{case}{of}");
    for (letter, system) in ('A'..).zip(systems) {
        let _ = writeln!(out, "  {letter}: {} {} ({} processes)", system.name, system.url, system.pids.len());
    }
    let _ = write!(out, "{:<32}", "");
    ('A'..).zip(systems).for_each(|(letter, system)| {
        let short: String = system.name.chars().take(13).collect();
        let _ = write!(out, "{:>14}", if short.is_empty() { letter.into() } else { short });
    });
    ('B'..)
        .zip(systems.iter().take(others).skip(1))
        .for_each(|(letter, _)| _ = write!(out, "{:>10}", format!("A/{letter}")));
    out.push('\n');
    for metric in medians.first().into_iter().flatten() {
        let label = if metric.unit.is_empty() {
            metric.name.to_string()
        } else {
            format!("{} ({})", metric.name, metric.unit)
        };
        let _ = write!(out, "{label:<32}");
        for system in &medians {
            let value = system.iter().find(|other| other.name == metric.name).map(value);
            let _ = write!(out, "{:>14}", value.unwrap_or_else(|| "-".into()));
        }
        for others in medians.iter().take(others).skip(1) {
            let ratio = ratio(metric, others).map_or_else(String::new, |ratio| format!("{ratio:.3}"));
            let _ = write!(out, "{ratio:>10}");
        }
        out.push('\n');
    }
    out
}

/// Formats the value of a metric. One without a unit may be a count.
fn value(metric: &Metric) -> String {
    match metric.unit {
        "" if metric.value.fract() == 0.0 => format!("{:.0}", metric.value),
        _ => number(metric.value),
    }
}

/// Formats a value: three significant digits for small values, no decimals for large ones.
fn number(value: f64) -> String {
    match value.abs() {
        0.0 => "0".into(),
        size if size >= 1000.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// All settings and figures, as JSON for scripts.
pub(crate) fn document(settings: &impl Serialize, systems: &[System]) -> Value {
    let figures = |metrics: &[Metric]| -> Map<String, Value> {
        metrics.iter().map(|metric| (metric.name.to_string(), json!(metric.value))).collect()
    };
    let medians: Vec<_> = systems.iter().map(System::medians).collect();
    let units: Map<_, _> = medians
        .first()
        .into_iter()
        .flatten()
        .map(|metric| (metric.name.to_string(), json!(metric.unit)))
        .collect();
    let ratios = |others: &[Metric]| -> Map<String, Value> {
        let first = medians.first().into_iter().flatten();
        first.filter_map(|metric| Some((metric.name.to_string(), json!(ratio(metric, others)?)))).collect()
    };
    let described = |system: &System| {
        json!({
            "name": system.name,
            "url": system.url,
            "pids": system.pids,
            "median": figures(&system.medians()),
            "rounds": system.rounds.iter().map(|round| figures(round)).collect::<Vec<_>>(),
            "faults": system.faults,
        })
    };
    json!({
        "settings": settings,
        "units": units,
        "systems": systems.iter().map(described).collect::<Vec<_>>(),
        "ratio": medians.get(1).map(|others| ratios(others)),
        "ratios": medians.iter().skip(1).map(|others| ratios(others)).collect::<Vec<_>>(),
    })
}

/// The line on stderr that shows progress.
pub(crate) struct Progress {
    label: String,
    terminal: bool,
    last: Cell<Option<Instant>>,
    silent: bool,
}

impl Progress {
    /// A progress line that begins with `label`.
    pub(crate) fn new(label: String) -> Self {
        Progress { label, terminal: std::io::stderr().is_terminal(), last: Cell::new(None), silent: false }
    }

    /// Shows nothing.
    pub(crate) fn silent() -> Self {
        Progress { label: String::new(), terminal: false, last: Cell::new(None), silent: true }
    }

    /// Shows `text`, unless something was shown a moment ago.
    pub(crate) fn say(&self, text: &str) {
        let pause = Duration::from_millis(if self.terminal { 200 } else { 2000 });
        if self.silent || self.last.get().is_some_and(|last| last.elapsed() < pause) {
            return;
        }
        self.last.set(Some(Instant::now()));
        let (start, end) = if self.terminal { ("\r\x1b[K", "") } else { ("", "\n") };
        // An error does not matter: standard error may be closed.
        let _ = write!(std::io::stderr(), "{start}{}: {text}{end}", self.label);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.terminal {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn system(values: &[f64]) -> System {
        System {
            rounds: values.iter().map(|value| vec![Metric::new("cost", "µs", *value)]).collect(),
            ..System::default()
        }
    }

    #[test]
    fn a_median_is_the_middle() {
        assert_eq!(median(vec![9.0, 1.0, 5.0]), 5.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 9.0]), 3.0);
        assert!(median(Vec::new()).is_nan());
    }

    #[test]
    fn two_systems_are_shown_with_their_ratio() {
        let text = table("echo", &[system(&[1.0, 9.0, 2.0]), system(&[4.0, 8.0, 40.0])], true);
        let row = text.lines().last().unwrap().split_whitespace().collect::<Vec<_>>();
        assert_eq!(row, ["cost", "(µs)", "2.00", "8.00", "0.250"]);
        assert!(text.contains("medians of 3 rounds"));
    }

    #[test]
    fn the_first_system_is_compared_with_each_other_one() {
        let systems = [system(&[2.0]), System { name: "lean".into(), ..system(&[1.0]) }, system(&[0.0])];
        let text = table("echo", &systems, true);
        let row = text.lines().last().unwrap().split_whitespace().collect::<Vec<_>>();
        assert_eq!(row, ["cost", "(µs)", "2.00", "1.00", "0", "2.000"]);
        assert!(text.contains("A          lean             C       A/B       A/C"), "{text}");
        assert!(!table("echo", &systems, false).contains("A/B"));
        assert_eq!(document(&(), &systems)["ratios"], json!([{"cost": 2.0}, {}]));
    }

    #[test]
    fn one_system_has_no_ratio_and_without_rounds_there_is_no_row() {
        assert!(!table("echo", &[system(&[1.0])], true).contains("A/B"));
        assert_eq!(table("echo", &[system(&[])], true).lines().count(), 3);
    }

    #[test]
    fn the_document_holds_every_round() {
        let document = document(&json!({"clients": 3}), &[system(&[1.0, 3.0]), system(&[4.0])]);
        assert_eq!(document["systems"][0]["rounds"], json!([{"cost": 1.0}, {"cost": 3.0}]));
        assert_eq!(document["systems"][0]["median"]["cost"], 2.0);
        assert_eq!(document["ratio"]["cost"], 0.5);
        assert_eq!(document["units"]["cost"], "µs");
        assert_eq!(document["settings"]["clients"], 3);
    }
}
