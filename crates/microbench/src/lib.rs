//! What the benches share: a list of operations, and two ways to measure them.
//!
//! As `cargo bench` runs them, criterion takes their time. With `INSTRUCTIONS=1`
//! in the environment valgrind counts their instructions instead, which come out
//! the same on a busy machine, and whose hundredths can be compared. What the
//! kernel does is in the time only.

mod instructions;

use std::hint::black_box;
use std::time::Duration;

use criterion::Criterion;

const HALF_SECOND: Duration = Duration::from_millis(500);

/// The operations of one bench.
#[derive(Default)]
pub struct Suite {
    operations: Vec<Operation>,
}

struct Operation {
    name: &'static str,
    run: Box<dyn FnMut()>,
}

impl Suite {
    /// Adds an operation, which may be run any number of times.
    pub fn add<T>(&mut self, name: &'static str, mut operation: impl FnMut() -> T + 'static) {
        let run = Box::new(move || {
            black_box(operation());
        });
        self.operations.push(Operation { name, run });
    }

    /// Measures them as the environment and the command line ask. The last thing
    /// that a bench's `main` does.
    ///
    /// # Panics
    /// When valgrind is asked for and not there.
    pub fn measure(mut self) {
        if instructions::counted(&mut self.operations) {
            return;
        }
        // Short: all benches together take a minute and a half.
        let criterion = Criterion::default().warm_up_time(HALF_SECOND).measurement_time(4 * HALF_SECOND);
        let mut criterion = criterion.configure_from_args();
        for Operation { name, run } in &mut self.operations {
            criterion.bench_function(name, |bencher| bencher.iter(&mut *run));
        }
        criterion.final_summary();
    }
}
