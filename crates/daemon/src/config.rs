//! Makes one configuration out of four layers: flags over environment over file over defaults. Errors name file, line
//! and key, for a person.
//!
//! Clap already lets a flag win over its environment variable; this lays both over the file. The defaults are the
//! daemon's `Config::default()`.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use serde::de::DeserializeOwned;
use toml::{Table, Value};

use crate::{FormerKeys, LogFormat, ServiceManager, limits, suggest, supervised};

/// Flags that every daemon has.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct CommonFlags {
    /// Read the configuration from FILE [default: none]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// How to write the log, on standard error; RUST_LOG says how much of it
    #[arg(long, value_name = "FORMAT", env = "GATEWAYWORKER_LOG_FORMAT", value_enum, default_value_t)]
    pub log_format: LogFormat,

    /// Check the configuration and end: status 0 if it is valid, 1 if not
    #[arg(long)]
    pub check_config: bool,

    /// Run as a supervisor's child: report when everything listens, drain when standard input ends
    #[arg(long, hide = true)]
    pub supervised: bool,

    /// The warnings that [`load_with_former_keys`] has found. `--check-config` prints them, and a daemon that starts
    /// logs them.
    #[arg(skip)]
    warnings: Warnings,
}

/// Why a configuration cannot be read. The message is one line.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {}", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The file is no TOML, has an unknown key or a value of the wrong kind.
    #[error("{}:{problem}", file.display())]
    Invalid {
        /// The file.
        file: PathBuf,
        /// `3: limit: invalid type: …`, where the place is known.
        problem: String,
    },
    /// A flag or an environment variable has a value of the wrong kind.
    #[error("flags and environment: {problem}")]
    Flags {
        /// As the parser says it.
        problem: String,
    },
}

/// Warnings about a configuration. Clones share them.
#[derive(Debug, Clone, Default)]
struct Warnings(Arc<Mutex<Vec<String>>>);

/// Lets a flag take `-5` as its value, so that the error is about the value; otherwise clap would look for a flag of
/// that name.
pub fn take_negative_numbers(flag: clap::Arg) -> clap::Arg {
    let takes_values = flag.get_action().takes_values();
    if takes_values { flag.allow_negative_numbers(true) } else { flag }
}

impl CommonFlags {
    /// Reports to the supervisor or to the service manager, if there is one, that the daemon listens on `addresses`.
    /// Call it once everything listens.
    pub fn ready<A: std::fmt::Display>(&self, addresses: impl IntoIterator<Item = A>) {
        limits::log_file_limit();
        let addresses: Vec<_> = addresses.into_iter().map(|address| address.to_string()).collect();
        if self.supervised {
            supervised::report_ready(addresses);
        } else if addresses.is_empty() {
            ServiceManager::of_process().ready("running");
        } else {
            ServiceManager::of_process().ready(&format!("listening on {}", addresses.join(", ")));
        }
    }

