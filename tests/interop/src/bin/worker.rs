//! Our worker with the tests' application.

use std::process::ExitCode;

use gatewayworker::{Start, businessworker};
use gatewayworker_interop::app::App;

fn main() -> ExitCode {
    businessworker::main(async |_: Start| Ok(App))
}
