//! `status`: prints what runs, since when, and how it goes. The report comes from the cluster's supervisor.

use std::process::ExitCode;

use crate::cluster_dirs::ClusterDirs;
use crate::console::{print, print_error};
use crate::running_cluster::{NothingRuns, RunningCluster};

/// The exit status where nothing runs, as of `systemctl status` and `pg_ctl status`.
const NOT_RUNNING: u8 = 3;

/// The flags of `status`.
#[derive(Debug, clap::Args)]
pub struct StatusFlags {
    #[command(flatten)]
    dirs: ClusterDirs,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Prints the report about a cluster: status 0 if the cluster can do its work, 1 if not, or if it does not answer,
/// 3 where nothing runs.
pub fn run(flags: &StatusFlags) -> ExitCode {
    match RunningCluster::find(&flags.dirs).and_then(|cluster| cluster.report()) {
        Ok(report) => {
            match flags.json {
                true => print(serde_json::to_value(&report).unwrap_or_default()),
                false => print(&report),
            }
            if report.ready { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            print_error(format_args!("{error:#}"));
            if error.is::<NothingRuns>() { ExitCode::from(NOT_RUNNING) } else { ExitCode::FAILURE }
        }
    }
}
