//! The form of all messages to clients: `{"status":…, "info":…, "param":…, "event":…}`, for answers and notices.

use gatewayworker::OutMessage;
use gatewayworker::router::{Answer, Fault, Problem};
use serde::Serialize;
use serde_json::{Value, json};

use crate::auth::TicketError;

/// A notice of an event in the room.
pub(crate) fn notice(event: &str, info: &str, param: impl Serialize) -> OutMessage {
    message(200, info, json!(param), event)
}

/// The last message to a client whose ticket is refused.
pub(crate) fn refused(refused: TicketError) -> OutMessage {
    message(403, &refused.to_string(), json!({ "reason": refused.reason() }), "auth")
}

/// The answer to a request.
pub(crate) fn answer(answer: &Answer) -> OutMessage {
    let (info, param) = match &answer.outcome {
        Ok(value) => (answer.info.as_deref().unwrap_or("成功").to_owned(), value.clone()),
        Err(fault) => (explain(fault), detail(fault)),
    };
    message(answer.status(), &info, param, answer.event())
}

fn message(status: u16, info: &str, param: Value, event: &str) -> OutMessage {
    json!({ "status": status, "info": info, "param": param, "event": event }).into()
}

fn explain(fault: &Fault) -> String {
    match fault {
        Fault::NotJson => "请求必须是一个 JSON 对象".into(),
        Fault::NoMethod => "请求缺少 method".into(),
        Fault::UnknownMethod => "没有这个方法".into(),
        Fault::Parameter { field, problem: Problem::Missing } => format!("缺少参数 {field}"),
        Fault::Parameter { field, problem: Problem::Unknown } => format!("没有参数 {field}"),
        Fault::Parameter { field, problem } => format!("参数 {field} 有误：{problem}"),
        Fault::Internal(_) => "服务器内部错误".into(),
        fault => fault.to_string(),
    }
}

/// The name of an invalid parameter.
fn detail(fault: &Fault) -> Value {
    match fault {
        Fault::Parameter { field, .. } => json!({ "field": field }),
        _ => Value::Null,
    }
}
