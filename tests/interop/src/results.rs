//! The results: compared with the original's, written to a file, and shown as tables of the documentation.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;

use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::combination::{Combination, Kind};
use crate::differences::{self, DIFFERENCES, Daemon, Difference};
use crate::steps::{PARTS, Step};

/// A line of the results file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "lowercase")]
pub enum Line {
    /// One combination.
    Combination(Row),
    /// A live system, swapped one process at a time.
    Swap {
        /// What was done, and what clients noticed.
        steps: Vec<Swapped>,
    },
}

/// The result of one combination.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The kinds of the daemons.
    pub who: Combination,
    /// The versions of the PHP side.
    pub versions: BTreeMap<String, Option<String>>,
    /// The result of each part, without and with a secret key together.
    pub parts: BTreeMap<String, Part>,
}

/// The result of one part.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// How many steps have the original's outcome.
    pub same: usize,
    /// How many steps have another outcome, by the name of the intended difference.
    pub intended: BTreeMap<String, usize>,
}

/// One step of a swap.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Swapped {
    /// The daemon that was swapped, and its new kind.
    pub step: String,
    /// What clients of the swapped gateway have noticed; without a swapped gateway, all clients.
    pub clients: String,
    /// What GatewayClient has noticed.
    pub calls: String,
}

impl Row {
    /// Returns a result without steps.
    pub fn new(who: Combination, versions: Value) -> Self {
        let versions = serde_json::from_value(versions).unwrap_or_default();
        Self { who, versions, parts: BTreeMap::new() }
    }

    /// Adds the outcomes of a cluster, compared with the original's.
    ///
    /// # Errors
    /// Every unintended difference, and every intended difference that is missing.
    pub fn compare(&mut self, original: &[Step], here: &[Step]) -> Result<(), String> {
        let mut faults = String::new();
        let mut shown: Vec<&'static str> = Vec::new();
        for (original, here) in alike(original, here)? {
            let part = self.parts.entry(here.part.into()).or_default();
            if original.outcome == here.outcome {
                part.same += 1;
                continue;
            }
            match intended(self.who, original, here) {
                Ok(name) => {
                    *part.intended.entry(name.into()).or_default() += 1;
                    shown.push(name);
                }
                Err(fault) => faults += &fault,
            }
        }
        for difference in
            differences::expected(self.who).filter(|difference| !shown.contains(&difference.name))
        {
            let _ = writeln!(faults, "the intended difference {} does not show", difference.name);
        }
        if faults.is_empty() { Ok(()) } else { Err(faults) }
    }
}

/// Checks that each outcome of a mixed cluster is the original's or ours.
///
/// # Errors
/// Every unintended difference.
pub fn mixed(original: &[Step], here: &[Step]) -> Result<(), String> {
    let ours = Combination { register: Kind::Ours, gateway: Kind::Ours, worker: Kind::Ours };
    let differ =
        alike(original, here)?.into_iter().filter(|(original, here)| original.outcome != here.outcome);
    let faults: String = differ.filter_map(|(original, here)| intended(ours, original, here).err()).collect();
    if faults.is_empty() { Ok(()) } else { Err(faults) }
}

/// Pairs the steps of two runs, which must be the same.
fn alike<'a>(original: &'a [Step], here: &'a [Step]) -> Result<Vec<(&'a Step, &'a Step)>, String> {
    let pairs: Vec<_> = original.iter().zip(here).collect();
    let are_alike =
        original.len() == here.len() && pairs.iter().all(|(original, here)| original.name == here.name);
    are_alike.then_some(pairs).ok_or_else(|| "not the same steps were done".into())
}

/// Returns the name of the intended difference, or an error that shows the unintended one.
fn intended(who: Combination, original: &Step, here: &Step) -> Result<&'static str, String> {
    match differences::explain(who, &here.name, &original.outcome, &here.outcome) {
        Some(difference) => Ok(difference.name),
        None => Err(format!(
            "{}, {}\n  original: {}\n  here:     {}\n",
            here.part, here.name, original.outcome, here.outcome
        )),
    }
}

