//! Where the PHP side is, if it is there.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The PHP interpreter and the packages it runs.
#[derive(Debug, Clone)]
pub struct Php {
    /// The interpreter.
    pub interpreter: PathBuf,
    /// The folder with `autoload.php`.
    pub vendor: PathBuf,
}

/// The PHP side, or `None` when it is not set up: then the test is skipped, and says so.
///
/// # Panics
/// When it was asked for and does not work: a skipped test would hide that.
pub fn php() -> Option<Php> {
    if cfg!(not(unix)) {
        eprintln!("skipped: the original's daemons and ours are ended by signals here");
        return None;
    }
    let Some(vendor) = std::env::var_os("GATEWAYWORKER_PHP_VENDOR").filter(|path| !path.is_empty()) else {
        eprintln!(
            "skipped: GATEWAYWORKER_PHP_VENDOR does not name a Composer vendor folder with the original; \
             tests/interop/README.md says how to get one"
        );
        return None;
    };
    let vendor = PathBuf::from(vendor);
    let interpreter = PathBuf::from(std::env::var_os("GATEWAYWORKER_PHP").unwrap_or_else(|| "php".into()));
    let works = Command::new(&interpreter).arg("-v").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if works.is_err() && std::env::var_os("GATEWAYWORKER_PHP").is_none() {
        eprintln!("skipped: there is no `php` in PATH; install php-cli, or name it in GATEWAYWORKER_PHP");
        return None;
    }
    assert!(works.is_ok_and(|status| status.success()), "{} does not run", interpreter.display());
    let autoload = vendor.join("autoload.php");
    assert!(autoload.is_file(), "{} is not there", autoload.display());
    Some(Php { interpreter, vendor: vendor.canonicalize().expect("it is there") })
}

impl Php {
    /// A command that runs one of the scripts of this package.
    pub fn script(&self, name: &str) -> Command {
        let mut command = Command::new(&self.interpreter);
        command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("php").join(name));
        command.env("GATEWAYWORKER_PHP_VENDOR", &self.vendor);
        command
    }
}
