//! What keeps the gateway from its work, as a sentence for whoever runs it.

use std::time::Duration;

use gatewayworker_net::RegisterLinks;

/// Returns what keeps a gateway with this many workers from its work, and what to do; `None`
/// where nothing does.
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
    fn a_gateway_with_a_worker_has_no_problem_and_one_without_says_what_to_look_at() {
        let registers = RegisterLinks::default();
        assert_eq!(problem(1, &registers), None);
        let why = problem(0, &registers).unwrap();
        assert!(why.starts_with("the gateway has no worker") && why.contains("register_address"), "{why}");
    }
}
