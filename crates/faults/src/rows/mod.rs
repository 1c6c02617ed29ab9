//! The rows of the table: what is done to a cluster, and what it has promised.
//!
//! `launcher` runs each in a process of its own, which calls [`Row::play`].

mod cut;
mod death;
mod drain;
mod freeze;
mod handlers;
mod resources;
mod soak;

use std::pin::Pin;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::outcome::{Allowance, Outcome, judge};
use crate::stage::{Settings, Stage};
use crate::timing::Timing;

/// What a row does to its stage.
type Script = for<'a> fn(&'a mut Stage) -> Pin<Box<dyn Future<Output = Result<()>> + 'a>>;

/// One row of the table.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// Its name on the command line.
    pub name: &'static str,
    /// What is promised, as a sentence.
    pub promised: &'static str,
    /// Whether it needs network namespaces.
    pub needs_hosts: bool,
    /// Why it cannot be run, if it cannot.
    pub cannot_run: Option<&'static str>,
    /// Whether it waits until a gateway is given up, which takes a minute also in the short form.
    pub lasts_long: bool,
    /// Which counts may be more than zero.
    allowed: Allowance,
    /// The time in which the fault has to show, if it has such a sign.
    detection: Option<fn(&Timing) -> Duration>,
    script: Script,
}

/// The limit of most rows: 10 s, or less in the short form.
const IN_TIME: Option<fn(&Timing) -> Duration> = Some(|timing| timing.detection_limit);

impl Row {
    /// A row in which everything has to be zero.
    const fn new(name: &'static str, promised: &'static str, script: Script) -> Self {
        let (allowed, detection) = (Allowance::NONE, None);
        let (needs_hosts, lasts_long) = (false, false);
        Self { name, promised, needs_hosts, cannot_run: None, lasts_long, allowed, detection, script }
    }

    const fn detected(self) -> Self {
        Self { detection: IN_TIME, ..self }
    }

    const fn closes_of_a_lost_gateway(self) -> Self {
        Self { detection: Some(|timing| timing.gateway_lost_limit), lasts_long: true, ..self }
    }

    const fn on_hosts(self) -> Self {
        Self { needs_hosts: true, ..self }
    }

    const fn cannot_run(self, reason: &'static str) -> Self {
        Self { cannot_run: Some(reason), ..self }
    }

    const fn allowing(self, allowed: Allowance) -> Self {
        Self { allowed, ..self }
    }

    /// Plays the row to its end, and judges what was seen. The second value has the logs of the daemons.
    ///
    /// # Errors
    /// The row cannot be played: that says nothing about its promise.
    pub async fn play(&self, settings: Settings) -> Result<(Outcome, String)> {
        let started = Instant::now();
        let timing = settings.timing;
        let mut stage = Stage::new(settings);
        let played = (self.script)(&mut stage).await;
        if let Err(error) = played {
            return Err(error.context(format!("{}\n{}", self.name, stage.logs())));
        }
        let counts = stage.finish().await?;
        let mut broken = judge(&counts, self.allowed, self.detection.map(|limit| limit(&timing)));
        broken.append(&mut stage.broken);
        let mut notes = std::mem::take(&mut stage.notes);
        if counts.gone_with_gateway > 0 {
            notes.push(format!("{} messages were with the gateway", counts.gone_with_gateway));
        }
        let logs = stage.logs();
        let outcome = Outcome {
            row: self.name.into(),
            promised: self.promised.into(),
            counts,
            broken,
            notes,
            seconds: started.elapsed().as_secs_f64(),
        };
        Ok((outcome, logs))
    }
}

/// All rows, in the order of the table.
pub fn all() -> Vec<Row> {
    [death::ROWS, freeze::ROWS, drain::ROWS, cut::ROWS, handlers::ROWS, resources::ROWS, soak::ROWS].concat()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_of_rows_differ() {
        let names: BTreeSet<_> = all().iter().map(|row| row.name).collect();
        assert_eq!(names.len(), all().len());
    }

    #[test]
    fn promises_are_sentences() {
        for row in all() {
            assert!(row.promised.ends_with('.') && !row.promised.contains('|'), "{}", row.name);
        }
    }
}
