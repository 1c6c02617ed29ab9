//! Counting instructions: the bench runs itself under valgrind, which counts those
//! of one function.

use std::env;
use std::process::Command;

use crate::Operation;

/// Names, to a bench under valgrind, the operation to run.
const RUN: &str = "MICROBENCH_RUN";

/// How often it runs, once it has run as often uncounted.
const TIMES: u64 = 100;

/// Whether the environment asks for instructions, which are counted then.
pub(crate) fn counted(operations: &mut [Operation]) -> bool {
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

/// Found by valgrind by its name.
#[inline(never)]
fn repeat_for_valgrind(run: &mut dyn FnMut()) {
    for _ in 0..TIMES {
        run();
    }
}

fn instructions(name: &str) -> u64 {
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
    valgrind.arg("--toggle-collect=*repeat_for_valgrind*");
    valgrind.arg(env::current_exe().expect("this is a program")).env(RUN, name);
    let output = valgrind.output().expect("valgrind is installed");
    let said = String::from_utf8_lossy(&output.stderr);
    let collected = said.lines().find_map(|line| line.split_once("Collected :"));
    match collected.map(|(_, count)| count.trim().parse::<u64>()) {
        Some(Ok(count)) if output.status.success() => count / TIMES,
        _ => panic!("{name}: {said}"),
    }
}
