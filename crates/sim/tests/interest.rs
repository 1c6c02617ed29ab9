//! Simulates gateways that tell workers which groups they have, and workers that send by it.

use gatewayworker_sim::interest::Interest;
use gatewayworker_sim::{Campaign, KNOWN_FAILURES, parse_known_failures, run_many, run_one};

/// Steps, unless `SIM_STEPS` says otherwise.
const STEPS: u64 = 300_000;

#[test]
fn no_send_leaves_a_gateway_out_that_has_a_member() {
    let known = parse_known_failures(KNOWN_FAILURES).unwrap();
    if let Err(failure) = run_many(&Interest, Campaign::from_environment(STEPS), &known) {
        panic!("{failure}");
    }
}

#[test]
fn equal_seeds_make_equal_runs() {
    for seed in 0..10 {
        assert_eq!(run_one(&Interest, seed, None), run_one(&Interest, seed, None));
    }
}
