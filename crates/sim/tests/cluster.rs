//! Simulates whole clusters: gateways, workers and clients.

use std::collections::BTreeSet;

use gatewayworker_sim::cluster::Cluster;
use gatewayworker_sim::{
    Campaign, KNOWN_FAILURES, KnownFailure, parse_known_failures, replay, run_many, run_one,
};

/// Steps of each scenario, unless `SIM_STEPS` says otherwise.
const STEPS: u64 = 400_000;

fn passes(scenario: Cluster, known: &[KnownFailure]) {
    let campaign = Campaign::from_environment(STEPS);
    match run_many(&scenario, campaign, known) {
        Ok(passed) => assert!(passed.runs > 0 && passed.steps >= campaign.steps),
        Err(failure) => panic!("{failure}"),
    }
}

#[test]
fn in_peace_every_event_is_handled_once_and_none_is_marked() {
    passes(Cluster::Calm, &parse_known_failures(KNOWN_FAILURES).unwrap());
}

#[test]
fn nothing_is_lost_or_left_over_whatever_dies_and_repeats_are_marked() {
    passes(Cluster::Rough, &parse_known_failures(KNOWN_FAILURES).unwrap());
}

#[test]
fn equal_seeds_make_equal_runs_with_and_without_a_trace() {
    for scenario in [Cluster::Calm, Cluster::Rough] {
        let mut hashes = BTreeSet::new();
        for seed in 0..20 {
            let first = run_one(&scenario, seed, None);
            assert_eq!(first, run_one(&scenario, seed, None));
            assert_eq!(first, replay(&scenario, seed, None, 10).unwrap());
            hashes.insert(first.hash);
        }
        assert_eq!(hashes.len(), 20);
    }
}
