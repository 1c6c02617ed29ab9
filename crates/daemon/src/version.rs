//! The build of GatewayWorker that a program contains: what `--version` prints, and what daemons report. `build.rs`
//! writes it down.

use std::fmt;

/// What `--version` of each program prints behind its name: the version, and the commit and the date of an optimised
/// build where they are known, `0.1.0 (1f0c9a3b7d21 2026-11-26)`.
pub const VERSION: &str = env!("GATEWAYWORKER_BUILD_VERSION");

/// The build of GatewayWorker that this program contains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct BuildInfo {
    /// The version, `0.1.0`.
    pub version: &'static str,
    /// The first twelve digits of the commit. `None` where the source was no git working tree, and in builds for
    /// debugging.
    pub commit: Option<&'static str>,
    /// The commit's day in UTC, `2026-11-26`, or that of `SOURCE_DATE_EPOCH`. `None` in builds for debugging, and
    /// where there was neither.
    pub date: Option<&'static str>,
}

/// Returns the build of GatewayWorker that this program contains.
pub const fn build_info() -> BuildInfo {
    BuildInfo {
        version: env!("CARGO_PKG_VERSION"),
        commit: option_env!("GATEWAYWORKER_BUILD_COMMIT"),
        date: option_env!("GATEWAYWORKER_BUILD_DATE"),
    }
}

impl fmt::Display for BuildInfo {
    /// Writes [`VERSION`].
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(VERSION)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_has_the_version_and_what_else_is_known() {
        let BuildInfo { version, commit, date } = build_info();
        let known: Vec<_> = [commit, date].into_iter().flatten().collect();
        let line = if known.is_empty() { version.into() } else { format!("{version} ({})", known.join(" ")) };
        assert_eq!(build_info().to_string(), line);
        assert!(!cfg!(debug_assertions) || known.is_empty(), "a build for debugging depends on the commit");
    }
}
