//! The program `faults`: runs rows, shows that it can see, and is all daemons of the cluster under test.

use std::process::ExitCode;

#[cfg(target_os = "linux")]
mod cli;

#[cfg(target_os = "linux")]
fn main() -> ExitCode {
    cli::main()
}

#[cfg(not(target_os = "linux"))]
fn main() -> ExitCode {
    eprintln!("error: signals, named pipes and network namespaces of Linux are needed");
    ExitCode::from(2)
}
