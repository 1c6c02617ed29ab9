//! The paths of the PHP side: the interpreter and the original's packages.

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

/// Returns the PHP side.
///
/// # Panics
/// It is not set up, or does not work.
pub fn php() -> Php {
    if cfg!(not(unix)) {
        panic!("the original's daemons and ours are ended by signals here");
    }
    let vendor = std::env::var_os("GATEWAYWORKER_PHP_VENDOR").filter(|path| !path.is_empty());
    let vendor = PathBuf::from(vendor.expect(
        "GATEWAYWORKER_PHP_VENDOR has to name a Composer vendor folder with the original: see tests/interop/README.md",
    ));
    let interpreter = PathBuf::from(std::env::var_os("GATEWAYWORKER_PHP").unwrap_or_else(|| "php".into()));
    let works = Command::new(&interpreter).arg("-v").stdout(Stdio::null()).stderr(Stdio::null()).status();
    assert!(
        works.is_ok_and(|status| status.success()),
        "{} does not run: install php-cli, or name another in GATEWAYWORKER_PHP",
        interpreter.display()
    );
    let autoload = vendor.join("autoload.php");
    assert!(autoload.is_file(), "{} is not there", autoload.display());
    Php { interpreter, vendor: vendor.canonicalize().expect("it is there") }
}

impl Php {
    /// Returns a command that runs one of the scripts of this package.
    pub fn script(&self, name: &str) -> Command {
        let mut command = Command::new(&self.interpreter);
        command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("php").join(name));
        command.env("GATEWAYWORKER_PHP_VENDOR", &self.vendor);
        command
    }
}
