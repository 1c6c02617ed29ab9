use gatewayworker_protocol::Body;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::*;
use crate::{Failure, NoParameters, Problem};

/// The state, and who asks: what the router does with them needs no more than names.
struct Hall(&'static str);
struct Guest(&'static str);

#[derive(Deserialize)]
struct Join {
    code: String,
}

#[derive(Serialize)]
struct Joined {
    hall: &'static str,
    guest: &'static str,
    code: String,
}

async fn join(hall: &Hall, guest: &Guest, Join { code }: Join) -> crate::Result<Joined> {
    if code.len() > 4 {
        return Err(Failure::parameter("code", "at most 4 bytes"));
    }
    Ok(Joined { hall: hall.0, guest: guest.0, code })
}

async fn greet(_: &Hall, _: &Guest, _: NoParameters) -> crate::Result<Reply> {
    Ok(Reply::new(7).info("hello").event("greeted"))
}

async fn dance(_: &Hall, _: &Guest, _: NoParameters) -> crate::Result {
    Err(Failure::new(409, "there is no music"))
}

async fn break_something(_: &Hall, _: &Guest, _: NoParameters) -> crate::Result {
    "the password is secret".parse::<u8>()?;
    Ok(())
}

/// An application's own error.
enum Full {
    Seats(u32),
}

impl From<Full> for Failure {
    fn from(Full::Seats(n): Full) -> Self {
        Failure::new(503, format!("all {n} seats are taken"))
    }
}

async fn sit(_: &Hall, _: &Guest, _: NoParameters) -> Result<(), Full> {
    Err(Full::Seats(3))
}

async fn stumble(_: &Hall, _: &Guest, _: NoParameters) -> crate::Result {
    panic!("as asked");
}

fn router() -> Router<Hall, Guest> {
    Router::new()
        .on("live.user.join", join)
        .on("live.user.sit", sit)
        .on("index.index.index", greet)
        .on("live.user.dance", dance)
        .on("live.user.break", break_something)
        .on("live.user.stumble", stumble)
}

async fn asked(router: &Router<Hall, Guest>, request: &str) -> Value {
    let answer = router.ask(&Hall("hall"), &Guest("Ann"), request.as_bytes()).await;
    let sent = router.encode(&answer);
    let Body::Plain(bytes) = &sent.payload().body else { panic!("{sent:?}") };
    serde_json::from_slice(bytes).unwrap()
}

#[tokio::test]
async fn a_request_goes_to_its_handler_with_state_client_and_parameters() {
    let answer = asked(&router(), r#"{"method":"live.user.join","code":"a"}"#).await;
    let param = json!({"hall": "hall", "guest": "Ann", "code": "a"});
    assert_eq!(answer, json!({"status": 200, "info": "success", "param": param, "event": "live.user.join"}));
}

#[tokio::test]
async fn an_answer_repeats_the_id_of_its_request_where_the_router_has_a_key_for_it() {
    let with_ids = router().id_key("id");
    for id in [json!(7), json!("seven")] {
        let request = json!({"method": "index.index.index", "id": id}).to_string();
        assert_eq!(asked(&with_ids, &request).await["id"], id);
        assert_eq!(asked(&router(), &request).await.get("id"), None, "a parameter as any other");
    }
    let wrong = asked(&with_ids, r#"{"method":"none","id":7}"#).await;
    assert_eq!((&wrong["status"], &wrong["id"]), (&json!(404), &json!(7)), "errors too");
    for request in
        [r#"{"method":"index.index.index"}"#, r#"{"method":"index.index.index","id":{}}"#, "rubbish"]
    {
        assert_eq!(asked(&with_ids, request).await.get("id"), None, "{request}");
    }
}

#[tokio::test]
async fn a_reply_may_have_words_and_an_event_of_its_own() {
    let answer = asked(&router(), r#"{"method":"index.index.index"}"#).await;
    assert_eq!(answer, json!({"status": 200, "info": "hello", "param": 7, "event": "greeted"}));
}

#[tokio::test]
async fn the_case_of_a_method_does_not_count() {
    let answer = asked(&router(), r#"{"method":"Live.User.join","code":"a"}"#).await;
    assert_eq!(answer["status"], 200);
    assert_eq!(answer["event"], "Live.User.join", "as the client wrote it");
}

#[tokio::test]
async fn whatever_is_wrong_is_answered() {
    for (request, status, info, event) in [
        ("hello", 400, "a request is a JSON object", "error"),
        ("[1]", 400, "a request is a JSON object", "error"),
        ("{", 400, "a request is a JSON object", "error"),
        ("{}", 400, "a request names its method", "error"),
        (r#"{"method":7}"#, 400, "a request names its method", "error"),
        (r#"{"method":""}"#, 400, "a request names its method", "error"),
        (r#"{"method":"live"}"#, 404, "there is no such method", "live"),
        (r#"{"method":"live.user.join"}"#, 400, "parameter code: is missing", "live.user.join"),
        (
            r#"{"method":"live.user.join","code":7}"#,
            400,
            "parameter code: invalid type: integer `7`, expected a string",
            "live.user.join",
        ),
        (
            r#"{"method":"live.user.join","code":"abcde"}"#,
            400,
            "parameter code: at most 4 bytes",
            "live.user.join",
        ),
        (r#"{"method":"live.user.dance"}"#, 409, "there is no music", "live.user.dance"),
        (r#"{"method":"live.user.sit"}"#, 503, "all 3 seats are taken", "live.user.sit"),
        (r#"{"method":"live.user.break"}"#, 500, "something went wrong", "live.user.break"),
        (r#"{"method":"live.user.stumble"}"#, 500, "something went wrong", "live.user.stumble"),
    ] {
        let answer = asked(&router(), request).await;
        assert_eq!((&answer["status"], &answer["info"]), (&json!(status), &json!(info)), "{request}");
        assert_eq!(answer["event"], event, "{request}");
    }
}

#[tokio::test]
async fn the_key_and_the_form_of_answers_are_the_applications() {
    let router = router().method_key("cmd").answers(|answer| {
        let seq = answer.request.get("seq").cloned().unwrap_or_default();
        let text = match &answer.outcome {
            Ok(_) => "fine".into(),
            Err(Fault::Parameter { field, problem: Problem::Missing }) => format!("no {field}"),
            Err(fault) => fault.status().to_string(),
        };
        json!([seq, text]).into()
    });
    assert_eq!(asked(&router, r#"{"cmd":"live.user.join","seq":3,"code":"a"}"#).await, json!([3, "fine"]));
    assert_eq!(asked(&router, r#"{"cmd":"live.user.join","seq":4}"#).await, json!([4, "no code"]));
    assert_eq!(asked(&router, r#"{"method":"live.user.join"}"#).await, json!([null, "400"]));
}

#[tokio::test]
async fn a_guard_is_asked_first_whatever_the_request() {
    async fn guard(_: &Hall, guest: &Guest, method: String) -> crate::Result {
        match method.as_str() {
            "live.user.dance" => Err(Failure::new(403, format!("{} may not", guest.0))),
            "" => Err(Failure::new(400, "what?")),
            _ => Ok(()),
        }
    }
    let router = router().before(guard);
    assert_eq!(asked(&router, r#"{"method":"live.user.join","code":"a"}"#).await["status"], 200);
    assert_eq!(asked(&router, r#"{"method":"live.user.dance"}"#).await["info"], "Ann may not");
    assert_eq!(asked(&router, "hello").await["info"], "what?");
}

#[tokio::test]
async fn a_handler_may_be_a_closure() {
    let router = Router::<Hall, Guest>::new()
        .on("add", async |_: &Hall, _: &Guest, [a, b]: [i32; 2]| crate::Result::Ok(a + b));
    assert_eq!(asked(&router, r#"{"method":"add"}"#).await["status"], 400, "an object is no list");
}

#[test]
#[should_panic(expected = "the method Index.Index.index has two handlers")]
fn a_method_has_one_handler() {
    let _ = router().on("Index.Index.index", greet);
}
