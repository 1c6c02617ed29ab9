//! Shows that this program sees what it looks for: an application that loses, doubles, swaps and overlaps on purpose,
//! and a relay that swallows messages, are caught to the last one, and nothing else is.

use std::time::Duration;

use anyhow::{Context, Result};

use crate::ledger::{Counts, Defect};
use crate::plan::Plan;
use crate::relay::SwallowingRelay;
use crate::stage::{Settings, Stage};

/// At least so many defects are made.
const ENOUGH: u64 = 20;

/// Every so-manieth message, or close, has the defect.
const EVERY: u32 = 7;

/// How long that may take.
const LIMIT: Duration = Duration::from_secs(60);

/// One kind of defect: how often it was made, and how often it was found.
#[derive(Debug, Clone)]
pub struct Check {
    /// The name of the defect.
    pub name: &'static str,
    /// How often it was made.
    pub made: u64,
    /// How often it was found.
    pub found: u64,
    /// What else was found, and is not there.
    pub others: u64,
}

impl Check {
    /// Whether all were found, and nothing else.
    pub fn is_right(&self) -> bool {
        self.made >= ENOUGH && self.found == self.made && self.others == 0
    }
}

/// Makes each defect, and returns what was found.
///
/// # Errors
/// A cluster does not start, or does not serve.
pub async fn run(settings: &Settings, mut report: impl FnMut(&Check)) -> Result<Vec<Check>> {
    let mut checks = Vec::new();
    for (defect, name) in Defect::ALL {
        let check =
            check_application(settings.clone(), defect).await.with_context(|| format!("{name} events"))?;
        report(&check);
        checks.push(check);
    }
    let check = check_relay(settings.clone()).await.context("a relay that swallows messages")?;
    report(&check);
    checks.push(check);
    Ok(checks)
}

async fn check_application(settings: Settings, defect: Defect) -> Result<Check> {
    let mut stage = Stage::new(settings);
    let name = defect.name();
    let app_lines = format!("defect = '{name}'\ndefect_every = {EVERY}\n");
    stage.settings.shape.observed = defect.is_said();
    stage.begin(Plan { app_lines, handler_ms: 8, ..Plan::new(1, 1) }).await?;
    let books = stage.books.clone();
    stage.wait_for(LIMIT, || books.open().confessed(defect) >= ENOUGH).await;
    let counts = stage.finish().await?;
    let made = stage.books.open().confessed(defect);
    Ok(check(name, defect, made, &counts))
}

async fn check_relay(settings: Settings) -> Result<Check> {
    let mut stage = Stage::new(settings);
    stage.begin(Plan { handler_ms: 8, ..Plan::new(1, 1) }).await?;
    let (number, gateway) = stage.cluster().listeners()[0];
    let relay = SwallowingRelay::start(gateway, EVERY.into()).await?;
    // Those that have connected before leave, and come through the relay.
    stage.load().set_gateways(vec![(number, relay.address)]);
    stage.wait_for(LIMIT, || relay.swallowed() >= ENOUGH).await;
    let counts = stage.finish().await?;
    Ok(check("swallowed", Defect::Lost, relay.swallowed(), &counts))
}

fn check(name: &'static str, defect: Defect, made: u64, counts: &Counts) -> Check {
    let Counts { lost, doubled_unmarked, reordered, overlapped, stale, .. } = *counts;
    let Counts { behind_close_with_gateway, closes_missing, closes_doubled_unmarked, .. } = *counts;
    let said = counts.said.clone().unwrap_or_default();
    let found = match defect {
        Defect::Lost => lost,
        Defect::Doubled => doubled_unmarked,
        Defect::Swapped | Defect::BehindClose => reordered,
        Defect::Overlapped => overlapped,
        Defect::Stale => stale,
        Defect::CloseLost => closes_missing,
        Defect::CloseDoubled => closes_doubled_unmarked,
        Defect::SaidLost => said.lost,
        Defect::SaidDoubled => said.doubled_unsaid,
        Defect::SaidSwapped => said.reordered,
    };
    let handled = [lost, doubled_unmarked, reordered, overlapped, stale, behind_close_with_gateway];
    let closed = [closes_missing, closes_doubled_unmarked];
    let unexplained = [said.lost, said.doubled_unsaid, said.reordered, said.reordered_between_workers];
    let explained = [said.unreached, said.fenced, said.gone_with_gateway, said.gone_with_link];
    let all = handled.iter().chain(&closed).chain(&unexplained).chain(&explained);
    let others = all.sum::<u64>() - found;
    Check { name, made, found, others }
}
