//! The last test binary of `cargo test --workspace`: prints the tests that did not run, and the programs that they need.

use std::collections::BTreeMap;
use std::path::Path;

use gatewayworker_tests::programs::not_run_file;
use libtest_mimic::Arguments;

fn main() {
    let arguments = Arguments::from_args();
    // There is nothing to list, and whoever asks for one test does not ask for all that is missing.
    if arguments.list || arguments.filter.is_some() {
        return;
    }
    let file = not_run_file(Path::new(env!("CARGO_TARGET_TMPDIR")));
    let lines = std::fs::read_to_string(&file).unwrap_or_default();
    // Of this run; the next one writes its own.
    let _ = std::fs::remove_file(&file);
    print!("{}", summary(&lines));
}

/// What a person reads, of the lines `PROGRAM<tab>TEST` of this run.
fn summary(lines: &str) -> String {
    let mut missing = BTreeMap::<&str, Vec<&str>>::new();
    for (program, test) in lines.lines().filter_map(|line| line.split_once('\t')) {
        missing.entry(program).or_default().push(test);
    }
    let count: usize = missing.values().map(Vec::len).sum();
    if count == 0 {
        return "\nEvery test ran: no program was missing.\n".to_owned();
    }
    let mut text = format!("\n{count} tests did not run, because programs are not installed:\n");
    for (program, tests) in &mut missing {
        tests.sort_unstable();
        let count = tests.len();
        text += &format!("\n  {program}: {count} test{}\n", if count == 1 { "" } else { "s" });
        for test in tests {
            text += &format!("    {test}\n");
        }
    }
    text + "\nAll others ran.\n"
}
