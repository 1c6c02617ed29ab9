//! What was found, in a file and as tables.

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

/// What was found of one combination.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Whose the daemons were.
    pub who: Combination,
    /// What the PHP side is.
    pub versions: BTreeMap<String, Option<String>>,
    /// By part, without a secret key and with one together.
    pub parts: BTreeMap<String, Part>,
}

/// What was found in one part.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// Steps that came out as with the original.
    pub same: usize,
    /// Steps that did not, by the name of the intended difference.
    pub intended: BTreeMap<String, usize>,
}

/// One step of a swap.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Swapped {
    /// What was swapped for what.
    pub step: String,
    /// What clients of the swapped gateway noticed; of any, where none was swapped.
    pub clients: String,
    /// What GatewayClient noticed.
    pub calls: String,
}

impl Row {
    /// A row without steps.
    pub fn new(who: Combination, versions: Value) -> Self {
        let versions = serde_json::from_value(versions).unwrap_or_default();
        Self { who, versions, parts: BTreeMap::new() }
    }

    /// Adds what was seen beside what the original does.
    ///
    /// # Errors
    /// Every difference that nobody intended, and every intended one that does not show.
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

/// Whether a mixed cluster does nothing that neither the original nor ours does.
///
/// # Errors
/// Every difference that nobody intended.
pub fn mixed(original: &[Step], here: &[Step]) -> Result<(), String> {
    let ours = Combination { register: Kind::Ours, gateway: Kind::Ours, worker: Kind::Ours };
    let differ =
        alike(original, here)?.into_iter().filter(|(original, here)| original.outcome != here.outcome);
    let faults: String = differ.filter_map(|(original, here)| intended(ours, original, here).err()).collect();
    if faults.is_empty() { Ok(()) } else { Err(faults) }
}

/// The same steps of both.
fn alike<'a>(original: &'a [Step], here: &'a [Step]) -> Result<Vec<(&'a Step, &'a Step)>, String> {
    let pairs: Vec<_> = original.iter().zip(here).collect();
    let are_alike =
        original.len() == here.len() && pairs.iter().all(|(original, here)| original.name == here.name);
    are_alike.then_some(pairs).ok_or_else(|| "not the same steps were done".into())
}

/// The name of the difference that was intended, or what is wrong.
fn intended(who: Combination, original: &Step, here: &Step) -> Result<&'static str, String> {
    match differences::explain(who, &here.name, &original.outcome, &here.outcome) {
        Some(difference) => Ok(difference.name),
        None => Err(format!(
            "{}, {}\n  original: {}\n  here:     {}\n",
            here.part, here.name, original.outcome, here.outcome
        )),
    }
}

/// Adds a line to the file that `GATEWAYWORKER_INTEROP_RESULTS` names, if it does.
///
/// # Panics
/// When it cannot be written.
pub fn write(line: &Line) {
    let Some(path) = std::env::var_os("GATEWAYWORKER_INTEROP_RESULTS").map(PathBuf::from) else { return };
    let text = serde_json::to_string(line).expect("a line has a JSON form") + "\n";
    let file = std::fs::File::options().create(true).append(true).open(&path);
    // One write: other tests add to the file too.
    let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
    written.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

/// The tables that `results` make, each with the name of its place in the documentation.
/// Of what is there twice, the last counts.
///
/// # Errors
/// When a line is none, or one of the eight is not there.
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

/// `document` with a table put into its place, between `<!-- interop: NAME -->` and
/// `<!-- end -->`.
///
/// # Errors
/// When it has no such place.
pub fn put(document: &str, name: &str, table: &str) -> anyhow::Result<String> {
    let opening = format!("<!-- interop: {name} -->\n");
    let (before, rest) = document.split_once(&opening).with_context(|| format!("no place for {name}"))?;
    let (_, after) =
        rest.split_once("<!-- end -->").with_context(|| format!("the place for {name} has no end"))?;
    Ok(format!("{before}{opening}{table}<!-- end -->{after}"))
}
