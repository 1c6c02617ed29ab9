//! The page for operators, which the supervisor serves: its address, its token, and what it tells about the daemons.
//! `foreground.rs` opens it before the daemons start.
//!
//! Without a token among the flags, the first start draws one and keeps it in the run directory, readable by this user
//! alone. It is never printed: the welcome says where it is.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, FromArgMatches};
use gatewayworker_admin::{About, Access, Config, ConfigError, DaemonLook, OpenError, Page, ServedPage};
use gatewayworker_client::SecretKey;
use gatewayworker_daemon::{ListenerSource, ProcessUsage};
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::daemon_status::{DaemonStatus, ProcessStatus};
use super::supervisor_handle::{Ending, SupervisorHandle};
use super::{StartFlags, output};
use crate::cluster_access::AccessFlags;
use crate::report::PageReport;

/// Where the page is unless a flag says otherwise.
const DEFAULT_LISTEN: &str = "127.0.0.1:9600";

/// What stands for no page.
const OFF: &str = "off";

/// Stands for the token that the start will draw, where the flags are only checked.
const LIKE_DRAWN: &str = "0123456789abcdef";

/// How often the page learns how the daemons are.
const INTERVAL: Duration = Duration::from_secs(1);

/// The page, which is open and not served yet.
pub(super) struct AdminPage {
    page: Page,
    access: Access,
    report: PageReport,
}

impl AdminPage {
    /// Opens the page; `None` where it is off, or its address was not chosen and is not free.
    ///
    /// # Errors
    /// When a flag cannot work, or the address that it names is not free.
    pub(super) async fn open(flags: &StartFlags) -> anyhow::Result<Option<Self>> {
        let chosen = flags.admin.admin_listen.as_deref();
        if chosen == Some(OFF) {
            return Ok(None);
        }
        let access = match access(flags) {
            Ok(access) => access,
            Err(error) => {
                // The daemon whose file it is says it, too, and ends.
                warn!("the page for operators is not served: {error:#}");
                return Ok(None);
            }
        };
        let mut config = config(flags, chosen.unwrap_or(DEFAULT_LISTEN));
        let is_own = config.token.is_empty() && config.token_file.is_none();
        if is_own {
            config.token_file = own_token(flags);
        }
        match gatewayworker_admin::open(&config, &access.secret_key, &ListenerSource::default()).await {
            Ok(page) => Ok(page.map(|page| {
                let file = config.token_file.map(|file| file.display().to_string());
                let report = PageReport { url: page.url(), token_file: file };
                Self { page, access, report }
            })),
            // A second cluster on a machine starts, too.
            Err(OpenError::Bind(error)) if chosen.is_none() => {
                let error = anyhow::Error::from(error);
                warn!(
                    "the page for operators is not served: {error:#}; --admin-listen chooses an address, or is off"
                );
                Ok(None)
            }
            // Nobody has set it, so it must not keep the cluster from starting.
            Err(OpenError::Config(error @ (ConfigError::Token(_) | ConfigError::TokenFile(_)))) if is_own => {
                warn!(
                    "the page for operators is not served: {error}; remove admin-token in the run directory, and restart"
                );
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Returns where the page is, for those who ask.
    pub(super) fn report(&self) -> PageReport {
        self.report.clone()
    }

    /// Serves the page until what is returned is dropped.
    ///
    /// # Errors
    /// When the system has no thread left.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub(super) fn serve(self, supervisor: SupervisorHandle) -> anyhow::Result<ServedPage> {
        let (looks, daemons) = watch::channel(Vec::new());
        tokio::spawn(async move {
            // It ends with the cluster.
            let Err(Ending) = tell(&supervisor, &looks).await;
        });
        let about = About {
            served_by: "gatewayworker start",
            access: self.access,
            warnings: output::warnings(),
            daemons: Some(daemons),
        };
        Ok(self.page.start(about, CancellationToken::new())?)
    }
}

/// Returns whether the flags of the page can work, without opening it.
///
/// # Errors
/// When one cannot.
pub(super) fn check(flags: &StartFlags) -> anyhow::Result<()> {
    let chosen = flags.admin.admin_listen.as_deref();
    if chosen == Some(OFF) {
        return Ok(());
    }
    let mut config = config(flags, chosen.unwrap_or(DEFAULT_LISTEN));
    if config.token.is_empty() && config.token_file.is_none() && cfg!(unix) {
        config.token = SecretKey::new(LIKE_DRAWN);
    }
    Ok(config.validate(&access(flags)?.secret_key)?)
}

fn config(flags: &StartFlags, listen: &str) -> Config {
    let given = flags.admin.clone();
    let mut config = Config::new(listen).with_token(given.admin_token.unwrap_or_default());
    config.token_file = given.admin_token_file;
    config.hosts = given.admin_hosts.unwrap_or_default();
    config
}

/// Returns where the cluster is, as its gateway or its worker has it: the environment over the file.
///
/// # Errors
/// When a file cannot be read.
fn access(flags: &StartFlags) -> anyhow::Result<Access> {
    let environment = AccessFlags::augment_args(clap::Command::new("start")).get_matches_from(["start"]);
    let environment = AccessFlags::from_arg_matches(&environment)?;
    let configs = flags.dirs.configs()?;
    let files = ["gateway.toml", "businessworker.toml"].map(|name| Some(configs?.join(name)));
    let file = files.into_iter().flatten().find(|file| file.is_file());
    environment.key.access(environment.register_address.as_deref(), file.as_deref())
}

/// Returns the file with the token of this cluster's own, which the first start makes; `None` where the run directory
/// cannot be written to: the page has no token then.
#[cfg(unix)]
fn own_token(flags: &StartFlags) -> Option<PathBuf> {
    match flags.dirs.run_dir().and_then(|run_dir| run_dir.admin_token()) {
        Ok(file) => Some(file),
        Err(error) => {
            warn!("the page for operators has no token, and shows numbers alone: {error:#}");
            None
        }
    }
}

/// Returns no file: there is no run directory here.
#[cfg(not(unix))]
fn own_token(_: &StartFlags) -> Option<PathBuf> {
    None
}

/// Tells the page how the daemons are, again and again.
async fn tell(
    supervisor: &SupervisorHandle,
    looks: &watch::Sender<Vec<DaemonLook>>,
) -> Result<std::convert::Infallible, Ending> {
    loop {
        let status = supervisor.status().await?;
        looks.send_replace(status.iter().flat_map(looks_of).collect());
        sleep(INTERVAL).await;
    }
}

/// Returns a look for each process of a daemon, or one for a daemon that has none. The first has the daemon's problems and notices.
fn looks_of(daemon: &DaemonStatus) -> Vec<DaemonLook> {
    let mut looks: Vec<_> = daemon.processes.iter().map(look_at).collect();
    if looks.is_empty() {
        looks.push(DaemonLook { state: "ended".into(), ..DaemonLook::default() });
    }
    for look in &mut looks {
        look.name = daemon.name.into();
        look.restarts = daemon.restarts;
    }
    looks[0].problems = [daemon.problems(), daemon.notices()].concat();
    looks
}

fn look_at(process: &ProcessStatus) -> DaemonLook {
    let usage = ProcessUsage::of(process.process_id);
    DaemonLook {
        pid: Some(process.process_id),
        state: process.state.into(),
        cpu_ms: usage.cpu_ms,
        memory_bytes: usage.memory_bytes,
        ..DaemonLook::default()
    }
}
