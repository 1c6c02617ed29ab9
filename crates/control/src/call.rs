//! `call`: makes one call of the Gateway API, from a shell. The subcommands and their params are made from the client
//! library's table of calls (`params.rs`); where the cluster is, and why no gateway is found, is in `cluster_access`.
//!
//! The answer is JSON on standard output, in one line. The status is 0; 1, with a line on standard error, where the
//! call failed, a gateway was not reached or the answer is not complete (the part that there is is printed all the
//! same); 2 for wrong arguments.

#[cfg(feature = "federation")]
mod federation;
mod history;
mod params;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{ArgMatches, Args, Command, Error, FromArgMatches, error::ErrorKind};
use gatewayworker_admin::registers;
use gatewayworker_client::calls::{Answer, Call, CallError, calls, find};
use gatewayworker_client::{Gateway, GatewayBuilder};
use serde_json::{Value, json};

use crate::cluster_access::{Access, AccessFlags};
use crate::cluster_dirs::ConfigDir;

/// The command line of `call`: a call by name, its params, and where the cluster is.
#[derive(Debug)]
pub struct CallCommand {
    flags: Flags,
    call: &'static Call,
    params: ArgMatches,
}

#[derive(Debug, clap::Args)]
struct Flags {
    #[command(flatten)]
    configs: ConfigDir,

    #[command(flatten)]
    access: AccessFlags,

    #[cfg(feature = "federation")]
    #[command(flatten)]
    federation: federation::Flags,

    #[command(flatten)]
    history: history::Flags,

    /// Write the answer on several lines
    #[arg(long, global = true, help_heading = "Cluster")]
    pretty: bool,
}

impl Args for CallCommand {
    fn augment_args(command: Command) -> Command {
        Flags::augment_args(command)
            .subcommand_required(true)
            .arg_required_else_help(true)
            .subcommand_value_name("CALL")
            .subcommand_help_heading("Calls")
            .disable_help_subcommand(true)
            .subcommands(calls().iter().map(params::command))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for CallCommand {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let flags = Flags::from_arg_matches(matches)?;
        let (name, params) = matches.subcommand().ok_or_else(|| Error::new(ErrorKind::MissingSubcommand))?;
        let call = find(&name.replace('-', "_")).ok_or_else(|| Error::new(ErrorKind::InvalidSubcommand))?;
        Ok(Self { flags, call, params: params.clone() })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// Makes the call, and prints its answer. The status is 0, 1 for a failure, 2 for wrong arguments.
pub fn run(cli: &CallCommand) -> ExitCode {
    let failure = match try_run(cli) {
        Ok(answer) => {
            let unreached = not_reached(&answer);
            print(&answer, cli.flags.pretty);
            unreached.map(|line| (line, 1))
        }
        Err(error) => {
            let status = match error.downcast_ref() {
                Some(CallError::BadParams(_)) => 2,
                Some(incomplete @ CallError::Incomplete { .. }) => {
                    print(&incomplete.to_json(), cli.flags.pretty);
                    1
                }
                _ => 1,
            };
            Some((format!("{error:#}").replace('\n', ", "), status))
        }
    };
    let Some((line, status)) = failure else { return ExitCode::SUCCESS };
    crate::console::print_error(line);
    ExitCode::from(status)
}

fn try_run(cli: &CallCommand) -> anyhow::Result<Value> {
    let configs = cli.flags.configs.find()?;
    let access = cli.flags.access.access_or_of(configs)?;
    #[cfg(feature = "federation")]
    let federation = cli.flags.federation.options(&cli.flags.access, configs)?;
    let history = cli.flags.history.config(cli.call, &cli.flags.access, configs)?;
    let params = params::read(cli.call, &cli.params, &mut io::stdin().lock())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let gateway = Gateway::builder(&access.registers);
        #[cfg(feature = "federation")]
        let gateway = gateway.federation(federation::join(federation).await?);
        make(cli.call, params, &access, gateway, history.as_ref()).await
    })
}

async fn make(
    call: &Call,
    params: Value,
    access: &Access,
    gateway: GatewayBuilder,
    history: Option<&gatewayworker_history::Config>,
) -> anyhow::Result<Value> {
    let Access { secret_key, tls, question_timeout, .. } = access;
    let gateway = gateway
        .secret_key(secret_key.clone())
        .link_tls(tls.clone())
        .question_timeout(*question_timeout)
        .connect();
    let _history = history::open(history, &gateway)?;
    let answer = tokio::select! {
        answer = call.run(&gateway, params) => answer,
        why = registers::hopeless(access) => return Err(why),
    };
    match answer {
        Err(CallError::NoGateways) => Err(registers::explain(access).await),
        Err(error) => Err(error.into()),
        Ok(mut answer) if matches!(call.answer, Answer::Delivery | Answer::Published) => {
            // Commands to a gateway may still be in this process's buffers.
            let late = gateway.finish(*question_timeout).await;
            if let Some(unreached) = answer["unreached"].as_array_mut() {
                let late = late.unreached.iter();
                unreached
                    .extend(late.map(|(gateway, why)| json!({"gateway": gateway, "reason": why.code()})));
            }
            let late = late.unreached_clusters.iter();
            let late = late.map(|(cluster, why)| json!({"cluster": cluster.as_str(), "reason": why.code()}));
            let late: Vec<Value> = late.collect();
            if !late.is_empty() && answer.get("unreached_clusters").is_none() {
                answer["unreached_clusters"] = late.into();
            }
            Ok(answer)
        }
        Ok(answer) => Ok(answer),
    }
}

/// Returns the error line for an answer that names gateways or clusters which were not reached.
fn not_reached(answer: &Value) -> Option<String> {
    let all = [("unreached", "gateway"), ("unreached_clusters", "cluster")].map(|(list, kind)| {
        let list = answer.get(list).and_then(Value::as_array).into_iter().flatten();
        list.map(move |one| {
            let text = |name| one[name].as_str().unwrap_or_default();
            format!("{kind} {}: {}", text(kind), text("reason").replace('_', " "))
        })
    });
    let all: Vec<_> = all.into_iter().flatten().collect();
    (!all.is_empty()).then(|| format!("not reached: {}", all.join("; ")))
}

fn print(answer: &Value, pretty: bool) {
    // A pager that is closed early is no failure.
    let _ = if pretty { writeln!(io::stdout(), "{answer:#}") } else { writeln!(io::stdout(), "{answer}") };
}
