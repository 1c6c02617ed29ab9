//! The problem that keeps the worker from its work, as a sentence for the operator.
//!
//! `status` shows it; `serve` provides it to `gatewayworker-daemon`.

use std::time::Duration;

use gatewayworker_net::RegisterLinks;

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
