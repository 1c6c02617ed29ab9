//! Counting instructions: the bench runs itself under valgrind, with an operation
//! a few times and then many times; the difference is theirs alone.

use std::env;
use std::process::Command;

use crate::Operation;

/// Says to a bench under valgrind what to run: `TIMES NAME`.
const RUN: &str = "MICROBENCH_RUN";

const FEW: u64 = 10;
const MANY: u64 = 110;

/// Whether the environment asks for instructions, which are counted then.
pub(crate) fn counted(operations: &mut [Operation]) -> bool {
    if let Ok(order) = env::var(RUN) {
        run(operations, &order);
        return true;
    }
    if env::var_os("INSTRUCTIONS").is_none() {
        return false;
    }
    let filter = env::args().skip(1).find(|argument| !argument.starts_with('-')).unwrap_or_default();
    for Operation { name, .. } in operations.iter().filter(|operation| operation.name.contains(&filter)) {
        let each = (total(name, MANY) - total(name, FEW)) / (MANY - FEW);
        println!("{name:<50} {each:>12} instructions");
    }
    true
}

fn run(operations: &mut [Operation], order: &str) {
    let (times, name) = order.split_once(' ').expect("TIMES NAME");
    let operation = operations.iter_mut().find(|operation| operation.name == name).expect("a name");
    for _ in 0..times.parse().expect("a number") {
        (operation.run)();
    }
}

/// The instructions of a whole run.
fn total(name: &str, times: u64) -> u64 {
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
    valgrind.arg(env::current_exe().expect("this is a program")).env(RUN, format!("{times} {name}"));
    let output = valgrind.output().expect("valgrind is installed");
    let said = String::from_utf8_lossy(&output.stderr);
    let collected = said.lines().find_map(|line| line.split_once("Collected :"));
    match collected.map(|(_, count)| count.trim().parse()) {
        Some(Ok(count)) if output.status.success() => count,
        _ => panic!("{name}: {said}"),
    }
}
