//! The directories of a cluster on this machine: its configuration, and the run directory where commands find it
//! while it runs. The commands for a cluster on this machine have these flags; `call`, `connections`, `groups` and `top`
//! have the first alone.
//!
//! Where no flag names a directory and `./config` does not exist, commands find the cluster of the Debian package's
//! `gatewayworker.service`, too. In the directory of another cluster they never do: a second `stop` there must not end
//! the service. `start` and `restart` never start a cluster in the service's directories.

use std::path::{Path, PathBuf};

use anyhow::bail;

/// Where the Debian package has the configuration.
const PACKAGED_CONFIGS: &str = "/etc/gatewayworker";

/// The run directory of the package's `gatewayworker.service`; it exists while the service runs.
#[cfg(unix)]
pub(crate) const PACKAGED_RUN_DIR: &str = "/run/gatewayworker";

/// The flag that names the directory of a cluster's configuration.
#[derive(Debug, Clone, Default, clap::Args)]
#[group(skip)]
pub(crate) struct ConfigDir {
    /// Where no register is named, take it and the key from gateway.toml in DIR, and from the file `environment` there
    /// [default: ./config or /etc/gatewayworker, where it exists]
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = "GATEWAYWORKER_CONFIG_DIR",
        help_heading = "Cluster"
    )]
    config_dir: Option<PathBuf>,
}

impl ConfigDir {
    /// Returns the directory, if there is one.
    ///
    /// # Errors
    /// When the directory that was named does not exist.
    pub(crate) fn find(&self) -> anyhow::Result<Option<&Path>> {
        Ok(find(self.config_dir.as_deref())?.or(packaged_configs()))
    }
}

/// Returns the directory of the Debian package's configuration, if the package is installed.
pub(crate) fn packaged_configs() -> Option<&'static Path> {
    Some(Path::new(PACKAGED_CONFIGS)).filter(|directory| directory.is_dir())
}

fn find(named: Option<&Path>) -> anyhow::Result<Option<&Path>> {
    match named {
        Some(directory) if directory.is_dir() => Ok(Some(directory)),
        Some(directory) => bail!("--config-dir {}: no such directory", directory.display()),
        None => Ok(Some(Path::new("config")).filter(|directory| directory.is_dir())),
    }
}

/// The flags that say which cluster is meant.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct ClusterDirs {
    /// Read register.toml, gateway.toml and businessworker.toml from DIR [default: ./config, where it exists]
    #[arg(long, value_name = "DIR", env = "GATEWAYWORKER_CONFIG_DIR")]
    pub(crate) config_dir: Option<PathBuf>,

    /// Keep the process id, the control socket and the log in DIR [default: run, in the directory of the configuration;
    /// without ./config, commands look in /run/gatewayworker, too]
    #[cfg(unix)]
    #[arg(long, value_name = "DIR", env = "GATEWAYWORKER_RUN_DIR")]
    pub(crate) run_dir: Option<PathBuf>,
}

impl ClusterDirs {
    /// Returns the directory of the configuration, if there is one.
    ///
    /// # Errors
    /// When the directory that was named does not exist.
    pub(crate) fn configs(&self) -> anyhow::Result<Option<&Path>> {
        find(self.config_dir.as_deref())
    }

    /// Returns the run directory of a cluster that is started, which may not exist yet.
    ///
    /// # Errors
    /// As [`ClusterDirs::configs`].
    #[cfg(unix)]
    pub(crate) fn run_dir(&self) -> anyhow::Result<crate::run_dir::RunDir> {
        let directory = match &self.run_dir {
            Some(directory) => directory.clone(),
            None => self.configs()?.unwrap_or(Path::new(".")).join("run"),
        };
        crate::run_dir::RunDir::new(&directory)
    }

    /// Returns the run directories in which a command looks for a cluster that runs, one after the other.
    ///
    /// # Errors
    /// As [`ClusterDirs::configs`].
    #[cfg(unix)]
    pub(crate) fn run_dirs_to_search(&self) -> anyhow::Result<Vec<crate::run_dir::RunDir>> {
        let mut run_dirs = vec![self.run_dir()?];
        if self.run_dir.is_none() && self.configs()?.is_none() {
            run_dirs.push(crate::run_dir::RunDir::new(Path::new(PACKAGED_RUN_DIR))?);
        }
        Ok(run_dirs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_was_named_must_exist() {
        let dirs = ClusterDirs { config_dir: Some("/nowhere".into()), ..ClusterDirs::default() };
        assert!(dirs.configs().is_err());
    }

    #[cfg(unix)]
    #[test]
    fn a_cluster_is_found_beside_its_configuration_or_where_one_says() {
        let directory = tempfile::tempdir().unwrap();
        let mut dirs =
            ClusterDirs { config_dir: Some(directory.path().to_owned()), ..ClusterDirs::default() };
        assert_eq!(dirs.run_dir().unwrap().path(), directory.path().join("run"));
        dirs.run_dir = Some("/run/chat".into());
        assert_eq!(dirs.run_dir().unwrap().path(), Path::new("/run/chat"));
    }

    #[cfg(unix)]
    #[test]
    fn the_packages_service_is_looked_for_only_where_no_cluster_is_named() {
        let searched = |dirs: &ClusterDirs| {
            let run_dirs = dirs.run_dirs_to_search().unwrap();
            run_dirs.iter().map(|run_dir| run_dir.path().to_owned()).collect::<Vec<_>>()
        };
        // The tests run where there is no ./config.
        let here = std::path::absolute("run").unwrap();
        assert_eq!(searched(&ClusterDirs::default()), [here.as_path(), Path::new(PACKAGED_RUN_DIR)]);
        let run_dir = Some("/run/chat".into());
        assert_eq!(searched(&ClusterDirs { run_dir, ..ClusterDirs::default() }), [Path::new("/run/chat")]);
        let directory = tempfile::tempdir().unwrap();
        let config_dir = Some(directory.path().to_owned());
        let named = ClusterDirs { config_dir, ..ClusterDirs::default() };
        assert_eq!(searched(&named), [directory.path().join("run")]);
    }
}
