//! Makes the arguments of a command line out of a call's params, and JSON out of the arguments that were given.
//!
//! A required param is a positional argument, an optional one has a flag; a message is positional in any case. The
//! message `-` stands for standard input.

use std::io::Read;

use anyhow::{Context, ensure};
use clap::{Arg, ArgAction, ArgMatches, Command};
use gatewayworker_client::calls::{Call, CallError, Kind, Param};
use serde_json::{Map, Value, json};

/// The longest message that is read from standard input, in bytes: no frame has room for more.
const MAX_INPUT: u64 = gatewayworker_protocol::MAX_FRAME_LEN as u64;

/// Makes the subcommand of a call.
pub(super) fn command(call: &'static Call) -> Command {
    let last = call.params.iter().rfind(|param| is_positional(param)).map(|param| param.name);
    Command::new(call.name.replace('_', "-"))
        .about(call.summary.trim_end_matches('.'))
        .after_help(format!("Answer: {} ({})", call.answer.description(), call.origin()))
        .args(call.params.iter().map(|param| argument(param, last == Some(param.name))))
}

fn is_positional(param: &Param) -> bool {
    param.required || param.kind == Kind::Message
}

fn argument(param: &'static Param, last: bool) -> Arg {
    let arg = Arg::new(param.name).value_name(param.name.to_uppercase()).required(param.required);
    let arg = if is_positional(param) { arg } else { arg.long(param.name.replace('_', "-")) };
    let arg = arg.help(help(param, last));
    // A uid may be -5, and so may a message.
    let arg = if param.kind == Kind::Flag { arg } else { arg.allow_negative_numbers(true) };
    match param.kind {
        Kind::Message if param.required => arg.required(false).required_unless_present("message_base64"),
        Kind::Base64 => arg.value_name("BASE64").conflicts_with("message"),
        Kind::Flag => arg.action(ArgAction::SetTrue),
        Kind::ClientIds => arg.action(ArgAction::Append).value_delimiter(',').value_name("CLIENT_ID"),
        Kind::Fields => arg
            .action(ArgAction::Append)
            .value_delimiter(',')
            .value_parser(["uid", "groups", "session", "detached_since"])
            .value_name("FIELD"),
        Kind::Where | Kind::Session => arg.value_name("JSON"),
        // Only the last argument can take any number of values.
        Kind::Uids | Kind::Groups if last => arg.num_args(1..),
        _ => arg,
    }
}

