//! The program `gateway`: the daemon is the crate `gatewayworker-gateway`.

use std::process::ExitCode;

/// Gives the memory of clients that have left back to the system; the system's allocator keeps most of it.
#[cfg(all(unix, feature = "jemalloc"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    gatewayworker_gateway::main()
}
