//! The fields of a request, parsed with checks: a client's message, or the body that a page posts. A field may be missing,
//! of another type or too long; then the result is a [`UserError`], which is sent to the user.

use gatewayworker::history::Position;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

use crate::settings::Rooms;

/// The longest user name, in characters.
const MAX_NAME: usize = 32;

/// The longest comment, in characters.
const MAX_CONTENT: usize = 500;

/// The longest user id, in characters.
const MAX_USER_ID: usize = 64;

/// An error as a user receives it: an invalid request, or a failure of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct UserError {
    /// The code, for programs. A page has a text for it in its user's language.
    pub(crate) code: &'static str,
    /// The text, in Chinese.
    pub(crate) text: &'static str,
}

impl UserError {
    pub(crate) const fn new(code: &'static str, text: &'static str) -> Self {
        Self { code, text }
    }
}

pub(crate) const TOO_OFTEN: UserError = UserError::new("too_often", "发送过于频繁，请稍后再试");
pub(crate) const NOT_IN_ROOM: UserError = UserError::new("not_in_room", "请先进入直播间");
pub(crate) const TOO_MANY_ROOMS: UserError = UserError::new("too_many_rooms", "进入的直播间过多");
pub(crate) const NO_CONTENT: UserError = UserError::new("empty_content", "评论内容不能为空");
pub(crate) const NOT_COUNTED: UserError = UserError::new("not_counted", "浏览量暂时无法统计");
pub(crate) const PARTLY_UNREACHED: UserError = UserError::new("partly_unreached", "部分观众可能没有收到");

/// A known room, with its id as the client wrote it. PHP clients write a number and others write text; the answer has the
/// same type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Room {
    pub(crate) id: String,
    number: Option<u64>,
}

impl Serialize for Room {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.number {
            Some(number) => serializer.serialize_u64(number),
            None => serializer.serialize_str(&self.id),
        }
    }
}

/// The JSON object of a request.
#[derive(Debug)]
pub(crate) struct Fields(Map<String, Value>);

impl From<Map<String, Value>> for Fields {
    fn from(fields: Map<String, Value>) -> Self {
        Self(fields)
    }
}

impl Fields {
    /// Parses a JSON object.
    pub(crate) fn read(json: &[u8]) -> Result<Self, UserError> {
        serde_json::from_slice(json).map(Self).map_err(|_| UserError::new("bad_message", "消息格式错误"))
    }

    /// The type of a message; empty if it has none.
    pub(crate) fn kind(&self) -> &str {
        self.text("type").unwrap_or_default()
    }

    /// The room, which must exist.
    pub(crate) fn room(&self, rooms: &Rooms) -> Result<Room, UserError> {
        let (id, number) = match self.get("roomId") {
            None => return Err(UserError::new("no_room", "缺少直播间编号")),
            Some(Value::String(id)) => (id.clone(), None),
            Some(Value::Number(number)) if number.is_u64() => (number.to_string(), number.as_u64()),
            Some(_) => return Err(UserError::new("bad_room", "直播间编号格式错误")),
        };
        if rooms.contains(&id) {
            Ok(Room { id, number })
        } else {
            Err(UserError::new("unknown_room", "直播间不存在"))
        }
    }

    /// The user's name.
    pub(crate) fn name(&self) -> Result<String, UserError> {
        self.optional_name()?.ok_or(UserError::new("empty_name", "用户名不能为空"))
    }

    /// The user's name, if given: one line, at most 32 characters.
    pub(crate) fn optional_name(&self) -> Result<Option<String>, UserError> {
        let name = match self.get("userName") {
            None => return Ok(None),
            Some(Value::String(name)) => name.trim(),
            Some(_) => return Err(UserError::new("bad_name", "用户名格式错误")),
        };
        match name {
            "" => Err(UserError::new("empty_name", "用户名不能为空")),
            _ if name.chars().count() > MAX_NAME => Err(UserError::new("long_name", "用户名过长")),
            _ if name.chars().any(char::is_control) => Err(UserError::new("bad_name", "用户名格式错误")),
            _ => Ok(Some(name.to_owned())),
        }
    }

    /// The comment, if given: not blank, at most 500 characters.
    pub(crate) fn content(&self) -> Result<Option<String>, UserError> {
        match self.get("content") {
            None => Ok(None),
            Some(Value::String(content)) if content.trim().is_empty() => Err(NO_CONTENT),
            Some(Value::String(content)) if content.chars().count() > MAX_CONTENT => {
                Err(UserError::new("long_content", "评论内容过长"))
            }
            Some(Value::String(content)) => Ok(Some(content.clone())),
            Some(_) => Err(UserError::new("bad_content", "评论格式错误")),
        }
    }

