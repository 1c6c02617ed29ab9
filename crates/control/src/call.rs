//! `call`: makes one call of the Gateway API, from a shell. The subcommands and their params are made from the client
//! library's table of calls (`params.rs`); why no gateway is found is in `registers.rs`.
//!
//! The answer is JSON on standard output, in one line. The status is 0; 1, with a line on standard error, where the
//! call failed, a gateway was not reached or the answer is not complete (the part that there is is printed all the
//! same); 2 for wrong arguments.

mod params;
mod registers;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{ArgMatches, Args, Command, Error, FromArgMatches, error::ErrorKind};
use gatewayworker_client::calls::{Answer, Call, CallError, calls, find};
use gatewayworker_client::{Gateway, SecretKey};
use gatewayworker_daemon::{LinkTlsFlags, one_or_many};
use gatewayworker_net::{LinkTls, LinkTlsConfig};
use serde::Deserialize;
use serde_json::{Value, json};

/// The command line of `call`: a call by name, its params, and where the cluster is.
#[derive(Debug)]
pub struct CallCommand {
    flags: Flags,
    call: &'static Call,
    params: ArgMatches,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Cluster")]
struct Flags {
    /// Learn from the register at ADDRESS where the gateways are; may be given several times [default: 127.0.0.1:1236]
    #[arg(
        long,
        global = true,
        value_name = "ADDRESS",
        env = "GATEWAYWORKER_REGISTER_ADDRESS",
        value_delimiter = ','
    )]
    register_address: Option<Vec<String>>,

    /// The key of the cluster; better set in the environment, where other users do not see it [default: none]
    #[arg(long, global = true, value_name = "KEY", env = "GATEWAYWORKER_SECRET_KEY", hide_env_values = true)]
    secret_key: Option<SecretKey>,

    #[command(flatten)]
    link_tls: LinkTlsFlags,

    /// Wait at most MS milliseconds for the register, and for the gateways' answers [default: 5000]
    #[arg(long, global = true, value_name = "MS", env = "GATEWAYWORKER_CALL_QUESTION_TIMEOUT_MS")]
    #[arg(allow_negative_numbers = true, value_parser = clap::value_parser!(u64).range(1..))]
    question_timeout_ms: Option<u64>,

    /// Take what is not set here from FILE, a businessworker.toml or gateway.toml
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Write the answer on several lines
    #[arg(long, global = true)]
    pretty: bool,
}

/// The settings that `call` reads from a daemon's file; it ignores the others.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct File {
    #[serde(deserialize_with = "one_or_many")]
    register_address: Vec<String>,
    secret_key: SecretKey,
    link_tls: LinkTlsConfig,
    question_timeout_ms: Option<u64>,
}

/// Where the cluster is, and how long to wait for it.
struct Settings {
    registers: Vec<String>,
    secret_key: SecretKey,
    tls: Option<LinkTls>,
    question_timeout: Duration,
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
    let settings = cli.flags.settings()?;
    let params = params::read(cli.call, &cli.params, &mut io::stdin().lock())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(make(cli.call, params, &settings))
}

async fn make(call: &Call, params: Value, settings: &Settings) -> anyhow::Result<Value> {
    let Settings { registers, secret_key, tls, question_timeout } = settings;
    let gateway = Gateway::builder(registers)
        .secret_key(secret_key.clone())
        .link_tls(tls.clone())
        .question_timeout(*question_timeout)
        .connect();
    let answer = tokio::select! {
        answer = call.run(&gateway, params) => answer,
        why = registers::hopeless(settings) => return Err(why),
    };
    match answer {
        Err(CallError::NoGateways) => Err(registers::explain(settings).await),
        Err(error) => Err(error.into()),
        Ok(mut answer) if call.answer == Answer::Delivery => {
            // Commands to a gateway may still be in this process's buffers.
            let late = gateway.finish(*question_timeout).await.unreached;
            if let Some(unreached) = answer["unreached"].as_array_mut() {
                let late =
                    late.iter().map(|(gateway, why)| json!({"gateway": gateway, "reason": why.code()}));
                unreached.extend(late);
            }
            Ok(answer)
        }
        Ok(answer) => Ok(answer),
    }
}

/// Returns the error line for an answer that names gateways which were not reached.
fn not_reached(answer: &Value) -> Option<String> {
    let unreached = answer.get("unreached")?.as_array().filter(|unreached| !unreached.is_empty())?;
    let one = |one: &Value| {
        let text = |name| one[name].as_str().unwrap_or_default().replace('_', " ");
        format!("gateway {}: {}", text("gateway"), text("reason"))
    };
    Some(format!("not reached: {}", unreached.iter().map(one).collect::<Vec<_>>().join("; ")))
}

fn print(answer: &Value, pretty: bool) {
    // A pager that is closed early is no failure.
    let _ = if pretty { writeln!(io::stdout(), "{answer:#}") } else { writeln!(io::stdout(), "{answer}") };
}

impl Flags {
    /// Merges flags, environment, file and defaults; the former win.
    fn settings(&self) -> anyhow::Result<Settings> {
        let file = match &self.config {
            Some(path) => {
                let text = std::fs::read_to_string(path)
                    .with_context(|| format!("cannot read {}", path.display()))?;
                toml::from_str(&text).with_context(|| format!("{}", path.display()))?
            }
            None => File::default(),
        };
        let mut registers = self.register_address.clone().unwrap_or(file.register_address);
        if registers.is_empty() {
            registers.push("127.0.0.1:1236".into());
        }
        let limit = self.question_timeout_ms.or(file.question_timeout_ms).unwrap_or(5_000);
        let of_file = file.link_tls.with_paths_relative_to(self.config.as_deref());
        Ok(Settings {
            tls: self.link_tls.over(of_file).load_for_connecting()?,
            registers,
            secret_key: self.secret_key.clone().unwrap_or(file.secret_key),
            question_timeout: Duration::from_millis(limit),
        })
    }
}
