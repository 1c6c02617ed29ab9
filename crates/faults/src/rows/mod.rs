//! The rows of the table: what is done to a cluster, and what it has promised.
//!
//! `launcher` runs each in a process of its own, which calls [`Row::play`].

mod cut;
mod death;
mod drain;
mod freeze;
mod handlers;
mod interest;
mod resources;
mod soak;
mod together;

use std::pin::Pin;
use std::time::Instant;

use anyhow::{Result, bail};

use crate::outcome::{Allowance, Detection, Outcome, judge};
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
    /// Whether the fault has to show.
    detection: fn(&Timing) -> Detection,
    script: Script,
}

impl Row {
    /// A row in which everything has to be zero.
    const fn new(name: &'static str, promised: &'static str, script: Script) -> Self {
        let allowed = Allowance::NONE;
        let detection = |_: &Timing| Detection::Unwatched;
        let (needs_hosts, lasts_long) = (false, false);
        Self { name, promised, needs_hosts, cannot_run: None, lasts_long, allowed, detection, script }
    }

    const fn detected(self) -> Self {
        Self { detection: |timing| Detection::Within(timing.detection_limit), ..self }
    }

    /// Somebody dies or is given up, so events come again, with the mark.
    const fn may_double(mut self) -> Self {
        self.allowed.marked_doubles = true;
        self
    }

    const fn nobody_is_given_up(self) -> Self {
        Self { detection: |_| Detection::Never, ..self }
    }

    const fn closes_of_a_lost_gateway(self) -> Self {
        let detection = |timing: &Timing| Detection::Within(timing.gateway_lost_limit);
        Self { detection, lasts_long: true, ..self }
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

    /// Plays the row to its end, and judges what was seen. `nth` is in the names of its files.
    ///
    /// # Errors
    /// The row cannot be played: that says nothing about its promise.
    pub async fn play(&self, settings: Settings, nth: Option<usize>) -> Result<Outcome> {
        let started = Instant::now();
        let (timing, folder) = (settings.timing, settings.logs.clone());
        let file = self.name.to_owned() + &nth.map(|nth| format!("-{nth}")).unwrap_or_default();
        let mut stage = Stage::new(settings);
        if let Some(folder) = &folder {
            std::fs::create_dir_all(folder)?;
            stage.books.write_history(&folder.join(&file).with_extension("history"))?;
        }
        let played = (self.script)(&mut stage).await;
        if let Err(error) = played {
            bail!("{error:#}\n{}", stage.logs());
        }
        let counts = stage.finish().await?;
        let mut broken = judge(&counts, self.allowed, (self.detection)(&timing));
        broken.append(&mut stage.broken);
        let report = if broken.is_empty() { Vec::new() } else { stage.books.open().report() };
        for paragraph in &report {
            stage.books.remark(format_args!("{paragraph}"));
        }
        let mut notes = std::mem::take(&mut stage.notes);
        if counts.gone_with_gateway > 0 {
            notes.push(format!("{} messages were with the gateway", counts.gone_with_gateway));
        }
        if counts.stale_with_gateway > 0 {
            notes.push(format!("{} handlers of its clients had a stale session", counts.stale_with_gateway));
        }
        if counts.not_admitted > 0 {
            notes.push(format!("{} new clients were not admitted in time", counts.not_admitted));
        }
        if counts.refused > 0 {
            notes.push(format!("{} attempts to connect failed", counts.refused));
        }
        if let Some(folder) = &folder {
            stage.books.end_history();
            std::fs::write(folder.join(&file).with_extension("log"), stage.logs())?;
        }
        Ok(Outcome {
            row: self.name.into(),
            promised: self.promised.into(),
            counts,
            broken,
            report,
            notes,
            seconds: started.elapsed().as_secs_f64(),
        })
    }
}

/// All rows, in the order of the table.
pub fn all() -> Vec<Row> {
    let one_by_one = [death::ROWS, freeze::ROWS, drain::ROWS, cut::ROWS];
    let rest = [together::ROWS, interest::ROWS, handlers::ROWS, resources::ROWS, soak::ROWS];
    [one_by_one.concat(), rest.concat()].concat()
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
