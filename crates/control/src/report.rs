//! The report about a running cluster, as `status` prints it: a table, or JSON (`--json`). The supervisor's control
//! server makes it, and it travels over the control socket as JSON.

use std::fmt::Write;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::units::duration;

/// A cluster and its daemons.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ClusterReport {
    /// Whether the cluster can do its work: no daemon has a problem.
    pub(crate) ready: bool,
    pub(crate) version: String,
    /// The supervisor's.
    pub(crate) process_id: u32,
    pub(crate) uptime_ms: u64,
    pub(crate) config_dir: Option<String>,
    /// None in the foreground.
    pub(crate) log_file: Option<String>,
    /// `text` or `json`
    pub(crate) log_format: String,
    /// Log lines that nobody has read in time, or that could not be written.
    pub(crate) log_lines_dropped: u64,
    #[serde(flatten)]
    pub(crate) programs: Programs,
    /// It has no worker of its own: others run theirs.
    #[serde(default)]
    pub(crate) no_worker: bool,
    /// The page for operators; `None` where it is off.
    #[serde(default)]
    pub(crate) page: Option<PageReport>,
    /// The flags of the page, as they were given: the next start has them, too.
    #[serde(default)]
    pub(crate) page_flags: PageFlags,
    pub(crate) daemons: Vec<DaemonReport>,
}

/// Where the page for operators is, and its token.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct PageReport {
    pub(crate) url: String,
    /// None where the token comes from elsewhere, or there is none.
    pub(crate) token_file: Option<String>,
}

/// The flags of the page, without its token.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct PageFlags {
    pub(crate) admin_listen: Option<String>,
    pub(crate) admin_token_file: Option<PathBuf>,
    pub(crate) admin_hosts: Option<Vec<String>>,
}

/// The programs of one's own that run in the place of the daemons which the tool has built in.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Programs {
    pub(crate) register: Option<String>,
    pub(crate) businessworker: Option<String>,
    pub(crate) gateway: Option<String>,
}

/// A daemon and its processes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct DaemonReport {
    pub(crate) name: String,
    /// How often a process of it has ended by itself.
    pub(crate) restarts: u64,
    /// What keeps it from its work, each a sentence that says what to do.
    pub(crate) problems: Vec<String>,
    /// What an operator has to mend though it does its work, each a sentence.
    #[serde(default)]
    pub(crate) notices: Vec<String>,
    /// None between an end and the next start; two while one takes the other's place.
    pub(crate) processes: Vec<ProcessReport>,
}

/// A process of a daemon.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ProcessReport {
    pub(crate) process_id: u32,
    /// `starting`, `ready` or `draining`
    pub(crate) state: String,
    pub(crate) uptime_ms: u64,
    /// Processor time since its start; where the system says so.
    pub(crate) cpu_ms: Option<u64>,
    /// In RAM; where the system says so.
    pub(crate) memory_bytes: Option<u64>,
    pub(crate) listens: Vec<String>,
    /// What it counts.
    pub(crate) stats: Map<String, Value>,
}

/// How far what a daemon counts is indented where it does not fit behind the daemon.
const INDENT: usize = 4;

impl ClusterReport {
    /// Returns the report as text. Where a daemon's line would not fit into `width` columns, what it listens on and
    /// counts follows in lines of its own; without a width, each process has one line, for `grep`.
    pub(crate) fn to_text(&self, width: Option<usize>) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = self.write(&mut text, width);
        text
    }

    fn write(&self, f: &mut String, terminal: Option<usize>) -> std::fmt::Result {
        let Self { version, process_id, uptime_ms, .. } = self;
        write!(f, "GatewayWorker {version}, process {process_id}, up {}", duration(*uptime_ms))?;
        let page = self.page.as_ref().map(|page| page.url.clone());
        let paths = [("configuration", &self.config_dir), ("log", &self.log_file), ("page", &page)];
        for (name, path) in paths.iter().filter_map(|(name, path)| Some((name, path.as_ref()?))) {
            write!(f, ", {name} {path}")?;
        }
        let head = ["DAEMON", "PROCESS", "STATE", "UP", "RESTARTS", "CPU", "MEMORY", ""].map(str::to_owned);
        let rows: Vec<_> =
            std::iter::once(head).chain(self.daemons.iter().flat_map(DaemonReport::rows)).collect();
        let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or_default();
        let widths: [usize; 8] = std::array::from_fn(width);
        f.write_str("\n")?;
        for row in &rows {
            let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
            let line = cells.collect::<Vec<_>>().join("  ");
            match terminal {
                Some(columns) if line.trim_end().len() > columns => {
                    let known = line.len() - widths[7];
                    write!(f, "\n{}", line[..known].trim_end())?;
                    let counts = row[7].split(", ").collect::<Vec<_>>();
                    wrapped(&counts, columns).iter().try_for_each(|line| write!(f, "\n{line}"))?;
                }
                _ => write!(f, "\n{}", line.trim_end())?,
            }
        }
        if self.log_lines_dropped > 0 {
            write!(
                f,
                "\n\n{} log lines were lost, as nobody read them or the disk is full",
                self.log_lines_dropped
            )?;
        }
        let problems = self.daemons.iter().flat_map(|daemon| &daemon.problems);
        write_section(f, "The cluster cannot do its work:", problems)?;
        write_section(f, "Notices:", self.daemons.iter().flat_map(|daemon| &daemon.notices))
    }
}

