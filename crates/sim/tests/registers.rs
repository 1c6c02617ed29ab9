//! Simulates registers with the daemons that announce themselves and follow.

use gatewayworker_sim::registers::Registers;
use gatewayworker_sim::{Campaign, run_many, run_one};

/// Steps, unless `SIM_STEPS` says otherwise.
const STEPS: u64 = 200_000;

#[test]
fn every_worker_knows_all_gateways_when_all_is_mended() {
    let number = |name: &str| std::env::var(name).ok().and_then(|value| value.parse().ok());
    let campaign =
        Campaign { first_seed: number("SIM_SEED").unwrap_or(1), steps: number("SIM_STEPS").unwrap_or(STEPS) };
    if let Err(failure) = run_many(&Registers, campaign, &[]) {
        panic!("{failure}");
    }
}

#[test]
fn equal_seeds_make_equal_runs() {
    for seed in 0..10 {
        assert_eq!(run_one(&Registers, seed, None), run_one(&Registers, seed, None));
    }
}
