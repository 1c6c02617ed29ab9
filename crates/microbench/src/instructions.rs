//! Counts instructions: the bench runs itself under valgrind, once per operation, and valgrind counts those of
//! [`repeat_for_valgrind`]. [`Suite::measure`](crate::Suite::measure) calls it.

use std::env;
use std::process::Command;

use crate::Operation;

/// The variable that tells a bench under valgrind which operation to run.
const RUN: &str = "MICROBENCH_RUN";

/// How often an operation runs: so often uncounted, and then so often counted.
const TIMES: u64 = 100;

/// Counts the instructions if the environment says so. Returns whether it does.
pub(crate) fn count_if_asked(operations: &mut [Operation]) -> bool {
    if let Ok(name) = env::var(RUN) {
        let operation = operations.iter_mut().find(|operation| operation.name == name);
        let Operation { run, .. } = operation.expect("an operation's name");
        (0..TIMES).for_each(|_| run());
        repeat_for_valgrind(run);
        return true;
    }
    if env::var_os("INSTRUCTIONS").is_none() {
        return false;
    }
    let filter = env::args().skip(1).find(|argument| !argument.starts_with('-')).unwrap_or_default();
    for Operation { name, .. } in operations.iter().filter(|operation| operation.name.contains(&filter)) {
        println!("{name:<40} {:>10} instructions", instructions(name));
    }
    true
}

/// The function that valgrind counts. Valgrind finds it by its name.
#[inline(never)]
fn repeat_for_valgrind(run: &mut dyn FnMut()) {
    for _ in 0..TIMES {
        run();
    }
}

/// Returns the instructions of one run of an operation.
fn instructions(name: &str) -> u64 {
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
    valgrind.arg("--toggle-collect=*repeat_for_valgrind*");
    valgrind.arg(env::current_exe().expect("this is a program")).env(RUN, name);
    let output = valgrind.output().expect("valgrind is installed");
    let log = String::from_utf8_lossy(&output.stderr);
    let collected = log.lines().find_map(|line| line.split_once("Collected :"));
    match collected.map(|(_, count)| count.trim().parse::<u64>()) {
        Some(Ok(count)) if output.status.success() => count / TIMES,
        _ => panic!("{name}: {log}"),
    }
}