fn help(param: &Param, last: bool) -> String {
    match param.kind {
        Kind::Message if param.required => "The message, sent as it is; - for standard input".into(),
        Kind::Message => "A last message, sent as it is; - for standard input".into(),
        Kind::ClientIds => param.help.replace("one or a list", "several with commas"),
        Kind::Uids | Kind::Groups if last => param.help.trim_end_matches(", a list or one").into(),
        Kind::Uids | Kind::Groups => format!(r#"{} in JSON: ["a","b"]"#, param.help),
        _ => param.help.into(),
    }
}

/// Returns the params that were given.
///
/// # Errors
/// When a param is not valid JSON, or a message cannot be read.
pub(super) fn read(call: &Call, given: &ArgMatches, input: &mut impl Read) -> anyhow::Result<Value> {
    let mut params = Map::new();
    for param in call.params {
        if let Some((name, value)) = value(param, given, input)? {
            params.insert(name.to_owned(), value);
        }
    }
    Ok(params.into())
}

fn value(
    param: &Param,
    given: &ArgMatches,
    input: &mut impl Read,
) -> anyhow::Result<Option<(&'static str, Value)>> {
    if param.kind == Kind::Flag {
        return Ok(given.get_flag(param.name).then_some((param.name, true.into())));
    }
    let Some(texts) = given.get_many::<String>(param.name) else { return Ok(None) };
    let texts: Vec<&str> = texts.map(String::as_str).collect();
    let value = match (param.kind, &*texts) {
        (Kind::Message, ["-"]) => return message(input).map(Some),
        (Kind::Where | Kind::Session, [text]) => {
            let error =
                |error| CallError::BadParams(format!("param `{}`: not valid JSON: {error}", param.name));
            serde_json::from_str(text).map_err(error)?
        }
        (Kind::Uids | Kind::Groups, [text]) => {
            serde_json::from_str::<Value>(text).ok().filter(Value::is_array).unwrap_or_else(|| (*text).into())
        }
        (_, [text]) => (*text).into(),
        (_, texts) => json!(texts),
    };
    Ok(Some((param.name, value)))
}

/// Reads a message from standard input: text if it is UTF-8, otherwise bytes.
fn message(input: &mut impl Read) -> anyhow::Result<(&'static str, Value)> {
    let mut bytes = Vec::new();
    input.take(MAX_INPUT + 1).read_to_end(&mut bytes).context("cannot read the message")?;
    ensure!(bytes.len() as u64 <= MAX_INPUT, "the message is over {MAX_INPUT} bytes");
    Ok(match String::from_utf8(bytes) {
        Ok(text) => ("message", text.into()),
        Err(bytes) => ("message_base64", data_encoding::BASE64.encode(bytes.as_bytes()).into()),
    })
}

#[cfg(test)]
mod tests {
    use clap::{Args, FromArgMatches};

    use super::super::CallCommand;
    use super::*;

    const ID: &str = "7f00000108fc00000001";

    /// Parses the arguments after `gatewayworker call` into a call and its params.
    fn parse(words: &[&str], input: &[u8]) -> (&'static str, Value) {
        let matches =
            CallCommand::augment_args(Command::new("call")).no_binary_name(true).get_matches_from(words);
        let cli = CallCommand::from_arg_matches(&matches).unwrap();
        (cli.call.name, read(cli.call, &cli.params, &mut &*input).unwrap())
    }

    #[test]
    fn arguments_become_params() {
        for (words, name, params) in [
            (
                &["send-to-group", "room1", "hello"][..],
                "send_to_group",
                json!({"group": "room1", "message": "hello"}),
            ),
            (
                &["send-to-group", r#"["a","b"]"#, r#"{"n":1}"#, "--except", "x,y"],
                "send_to_group",
                json!({"group": ["a", "b"], "message": r#"{"n":1}"#, "except": ["x", "y"]}),
            ),
            (
                &["send-to-client", ID, "--message-base64", "AP8=", "--raw"],
                "send_to_client",
                json!({"client_id": ID, "message_base64": "AP8=", "raw": true}),
            ),
            (&["client-count"], "client_count", json!({})),
            (&["bind-uid", ID, "7"], "bind_uid", json!({"client_id": ID, "uid": "7"})),
            (&["bind-uid", ID, "-5"], "bind_uid", json!({"client_id": ID, "uid": "-5"})),
            (&["close-client", ID], "close_client", json!({"client_id": ID})),
            (&["close-client", ID, "-5"], "close_client", json!({"client_id": ID, "message": "-5"})),
            (&["are-uids-online", "a", "b"], "are_uids_online", json!({"uids": ["a", "b"]})),
            (&["are-uids-online", "a"], "are_uids_online", json!({"uids": "a"})),
            (
                &["set-session", ID, r#"{"a":[1]}"#],
                "set_session",
                json!({"client_id": ID, "session": {"a": [1]}}),
            ),
            (
                &["set-session", ID, r#"{"v":117.63331139400017}"#],
                "set_session",
                // The compiler takes the nearest double for this number.
                json!({"client_id": ID, "session": {"v": 117.63331139400017}}),
            ),
            (
                &["select", "--fields", "uid,groups", "--where", r#"{"uids":7}"#],
                "select",
                json!({"fields": ["uid", "groups"], "where": {"uids": 7}}),
            ),
        ] {
            assert_eq!(parse(words, b""), (name, params));
        }
    }

    #[test]
    fn a_dash_reads_standard_input_as_text_or_as_bytes() {
        assert_eq!(parse(&["send-to-all", "-"], b"hi\n").1, json!({"message": "hi\n"}));
        assert_eq!(parse(&["send-to-all", "-"], b"\0\xff").1, json!({"message_base64": "AP8="}));
        let too_long = std::io::repeat(b'x');
        assert!(message(&mut too_long.take(MAX_INPUT)).is_ok());
        assert!(message(&mut std::io::repeat(b'x')).is_err());
    }
}
