//! Runs a scenario: many seeds, or one again that has failed.
//!
//! It ends with 0 if no invariant was broken, with 1 if one was (what broke it is on standard output),
//! and with 2 if it was called wrongly.

use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use gatewayworker_sim::mock::Mock;
use gatewayworker_sim::{Campaign, Kept, Scenario, parse_known_failures, replay, run_many};

/// Simulates a cluster on simulated time and a simulated network, all drawn from a seed.
#[derive(Debug, Parser)]
struct Arguments {
    /// What to simulate: mock-calm, mock-rough
    #[arg(long, default_value = "mock-calm")]
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
    match arguments.scenario.as_str() {
        "mock-calm" => run(&Mock::Calm, &arguments),
        "mock-rough" => run(&Mock::Rough, &arguments),
        unknown => {
            eprintln!("there is no scenario \"{unknown}\"; --help lists them");
            ExitCode::from(2)
        }
    }
}

fn run<S: Scenario>(scenario: &S, arguments: &Arguments) -> ExitCode {
    let started = Instant::now();
    let ended = if let Some(seed) = arguments.seed {
        replay(scenario, seed, arguments.keep.as_ref(), arguments.trace).map(|outcome| {
            println!(
                "seed {seed} passes: {} steps, {} ms, trace hash {:016x}",
                outcome.steps, outcome.at_ms, outcome.hash
            );
        })
    } else {
        let known = match parse_known_failures(include_str!("../known-failures")) {
            Ok(known) => known,
            Err(error) => {
                eprintln!("known-failures cannot be read: {error}");
                return ExitCode::from(2);
            }
        };
        let campaign = Campaign { first_seed: arguments.first_seed, steps: arguments.steps };
        run_many(scenario, &campaign, &known).map(|passed| {
            let took = started.elapsed().as_secs_f64();
            println!(
                "{} steps in {} runs pass, {} fail as known; {took:.1} s",
                passed.steps, passed.runs, passed.known
            );
        })
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            println!("{failure}");
            ExitCode::FAILURE
        }
    }
}
