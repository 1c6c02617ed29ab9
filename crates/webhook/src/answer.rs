//! Reads the backend's answer to an event: an admission, changes to the session, and calls.
//!
//! Plain data: `http_events` does what the answer says. Keys that are not known are passed over, so that a backend may be
//! newer than the worker; a known key of a wrong type is an error.

use std::collections::BTreeMap;

use bytes::Bytes;
use gatewayworker_businessworker::Admission;
use gatewayworker_client::OutMessage;
use gatewayworker_client::calls::{self, Call, CallError, CheckedCall, Kind};
use gatewayworker_protocol::close_code::POLICY_VIOLATION;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

/// What a backend wants.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    /// Whether the client of a `connect` may come in; `None` where it does not say.
    pub(crate) admission: Option<Admission>,
    /// The changes to the session: null takes a value out.
    pub(crate) session: Map<String, Value>,
    /// The calls to make, in order.
    pub(crate) calls: Vec<CheckedCall>,
}

type CallParams = BTreeMap<String, Box<RawValue>>;

/// Why an answer makes no sense. It has no effect then.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AnswerError {
    // Without serde's sentence, which quotes the answer: that may be anybody's data, and long.
    #[error("the answer is not of the form that the guide has, at line {}, column {}", .0.line(), .0.column())]
    Form(#[from] serde_json::Error),
    #[error("the answer has {count} calls, and events.max_calls = {limit}")]
    TooManyCalls { count: usize, limit: usize },
    #[error("{0}")]
    UnknownCall(CallError),
    #[error("the call {call}: {error}")]
    Params { call: &'static str, error: Box<CallError> },
    #[error(
        "the call {0} is a question, and answers of events are not asked for anything: ask over HTTP push (http.listen)"
    )]
    Question(&'static str),
}

#[derive(Deserialize)]
struct Form {
    admission: Option<AdmissionForm>,
    session: Option<Map<String, Value>>,
    calls: Option<Vec<CallForm>>,
}

