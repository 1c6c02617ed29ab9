//! Tests that the known failures are failures.

use gatewayworker_sim::{KNOWN_FAILURES, parse_known_failures, run_one, scenario};

#[test]
fn every_known_failure_still_fails_in_the_same_way() {
    for known in parse_known_failures(KNOWN_FAILURES).unwrap() {
        let scenario = scenario(&known.scenario).unwrap();
        known.compare(&run_one(&*scenario, known.seed, known.kept.as_ref())).unwrap();
    }
}