    /// Takes the warnings about the configuration that were found when it was read.
    pub(crate) fn take_warnings(&self) -> Vec<String> {
        std::mem::take(&mut *self.warnings.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Reads the configuration: the file that `common` names, if any, with `flags` laid over it key by key, also within
/// tables. A flag that is not set must not serialize.
///
/// # Errors
/// When the file cannot be read, is no TOML, has an unknown key or a value of the wrong kind. The message is one line
/// with file, line and key.
pub fn load<F: Serialize, C: DeserializeOwned>(common: &CommonFlags, flags: &F) -> Result<C, ConfigError> {
    load_with_former_keys(common, flags, FormerKeys::default())
}

/// Reads the configuration as [`load`] does; keys in the file may have their former names, each with
/// a warning that [`run`](crate::run) prints or logs.
///
/// # Errors
/// As [`load`], and when the file has a former name and the table that the key belongs to.
pub fn load_with_former_keys<F: Serialize, C: DeserializeOwned>(
    common: &CommonFlags,
    flags: &F,
    former: FormerKeys,
) -> Result<C, ConfigError> {
    let mut layers = match &common.config {
        Some(path) => read::<C>(path, former, &common.warnings)?,
        None => Table::new(),
    };
    let flags = Table::try_from(flags).map_err(|error| ConfigError::Flags { problem: error.to_string() })?;
    lay_over(&mut layers, flags);
    layers.try_into().map_err(|error: toml::de::Error| ConfigError::Flags {
        problem: suggest::instead_of_list(error.message(), former),
    })
}

/// Puts the keys of `upper` in the place of those of `lower`, and keeps its others.
fn lay_over(lower: &mut Table, upper: Table) {
    for (key, value) in upper {
        match (lower.get_mut(&key), value) {
            (Some(Value::Table(lower)), Value::Table(upper)) => lay_over(lower, upper),
            (_, value) => {
                lower.insert(key, value);
            }
        }
    }
}

/// Reads a file and returns its keys. It parses the file as a `C` first: only that finds the place of an error.
fn read<C: DeserializeOwned>(
    path: &Path,
    former: FormerKeys,
    warnings: &Warnings,
) -> Result<Table, ConfigError> {
    let file = path.display();
    let text = std::fs::read_to_string(path)
        .map_err(|source| ConfigError::Read { file: path.to_owned(), source })?;
    let invalid = |problem| ConfigError::Invalid { file: path.to_owned(), problem };
    let renamed = former.rename(&text).map_err(|error| invalid(error.to_string()))?;
    let explain = |error| invalid(explain(&text, &error, former));
    toml::from_str::<C>(&renamed.text).map_err(explain)?;
    let keys = toml::from_str(&renamed.text).map_err(explain)?;
    let mut warnings = warnings.0.lock().unwrap_or_else(PoisonError::into_inner);
    warnings.extend(renamed.warnings.iter().map(|warning| format!("{file}:{warning}")));
    Ok(keys)
}

/// Makes `line: key: what is wrong`, where the place of the error is known.
fn explain(text: &str, error: &toml::de::Error, former: FormerKeys) -> String {
    let message = suggest::instead_of_list(&error.message().replace('\n', ", "), former);
    let Some(before) = error.span().and_then(|span| text.get(..span.start)) else {
        return format!(" {message}");
    };
    let mut number = before.matches('\n').count();
    // An error within a table may have the place of the table's head.
    if let Some(wrong) = suggest::unknown_key(&message) {
        let is_it = |line: &str| line.split_once('=').is_some_and(|(key, _)| key.trim() == wrong);
        number += text.lines().skip(number).position(is_it).unwrap_or_default();
    }
    let line = text.lines().nth(number).unwrap_or_default();
    let number = number + 1;
    if message.starts_with("duplicate key")
        && let Some((key, first)) = earlier(text, number, line)
    {
        return match line.trim_start().starts_with("[[") {
            true => format!(
                "{number}: {key} is set twice: [[{key}]] tables stand in place of what line {first} sets; remove that, and \
                 give each of its entries a table of its own"
            ),
            false => format!("{number}: {key} is set twice, first in line {first}: remove one of the two"),
        };
    }
    match line.split_once('=') {
        // The message may quote the value.
        Some((key, _)) if key.contains("secret") || key.contains("token") => {
            format!("{number}: {}: must be a quoted string", key.trim())
        }
        Some((key, _)) => format!("{number}: {}: {message}", key.trim()),
        None => format!("{number}: {message}"),
    }
}

/// Returns the key that a line sets, and the number of the last line before it that sets the same key.
fn earlier<'t>(text: &'t str, number: usize, line: &'t str) -> Option<(&'t str, usize)> {
    let key_of = |line: &'t str| {
        let name = line.split(['=', '#']).next().unwrap_or_default();
        name.trim().trim_matches(['[', ']']).trim()
    };
    let key = key_of(line);
    let before: Vec<_> = text.lines().take(number - 1).collect();
    let at = before.into_iter().rposition(|line| key_of(line) == key)?;
    (!key.is_empty()).then_some((key, at + 1))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use clap::Parser;
    use serde::Deserialize;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        common: CommonFlags,
        #[command(flatten)]
        flags: Flags,
    }

    #[derive(clap::Args, Serialize)]
    struct Flags {
        #[arg(long, env = "GATEWAYWORKER_TEST_LISTEN")]
        #[serde(skip_serializing_if = "Option::is_none")]
        listen: Option<String>,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Config {
        listen: String,
        limit: u32,
        secret_key: String,
        push_token: String,
    }

    impl Default for Config {
        fn default() -> Self {
            Self { listen: "default".into(), limit: 7, secret_key: String::new(), push_token: String::new() }
        }
    }

    fn load_with(file: Option<&str>, arguments: &[&OsStr]) -> Result<Config, ConfigError> {
        let directory = tempfile::tempdir().unwrap();
        let mut all = vec![OsStr::new("test").to_owned()];
        if let Some(text) = file {
            let path = directory.path().join("test.toml");
            std::fs::write(&path, text).unwrap();
            all.extend(["--config".into(), path.into_os_string()]);
        }
        all.extend(arguments.iter().map(|a| (*a).to_owned()));
        let cli = Cli::try_parse_from(all).unwrap();
        load(&cli.common, &cli.flags)
    }

    fn error_of(file: &str) -> String {
        let error = format!("{:#}", load_with(Some(file), &[]).unwrap_err());
        let (_, error) = error.split_once("test.toml").expect("names the file");
        error.to_owned()
    }

    #[test]
    fn without_flags_and_file_all_is_default() {
        assert_eq!(load_with(None, &[]).unwrap(), Config::default());
        assert_eq!(load_with(Some(""), &[]).unwrap(), Config::default());
    }

    #[test]
    fn the_file_wins_over_the_default_and_a_flag_over_the_file() {
        let file = "listen = 'file'\nlimit = 9";
        let config = load_with(Some(file), &[]).unwrap();
        assert_eq!((config.listen.as_str(), config.limit), ("file", 9));
        let config = load_with(Some(file), &["--listen".as_ref(), "flag".as_ref()]).unwrap();
        assert_eq!((config.listen.as_str(), config.limit), ("flag", 9));
    }

