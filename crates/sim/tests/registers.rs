//! Simulates registers with the daemons that announce themselves and follow.

use gatewayworker_sim::registers::Registers;
use gatewayworker_sim::{Campaign, KNOWN_FAILURES, parse_known_failures, run_many, run_one};

/// Steps, unless `SIM_STEPS` says otherwise.
const STEPS: u64 = 200_000;

#[test]
fn every_worker_knows_all_gateways_when_all_is_mended() {
    let known = parse_known_failures(KNOWN_FAILURES).unwrap();
    if let Err(failure) = run_many(&Registers, Campaign::from_environment(STEPS), &known) {
        panic!("{failure}");
    }
}

#[test]
fn equal_seeds_make_equal_runs() {
    for seed in 0..10 {
        assert_eq!(run_one(&Registers, seed, None), run_one(&Registers, seed, None));
    }
}
