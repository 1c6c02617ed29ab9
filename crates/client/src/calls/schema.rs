//! The JSON Schema of params and answers (2020-12, which is that of OpenAPI 3.1).

use serde_json::{Map, Value, json};

use super::{Answer, Call, Kind};

impl Call {
    /// Returns the schema of the object of its params.
    pub fn params_schema(&self) -> Value {
        let property = |param: &super::Param| {
            let mut schema = param.kind.schema();
            schema["description"] = param.help.into();
            (param.name.to_owned(), schema)
        };
        let properties: Map<_, _> = self.params.iter().map(property).collect();
        let is_message = |param: &&super::Param| param.kind == Kind::Message;
        let required = self.params.iter().filter(|param| param.required && !is_message(param));
        let required: Vec<_> = required.map(|param| param.name).collect();
        let mut schema = json!({
            "type": "object",
            "properties": properties,
            "required": required,
            "additionalProperties": false,
        });
        if self.params.iter().any(|param| param.required && is_message(&param)) {
            schema["oneOf"] = json!([{"required": ["message"]}, {"required": ["message_base64"]}]);
        }
        schema
    }
}

impl Kind {
    /// Returns the schema of a param of this kind.
    pub fn schema(self) -> Value {
        match self {
            Self::Message => json!({}),
            Self::Base64 => json!({"type": "string", "contentEncoding": "base64"}),
            Self::Flag => json!({"type": "boolean"}),
            Self::ClientId => client_id(),
            Self::ClientIds => one_or_list(client_id()),
            Self::Uid | Self::Group => name(),
            Self::Uids | Self::Groups => one_or_list(name()),
            Self::Session => json!({"type": "object"}),
            Self::Fields => one_or_list(json!({"enum": ["uid", "groups", "session", "detached_since"]})),
            Self::Position => position(),
            Self::Limit => json!({
                "type": ["integer", "string"],
                "minimum": 1,
                "maximum": 1000,
                "pattern": "^[0-9]+$",
                "default": 100,
            }),
            Self::Where => json!({
                "type": "object",
                "properties": {
                    "groups": one_or_list(name()),
                    "uids": one_or_list(name()),
                    "client_ids": one_or_list(client_id()),
                },
                "additionalProperties": false,
            }),
        }
    }

    /// Whether the value may be a list.
    pub fn is_list(self) -> bool {
        matches!(self, Self::ClientIds | Self::Uids | Self::Groups | Self::Fields)
    }
}

impl Answer {
    /// Returns the schema of an answer of this kind.
    pub fn schema(self) -> Value {
        let text = || json!({"type": "string"});
        let count = || json!({"type": "integer", "minimum": 0});
        let session = || json!({"type": ["object", "null"]});
        match self {
            Self::Delivery => json!({
                "type": "object",
                "properties": {
                    "unreached": unreached_schema(),
                    "unreached_clusters": unreached_clusters_schema(),
                },
                "required": ["unreached"],
            }),
            Self::Flag => json!({"type": "boolean"}),
            Self::Count => count(),
            Self::ClientId => client_id(),
            Self::ClientIds => list_of(client_id()),
            Self::Uid => json!({"type": ["string", "null"]}),
            Self::Uids | Self::Groups => list_of(text()),
            Self::Session => session(),
            Self::FlagByUid => map_of(json!({"type": "boolean"})),
            Self::ClientIdsByUid | Self::ClientIdsByGroup => map_of(list_of(client_id())),
            Self::CountByGroup => map_of(count()),
            Self::UidsByGroup => map_of(list_of(text())),
            Self::Sessions => map_of(session()),
            Self::Rows => map_of(json!({
                "type": "object",
                "properties": {
                    "uid": {"type": ["string", "null"]},
                    "groups": list_of(text()),
                    "session": session(),
                },
            })),
            Self::Published => json!({
                "type": "object",
                "properties": {
                    "position": position(),
                    "time_ms": count(),
                    "unreached": unreached_schema(),
                    "unreached_clusters": unreached_clusters_schema(),
                },
                "required": ["position", "time_ms", "unreached"],
            }),
            Self::History => json!({
                "type": "object",
                "properties": {
                    "messages": list_of(json!({
                        "type": "object",
                        "properties": {
                            "position": position(),
                            "time_ms": count(),
                            "message": text(),
                            "message_base64": {"type": "string", "contentEncoding": "base64"},
                        },
                        "required": ["position", "time_ms"],
                        "oneOf": [{"required": ["message"]}, {"required": ["message_base64"]}],
                    })),
                    "whole": {"type": "boolean"},
                    "more": {"type": "boolean"},
                    "position": position(),
                },
                "required": ["messages", "whole", "more", "position"],
            }),
            Self::Presence => json!({
                "type": "object",
                "properties": {
                    "members": list_of(json!({
                        "type": "object",
                        "properties": {"uid": text(), "data": {"type": "object"}},
                        "required": ["uid", "data"],
                    })),
                    "total": count(),
                },
                "required": ["members", "total"],
            }),
        }
    }

    /// Returns what the answer is, as a sentence without its full stop.
    pub fn description(self) -> &'static str {
        match self {
            Self::Delivery => "The gateways that may hold a receiver and were not reached",
            Self::Flag => "True or false",
            Self::Count => "The number",
            Self::ClientId => "The client id",
            Self::ClientIds => "The client ids",
            Self::Uid => "The uid, or null",
            Self::Uids => "The uids",
            Self::Groups => "The groups",
            Self::Session => "The session, or null",
            Self::FlagByUid => "True or false for each uid",
            Self::ClientIdsByUid => "The client ids for each uid",
            Self::CountByGroup => "The number for each group",
            Self::ClientIdsByGroup => "The client ids for each group",
            Self::UidsByGroup => "The uids for each group",
            Self::Sessions => "The session for each client id, null where it cannot be read",
            Self::Rows => "The fields that were asked for, for each client id",
            Self::Published => "Where the message was kept, and the gateways that were not reached",
            Self::History => {
                "The messages, whether they are all, whether there are more, and from where to go on"
            }
            Self::Presence => "The uids with their data, 10,000 at most, and how many there are",
        }
    }
}

/// Returns the schema of `unreached` in a delivery, which is also that of `missing` in an error.
pub fn unreached_schema() -> Value {
    list_of(json!({
        "type": "object",
        "properties": {"gateway": {"type": "string"}, "reason": reason()},
        "required": ["gateway", "reason"],
    }))
}

/// Returns the schema of `unreached_clusters` in a delivery, which is also that of `missing_clusters` in an error. Neither is there
/// without a federation.
pub fn unreached_clusters_schema() -> Value {
    list_of(json!({
        "type": "object",
        "properties": {"cluster": {"type": "string"}, "reason": reason()},
        "required": ["cluster", "reason"],
    }))
}

fn reason() -> Value {
    json!({"enum": ["not_known", "not_connected", "overloaded", "timed_out", "lost", "bad_answer"]})
}

fn client_id() -> Value {
    json!({"type": "string", "pattern": "^[0-9a-fA-F]{20}$"})
}

fn position() -> Value {
    json!({"type": "string", "pattern": "^[0-9]+-[0-9a-f]+$", "examples": ["17-5f3a9c0d11223344"]})
}

/// A uid or a group, as it is given.
fn name() -> Value {
    json!({"type": ["string", "integer"]})
}

fn one_or_list(one: Value) -> Value {
    json!({"anyOf": [one, list_of(one.clone())]})
}

fn list_of(one: Value) -> Value {
    json!({"type": "array", "items": one})
}

fn map_of(one: Value) -> Value {
    json!({"type": "object", "additionalProperties": one})
}
