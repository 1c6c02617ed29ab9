//! What keeps the worker from its work, each as a sentence for the operator: the worker's own problem, and those that
//! its application has.
//!
//! `status` and `/readyz` show them; `serve` provides them to `gatewayworker-daemon`.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use gatewayworker_net::RegisterLinks;

/// The problems that an application has, for `status` and `/readyz`. Clones are the same.
#[derive(Clone, Default)]
pub struct Problems(Arc<Mutex<Vec<Box<ReadProblems>>>>);

/// Returns a sentence for each problem.
type ReadProblems = dyn Fn() -> Vec<String> + Send;

impl Problems {
    /// Registers `read`, which returns what keeps the application from its work at the moment, each as a sentence that
    /// says what to do. It is called from any thread, whenever somebody asks, and must not block.
    pub fn provide(&self, read: impl Fn() -> Vec<String> + Send + 'static) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(read));
    }

    /// Reads them.
    pub(crate) fn read(&self) -> Vec<String> {
        let readers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        readers.iter().flat_map(|read| read()).collect()
    }
}

impl fmt::Debug for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Problems").field(&self.read()).finish()
    }
}

/// Returns the problem of a worker that takes events from `linked` gateways, while the
/// registers list `listed`, and what to do about it; `None` where there is no problem.
pub(crate) fn problem(linked: usize, listed: &[String], registers: &RegisterLinks) -> Option<String> {
    if linked > 0 {
        let trouble = registers.trouble(RegisterLinks::GRACE)?;
        return Some(format!(
            "the businessworker follows no register, a gateway that starts is not found: {trouble}"
        ));
    }
    let why = match registers.trouble(Duration::ZERO) {
        Some(trouble) => trouble,
        None if listed.is_empty() => {
            "the register lists none: does one run, with the same register_address and secret_key?".into()
        }
        None => format!(
            "the register lists {}, which cannot be reached: are its lan_ip and lan_port right, and its \
             secret_key the same?",
            listed.join(", ")
        ),
    };
    Some(format!("the businessworker has no gateway: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_without_a_gateway_names_what_to_check() {
        let registers = RegisterLinks::default();
        let of = |gateways, listed: &[&str]| {
            let listed: Vec<_> = listed.iter().map(|&one| one.to_owned()).collect();
            problem(gateways, &listed, &registers)
        };
        assert_eq!(of(1, &["10.0.0.5:2300"]), None);
        assert!(of(0, &[]).unwrap().contains("register_address"));
        assert!(of(0, &["10.0.0.5:2300"]).unwrap().contains("10.0.0.5:2300, which cannot be reached"));
    }
}
