//! The calls by name, with JSON in and JSON out: the Gateway API for other languages.
//!
//! The table [`calls`] lists every call, what it takes and what it answers. HTTP push, the
//! command line and their descriptions are made from it, so that none can lack a call that
//! another has. A call decides nothing: it reads its params, calls the method of
//! [`Gateway`] that has its name, and writes the answer as JSON.
//!
//! To add a call, add its file to `tell` or `ask`, and its line to the list there.
//!
//! ```no_run
//! # async fn example() -> Result<(), gatewayworker_client::calls::CallError> {
//! use gatewayworker_client::Gateway;
//! use serde_json::json;
//!
//! let gateway = Gateway::builder(["127.0.0.1:1236"]).connect();
//! let delivery = gateway.call("send_to_group", json!({"group": "news", "message": "hello"})).await?;
//! assert_eq!(delivery, json!({"unreached": []}));
//! # Ok(()) }
//! ```
//!
//! Params are an object. A param that is null counts as not given; an unknown param is an
//! error, and so is a value of another type. A uid or group is a string or a whole number,
//! which stands for its decimal form.

mod ask;
mod call;
mod common;
mod error;
mod param_kind;
mod params;
mod schema;
mod tell;
mod to_json;

use std::sync::LazyLock;

use serde::Serialize;
use serde_json::Value;

pub use call::{Answer, Call, CheckedCall};
pub use error::{CallError, delivery_json};
pub use param_kind::{Kind, Param};
use params::Params;
pub use schema::{unreached_clusters_schema, unreached_schema};

use crate::Gateway;

/// Returns all calls: first the sends and commands, then the questions.
pub fn calls() -> &'static [Call] {
    static CALLS: LazyLock<Vec<Call>> = LazyLock::new(|| [tell::CALLS, ask::CALLS].concat());
    &CALLS
}

/// Returns the call of that name.
pub fn find(name: &str) -> Option<&'static Call> {
    calls().iter().find(|call| call.name == name)
}

