//! The harness of all micro-benchmarks: a list of operations, and two ways to measure them.
//!
//! A bench fills a [`Suite`] and calls [`Suite::measure`]. With `cargo bench`, criterion measures time. With
//! `INSTRUCTIONS=1` in the environment, valgrind counts instructions instead: the count is the same on a busy machine,
//! so that differences of a percent can be compared. It leaves out the work of the kernel, which is in the time.

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
    /// Adds an operation. It must be possible to run it any number of times.
    pub fn add<T>(&mut self, name: &'static str, mut operation: impl FnMut() -> T + 'static) {
        let run = Box::new(move || {
            black_box(operation());
        });
        self.operations.push(Operation { name, run });
    }

    /// Measures the operations as environment and command line say. A bench's `main` ends with it.
    ///
    /// # Panics
    /// `INSTRUCTIONS` is set, and valgrind is not installed.
    pub fn measure(mut self) {
        if instructions::count_if_asked(&mut self.operations) {
            return;
        }
        // Short times: all benches together take a minute and a half.
        let criterion = Criterion::default().warm_up_time(HALF_SECOND).measurement_time(4 * HALF_SECOND);
        let mut criterion = criterion.configure_from_args();
        for Operation { name, run } in &mut self.operations {
            criterion.bench_function(name, |bencher| bencher.iter(&mut *run));
        }
        criterion.final_summary();
    }
}
