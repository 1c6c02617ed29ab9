//! Asking the gateways of a cluster, for `connections`, `groups`, `status --register-address` and `top`.

use std::process::ExitCode;

use gatewayworker_admin::registers;
use gatewayworker_client::ClientId;
use gatewayworker_client::inspect::{InspectAnswer, InspectError, InspectRequest, Inspector};
use serde_json::{Value, json};

use crate::cluster_access::{Access, AccessFlags};
use crate::cluster_dirs::ConfigDir;
use crate::console::print_error;
use crate::look::{self, Look, WatchFlag};

/// The flags of a command that asks the gateways of a cluster.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub(crate) struct InspectFlags {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    watch: WatchFlag,

    #[command(flatten)]
    configs: ConfigDir,

    #[command(flatten)]
    access: AccessFlags,
}

impl InspectFlags {
    /// Looks into the cluster, once or again and again, and prints what was seen. An error of `look` has status 1.
    pub(crate) fn show(
        &self,
        mut look: impl AsyncFnMut(&Inspector, &Access) -> anyhow::Result<Look>,
    ) -> ExitCode {
        let access = match self.configs.find().and_then(|configs| self.access.access_or_of(configs)) {
            Ok(access) => access,
            Err(error) => {
                print_error(format_args!("{error:#}"));
                return ExitCode::FAILURE;
            }
        };
        let mut connected = None;
        look::show(self.watch, async || {
            let inspector = connected.get_or_insert_with(|| access.inspector());
            let seen = look(inspector, &access).await;
            seen.unwrap_or_else(|error| Look::failed(format_args!("{error:#}")))
        })
    }
}

/// The answers of a cluster's gateways.
#[derive(Debug)]
pub(crate) struct Answers {
    /// The gateways that have answered, and their answers.
    pub(crate) answers: Vec<(String, InspectAnswer)>,
    /// The gateways that have not, each with a sentence that says why.
    pub(crate) missing: Vec<(String, String)>,
}

impl Answers {
    /// Returns a look without lines yet: its errors are the gateways that have not answered.
    pub(crate) fn look(&self) -> Look {
        let errors: Vec<String> = self.missing.iter().map(|(_, error)| error.clone()).collect();
        Look { status: u8::from(!errors.is_empty()), errors, ..Look::default() }
    }

    /// Returns a look that has failed: no gateway has this client.
    pub(crate) fn not_connected(&self, id: ClientId) -> Look {
        let gateway = id.gateway();
        let mut look =
            Look::failed(format_args!("the client {id} of the gateway at {gateway} is not connected"));
        look.errors.extend(self.missing.iter().map(|(_, error)| error.clone()));
        look
    }

    /// Returns the gateways that have not answered, as JSON.
    pub(crate) fn errors(&self) -> Value {
        self.missing.iter().map(|(gateway, error)| json!({"gateway": gateway, "error": error})).collect()
    }
}

/// Asks all gateways; returns what each has answered, or why it has not.
///
/// # Errors
/// When no gateway is listed: with what to do.
pub(crate) async fn ask_all(
    inspector: &Inspector,
    access: &Access,
    request: &InspectRequest,
) -> anyhow::Result<Vec<(String, Result<InspectAnswer, InspectError>)>> {
    let asked = tokio::select! {
        asked = inspector.ask(request) => asked,
        why = registers::hopeless(access) => return Err(why),
    };
    if asked.is_empty() {
        return Err(registers::explain(access).await);
    }
    Ok(asked)
}

/// Asks all gateways, and parts those that have answered from those that have not.
///
/// # Errors
/// As [`ask_all`].
pub(crate) async fn ask(
    inspector: &Inspector,
    access: &Access,
    request: &InspectRequest,
) -> anyhow::Result<Answers> {
    let asked = ask_all(inspector, access, request).await?;
    let (mut answers, mut missing) = (Vec::new(), Vec::new());
    for (gateway, answer) in asked {
        match answer {
            Ok(answer) => answers.push((gateway, answer)),
            Err(error) => missing.push((gateway, error.to_string())),
        }
    }
    Ok(Answers { answers, missing })
}
