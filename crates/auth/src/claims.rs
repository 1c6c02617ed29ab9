//! What the claims of a token say about a client: [`Identity`].
//!
//! The signature was checked before (`verifier`). A claim of the wrong shape, or beyond a limit of the gateway, is a
//! [`Refusal`]: a client is admitted as its token says, or not at all.

use bytes::Bytes;
use gatewayworker_protocol::php::{self, Value};
use serde_json::{Map, Value as Json};

use crate::refusal::Refusal;

/// Who a client is, as its token says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Identity {
    /// The uid that the client is bound to: `sub`.
    pub uid: Option<Bytes>,
    /// The groups that it joins, each once: `groups`.
    pub groups: Vec<Bytes>,
    /// Its session, a serialized PHP array: `session`, and `client_calls` under its own name. Empty where the token has
    /// neither.
    pub session: Bytes,
    /// When the token expires, in seconds since 1970; `None` for never.
    pub expires_at: Option<u64>,
}

/// How much a token may ask for.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The most groups.
    pub max_groups: usize,
    /// The longest name of a group or uid, in bytes.
    pub max_name_bytes: usize,
    /// The longest session, in bytes, serialized.
    pub max_session_bytes: usize,
}

/// The claims of a token: a JSON object.
pub(crate) type Claims = Map<String, Json>;

/// Reads the identity out of claims whose time, audience and issuer are right.
pub(crate) fn identity(mut claims: Claims, limits: &Limits) -> Result<Identity, Refusal> {
    let expires_at = time(&claims, "exp")?;
    let uid = uid(claims.remove("sub"), limits)?;
    let groups = groups(claims.remove("groups"), limits)?;
    let session = session(claims.remove("session"), claims.remove("client_calls"), limits)?;
    Ok(Identity { uid, groups, session, expires_at })
}

/// Returns the time of a claim, in seconds since 1970; `None` where the token does not have it.
pub(crate) fn time(claims: &Claims, name: &'static str) -> Result<Option<u64>, Refusal> {
    let Some(claim) = claims.get(name) else { return Ok(None) };
    let whole =
        claim.as_u64().or_else(|| claim.as_f64().filter(|s| (0.0..1e15).contains(s)).map(|s| s as u64));
    match (whole, name) {
        (Some(seconds), _) => Ok(Some(seconds)),
        (None, "nbf") => Err(Refusal::Claims("nbf: give the time in seconds since 1970, a number")),
        (None, _) => Err(Refusal::Claims("exp: give the time in seconds since 1970, a number")),
    }
}

fn uid(sub: Option<Json>, limits: &Limits) -> Result<Option<Bytes>, Refusal> {
    let uid = match sub {
        None | Some(Json::Null) => return Ok(None),
        Some(Json::String(uid)) => uid,
        // Applications count their users.
        Some(Json::Number(number)) if number.is_i64() || number.is_u64() => number.to_string(),
        Some(_) => return Err(Refusal::Claims("sub: give the uid, text or a whole number")),
    };
    check_name(
        &uid,
        limits,
        "sub: the uid is empty, or \"0\"",
        "sub: the uid is longer than max_name_bytes",
    )?;
    Ok(Some(uid.into()))
}

fn groups(claim: Option<Json>, limits: &Limits) -> Result<Vec<Bytes>, Refusal> {
    let names = match claim {
        None | Some(Json::Null) => return Ok(Vec::new()),
        Some(Json::Array(names)) => names,
        Some(_) => return Err(Refusal::Claims("groups: give a list of names")),
    };
    if names.len() > limits.max_groups {
        return Err(Refusal::Claims("groups: there are more than the gateway's max_groups"));
    }
    let mut groups: Vec<Bytes> = Vec::with_capacity(names.len());
    for name in names {
        let Json::String(name) = name else { return Err(Refusal::Claims("groups: a name is no text")) };
        let empty = "groups: a name is empty, or \"0\"";
        check_name(&name, limits, empty, "groups: a name is longer than max_name_bytes")?;
        let name = Bytes::from(name);
        if !groups.contains(&name) {
            groups.push(name);
        }
    }
    Ok(groups)
}

