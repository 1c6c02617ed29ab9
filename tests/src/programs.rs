//! Tests that need a program: a browser, a database, a command. A machine may not have it.
//!
//! [`tests_with_programs!`](crate::tests_with_programs) makes the `main` of a test binary without Cargo's own
//! harness. If a program is missing, its tests are reported as ignored, and recorded for `tests-summary`, the
//! test binary that Cargo runs last, which prints all of them in one place. In CI, where the environment
//! variable `CI` is set, a missing program is a failure if a package has it.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use libtest_mimic::{Arguments, Completion, Failed, Trial};

/// A program that tests run.
#[derive(Debug, Clone, Copy)]
pub struct Program {
    /// The name for people.
    pub name: &'static str,
    /// The Debian packages that contain it; empty where none does, and CI cannot be asked to have it.
    pub packages: &'static str,
    /// Checks whether it is installed.
    is_installed: fn() -> bool,
}

/// A browser: the program that `CHROMIUM` names, or a Chromium or Chrome on the `PATH`.
pub const CHROMIUM: Program = Program {
    name: "Chromium",
    packages: "chromium",
    is_installed: || crate::browser::executable().is_some(),
};

/// nginx with its stream module.
pub const NGINX: Program = Program {
    name: "nginx with its stream module",
    packages: "nginx-light libnginx-mod-stream",
    is_installed: || nginx().is_some_and(|nginx| nginx_has_stream(&nginx)),
};

/// A Redis server.
pub const REDIS: Program = Program {
    name: "redis-server",
    packages: "redis-server",
    is_installed: || succeeds("redis-server", &["--version"]),
};

/// A NATS server.
pub const NATS: Program = Program {
    name: "nats-server",
    packages: "nats-server",
    is_installed: || succeeds("nats-server", &["--version"]),
};

/// PostgreSQL's server programs, where Debian has them.
pub const POSTGRESQL: Program =
    Program { name: "PostgreSQL", packages: "postgresql", is_installed: || postgresql().is_some() };

/// The `openssl` command.
pub const OPENSSL: Program =
    Program { name: "openssl", packages: "openssl", is_installed: || succeeds("openssl", &["version"]) };

/// The `curl` command.
pub const CURL: Program =
    Program { name: "curl", packages: "curl", is_installed: || succeeds("curl", &["--version"]) };

/// The `telnet` command. Its exit status has no meaning.
pub const TELNET: Program =
    Program { name: "telnet", packages: "telnet", is_installed: || starts("telnet", &[]) };

/// The `nc` command.
pub const NETCAT: Program =
    Program { name: "nc", packages: "netcat-openbsd", is_installed: || starts("nc", &["-h"]) };

/// The PHP interpreter.
pub const PHP: Program =
    Program { name: "php", packages: "php-cli", is_installed: || succeeds("php", &["-v"]) };

/// The original's packages, in the folder that `GATEWAYWORKER_PHP_VENDOR` names: `tests/interop/README.md` says how to get
/// them.
pub const PHP_PACKAGES: Program = Program {
    name: "the original in PHP (GATEWAYWORKER_PHP_VENDOR, see tests/interop/README.md)",
    packages: "",
    is_installed: || php_packages().is_some() && (PHP.is_installed)(),
};

/// Returns the folder with the original's packages: an `autoload.php`, or git checkouts.
pub fn php_packages() -> Option<PathBuf> {
    let folder = PathBuf::from(std::env::var_os("GATEWAYWORKER_PHP_VENDOR")?);
    let is_there = folder.join("autoload.php").is_file() || folder.join("GatewayWorker").is_dir();
    is_there.then(|| folder.canonicalize().ok()).flatten()
}

/// The Python interpreter.
pub const PYTHON: Program =
    Program { name: "python3", packages: "python3", is_installed: || succeeds("python3", &["--version"]) };

/// Node.js with a WebSocket: its own, or the package `ws` in `clients/js/node_modules` (`npm ci`).
pub const NODE: Program = Program {
    name: "node with a WebSocket (before version 20: and `npm ci` in clients/js)",
    packages: "nodejs npm",
    is_installed: || node_flags().is_some(),
};

/// npm, with Node.js.
pub const NPM: Program =
    Program { name: "npm", packages: "npm", is_installed: || succeeds("npm", &["--version"]) };

