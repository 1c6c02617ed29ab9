//! Simulates clients that keep their connection over cuts.

use gatewayworker_sim::resumption::Resumption;
use gatewayworker_sim::{AnyScenario, Campaign, KNOWN_FAILURES, parse_known_failures, run_many, run_one};

/// Steps, unless `SIM_STEPS` says otherwise.
const STEPS: u64 = 300_000;

#[test]
fn every_message_arrives_once_and_in_order_or_the_client_is_told() {
    let known = parse_known_failures(KNOWN_FAILURES).unwrap();
    if let Err(failure) = run_many(&Resumption, Campaign::from_environment(STEPS), &known) {
        panic!("{failure}");
    }
}

#[test]
fn equal_seeds_make_equal_runs() {
    for seed in 0..10 {
        assert_eq!(run_one(&Resumption, seed, None), run_one(&Resumption, seed, None));
    }
}

#[test]
fn in_some_runs_everything_happens_that_can() {
    let mut missing = vec![
        "Resumed",
        "takes over",
        "Lost(\"expired\")",
        "Lost(\"behind\")",
        "Closed(1000)",
        "Closed(4007)",
        "Ended(4409)",
        "Ended(1002)",
        "let go: client-left",
        "let go: kicked",
        "let go: refused",
        "let go: destroyed",
        "let go: slow-consumer",
        "let go: protocol-error",
        "drains",
        "is gone: Stopped",
        "is gone: Ended",
        "is cut: Reset",
        "is cut: Close",
        "is cut: HalfOpen",
        "is cut: CloseFrame(3999",
    ];
    for seed in 0..100 {
        let trace = Resumption.run(seed, None, Some(100_000)).trace.unwrap().to_string();
        missing.retain(|what| !trace.contains(what));
    }
    assert!(missing.is_empty(), "{missing:?}");
}