/// Writes sentences below a head; nothing where there are none.
fn write_section<'a>(
    f: &mut String,
    head: &str,
    sentences: impl Iterator<Item = &'a String>,
) -> std::fmt::Result {
    for (n, sentence) in sentences.enumerate() {
        if n == 0 {
            write!(f, "\n\n{head}")?;
        }
        write!(f, "\n  {sentence}")?;
    }
    Ok(())
}

/// Puts items with commas between them into indented lines of at most `columns`; an item is never cut.
fn wrapped(items: &[&str], columns: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for (n, item) in items.iter().enumerate() {
        let item = format!("{item}{}", if n + 1 < items.len() { "," } else { "" });
        match lines.last_mut() {
            Some(line) if line.len() + 1 + item.len() <= columns => {
                line.push(' ');
                line.push_str(&item);
            }
            _ => lines.push(format!("{:INDENT$}{item}", "")),
        }
    }
    lines
}

impl DaemonReport {
    /// Makes a table row for each process, and one that says `ended` where there is none.
    fn rows(&self) -> Vec<[String; 8]> {
        let Self { name, restarts, processes, .. } = self;
        if processes.is_empty() {
            let mut row = <[String; 8]>::default();
            row[0] = name.clone();
            row[2] = "ended".into();
            row[4] = restarts.to_string();
            return vec![row];
        }
        let row = |process: &ProcessReport| {
            let listens_and_stats: Vec<_> =
                process.listens.iter().cloned().chain(show_stats(&process.stats)).collect();
            [
                name.clone(),
                process.process_id.to_string(),
                process.state.clone(),
                duration(process.uptime_ms),
                restarts.to_string(),
                process.cpu_ms.map(|ms| format!("{:.2} s", ms as f64 / 1000.0)).unwrap_or_default(),
                process.memory_bytes.map(|bytes| format!("{:.1} MB", bytes as f64 / 1e6)).unwrap_or_default(),
                listens_and_stats.join(", "),
            ]
        };
        processes.iter().map(row).collect()
    }
}

/// Shows each stat, with the stats that add up to it in parentheses: `rejected 9 (origin 7, path 2)` for
/// `rejected`, `rejected_origin` and `rejected_path`.
fn show_stats(stats: &Map<String, Value>) -> Vec<String> {
    let mut shown: Vec<(&str, String, Vec<String>)> = Vec::new();
    for (name, value) in stats {
        match shown.last_mut() {
            Some((whole, _, parts))
                if name.strip_prefix(*whole).is_some_and(|rest| rest.starts_with('_')) =>
            {
                parts.push(format!("{} {value}", name[whole.len() + 1..].replace('_', "-")));
            }
            _ => shown.push((name, format!("{} {value}", name.replace('_', " ")), Vec::new())),
        }
    }
    let with_parts = |(_, whole, parts): (&str, String, Vec<String>)| match parts.is_empty() {
        true => whole,
        false => format!("{whole} ({})", parts.join(", ")),
    };
    shown.into_iter().map(with_parts).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_stat_is_shown_with_those_that_add_up_to_it() {
        let of = |json: serde_json::Value| show_stats(json.as_object().unwrap());
        assert_eq!(
            of(
                json!({"clients": 3, "rejected": 9, "rejected_origin": 7, "rejected_address_full": 2, "workers": 1})
            ),
            ["clients 3", "rejected 9 (origin 7, address-full 2)", "workers 1"]
        );
        assert_eq!(of(json!({"rejected": 0, "rejectedly": 1})), ["rejected 0", "rejectedly 1"]);
        assert_eq!(of(json!({"log_lines_dropped": 3})), ["log lines dropped 3"]);
    }

    #[test]
    fn a_report_is_a_table_with_the_problems_below_it() {
        let mut report: ClusterReport = serde_json::from_value(json!({
            "ready": false, "version": "0.1.0", "process_id": 10, "uptime_ms": 61_000, "config_dir": "/etc/chat", "log_file": null,
            "log_format": "text", "log_lines_dropped": 0,
            "daemons": [
                {"name": "gateway", "restarts": 2, "problems": ["the gateway has no worker: why"], "processes": [{
                    "process_id": 11, "state": "ready", "uptime_ms": 5_000, "cpu_ms": 120, "memory_bytes": 4_200_000,
                    "listens": ["websocket://127.0.0.1:8289"], "stats": {"clients": 3, "workers": 1},
                }]},
            ],
        }))
        .unwrap();
        let (name, problems) = ("businessworker".into(), vec!["the businessworker is not running".into()]);
        let notices = vec!["the federation is not connected to NATS: why".into()];
        report.daemons.push(DaemonReport { name, restarts: 5, problems, notices, processes: vec![] });
        let table = "\
GatewayWorker 0.1.0, process 10, up 1 min 1 s, configuration /etc/chat

DAEMON          PROCESS  STATE  UP   RESTARTS  CPU     MEMORY
gateway         11       ready  5 s  2         0.12 s  4.2 MB  websocket://127.0.0.1:8289, clients 3, workers 1
businessworker           ended       5

The cluster cannot do its work:
  the gateway has no worker: why
  the businessworker is not running

Notices:
  the federation is not connected to NATS: why";
        assert_eq!(report.to_text(None), table);
        assert_eq!(report.to_text(Some(200)), table);
        let narrow = "\
gateway         11       ready  5 s  2         0.12 s  4.2 MB
    websocket://127.0.0.1:8289, clients 3, workers 1
businessworker           ended       5
";
        let text = report.to_text(Some(62));
        assert!(text.contains(narrow), "{text}");
        assert_eq!(wrapped(&["a 1", "b 22", "c 3"], 14), ["    a 1, b 22,", "    c 3"]);
    }
}