/// Returns the command that runs a JavaScript module.
pub fn node(module: &Path) -> Command {
    let mut command = Command::new("node");
    command.args(node_flags().unwrap_or_default()).arg(module);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    command
}

/// Returns the folder of the library for JavaScript.
pub fn clients_js() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../clients/js")
}

/// The flags with which Node has a WebSocket: from version 22 on none, before that one, and before version 20 there is none.
fn node_flags() -> Option<&'static [&'static str]> {
    let has_own = |flags: &[&str]| {
        succeeds("node", &[flags, &["-e", "new WebSocket('ws://127.0.0.1:1').onerror = () => {}"]].concat())
    };
    let flags: [&[&str]; 2] = [&[], &["--experimental-websocket", "--no-warnings"]];
    let own = flags.into_iter().find(|flags| has_own(flags));
    let package = clients_js().join("node_modules/ws/package.json");
    own.or_else(|| (succeeds("node", &["--version"]) && package.is_file()).then_some(&[]))
}

/// The command that checks systemd's units. It needs no running systemd.
pub const SYSTEMD_ANALYZE: Program = Program {
    name: "systemd-analyze",
    packages: "systemd",
    is_installed: || succeeds("systemd-analyze", &["--version"]),
};

/// Prometheus' `promtool`.
pub const PROMTOOL: Program = Program {
    name: "promtool",
    packages: "prometheus",
    is_installed: || succeeds("promtool", &["--version"]),
};

/// The folder with PostgreSQL's `initdb` and `pg_ctl`, if it is installed.
pub fn postgresql() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
    let mut folders = versions.filter_map(|entry| Some(entry.ok()?.path().join("bin")));
    folders.find(|folder| folder.join("pg_ctl").is_file())
}

/// Hosts on a network of their own: network namespaces, as root, and the commands that make them.
pub const NAMESPACES: Program = Program {
    name: "network namespaces, as root",
    packages: "iproute2 util-linux",
    is_installed: has_namespaces,
};

fn has_namespaces() -> bool {
    let made =
        "ip link set lo up && ip link add test0 type veth peer name test1 && tc -V && nsenter --version";
    succeeds("unshare", &["--net", "--", "sh", "-c", made])
}

/// Returns the path of nginx. Debian installs it in a directory that is on root's `PATH` alone.
pub fn nginx() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    folders.map(|folder| folder.join("nginx")).find(|program| program.is_file())
}

/// Returns the line of an nginx configuration that loads the stream module, which Debian has as a file of its own. Empty
/// if nginx was built with the module.
pub fn nginx_load_stream() -> String {
    let module = Path::new("/usr/lib/nginx/modules/ngx_stream_module.so");
    if module.exists() { format!("load_module {};\n", module.display()) } else { String::new() }
}

fn nginx_has_stream(nginx: &Path) -> bool {
    let Ok(built) = Command::new(nginx).arg("-V").stdin(Stdio::null()).output() else { return false };
    let built = String::from_utf8_lossy(&built.stderr).into_owned();
    !nginx_load_stream().is_empty() || built.split_whitespace().any(|option| option == "--with-stream")
}