#[derive(Deserialize)]
struct AdmissionForm {
    admit: bool,
    code: Option<u16>,
    message: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
struct CallForm {
    call: String,
    params: Option<CallParams>,
}

impl Answer {
    /// Reads the body of an answer to an event of `client_id`, which may have `max_calls` calls. An empty body wants
    /// nothing.
    ///
    /// # Errors
    /// When it is not JSON of that form, has too many calls, a call that does not exist or has wrong params, or a
    /// question.
    pub(crate) fn read(body: &Bytes, max_calls: usize, client_id: &str) -> Result<Self, AnswerError> {
        if body.trim_ascii().is_empty() {
            return Ok(Self::default());
        }
        let Form { admission, session, calls } = serde_json::from_slice(body)?;
        let calls = calls.unwrap_or_default();
        if calls.len() > max_calls {
            return Err(AnswerError::TooManyCalls { count: calls.len(), limit: max_calls });
        }
        Ok(Self {
            admission: admission.map(AdmissionForm::read).transpose()?,
            session: session.unwrap_or_default(),
            calls: calls.into_iter().map(|call| call.read(client_id)).collect::<Result<_, _>>()?,
        })
    }
}

impl AdmissionForm {
    fn read(self) -> Result<Admission, AnswerError> {
        if self.admit {
            return Ok(Admission::Admit);
        }
        let message = match self.message {
            None => None,
            Some(text) if text.get().starts_with('"') => {
                Some(OutMessage::from(serde_json::from_str::<String>(text.get())?))
            }
            Some(json) => Some(OutMessage::from(&*json)),
        };
        Ok(Admission::Refuse { message, code: self.code.unwrap_or(POLICY_VIOLATION) })
    }
}

impl CallForm {
    fn read(self, client_id: &str) -> Result<CheckedCall, AnswerError> {
        let unknown = || CallError::UnknownCall(self.call.chars().take(64).collect());
        let call = calls::find(&self.call).ok_or_else(|| AnswerError::UnknownCall(unknown()))?;
        if !matches!(call.answer, calls::Answer::Delivery | calls::Answer::Published) {
            return Err(AnswerError::Question(call.name));
        }
        let params = with_own_client(call, self.params.unwrap_or_default(), client_id);
        call.check(params).map_err(|error| AnswerError::Params { call: call.name, error: error.into() })
    }
}

/// Returns the params. A call that needs a client and names none is about `client_id`, the event's own.
fn with_own_client(call: &Call, mut params: CallParams, client_id: &str) -> CallParams {
    let needs = call.params.iter().find(|param| param.required && param.kind == Kind::ClientId);
    if let Some(param) = needs
        && params.get(param.name).is_none_or(|given| given.get() == "null")
        && let Ok(own) = serde_json::value::to_raw_value(client_id)
    {
        params.insert(param.name.to_owned(), own);
    }
    params
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const OWN: &str = "7f00000108fc00000001";

    fn read(answer: Value) -> Result<Answer, AnswerError> {
        Answer::read(&answer.to_string().into(), 3, OWN)
    }

    fn error(answer: Value) -> String {
        read(answer).unwrap_err().to_string()
    }

    #[test]
    fn an_empty_body_wants_nothing() {
        for body in ["", " \r\n", "{}", r#"{"session": null, "calls": null, "of a later version": [1]}"#] {
            let answer = Answer::read(&Bytes::from_static(body.as_bytes()), 3, OWN).unwrap();
            assert!(answer.admission.is_none() && answer.session.is_empty() && answer.calls.is_empty());
        }
    }

    #[test]
    fn an_admission_says_whether_with_which_code_and_with_which_last_words() {
        let admission = |answer| read(json!({ "admission": answer })).unwrap().admission.unwrap();
        assert_eq!(admission(json!({"admit": true, "code": 4403})), Admission::Admit);
        assert_eq!(admission(json!({"admit": false})), Admission::refuse());
        let refused = admission(json!({"admit": false, "code": 4403, "message": "no"}));
        assert_eq!(refused, Admission::refuse_with("no").with_code(4403));
        let refused = admission(json!({"admit": false, "message": {"why": "no"}}));
        assert_eq!(refused, Admission::refuse_with(r#"{"why":"no"}"#));
    }

    #[test]
    fn what_is_of_another_type_is_an_error() {
        for answer in [
            json!(null),
            json!([]),
            json!("text"),
            json!({"admission": true}),
            json!({"admission": {"admit": "yes"}}),
            json!({"admission": {"admit": false, "code": 70_000}}),
            json!({"session": []}),
            json!({"calls": {}}),
            json!({"calls": ["send_to_all"]}),
            json!({"calls": [{"params": {}}]}),
            json!({"calls": [{"call": "send_to_all", "params": []}]}),
        ] {
            let error = error(answer.clone());
            assert!(error.starts_with("the answer is not of the form"), "{answer}: {error}");
        }
        assert!(Answer::read(&Bytes::from_static(b"<html>"), 3, OWN).is_err());
    }

    /// Whether an answer is one that `/openapi.json` describes.
    fn is_described(answer: &Value) -> bool {
        let response = &gatewayworker_http::openapi()["webhooks"]["connect"]["post"]["responses"]["200"];
        let schema = &response["content"]["application/json"]["schema"];
        jsonschema::draft202012::new(schema).unwrap().is_valid(answer)
    }

    #[test]
    fn what_is_described_is_read_and_nothing_else() {
        for answer in [
            json!({}),
            json!({"admission": {"admit": true}, "later": 1}),
            json!({"admission": {"admit": false, "code": 4403, "message": {"a": 1}}, "session": {"a": null}}),
            json!({"calls": [{"call": "join_group", "params": {"group": "hall"}}]}),
            json!({"calls": [{"call": "send_to_all", "params": {"message": "x", "except": []}}]}),
            json!({"calls": [{"call": "publish", "params": {"group": "hall", "message": "x"}}]}),
        ] {
            assert!(is_described(&answer) && read(answer.clone()).is_ok(), "{answer}");
        }
        for answer in [
            json!([]),
            json!({"admission": true}),
            json!({"session": []}),
            json!({"calls": [{"call": "client_count"}]}),
            json!({"calls": [{"call": "history_last", "params": {"group": "hall"}}]}),
            json!({"calls": [{"call": "nothing"}]}),
            json!({"calls": [{"params": {}}]}),
        ] {
            assert!(!is_described(&answer) && read(answer.clone()).is_err(), "{answer}");
        }
    }

    #[test]
    fn a_call_that_does_not_exist_and_a_question_are_errors() {
        assert_eq!(error(json!({"calls": [{"call": "sendToAll"}]})), "there is no call \"sendToAll\"");
        assert!(error(json!({"calls": [{"call": "client_count"}]})).contains("client_count is a question"));
    }

    #[test]
    fn one_call_with_wrong_params_is_an_error_of_the_answer() {
        let wrong = |params: Value| {
            let call = json!({"call": "send_to_all", "params": {"message": "x"}});
            error(json!({"calls": [call, {"call": "join_group", "params": params}]}))
        };
        assert_eq!(wrong(json!({})), "the call join_group: param `group`: is missing");
        assert!(wrong(json!({"group": ""})).starts_with("the call join_group: param `group`: "));
        assert!(wrong(json!({"group": "a", "client_id": "7f"})).contains("`client_id`"));
        assert!(wrong(json!({"grop": "a"})).contains("`grop`: there is none of that name"));
    }

    #[test]
    fn too_many_calls_are_an_error() {
        let call = json!({"call": "send_to_all", "params": {"message": "x"}});
        let calls = |count| json!({ "calls": vec![call.clone(); count] });
        assert_eq!(read(calls(3)).unwrap().calls.len(), 3);
        assert_eq!(error(calls(4)), "the answer has 4 calls, and events.max_calls = 3");
    }

    #[test]
    fn a_call_that_names_no_client_is_about_the_events_own() {
        let params = |call: Value| {
            let form: CallForm = serde_json::from_value(call).unwrap();
            let call = calls::find(&form.call).unwrap();
            serde_json::to_value(with_own_client(call, form.params.unwrap(), OWN)).unwrap()
        };
        let own = json!({"client_id": OWN, "group": "hall"});
        assert_eq!(params(json!({"call": "join_group", "params": {"group": "hall"}})), own);
        assert_eq!(
            params(json!({"call": "join_group", "params": {"client_id": null, "group": "hall"}})),
            own
        );
        let other = json!({"client_id": "7f00000108fc00000002", "group": "hall"});
        assert_eq!(params(json!({"call": "join_group", "params": other})), other);
        assert_eq!(params(json!({"call": "ungroup", "params": {"group": "hall"}})), json!({"group": "hall"}));
    }
}