impl Gateway {
    /// Makes the call of that name (of [`calls`]), with JSON in and JSON out; see
    /// [`Call::run`].
    ///
    /// # Errors
    /// When there is no such call, a param is missing, unknown or of another type,
    /// and when the call itself fails. That a send has not reached a gateway is no
    /// error, but said in the answer.
    pub async fn call(&self, name: &str, params: impl Serialize) -> Result<Value, CallError> {
        let call = find(name).ok_or_else(|| CallError::UnknownCall(name.chars().take(64).collect()))?;
        call.run(self, params).await
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::time::Duration;

    use serde_json::json;
    use tokio::sync::watch;

    use super::*;

    /// A handle on no gateway: a call with good params gets as far as finding that out.
    fn nobody() -> Gateway {
        Gateway::following(watch::channel(vec![]).1).question_timeout(Duration::from_millis(1)).connect()
    }

    const ID: &str = "7f00000108fc00000001";

    /// Values that a param of this kind accepts, and values that it refuses.
    fn samples(kind: Kind) -> (Vec<Value>, Vec<Value>) {
        let names = vec![json!("a"), json!(7)];
        let no_names =
            vec![json!(""), json!("0"), json!(0), json!(1.5), json!(true), json!({}), json!([[7]])];
        match kind {
            Kind::Message => (vec![json!("text"), json!(7), json!({"a": [1]}), json!(false)], vec![]),
            Kind::Base64 => (vec![json!("AP8=")], vec![json!("*"), json!(7), json!(["AP8="])]),
            Kind::Flag => (vec![json!(true), json!(false)], vec![json!("true"), json!(1)]),
            Kind::ClientId => (vec![json!(ID)], vec![json!("7f"), json!(7), json!([ID])]),
            Kind::ClientIds => (vec![json!(ID), json!([ID, ID])], vec![json!(["7f"]), json!(7), json!({})]),
            Kind::Uid | Kind::Group => (names, [no_names, vec![json!(["a"])]].concat()),
            Kind::Uids | Kind::Groups => ([names, vec![json!(["a", 7]), json!([])]].concat(), no_names),
            Kind::Session => (vec![json!({}), json!({"a": [1]})], vec![json!([]), json!("a"), json!(7)]),
            Kind::Fields => (vec![json!("uid"), json!(["groups"])], vec![json!([]), json!(["x"]), json!(7)]),
            Kind::Position => (vec![json!("17-5f3a")], vec![json!("17"), json!(17), json!("a-b-c")]),
            Kind::Limit => {
                (vec![json!(1), json!("1000")], vec![json!(0), json!(1001), json!("a"), json!([1])])
            }
            Kind::Where => {
                let good = json!({"groups": "a", "uids": [7], "client_ids": [ID]});
                let bad = [json!([]), json!({"x": 1}), json!({"client_ids": 7}), json!({"uids": [""]})];
                (vec![json!({}), good], bad.to_vec())
            }
        }
    }

    /// The least that a call takes, and one param more, or another value of it.
    fn params(call: &Call, with: &Param, value: Value) -> Value {
        let required = call.params.iter().filter(|param| param.required);
        let mut params: serde_json::Map<_, _> =
            required.map(|param| (param.name.to_owned(), samples(param.kind).0.remove(0))).collect();
        if with.kind == Kind::Base64 {
            params.remove("message");
        }
        params.insert(with.name.to_owned(), value);
        params.into()
    }

    #[tokio::test]
    async fn every_call_reads_every_param_that_it_has_and_says_which_one_is_wrong() {
        let gateway = nobody();
        for call in calls() {
            for param in call.params {
                let (good, bad) = samples(param.kind);
                for value in good {
                    call.check(params(call, param, value.clone())).unwrap();
                    match call.run(&gateway, params(call, param, value.clone())).await {
                        Ok(_)
                        | Err(CallError::NoGateways | CallError::Unreached { .. } | CallError::NoHistory) => {
                        }
                        Err(error) => panic!("{} with {} {value}: {error}", call.name, param.name),
                    }
                }
                for value in bad {
                    let error = call.run(&gateway, params(call, param, value.clone())).await.unwrap_err();
                    assert_eq!(error.code(), "bad_params", "{} with {} {value}", call.name, param.name);
                    assert!(error.to_string().contains(&format!("`{}`", param.name)), "{error}");
                    let checked = call.check(params(call, param, value)).unwrap_err();
                    assert_eq!(checked, error, "the check says the same");
                }
            }
        }
    }

    #[tokio::test]
    async fn what_is_missing_unknown_or_null_is_said() {
        let gateway = nobody();
        for (name, params, expected) in [
            ("bind_uid", json!({"client_id": ID}), "param `uid`: is missing"),
            ("bind_uid", json!({"client_id": ID, "uid": null}), "param `uid`: is missing"),
            ("send_to_all", json!({}), "param `message`: is missing"),
            (
                "send_to_all",
                json!({"message": "a", "message_base64": "AA=="}),
                "param `message_base64`: there is a message already",
            ),
            (
                "ungroup",
                json!({"group": "a", "grop": "a"}),
                "param `grop`: there is none of that name (group)",
            ),
            ("client_count", json!([]), "params are a JSON object, not a list"),
            ("sendToAll", json!({}), "there is no call \"sendToAll\""),
        ] {
            let checked = find(name).map(|call| call.check(&params).unwrap_err().to_string());
            assert!(checked.is_none_or(|error| error == expected), "{name}");
            assert_eq!(gateway.call(name, params).await.unwrap_err().to_string(), expected);
        }
        assert_eq!(gateway.call("client_count", Value::Null).await, Err(CallError::NoGateways));
    }

    #[test]
    fn the_table_is_of_one_piece() {
        let mut names = HashSet::new();
        for call in calls() {
            assert!(names.insert(call.name), "{} is there twice", call.name);
            assert!(call.summary.ends_with('.') && !call.summary.contains('\n'), "{}", call.name);
            let schema = call.params_schema();
            for param in call.params {
                assert!(!param.help.ends_with('.'), "{}", param.help);
                assert!(schema["properties"][param.name]["description"].is_string());
            }
            // A command line has the required ones by their place.
            assert!(call.params.is_sorted_by_key(|param| !param.required), "{}", call.name);
        }
        assert_eq!(find("send_to_all").unwrap().original, Some("sendToAll"));
    }

    #[test]
    fn an_error_is_json_too() {
        let missing = vec![("127.0.0.1:2300".parse().unwrap(), crate::Unreached::TimedOut)];
        let error = CallError::Incomplete { partial: json!(3), missing, missing_clusters: Vec::new() };
        let expected = json!({
            "code": "incomplete",
            "error": "the answer is incomplete; gateway 127.0.0.1:2300: no answer in time",
            "missing": [{"gateway": "127.0.0.1:2300", "reason": "timed_out"}],
            "partial": 3,
        });
        assert_eq!(error.to_json(), expected);
    }
}