/// Appends a line to the file of `GATEWAYWORKER_INTEROP_RESULTS`, if it is set.
///
/// # Panics
/// The file cannot be written.
pub fn write(line: &Line) {
    let Some(path) = std::env::var_os("GATEWAYWORKER_INTEROP_RESULTS").map(PathBuf::from) else { return };
    let text = serde_json::to_string(line).expect("a line has a JSON form") + "\n";
    let file = std::fs::File::options().create(true).append(true).open(&path);
    // One write, because other tests append to the file too.
    let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
    written.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

/// Returns the tables of `results`, each with the name of its place in the documentation. If a combination is there twice,
/// the last result counts.
///
/// # Errors
/// A line is invalid, or one of the eight combinations is missing.
pub fn tables(results: &str) -> anyhow::Result<Vec<(&'static str, String)>> {
    let mut rows: Vec<Row> = Vec::new();
    let mut swap = Vec::new();
    for line in results.lines() {
        match serde_json::from_str(line).with_context(|| format!("not a line of results: {line}"))? {
            Line::Combination(row) => {
                rows.retain(|other| other.who != row.who);
                rows.push(row);
            }
            Line::Swap { steps } => swap = steps,
        }
    }
    ensure!(rows.len() == 8, "{} of the eight combinations are there", rows.len());
    rows.sort_by_key(|row| {
        [row.who.register, row.who.gateway, row.who.worker].map(|kind| kind == Kind::Ours)
    });
    let mut tables = vec![("combinations", combinations(&rows)), ("differences", differences_table())];
    if !swap.is_empty() {
        tables.push(("swap", swap_table(&swap)));
    }
    Ok(tables)
}

fn combinations(rows: &[Row]) -> String {
    let mut table =
        format!("| register | gateways | worker | {} | intended differences |\n", PARTS.join(" | "));
    let _ = writeln!(table, "|{}", "---|".repeat(4 + PARTS.len()));
    for Row { who, parts, .. } in rows {
        let _ = write!(table, "| {} | {} | {} |", who.register, who.gateway, who.worker);
        let mut names: Vec<&str> = Vec::new();
        for part in PARTS {
            let part = parts.get(part).cloned().unwrap_or_default();
            let differ: usize = part.intended.values().sum();
            let _ = match differ {
                0 => write!(table, " {} |", part.same),
                _ => write!(table, " {} + {differ} |", part.same),
            };
            names.extend(
                DIFFERENCES.iter().map(|it| it.name).filter(|name| part.intended.contains_key(*name)),
            );
        }
        let names: Vec<_> =
            DIFFERENCES.iter().map(|it| it.name).filter(|name| names.contains(name)).collect();
        let _ = writeln!(table, " {} |", if names.is_empty() { "none".into() } else { names.join(", ") });
    }
    table
}

/// The table of intended differences.
pub fn differences_table() -> String {
    let mut table = "| difference | by our | original | ours | why |\n|---|---|---|---|---|\n".to_owned();
    for Difference { name, whose, original, ours, why, .. } in DIFFERENCES {
        let whose = match whose {
            Daemon::Register => "register",
            Daemon::Gateway => "gateway",
            Daemon::Worker => "worker",
        };
        let _ = writeln!(table, "| {name} | {whose} | {original} | {ours} | {why} |");
    }
    table
}

fn swap_table(steps: &[Swapped]) -> String {
    let mut table = "| step | clients | GatewayClient |\n|---|---|---|\n".to_owned();
    for Swapped { step, clients, calls } in steps {
        let _ = writeln!(table, "| {step} | {clients} | {calls} |");
    }
    table
}

/// Returns `document` with a table in its place, between `<!-- interop: NAME -->` and `<!-- end -->`.
///
/// # Errors
/// The document has no such place.
pub fn put(document: &str, name: &str, table: &str) -> anyhow::Result<String> {
    let opening = format!("<!-- interop: {name} -->\n");
    let (before, rest) = document.split_once(&opening).with_context(|| format!("no place for {name}"))?;
    let (_, after) =
        rest.split_once("<!-- end -->").with_context(|| format!("the place for {name} has no end"))?;
    Ok(format!("{before}{opening}{table}<!-- end -->{after}"))
}