    /// A process's environment is shared by all its tests, so this one asks a copy of itself.
    #[test]
    fn the_environment_wins_over_the_file_and_a_flag_over_the_environment() {
        const VARIABLE: &str = "GATEWAYWORKER_TEST_LISTEN";
        const NAME: &str =
            "config::tests::the_environment_wins_over_the_file_and_a_flag_over_the_environment";
        if std::env::var_os(VARIABLE).is_some() {
            let file = Some("listen = 'file'");
            assert_eq!(load_with(file, &[]).unwrap().listen, "environment");
            assert_eq!(load_with(file, &["--listen=flag".as_ref()]).unwrap().listen, "flag");
            return;
        }
        let status = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", NAME])
            .env(VARIABLE, "environment")
            .status()
            .unwrap();
        assert!(status.success());
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line() {
        let error = error_of("limit = 1\n\nlisen = 'x'\n");
        assert!(error.starts_with(":3: lisen: unknown key `lisen`: did you mean `listen`?"), "{error}");
    }

    #[test]
    fn a_key_that_is_set_twice_is_named_with_both_lines_and_what_to_do() {
        assert_eq!(
            error_of("# limit = 1\nlimit = 2\n\nlimit = 3\n"),
            ":4: limit is set twice, first in line 2: remove one of the two"
        );
        for table in ["[[listen]]", "  [[ listen ]] # mine"] {
            let error = error_of(&format!("limit = 2\nlisten = [\n  'a',\n]\n\n{table}\nurl = 'b'\n"));
            assert!(
                error.starts_with(
                    ":6: listen is set twice: [[listen]] tables stand in place of what line 2 sets; remove that"
                ),
                "{error}"
            );
        }
        let error = error_of("[[listen]]\nurl = 'a'\n[[listen]]\nurl = 'b'\nurl = 'c'\n");
        assert_eq!(error, ":5: url is set twice, first in line 4: remove one of the two");
        let error = error_of("[table]\na = 1\n[table]\nb = 1\n");
        assert_eq!(error, ":3: table is set twice, first in line 1: remove one of the two");
    }

    #[test]
    fn a_wrong_value_is_named_with_its_line_and_key() {
        let error = error_of("limit = 'many'");
        assert!(error.starts_with(":1: limit: invalid type"), "{error}");
    }

    #[test]
    fn invalid_toml_is_named_with_its_line_in_one_line() {
        let error = error_of("limit = 1\nlisten = \n");
        assert!(error.starts_with(":2: listen: "), "{error}");
        assert!(!error.contains('\n'), "{error}");
    }

    #[test]
    fn a_key_of_the_wrong_kind_is_not_shown() {
        let error = error_of("secret_key = 12345");
        assert_eq!(error, ":1: secret_key: must be a quoted string");
        let error = error_of("push_token = 12345");
        assert_eq!(error, ":1: push_token: must be a quoted string");
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Nested {
        table: Config,
    }

    fn load_nested(text: &str) -> (anyhow::Result<Nested>, Vec<String>) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("test.toml");
        std::fs::write(&path, text).unwrap();
        let common = CommonFlags { config: Some(path), ..CommonFlags::default() };
        let flags: Table = toml::from_str("table.listen = 'flag'").unwrap();
        let former = FormerKeys { table: "table", keys: &["limit", "push_token"] };
        let loaded = load_with_former_keys(&common, &flags, former);
        let file = format!("{}:", directory.path().join("test.toml").display());
        let loaded = loaded.map_err(|error| anyhow::anyhow!(format!("{error:#}").replace(&file, "")));
        (loaded, common.take_warnings().iter().map(|warning| warning.replace(&file, "")).collect())
    }

    #[test]
    fn a_key_under_its_former_name_is_taken_with_a_warning_and_flags_go_into_the_table() {
        let new = load_nested("[table]\nlimit = 3");
        assert_eq!(new.0.unwrap().table, Config { listen: "flag".into(), limit: 3, ..Config::default() });
        assert_eq!(new.1, Vec::<String>::new());
        let old = load_nested("\ntable_limit = 3");
        assert_eq!(old.0.unwrap().table, Config { listen: "flag".into(), limit: 3, ..Config::default() });
        assert_eq!(
            old.1,
            ["2: table_limit is an old name: write limit in a table [table], or table.limit here"]
        );
    }

    #[test]
    fn errors_about_a_former_name_are_as_those_about_any_key() {
        let error = |text: &str| load_nested(text).0.unwrap_err().to_string();
        assert!(error("table_limit = 'x'").starts_with("1: table_limit: invalid type"));
        assert_eq!(error("table_push_token = 123"), "1: table_push_token: must be a quoted string");
        assert_eq!(
            error("table_limt = 1"),
            "1: table_limt: unknown key `table_limt`: did you mean `table.limit`?"
        );
    }

    #[test]
    fn a_missing_file_is_named() {
        let common = CommonFlags { config: Some("/nowhere/at-all.toml".into()), ..CommonFlags::default() };
        let error = anyhow::Error::from(load::<_, Config>(&common, &Table::new()).unwrap_err());
        assert!(format!("{error:#}").starts_with("cannot read /nowhere/at-all.toml: "), "{error:#}");
    }
}
