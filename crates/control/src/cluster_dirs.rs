//! The directories of a cluster on this machine: its configuration, and the run directory where commands find it
//! while it runs. The commands for a cluster on this machine have these flags; `connections`, `groups` and `top` have
//! the first alone.

use std::path::{Path, PathBuf};

use anyhow::bail;

/// The flag that names the directory of a cluster's configuration.
#[derive(Debug, Clone, Default, clap::Args)]
#[group(skip)]
pub(crate) struct ConfigDir {
    /// Where no register is named, take it and the key from gateway.toml in DIR [default: ./config, where it exists]
    #[arg(long, value_name = "DIR", env = "GATEWAYWORKER_CONFIG_DIR")]
    config_dir: Option<PathBuf>,
}

impl ConfigDir {
    /// Returns the directory, if there is one.
    ///
    /// # Errors
    /// When the directory that was named does not exist.
    pub(crate) fn find(&self) -> anyhow::Result<Option<&Path>> {
        find(self.config_dir.as_deref())
    }
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

    /// Keep the process id, the control socket and the log in DIR [default: run, in the directory of the configuration]
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

    /// Returns the run directory, which may not exist yet.
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
}
