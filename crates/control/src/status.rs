//! `status`: prints what runs, since when, and how it goes. Of a cluster that was started on this machine the report
//! comes from its supervisor; of another (`--register-address`), from its gateways (`cluster_status`).

use std::process::ExitCode;

use crate::cluster_access::KeyFlags;
use crate::cluster_dirs::ClusterDirs;
use crate::cluster_status;
use crate::console::print_error;
use crate::look::{self, Look, WatchFlag};
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

    #[command(flatten)]
    watch: WatchFlag,

    /// Show the cluster of the register at ADDRESS, on any host; may be given several times
    #[arg(long, visible_alias = "register", value_name = "ADDRESS", value_delimiter = ',')]
    register_address: Option<Vec<String>>,

    #[command(flatten)]
    key: KeyFlags,
}

/// Prints the report about a cluster: status 0 if the cluster can do its work, 1 if not, or if it does not answer,
/// 3 where nothing runs.
pub fn run(flags: &StatusFlags) -> ExitCode {
    let Some(registers) = &flags.register_address else {
        return look::show(flags.watch, async || of_this_machine(flags));
    };
    let access = match flags.key.access(Some(registers), None) {
        Ok(access) => access,
        Err(error) => {
            print_error(format_args!("{error:#}"));
            return ExitCode::FAILURE;
        }
    };
    let mut inspector = None;
    look::show(flags.watch, async || {
        let inspector = inspector.get_or_insert_with(|| access.inspector());
        cluster_status::look(inspector, &access, flags.json).await
    })
}

fn of_this_machine(flags: &StatusFlags) -> Look {
    match RunningCluster::find(&flags.dirs).and_then(|cluster| cluster.report()) {
        Ok(report) => {
            let text = match flags.json {
                true => serde_json::to_value(&report).unwrap_or_default().to_string(),
                false => report.to_text(look::width()),
            };
            Look { notes: vec![text], status: u8::from(!report.ready), ..Look::default() }
        }
        Err(error) => {
            let status = if error.is::<NothingRuns>() { NOT_RUNNING } else { 1 };
            Look { status, ..Look::failed(format_args!("{error:#}")) }
        }
    }
}
