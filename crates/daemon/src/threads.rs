//! Checks how many more threads the system allows the process, before a runtime is made.

use std::io;
use std::sync::{Arc, Mutex, mpsc};
use std::thread;

/// Checks that `count` more threads can be started, by starting and ending them.
///
/// tokio panics where the system refuses it a thread (`ulimit -u`, a container's limit on processes), and its
/// half-made runtime may then never end. So call this before a runtime with several threads is made.
///
/// # Errors
/// Where the system refuses one; the message says how many were wanted and what to raise.
pub fn check_threads(count: usize) -> io::Result<()> {
    // The threads wait for each other: all run at the same time.
    let (hold, held) = mpsc::channel::<()>();
    let held = Arc::new(Mutex::new(held));
    let mut threads = Vec::with_capacity(count);
    let mut refused = None;
    for _ in 0..count {
        let held = held.clone();
        let wait = move || {
            let _ = held.lock().map(|held| held.recv());
        };
        match thread::Builder::new().stack_size(64 * 1024).spawn(wait) {
            Ok(thread) => threads.push(thread),
            Err(error) => {
                refused = Some(error);
                break;
            }
        }
    }
    drop(hold);
    let started = threads.len();
    threads.into_iter().for_each(|thread| drop(thread.join()));
    match refused {
        None => Ok(()),
        Some(error) => Err(io::Error::new(
            error.kind(),
            format!(
                "the system allows {started} of {count} threads ({error}): raise its limit (ulimit -u, or the container's), or set `threads` to fewer"
            ),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_that_the_system_allows_are_no_error() {
        check_threads(0).unwrap();
        check_threads(20).unwrap();
    }
}
