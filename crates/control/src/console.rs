//! Prints a command's results and errors, a line each, and makes its exit status. All commands use it.

use std::fmt::Display;
use std::io::Write;
use std::process::ExitCode;

/// Prints a line on standard output. That nobody reads it is no failure.
pub(crate) fn print(line: impl Display) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// Prints an error on standard error.
pub(crate) fn print_error(line: impl Display) {
    let _ = writeln!(std::io::stderr(), "error: {line}");
}

/// Prints a warning on standard error.
pub(crate) fn print_warning(line: impl Display) {
    let _ = writeln!(std::io::stderr(), "warning: {line}");
}

/// Prints the result of a command; returns status 0, or 1 for an error.
pub(crate) fn conclude(result: anyhow::Result<impl Display>) -> ExitCode {
    match result {
        Ok(done) => {
            print(done);
            ExitCode::SUCCESS
        }
        Err(error) => {
            print_error(format_args!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}
