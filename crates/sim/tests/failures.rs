//! Tests what becomes of a run that fails: it is shrunk, printed and replayed.

use gatewayworker_sim::{
    Campaign, Context, Input, Kept, Model, NetworkOptions, Plan, ProcessId, Rng, Scenario, ScriptEvent,
    ScriptStep, Violation, ensure, parse_known_failures, replay, run_many, run_one,
};

/// A process that is told numbers. What goes wrong, and when, is the scenario's.
#[derive(Debug, Clone, Copy)]
enum Numbers {
    /// 3 and later 7 must not both be told.
    ThreeAndSeven,
    /// 5 makes it panic.
    PanicsAtFive,
    /// It asks for a turn in each turn.
    NeverQuiet,
    /// Nothing goes wrong, but at the end.
    NotEmpty,
}

impl Scenario for Numbers {
    type Model = Self;

    fn name(&self) -> &'static str {
        "numbers"
    }

    fn plan(&self, rng: &mut Rng) -> Plan<Self> {
        let number = |at_ms| ScriptStep { at_ms, event: ScriptEvent::Act(0, rng.below(10)) };
        Plan {
            model: *self,
            processes: 1,
            network: NetworkOptions::default(),
            script: (0..100).map(number).collect(),
            script_ms: 100,
            stages: vec![10],
            max_steps: 1000,
        }
    }
}

impl Model for Numbers {
    type Node = Vec<u64>;
    type Action = u64;

    fn start(&mut self, _: &mut Context<'_>) -> Vec<u64> {
        Vec::new()
    }

    fn step(
        &mut self,
        told: &mut Vec<u64>,
        input: Input<u64>,
        context: &mut Context<'_>,
    ) -> Result<(), Violation> {
        if let Input::Act(number) = input {
            assert!(!matches!((*self, number), (Self::PanicsAtFive, 5)), "five");
            context.note(|| format!("it is told {number}"));
            told.push(number);
        }
        if let Self::NeverQuiet = self {
            context.turn_after(0, 1);
        }
        Ok(())
    }

    fn next_deadline(&self, _: &Vec<u64>) -> Option<u64> {
        None
    }

    fn check(&mut self, _: ProcessId, nodes: &[Option<Vec<u64>>]) -> Result<(), Violation> {
        let Self::ThreeAndSeven = self else { return Ok(()) };
        let told = nodes[0].iter().flatten();
        let both = told.skip_while(|number| **number != 3).any(|number| *number == 7);
        ensure(!both, "not-both", || "3 and 7 were told".into())
    }

    fn check_stage(&mut self, _: usize, nodes: &[Option<Vec<u64>>], _: usize) -> Result<(), Violation> {
        let is_empty = nodes[0].iter().flatten().next().is_none();
        ensure(!matches!(self, Self::NotEmpty) || is_empty, "empty", || format!("{nodes:?}"))
    }
}

const ONE_RUN: Campaign = Campaign { first_seed: 4, steps: 1 };

#[test]
fn a_failure_is_shrunk_to_what_it_takes_and_replays_to_the_same_step() {
    let failure = run_many(&Numbers::ThreeAndSeven, ONE_RUN, &[]).unwrap_err();
    assert_eq!(failure.run.script.len(), 2, "{failure}");
    assert_eq!(failure.violation.invariant, "not-both");
    let printed = failure.to_string();
    for part in
        ["broken invariant: not-both", "seed 4, step 2,", "2 of 100 steps", "Act(0, 3)", "it is told 7"]
    {
        assert!(printed.contains(part), "{part}: {printed}");
    }
    let command = printed.lines().last().unwrap();
    let kept: Kept = command.split("--keep ").nth(1).unwrap().parse().unwrap();
    assert!(command.contains("--scenario numbers --seed 4 "), "{command}");
    let again = replay(&Numbers::ThreeAndSeven, 4, Some(&kept), 10).unwrap_err();
    assert_eq!(again.run.outcome, failure.run.outcome);
}

#[test]
fn a_panic_is_a_violation() {
    let failure = run_many(&Numbers::PanicsAtFive, ONE_RUN, &[]).unwrap_err();
    let violation = &failure.violation;
    assert_eq!(violation.invariant, "no-panic");
    assert!(
        violation.details.starts_with("five (") && violation.details.contains("failures.rs:"),
        "{violation}"
    );
    assert_eq!(failure.run.script.len(), 1);
}

#[test]
fn a_run_that_does_not_end_is_ended() {
    let violation = run_one(&Numbers::NeverQuiet, 1, None).violation.unwrap();
    assert_eq!(violation.invariant, "run-ends");
}

#[test]
fn what_is_left_at_the_end_is_found_and_takes_one_step() {
    let failure = run_many(&Numbers::NotEmpty, ONE_RUN, &[]).unwrap_err();
    assert_eq!(failure.violation.invariant, "empty");
    assert_eq!(failure.run.script.len(), 1);
}

#[test]
fn a_known_failure_is_counted_and_one_that_passes_is_reported() {
    let known = parse_known_failures("numbers 4 all not-both: it is how it is").unwrap();
    let passed = run_many(&Numbers::ThreeAndSeven, ONE_RUN, &known).unwrap();
    assert_eq!((passed.runs, passed.known), (1, 1));
    let outcome = run_one(&Numbers::ThreeAndSeven, 4, None);
    known[0].compare(&outcome).unwrap();
    let passes = run_one(&Numbers::ThreeAndSeven, 4, Some(&Kept::default()));
    assert!(known[0].compare(&passes).unwrap_err().contains("passes now"));
    let panics = run_one(&Numbers::PanicsAtFive, 4, None);
    assert!(known[0].compare(&panics).unwrap_err().contains("fails otherwise"));
}
