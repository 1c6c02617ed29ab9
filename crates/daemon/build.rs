//! Writes down what an optimised build is made from: the commit and its date, for `src/version.rs`.
//!
//! Cargo runs it again when the branch moves, and not at each build. Without a git directory (a source archive), and in
//! builds for debugging, which must not begin anew with each commit, only the version is known. `SOURCE_DATE_EPOCH`
//! (seconds since 1970) stands over the date.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=SOURCE_DATE_EPOCH");
    let version = std::env::var("CARGO_PKG_VERSION").unwrap_or_default();
    let commit = optimised().then(commit).flatten();
    let epoch = std::env::var("SOURCE_DATE_EPOCH").ok().filter(|_| optimised());
    let date = epoch.and_then(|seconds| seconds.trim().parse().ok()).or_else(|| commit.as_ref()?.seconds);
    let (commit, date) = (commit.map(|commit| commit.id), date.map(day));
    for (name, value) in [("COMMIT", &commit), ("DATE", &date)] {
        if let Some(value) = value {
            println!("cargo:rustc-env=GATEWAYWORKER_BUILD_{name}={value}");
        }
    }
    let details: Vec<_> = [commit, date].into_iter().flatten().collect();
    let details = if details.is_empty() { String::new() } else { format!(" ({})", details.join(" ")) };
    println!("cargo:rustc-env=GATEWAYWORKER_BUILD_VERSION={version}{details}");
}

/// Whether the profile is `release`, or inherits from it.
fn optimised() -> bool {
    std::env::var("PROFILE").is_ok_and(|profile| profile == "release")
}

struct Commit {
    /// The first twelve digits.
    id: String,
    /// When it was made, in seconds since 1970.
    seconds: Option<u64>,
}

/// Returns the commit that this source is of; `None` unless it is a git working tree.
fn commit() -> Option<Commit> {
    // A repository that this source is only a part of has commits of its own.
    Path::new("../../.git").exists().then_some(())?;
    let shown = git(&["show", "--no-patch", "--format=%H %ct", "HEAD"])?;
    let (id, seconds) = shown.split_once(' ')?;
    // HEAD changes with the branch, the other two with each of its commits. Cargo takes a missing file for a changed one.
    let branch = git(&["rev-parse", "--symbolic-full-name", "HEAD"]).unwrap_or_default();
    for name in ["HEAD", "packed-refs", &branch] {
        if let Some(path) = git(&["rev-parse", "--git-path", name]).filter(|path| Path::new(path).is_file()) {
            println!("cargo:rerun-if-changed={path}");
        }
    }
    Some(Commit { id: id.get(..12)?.to_owned(), seconds: seconds.parse().ok() })
}

fn git(arguments: &[&str]) -> Option<String> {
    let output =
        Command::new("git").args(arguments).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}

/// Returns the day in UTC, `2026-11-26`, of a time in seconds since 1970. The steps are those of Howard Hinnant's
/// `civil_from_days`: years begin in March, so that the leap day is a year's last.
fn day(seconds: u64) -> String {
    let days = seconds / 86_400 + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}
