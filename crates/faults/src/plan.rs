//! What a cluster is made up of: how many daemons of each kind, of which programs, and what they lack.
//!
//! Rows write a [`Plan`], `cluster` starts it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::process::LogTo;

/// The programs that the daemons are.
#[derive(Debug, Clone)]
pub struct Programs {
    /// The register, with its first arguments.
    pub register: Vec<OsString>,
    /// The gateway, with its first arguments.
    pub gateway: Vec<OsString>,
    /// The worker with the application under test, with its first arguments.
    pub worker: Vec<OsString>,
    /// The control tool.
    pub control: PathBuf,
}

/// How a cluster is made up.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The number of registers. Every daemon knows all of them, unless `register_of_gateway` says otherwise.
    pub registers: usize,
    /// The number of gateways.
    pub gateways: usize,
    /// The number of workers.
    pub workers: usize,
    /// Whether each daemon is on a host of its own.
    pub hosts: bool,
    /// Whether a relay stands before the inner port of each gateway.
    pub relayed: bool,
    /// Whether gateway n announces itself to register n alone.
    pub split_registers: bool,
    /// The longest wait of a handler, in milliseconds.
    pub handler_ms: u64,
    /// More lines of the gateways' configuration.
    pub gateway_lines: String,
    /// More lines of the workers' configuration, before its tables.
    pub worker_lines: String,
    /// More lines of the workers' `[app]` table.
    pub app_lines: String,
    /// The most files that gateways and workers may have open.
    pub open_files: Option<u32>,
    /// By how many seconds the clock of each worker and each further gateway is ahead of that of the one before.
    pub clocks_apart: Option<u32>,
    /// Where the logs go.
    pub log: LogTo,
}

impl Programs {
    /// The daemons of this program, or those in a folder. The worker is always this program's.
    ///
    /// # Errors
    /// This program's own file is unknown.
    pub fn new(folder: Option<&Path>) -> Result<Self> {
        let this = std::env::current_exe().context("cannot find this program's own file")?;
        let of_this = |daemon: &str| vec![this.clone().into_os_string(), daemon.into()];
        let worker = of_this("businessworker");
        let Some(folder) = folder else {
            return Ok(Self {
                register: of_this("register"),
                gateway: of_this("gateway"),
                worker,
                control: this.clone(),
            });
        };
        let folder = std::path::absolute(folder)?;
        let control = folder.join("gatewayworker");
        let daemon = |name: &str| {
            let own = folder.join(name);
            if own.is_file() { vec![own.into()] } else { vec![control.clone().into(), name.into()] }
        };
        Ok(Self { register: daemon("register"), gateway: daemon("gateway"), worker, control })
    }
}

impl Plan {
    /// A register, and so many gateways and workers.
    pub fn new(gateways: usize, workers: usize) -> Self {
        Self {
            registers: 1,
            gateways,
            workers,
            hosts: false,
            relayed: false,
            split_registers: false,
            handler_ms: 40,
            gateway_lines: String::new(),
            worker_lines: String::new(),
            app_lines: String::new(),
            open_files: None,
            clocks_apart: None,
            log: LogTo::File,
        }
    }

    /// The same with a host for each daemon.
    pub fn on_hosts(self) -> Self {
        Self { hosts: true, ..self }
    }
}
