//! Reading the values of a call's params from a JSON object.
//!
//! Each file of `tell` and `ask` reads the params that its call declares. Every error names
//! the param that it is about.

use std::collections::BTreeMap;

use data_encoding::BASE64;
use gatewayworker_protocol::{ClientId, GroupId, IdError, Uid, php};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};

use super::{CallError, Kind, Param};
use crate::{Column, OutMessage, SessionData, Where};

/// The given params of a call. Each is read once.
///
/// They are kept as JSON text, because a message that is no string is sent as its text, byte
/// for byte.
#[derive(Clone)]
pub(super) struct Params(BTreeMap<String, Box<RawValue>>);

type Read<T> = Result<T, CallError>;

impl Params {
    /// Accepts an object that has all required params and no unknown one.
    pub(super) fn of(params: &[Param], given: &impl Serialize) -> Read<Self> {
        let not_json = |error| CallError::BadParams(format!("params have no JSON form: {error}"));
        let given = to_raw_value(given).map_err(not_json)?;
        let mut given: BTreeMap<String, Box<RawValue>> = match kind_of(&given) {
            "an object" => serde_json::from_str(given.get()).map_err(not_json)?,
            NULL => BTreeMap::new(),
            other => return Err(CallError::BadParams(format!("params are a JSON object, not {other}"))),
        };
        // Null counts as not given, except for a required message, which may be null itself.
        let may_be_null =
            |name: &str| params.iter().any(|p| p.name == name && p.required && p.kind == Kind::Message);
        given.retain(|name, value| kind_of(value) != NULL || may_be_null(name));
        if let Some(unknown) = given.keys().find(|name| params.iter().all(|param| param.name != **name)) {
            let known: Vec<_> = params.iter().map(|param| param.name).collect();
            let unknown: String = unknown.chars().take(64).collect();
            let takes = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            return Err(CallError::bad_param(&unknown, format_args!("there is none of that name ({takes})")));
        }
        let missing = |param: &&Param| param.required && !given.contains_key(param.name);
        match params.iter().filter(|param| param.kind != Kind::Message).find(missing) {
            Some(param) => Err(CallError::bad_param(param.name, "is missing")),
            None => Ok(Self(given)),
        }
    }

    /// Reads each of the params, as a call does that has declared them.
    pub(super) fn check(mut self, declared: &[Param]) -> Read<()> {
        for Param { name, kind, required, .. } in declared {
            let is_given = self.0.contains_key(*name);
            match kind {
                // With `message_base64` and `raw`.
                Kind::Message if *required => self.message().map(drop)?,
                Kind::Message => self.optional_message().map(drop)?,
                _ if !is_given => {}
                Kind::Base64 => {}
                Kind::Flag => self.flag(name).map(drop)?,
                Kind::ClientId => self.client_id(name).map(drop)?,
                Kind::ClientIds => self.client_ids(name).map(drop)?,
                Kind::Uid => self.uid(name).map(drop)?,
                Kind::Uids => self.uids(name).map(drop)?,
                Kind::Group => self.group(name).map(drop)?,
                Kind::Groups => self.groups(name).map(drop)?,
                Kind::Session => self.session(name).map(drop)?,
                Kind::Fields => self.fields(name).map(drop)?,
                Kind::Position => self.position(name).map(drop)?,
                Kind::Limit => self.limit(name).map(drop)?,
                Kind::Where => self.conditions(name).map(drop)?,
            }
        }
        Ok(())
    }

    pub(super) fn message(&mut self) -> Read<OutMessage> {
        self.optional_message()?.ok_or_else(|| CallError::bad_param("message", "is missing"))
    }

    /// Reads a message from `message` or `message_base64`, and `raw`.
    pub(super) fn optional_message(&mut self) -> Read<Option<OutMessage>> {
        let mut message: OutMessage = match (self.0.remove("message"), self.take("message_base64")?) {
            (None, None) => return Ok(None),
            (Some(json), None) if kind_of(&json) == STRING => read::<String>("message", &json)?.into(),
            (Some(json), None) => (&*json).into(),
            (None, Some(Value::String(base64))) => match BASE64.decode(base64.as_bytes()) {
                Ok(bytes) => OutMessage::from(bytes).binary(),
                Err(error) => return Err(CallError::bad_param("message_base64", error)),
            },
            (None, Some(other)) => return Err(wrong("message_base64", "base64 in a string", &other)),
            (Some(_), Some(_)) => {
                return Err(CallError::bad_param("message_base64", "there is a message already"));
            }
        };
        message.payload_mut().raw = self.flag("raw")?;
        Ok(Some(message))
    }

    pub(super) fn flag(&mut self, name: &str) -> Read<bool> {
        match self.take(name)? {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(flag),
            Some(other) => Err(wrong(name, "true or false", &other)),
        }
    }

    pub(super) fn client_id(&mut self, name: &str) -> Read<ClientId> {
        client_id(name, &self.required(name)?)
    }

    /// Reads client ids. `None` means not given, which is not the same as an empty list.
    pub(super) fn client_ids(&mut self, name: &str) -> Read<Option<Vec<ClientId>>> {
        self.take(name)?.map(|given| each(given, |one| client_id(name, one))).transpose()
    }

    pub(super) fn uid(&mut self, name: &str) -> Read<Uid> {
        id(name, &self.required(name)?, Uid::new)
    }

    pub(super) fn uids(&mut self, name: &str) -> Read<Vec<Uid>> {
        each(self.required(name)?, |one| id(name, one, Uid::new))
    }

    pub(super) fn group(&mut self, name: &str) -> Read<GroupId> {
        id(name, &self.required(name)?, GroupId::new)
    }

