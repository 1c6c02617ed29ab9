//! The gateway's door: all that it does is in the crate `gatewayworker-gateway`.

use std::process::ExitCode;

/// It gives back what clients have left behind; the system's allocator keeps most of it.
#[cfg(all(unix, feature = "jemalloc"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    gatewayworker_gateway::main()
}