fn command(program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

fn succeeds(program: &str, arguments: &[&str]) -> bool {
    command(program, arguments).status().is_ok_and(|status| status.success())
}

fn starts(program: &str, arguments: &[&str]) -> bool {
    command(program, arguments).status().is_ok()
}

/// A test with the programs that it needs. [`tests_with_programs!`](crate::tests_with_programs) makes it.
pub struct Test {
    /// Its path within the test binary.
    pub name: &'static str,
    /// The programs that it needs.
    pub needs: &'static [Program],
    /// Runs the test. It panics if it fails.
    pub run: Box<dyn FnOnce() + Send>,
}

/// Runs the tests of the binary `binary`, as Cargo's own harness does. `tmp_dir` is Cargo's `CARGO_TARGET_TMPDIR`, where
/// the tests that did not run are recorded.
pub fn run(tmp_dir: &'static str, binary: &'static str, tests: Vec<Test>) -> ExitCode {
    run_as(Arguments::from_args(), tmp_dir, binary, tests)
}

/// Runs the tests as [`run`] does, with arguments that were read already.
pub fn run_as(
    arguments: Arguments,
    tmp_dir: &'static str,
    binary: &'static str,
    tests: Vec<Test>,
) -> ExitCode {
    let trial = |test: Test| {
        // As Cargo's harness shows it: without the spaces that `stringify!` makes.
        let name = test.name.replace(' ', "");
        let test_name = name.clone();
        Trial::ignorable_test(name, move || {
            let Some(missing) = test.needs.iter().find(|program| !(program.is_installed)()) else {
                (test.run)();
                return Ok(Completion::Completed);
            };
            let Program { name, packages, .. } = missing;
            if std::env::var_os("CI").is_some() && !packages.is_empty() {
                return Err(Failed::from(format!("CI has to install {name} (Debian: {packages})")));
            }
            record_not_run(Path::new(tmp_dir), missing, binary, &test_name);
            Ok(Completion::ignored_with(format!("{name} is not installed")))
        })
    };
    libtest_mimic::run(&arguments, tests.into_iter().map(trial).collect()).exit_code()
}

/// The file with the tests that did not run in one `cargo test`. Its process id, the parent of all test binaries, is in
/// the name.
pub fn not_run_file(tmp_dir: &Path) -> PathBuf {
    #[cfg(unix)]
    let run = std::os::unix::process::parent_id();
    #[cfg(not(unix))]
    let run = 0;
    tmp_dir.join(format!("tests-not-run-{run}"))
}

fn record_not_run(tmp_dir: &Path, missing: &Program, binary: &str, test: &str) {
    let name = match missing {
        Program { name, packages: "", .. } => (*name).to_owned(),
        Program { name, packages, .. } => format!("{name} (Debian: {packages})"),
    };
    let line = format!("{name}\t{binary} {test}\n");
    let file = OpenOptions::new().create(true).append(true).open(not_run_file(tmp_dir));
    // One write, as other tests of the binary write to the same file.
    file.and_then(|mut file| file.write_all(line.as_bytes())).expect("a test that does not run is recorded");
}

/// Runs an asynchronous test to its end.
///
/// # Panics
/// The test panics, or there is no runtime.
pub fn block_on(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(test);
}

/// The `main` of a test binary whose tests need programs: lists of asynchronous functions, each behind the
/// [programs](crate::programs) that its tests need. Such a binary has `harness = false` in `Cargo.toml`.
///
/// ```no_run
/// # mod page { pub async fn two_users_chat() {} }
/// # mod proxy { pub async fn a_client_comes_through_nginx() {} }
/// # // Cargo sets it for test binaries alone.
/// # macro_rules! env { ($name:tt) => { "" } }
/// gatewayworker_tests::tests_with_programs! {
///     [CHROMIUM] page::two_users_chat;
///     [CHROMIUM, NGINX] proxy::a_client_comes_through_nginx;
/// }
/// ```
#[macro_export]
macro_rules! tests_with_programs {
    ($($needs:tt $($test:path),+;)+) => {
        fn main() -> ::std::process::ExitCode {
            #[allow(unused_imports, reason = "each binary needs its own")]
            use $crate::programs::*;
            let tests = vec![$($($crate::programs::Test {
                name: stringify!($test),
                needs: &$needs,
                run: Box::new(|| $crate::programs::block_on($test())),
            }),+),+];
            let binary = concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_CRATE_NAME"));
            $crate::programs::run(env!("CARGO_TARGET_TMPDIR"), binary, tests)
        }
    };
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails where it unwraps")]
mod tests {
    use super::*;

    /// All Rust files below a folder.
    fn rust_files(folder: &Path) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let files = entries.flat_map(|path| if path.is_dir() { rust_files(&path) } else { vec![path] });
        files.filter(|path| path.extension().is_some_and(|extension| extension == "rs")).collect()
    }

    /// Without Cargo's harness, the compiler silently drops a function with `#[test]`.
    #[test]
    fn a_binary_without_cargos_harness_has_no_test_attribute() {
        let repository = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let examples = ["group-chat", "live-room", "method-router"].map(|name| format!("examples/{name}"));
        for package in examples.iter().map(String::as_str).chain(["tests"]) {
            let files = rust_files(&repository.join(package).join("tests/with_programs"));
            assert!(files.len() > 1, "{package}");
            for file in files {
                let code = std::fs::read_to_string(&file).unwrap();
                let attribute =
                    code.lines().find(|line| line.contains("#[test]") || line.contains("#[tokio::test"));
                assert_eq!(attribute, None, "{}", file.display());
            }
        }
    }
}
