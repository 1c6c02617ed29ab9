//! Tests the simulator with its small model.

use gatewayworker_sim::mock::Mock;
use gatewayworker_sim::{Campaign, replay, run_many, run_one};

/// Steps of each scenario, unless `SIM_STEPS` says otherwise.
const STEPS: u64 = 200_000;

fn campaign() -> Campaign {
    let number = |name: &str| std::env::var(name).ok().and_then(|value| value.parse().ok());
    Campaign { first_seed: number("SIM_SEED").unwrap_or(1), steps: number("SIM_STEPS").unwrap_or(STEPS) }
}

fn passes(scenario: Mock) {
    match run_many(&scenario, campaign(), &[]) {
        Ok(passed) => assert!(passed.runs > 0 && passed.steps >= campaign().steps),
        Err(failure) => panic!("{failure}"),
    }
}

#[test]
fn the_calm_mock_passes() {
    passes(Mock::Calm);
}

#[test]
fn the_rough_mock_passes() {
    passes(Mock::Rough);
}

#[test]
fn equal_seeds_make_equal_runs_with_and_without_a_trace() {
    for scenario in [Mock::Calm, Mock::Rough] {
        let mut hashes = std::collections::BTreeSet::new();
        for seed in 0..20 {
            let first = run_one(&scenario, seed, None);
            assert_eq!(first, run_one(&scenario, seed, None));
            assert_eq!(first, replay(&scenario, seed, None, 10).unwrap());
            hashes.insert(first.hash);
        }
        assert_eq!(hashes.len(), 20);
    }
}
