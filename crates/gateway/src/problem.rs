//! The problems of a gateway that cannot do its work, and its notices, each a sentence for the operator.
//!
//! `server` provides them to `status` and `start`, which print them; `inspect` tells them to those who ask on the inner port.

use std::time::Duration;

use gatewayworker_daemon::child_protocol::NO_WORKER;
use gatewayworker_net::RegisterLinks;

use crate::gateway_state::GatewayState;

/// Returns what keeps a gateway from its work, each with what to do about it.
pub(crate) fn problems(state: &GatewayState) -> Vec<String> {
    let of_keys = state.authenticator.as_ref().and_then(|authenticator| authenticator.problem());
    problem(state.workers.len(), &state.registers).into_iter().chain(of_keys).collect()
}

/// Returns what an operator has to mend though the gateway does its work.
pub(crate) fn notices(state: &GatewayState) -> Vec<String> {
    state.authenticator.as_ref().and_then(|authenticator| authenticator.notice()).into_iter().collect()
}

/// Returns the problem of a gateway with this many workers, and what to do about it; `None` where it
/// has none.
fn problem(workers: usize, registers: &RegisterLinks) -> Option<String> {
    if workers > 0 {
        let trouble = registers.trouble(RegisterLinks::GRACE)?;
        return Some(format!(
            "the gateway is in no register, a worker that starts does not find it: {trouble}"
        ));
    }
    Some(match registers.trouble(Duration::ZERO) {
        Some(trouble) => format!("{NO_WORKER}, its clients wait: {trouble}"),
        None => format!(
            "{NO_WORKER}, its clients wait: does a businessworker run, with the same register_address and secret_key?"
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_with_a_worker_has_no_problem_and_one_without_says_what_to_check() {
        let registers = RegisterLinks::default();
        assert_eq!(problem(1, &registers), None);
        let why = problem(0, &registers).unwrap();
        assert!(why.starts_with("the gateway has no worker") && why.contains("register_address"), "{why}");
    }
}
