//! The problem of a gateway that cannot do its work, as a sentence for the operator.
//!
//! `server` provides it to `status` and `start`, which print it.

use std::time::Duration;

use gatewayworker_net::RegisterLinks;

/// Returns the problem of a gateway with this many workers, and what to do about it; `None` where it
/// has none.
pub(crate) fn problem(workers: usize, registers: &RegisterLinks) -> Option<String> {
    if workers > 0 {
        let trouble = registers.trouble(RegisterLinks::GRACE)?;
        return Some(format!(
            "the gateway is in no register, a worker that starts does not find it: {trouble}"
        ));
    }
    Some(match registers.trouble(Duration::ZERO) {
        Some(trouble) => format!("the gateway has no worker, its clients wait: {trouble}"),
        None => "the gateway has no worker, its clients wait: does a businessworker run, with the same \
                 register_address and secret_key?"
            .into(),
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
