//! What the gateways of a cluster have answered about themselves, and what keeps the cluster from its work, or is to
//! be mended: plain data.
//!
//! `gatewayworker status --register-address` and `top` show it, and the page does.

use gatewayworker_client::inspect::{GatewayReport, InspectAnswer, InspectError};
use serde::Serialize;

/// What is known of a gateway.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GatewayLook {
    /// Its address, as a register lists it.
    pub address: String,
    /// What it has answered.
    pub answer: Option<Box<GatewayReport>>,
    /// Why it has not, a sentence.
    pub error: Option<String>,
}

/// The gateways of a cluster.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct ClusterLook {
    /// What keeps the cluster from its work, each a sentence. None where all is well.
    pub problems: Vec<String>,
    /// What an operator has to mend though the cluster does its work, each a sentence.
    pub notices: Vec<String>,
    /// In the order of their addresses.
    pub gateways: Vec<GatewayLook>,
}

impl GatewayLook {
    /// A gateway that has answered, or has not.
    pub fn new(address: String, answered: Result<InspectAnswer, InspectError>) -> Self {
        match answered {
            Ok(InspectAnswer::Gateway(mut report)) => {
                // Gateways leave clients out here. The page shows this without a token, so it relies on none.
                for worker in &mut report.workers {
                    worker.handlers = worker.handlers.take().map(|handlers| handlers.without_clients());
                }
                Self { address, answer: Some(report), error: None }
            }
            Ok(_) => {
                let error = format!("the gateway at {address} has answered another question");
                Self { address, answer: None, error: Some(error) }
            }
            Err(error) => Self { address, answer: None, error: Some(error.to_string()) },
        }
    }
}

impl ClusterLook {
    /// A cluster with these gateways, in the order of their addresses.
    pub fn new(gateways: Vec<GatewayLook>) -> Self {
        let missing = gateways.iter().filter_map(|gateway| gateway.error.clone());
        let reports = || gateways.iter().filter_map(|gateway| gateway.answer.as_deref());
        let by_gateway = |report: &GatewayReport, sentences: &[String]| -> Vec<String> {
            sentences.iter().map(|sentence| format!("{}: {sentence}", report.address)).collect()
        };
        let reported = reports().flat_map(|report| by_gateway(report, &report.problems));
        let problems = missing.chain(reported).collect();
        let notices = reports().flat_map(|report| by_gateway(report, &report.notices)).collect();
        Self { problems, notices, gateways }
    }

    /// A cluster in which no gateway is found.
    pub fn without_gateways(why: String) -> Self {
        Self { problems: vec![why], ..Self::default() }
    }

    /// Returns what the gateways that have answered have said.
    pub fn reports(&self) -> impl Iterator<Item = &GatewayReport> + Clone {
        self.gateways.iter().filter_map(|gateway| gateway.answer.as_deref())
    }
}

/// Returns the sum of a number over all gateways, by its name in `status --json`; `None` where none has it.
pub fn sum<'a>(gateways: impl IntoIterator<Item = &'a GatewayReport>, stat: &str) -> Option<u64> {
    let numbers = gateways.into_iter().filter_map(|gateway| gateway.stats.get(stat)).copied();
    numbers.reduce(u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_that_does_not_answer_is_a_problem_and_one_that_does_has_its_own() {
        let report = GatewayReport {
            address: "10.0.0.1:2300".into(),
            problems: vec!["no worker is linked".into()],
            notices: vec!["the keys are old".into()],
            ..GatewayReport::default()
        };
        let answered = Ok(InspectAnswer::Gateway(Box::new(report)));
        let missing = InspectError::NoAnswer { gateway: "10.0.0.2:2300".into() };
        let error = missing.to_string();
        let cluster = ClusterLook::new(vec![
            GatewayLook::new("10.0.0.1:2300".into(), answered),
            GatewayLook::new("10.0.0.2:2300".into(), Err(missing)),
        ]);
        assert_eq!(cluster.problems, [error, "10.0.0.1:2300: no worker is linked".to_owned()]);
        assert_eq!(cluster.notices, ["10.0.0.1:2300: the keys are old"]);
        assert_eq!(cluster.reports().count(), 1);
    }
}