/// Checks that it is a name that PHP does not call empty, and short enough.
fn check_name(name: &str, limits: &Limits, empty: &'static str, long: &'static str) -> Result<(), Refusal> {
    if name.is_empty() || name == "0" {
        return Err(Refusal::Claims(empty));
    }
    if name.len() > limits.max_name_bytes {
        return Err(Refusal::Claims(long));
    }
    Ok(())
}

fn session(session: Option<Json>, client_calls: Option<Json>, limits: &Limits) -> Result<Bytes, Refusal> {
    let mut session = match session {
        None | Some(Json::Null) => Map::new(),
        Some(Json::Object(session)) => session,
        Some(_) => return Err(Refusal::Claims("session: give an object")),
    };
    match client_calls {
        None | Some(Json::Null) => {}
        Some(calls @ Json::Object(_)) => {
            session.insert("client_calls".into(), calls);
        }
        Some(_) => return Err(Refusal::Claims("client_calls: give an object")),
    }
    if session.is_empty() {
        return Ok(Bytes::new());
    }
    let session = php::serialize(&Value::from_json(Json::Object(session)));
    if session.len() > limits.max_session_bytes {
        return Err(Refusal::Claims("session: it is longer than max_session_bytes"));
    }
    Ok(session.into())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const LIMITS: Limits = Limits { max_groups: 3, max_name_bytes: 8, max_session_bytes: 100 };

    fn read(claims: Json) -> Result<Identity, Refusal> {
        let Json::Object(claims) = claims else { panic!("claims are an object") };
        identity(claims, &LIMITS)
    }

    #[test]
    fn claims_become_uid_groups_and_session() {
        let who = read(json!({
            "sub": "u1", "groups": ["a", "b", "a"], "session": {"name": "A"},
            "client_calls": {"join": ["room-*"]}, "exp": 1700000000.9, "other": [1],
        }))
        .unwrap();
        assert_eq!((who.uid.as_deref(), who.expires_at), (Some(&b"u1"[..]), Some(1_700_000_000)));
        assert_eq!(who.groups, ["a", "b"]);
        let expected =
            r#"a:2:{s:4:"name";s:1:"A";s:12:"client_calls";a:1:{s:4:"join";a:1:{i:0;s:6:"room-*";}}}"#;
        assert_eq!(who.session, expected);
        assert_eq!(read(json!({"sub": 42})).unwrap().uid.unwrap(), "42");
        assert_eq!(read(json!({})).unwrap(), Identity::default());
        assert_eq!(read(json!({"sub": null, "groups": null, "session": null})).unwrap(), Identity::default());
    }

    #[test]
    fn a_claim_that_no_client_may_have_refuses_the_token_and_is_named() {
        for (claims, says) in [
            (json!({"sub": ["a"]}), "sub: "),
            (json!({"sub": 1.5}), "sub: "),
            (json!({"sub": ""}), "sub: "),
            (json!({"sub": "0"}), "sub: "),
            (json!({"sub": 0}), "sub: "),
            (json!({"sub": "nine-long"}), "sub: the uid is longer"),
            (json!({"groups": "a"}), "groups: give a list"),
            (json!({"groups": ["a", 7]}), "groups: a name is no text"),
            (json!({"groups": ["0"]}), "groups: a name is empty"),
            (json!({"groups": ["nine-long"]}), "groups: a name is longer"),
            (json!({"groups": ["a", "b", "c", "d"]}), "groups: there are more"),
            (json!({"session": [1]}), "session: give an object"),
            (json!({"session": {"a": "b".repeat(100)}}), "session: it is longer"),
            (json!({"client_calls": true}), "client_calls: "),
            (json!({"exp": "tomorrow"}), "exp: "),
            (json!({"exp": -5}), "exp: "),
        ] {
            let refusal = read(claims.clone()).unwrap_err();
            assert!(
                refusal.name() == "claims" && refusal.sentence().starts_with(says),
                "{claims}: {refusal}"
            );
        }
    }
}