    /// The user id in this field, if given.
    pub(crate) fn user_id(&self, field: &str) -> Result<Option<String>, UserError> {
        match self.get(field) {
            None => Ok(None),
            Some(Value::Number(id)) => Ok(Some(id.to_string())),
            Some(Value::String(id)) if (1..=MAX_USER_ID).contains(&id.chars().count()) && id != "0" => {
                Ok(Some(id.clone()))
            }
            Some(_) => Err(UserError::new("bad_user_id", "用户编号格式错误")),
        }
    }

    /// The text in this field.
    pub(crate) fn text(&self, field: &str) -> Option<&str> {
        self.get(field)?.as_str()
    }

    /// Whether a page joins again after it has lost its connection: it is neither counted nor announced again.
    pub(crate) fn again(&self) -> bool {
        self.get("again") == Some(&Value::Bool(true))
    }

    /// The position of the last comment that a page has shown, if it has shown any.
    pub(crate) fn position(&self) -> Option<Position> {
        self.text("position")?.parse().ok()
    }

    /// The value of a field. Null counts as missing, as with PHP's `isset`.
    fn get(&self, field: &str) -> Option<&Value> {
        self.0.get(field).filter(|value| !value.is_null())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fields(json: Value) -> Fields {
        Fields::read(json.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn a_message_is_a_json_object() {
        for text in ["", "{", "[1]", "7", "null", "\"say\""] {
            assert_eq!(
                Fields::read(text.as_bytes()).unwrap_err(),
                UserError::new("bad_message", "消息格式错误"),
                "{text}"
            );
        }
        assert_eq!(fields(json!({"type": "say"})).kind(), "say");
        assert_eq!(fields(json!({"type": 7})).kind(), "");
    }

    #[test]
    fn a_room_may_be_a_number_or_text_and_keeps_its_type() {
        let rooms = Rooms::default();
        for id in [json!(1), json!("1")] {
            let room = fields(json!({"roomId": id})).room(&rooms).unwrap();
            assert_eq!((room.id.as_str(), json!(room)), ("1", id));
        }
        for (id, error) in [
            (json!(null), "缺少直播间编号"),
            (json!([1]), "直播间编号格式错误"),
            (json!(-1), "直播间编号格式错误"),
            (json!(1.5), "直播间编号格式错误"),
            (json!("9"), "直播间不存在"),
            (json!(""), "直播间不存在"),
        ] {
            assert_eq!(fields(json!({"roomId": id})).room(&rooms).map_err(|it| it.text), Err(error), "{id}");
        }
    }

    #[test]
    fn a_name_is_a_line_of_text() {
        assert_eq!(fields(json!({"userName": " 小明 "})).name().unwrap(), "小明");
        assert!(fields(json!({"userName": "名".repeat(MAX_NAME)})).name().is_ok());
        for (name, error) in [
            (json!(null), "用户名不能为空"),
            (json!(" "), "用户名不能为空"),
            (json!("a\nb"), "用户名格式错误"),
            (json!(7), "用户名格式错误"),
            (json!("名".repeat(MAX_NAME + 1)), "用户名过长"),
        ] {
            assert_eq!(fields(json!({"userName": name})).name().map_err(|it| it.text), Err(error), "{name}");
        }
    }

    #[test]
    fn a_comment_may_be_missing_but_not_blank() {
        assert_eq!(fields(json!({})).content(), Ok(None));
        assert_eq!(fields(json!({"content": null})).content(), Ok(None));
        assert_eq!(fields(json!({"content": "0"})).content(), Ok(Some("0".into())));
        for (content, error) in [
            (json!("\n "), "评论内容不能为空"),
            (json!({"a": 1}), "评论格式错误"),
            (json!("字".repeat(MAX_CONTENT + 1)), "评论内容过长"),
        ] {
            assert_eq!(fields(json!({"content": content})).content().map_err(|it| it.text), Err(error));
        }
    }

    #[test]
    fn a_user_id_may_be_missing_a_number_or_text() {
        assert_eq!(fields(json!({})).user_id("userId"), Ok(None));
        assert_eq!(fields(json!({"userId": 7})).user_id("userId"), Ok(Some("7".into())));
        assert_eq!(fields(json!({"to": "u1"})).user_id("to"), Ok(Some("u1".into())));
        for id in [json!(""), json!("0"), json!([]), json!("x".repeat(MAX_USER_ID + 1))] {
            assert!(fields(json!({"userId": id})).user_id("userId").is_err(), "{id}");
        }
    }
}
