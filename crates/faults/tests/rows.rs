//! The short form of each row is a test: the row keeps its promise, or stands in `not_yet` and breaks it.

#[cfg(not(target_os = "linux"))]
fn main() {}

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    linux::main()
}

#[cfg(target_os = "linux")]
mod linux {
    use std::process::{Command, ExitCode};

    use gatewayworker_faults::not_yet;
    use gatewayworker_faults::rows::{self, Row};
    use gatewayworker_tests::programs::{self, NAMESPACES, Program, Test};
    use libtest_mimic::Arguments;

    /// Rows mostly wait, so more of them run at once than there are cores.
    const AT_ONCE: usize = 5;

    pub(super) fn main() -> ExitCode {
        let mut arguments = Arguments::from_args();
        arguments.test_threads.get_or_insert(AT_ONCE);
        let mut rows = rows::all();
        rows.retain(|row| row.cannot_run.is_none());
        // The longest first.
        rows.sort_by_key(|row| !row.lasts_long);
        let tests = rows.into_iter().map(|row| Test {
            name: row.name,
            needs: if row.needs_hosts { const { &[NAMESPACES] as &[Program] } } else { &[] },
            run: Box::new(move || judge(row)),
        });
        let binary = concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_CRATE_NAME"));
        programs::run_as(arguments, env!("CARGO_TARGET_TMPDIR"), binary, tests.collect())
    }

    fn judge(row: Row) {
        let mut faults = Command::new(env!("CARGO_BIN_EXE_faults"));
        let output = faults.args(["run", row.name, "--short"]).output().expect("the program starts");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let seen = text(&output.stdout) + &text(&output.stderr);
        match (output.status.code(), not_yet::reason(row.name)) {
            (Some(0), None) | (Some(1), Some(_)) => {}
            (Some(1), None) if not_yet::is_unsteady(row.name) => {}
            (Some(0), Some(reason)) => {
                panic!("it keeps its promise: take it from the list not_yet ({reason})\n{seen}")
            }
            _ => panic!("{seen}"),
        }
    }
}
