//! Runs a scenario: many seeds, or one again that has failed.
//!
//! It ends with 0 if no invariant was broken, with 1 if one was (what broke it is on standard output),
//! and with 2 if it was called wrongly.

use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use gatewayworker_sim::{
    Campaign, Failure, KNOWN_FAILURES, Kept, Outcome, Passed, parse_known_failures, replay, run_many,
    scenario,
};

/// Simulates a cluster on simulated time and a simulated network, all drawn from a seed.
#[derive(Debug, Parser)]
struct Arguments {
    /// What to simulate; a wrong name lists all
    #[arg(long)]
    scenario: String,
    /// Run this seed alone, with a trace of a failure
    #[arg(long)]
    seed: Option<u64>,
    /// With --seed: only these steps of the script, as "3,5,9-12"
    #[arg(long, requires = "seed")]
    keep: Option<Kept>,
    /// With --seed: lines of the trace
    #[arg(long, default_value_t = 60)]
    trace: usize,
    /// Without --seed: the first seed
    #[arg(long, default_value_t = 1)]
    first_seed: u64,
    /// Without --seed: begin no further run after so many steps
    #[arg(long, default_value_t = 1_000_000)]
    steps: u64,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(Ok(passed)) => {
            println!("{passed}");
            ExitCode::SUCCESS
        }
        Ok(Err(failure)) => {
            println!("{failure}");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}

/// Runs what is asked for; returns a line about what has passed, or the failure.
///
/// # Errors
/// When the arguments or the list of known failures are wrong.
fn run(arguments: &Arguments) -> Result<Result<String, Box<Failure>>, String> {
    let scenario = scenario(&arguments.scenario)?;
    let started = Instant::now();
    if let Some(seed) = arguments.seed {
        let ended = replay(&*scenario, seed, arguments.keep.as_ref(), arguments.trace);
        return Ok(ended.map(|Outcome { steps, at_ms, hash, .. }| {
            format!("seed {seed} passes: {steps} steps, {at_ms} ms, trace hash {hash:016x}")
        }));
    }
    let known = parse_known_failures(KNOWN_FAILURES).map_err(|error| format!("known-failures: {error}"))?;
    let campaign = Campaign { first_seed: arguments.first_seed, steps: arguments.steps };
    Ok(run_many(&*scenario, campaign, &known).map(|Passed { runs, steps, known }| {
        let took = started.elapsed().as_secs_f64();
        format!("{steps} steps in {runs} runs pass, {known} runs fail as known; {took:.1} s")
    }))
}