    pub(super) fn groups(&mut self, name: &str) -> Read<Vec<GroupId>> {
        each(self.required(name)?, |one| id(name, one, GroupId::new))
    }

    pub(super) fn session(&mut self, name: &str) -> Read<SessionData> {
        let given = self.required(name)?;
        if !given.is_object() {
            return Err(wrong(name, "an object", &given));
        }
        match php::Value::from_json(given) {
            php::Value::Array(array) => Ok(array.into()),
            other => Err(CallError::bad_param(name, format_args!("a session is an array, not {other:?}"))),
        }
    }

    /// Reads columns: uid, groups and session if not given, as in the original.
    pub(super) fn fields(&mut self, name: &str) -> Read<Vec<Column>> {
        let Some(given) = self.take(name)? else {
            return Ok(vec![Column::Session, Column::Uid, Column::Groups]);
        };
        let fields = each(given, |one| match one.as_str() {
            Some("uid") => Ok(Column::Uid),
            Some("groups") => Ok(Column::Groups),
            Some("session") => Ok(Column::Session),
            Some("detached_since") => Ok(Column::DetachedSince),
            _ => {
                let why = format_args!("uid, groups, session or detached_since, not {}", short(one));
                Err(CallError::bad_param(name, why))
            }
        })?;
        if fields.is_empty() { Err(CallError::bad_param(name, "is empty")) } else { Ok(fields) }
    }

    /// Reads conditions: none if not given.
    pub(super) fn conditions(&mut self, name: &str) -> Read<Where> {
        let mut clients = Where::default();
        let Some(given) = self.take(name)? else { return Ok(clients) };
        let Value::Object(given) = given else { return Err(wrong(name, "an object", &given)) };
        for (condition, ids) in given {
            clients = match condition.as_str() {
                "groups" => clients.with_groups(each(ids, |one| id(name, one, GroupId::new))?),
                "uids" => clients.with_uids(each(ids, |one| id(name, one, Uid::new))?),
                "client_ids" => clients.with_client_ids(each(ids, |one| client_id(name, one))?),
                other => {
                    let other = short(&other.into());
                    let why = format_args!("conditions are groups, uids and client_ids, not {other}");
                    return Err(CallError::bad_param(name, why));
                }
            }
        }
        Ok(clients)
    }

    /// Reads a position. Whoever keeps messages says whether it is one.
    pub(super) fn position(&mut self, name: &str) -> Read<String> {
        match self.required(name)? {
            Value::String(text) => {
                let is_one = text.split_once('-').is_some_and(|(offset, epoch)| {
                    offset.parse::<u64>().is_ok() && u64::from_str_radix(epoch, 16).is_ok()
                });
                if is_one { Ok(text) } else { Err(CallError::bad_param(name, "is not OFFSET-EPOCH")) }
            }
            other => Err(wrong(name, "a position in a string", &other)),
        }
    }

    /// Reads how many: 100 if not given.
    pub(super) fn limit(&mut self, name: &str) -> Read<usize> {
        let limit = match self.take(name)? {
            None => Some(100),
            Some(Value::String(text)) => text.parse().ok(),
            Some(other) => other.as_u64(),
        };
        let limit = limit.and_then(|limit| usize::try_from(limit).ok());
        let good = limit.filter(|limit| (1..=1000).contains(limit));
        good.ok_or_else(|| CallError::bad_param(name, "a whole number from 1 to 1000"))
    }

    /// Takes a required param, which `of` has found.
    fn required(&mut self, name: &str) -> Read<Value> {
        self.take(name).map(Option::unwrap_or_default)
    }

    /// Takes a param, if it was given.
    fn take(&mut self, name: &str) -> Read<Option<Value>> {
        let given = self.0.remove(name);
        given.map(|json| read(name, &json)).transpose()
    }
}

/// Parses the JSON text of a param.
fn read<T: DeserializeOwned>(name: &str, json: &RawValue) -> Read<T> {
    serde_json::from_str(json.get()).map_err(|error| CallError::bad_param(name, error))
}

/// Reads a list of values, or one value as a list.
fn each<T>(given: Value, read: impl Fn(&Value) -> Read<T>) -> Read<Vec<T>> {
    match given {
        Value::Array(list) => list.iter().map(read).collect(),
        one => Ok(vec![read(&one)?]),
    }
}

fn client_id(name: &str, given: &Value) -> Read<ClientId> {
    let text = given.as_str().ok_or_else(|| wrong(name, "a client id in a string", given))?;
    text.parse().map_err(|error| CallError::bad_param(name, error))
}

/// Reads a string, or the decimal form of a whole number, as in the lists of the wire.
fn id<T>(name: &str, given: &Value, make: impl Fn(String) -> Result<T, IdError>) -> Read<T> {
    let text = match given {
        Value::String(text) => text.clone(),
        Value::Number(number) if !number.is_f64() => number.to_string(),
        other => return Err(wrong(name, "a string or a whole number", other)),
    };
    make(text).map_err(|error| CallError::bad_param(name, error))
}

fn wrong(name: &str, expected: &str, given: &Value) -> CallError {
    let kind = to_raw_value(given).map_or(NULL, |given| kind_of(&given));
    CallError::bad_param(name, format_args!("{expected}, not {kind}"))
}

const NULL: &str = "null";
const STRING: &str = "a string";

/// Returns the kind of a JSON text, for an error that says what was given instead.
fn kind_of(json: &RawValue) -> &'static str {
    match json.get().as_bytes().first() {
        Some(b'n') => NULL,
        Some(b't' | b'f') => "true or false",
        Some(b'"') => STRING,
        Some(b'[') => "a list",
        Some(b'{') => "an object",
        _ => "a number",
    }
}

fn short(value: &Value) -> String {
    value.to_string().chars().take(64).collect()
}
