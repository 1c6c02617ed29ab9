//! `gatewayworker token`: makes the token of a client, as an application's backend does, or says what a token is worth
//! to a gateway.
//!
//! The keys are read from files, so that no other user of the machine sees them. `gatewayworker-auth` signs and checks.

use std::fmt::Write as _;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, anyhow, bail};
use gatewayworker_auth::{Authenticator, Identity, SigningKey, unix_s};
use gatewayworker_daemon::read_secret_file;
use gatewayworker_protocol::php;
use serde_json::{Map, Value as Json};

use crate::console::conclude;

/// The flags of `token`.
#[derive(Debug, clap::Args)]
pub struct TokenFlags {
    /// Sign with the secret in FILE, its first line (HS256)
    #[arg(long, value_name = "FILE", conflicts_with = "private_key_file")]
    pub hs256_secret_file: Option<PathBuf>,
    /// Sign with the private key in FILE (PEM): RS256, ES256 or EdDSA, by the key's kind
    #[arg(long, value_name = "FILE")]
    pub private_key_file: Option<PathBuf>,
    /// Name the key KID in the token, as a key set does
    #[arg(long, value_name = "KID")]
    pub kid: Option<String>,
    /// Bind the client to UID (sub)
    #[arg(long, value_name = "UID")]
    pub uid: Option<String>,
    /// Let the client join GROUP; may be repeated (groups)
    #[arg(long = "group", value_name = "GROUP")]
    pub groups: Vec<String>,
    /// Give the client a session, a JSON object
    #[arg(long, value_name = "JSON")]
    pub session: Option<String>,
    /// Let the token expire after TIME: 30s, 15m, 1h, 7d, or never (exp)
    #[arg(long, value_name = "TIME", default_value = "1h")]
    pub expires: String,
    /// The token is for NAME; may be repeated (aud)
    #[arg(long, value_name = "NAME")]
    pub audience: Vec<String>,
    /// The token is of NAME (iss)
    #[arg(long, value_name = "NAME")]
    pub issuer: Option<String>,
    /// Put another claim into the token, name=JSON; may be repeated
    #[arg(long = "claim", value_name = "NAME=JSON")]
    pub claims: Vec<String>,
    /// Say whether a gateway takes TOKEN, and why not, instead of making one; - reads it from standard input
    #[arg(long, value_name = "TOKEN", requires = "config", conflicts_with_all = ["hs256_secret_file", "private_key_file"])]
    pub check: Option<String>,
    /// The configuration of that gateway
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// Prints a token, or what one is worth. `open` makes what checks tokens out of a gateway's configuration; `None` where
/// that asks for none. The status is 1 for a token that is refused.
pub fn run(
    flags: &TokenFlags,
    open: impl FnOnce(&Path) -> anyhow::Result<Option<Authenticator>>,
) -> ExitCode {
    conclude(match (&flags.check, &flags.config) {
        (Some(token), Some(config)) => check(token, config, open),
        _ => make(flags, unix_s()),
    })
}

/// Returns a token.
fn make(flags: &TokenFlags, now_s: u64) -> anyhow::Result<String> {
    let key = match (&flags.hs256_secret_file, &flags.private_key_file) {
        (Some(file), _) => SigningKey::hs256(read_secret_file(file)?.expose()),
        (None, Some(file)) => {
            let text =
                std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
            SigningKey::from_pem(&text).with_context(|| file.display().to_string())?
        }
        (None, None) => {
            bail!("give --hs256-secret-file or --private-key-file to sign with, or --check a token")
        }
    };
    Ok(key.sign(&claims_of(flags, now_s)?, flags.kid.as_deref())?)
}

fn claims_of(flags: &TokenFlags, now_s: u64) -> anyhow::Result<Map<String, Json>> {
    let TokenFlags { uid, groups, session, expires, audience, issuer, claims, .. } = flags;
    let mut all = Map::new();
    all.extend(uid.as_ref().map(|uid| ("sub".to_owned(), uid.as_str().into())));
    if !groups.is_empty() {
        all.insert("groups".into(), groups.as_slice().into());
    }
    if let Some(session) = session {
        let session: Map<String, Json> = serde_json::from_str(session)
            .context("--session: give a JSON object, such as {\"name\": \"A\"}")?;
        all.insert("session".into(), session.into());
    }
    match audience.as_slice() {
        [] => {}
        [one] => drop(all.insert("aud".into(), one.as_str().into())),
        several => drop(all.insert("aud".into(), several.into())),
    }
    all.extend(issuer.as_ref().map(|issuer| ("iss".to_owned(), issuer.as_str().into())));
    if let Some(seconds) = seconds(expires)? {
        all.insert("exp".into(), now_s.saturating_add(seconds).into());
    }
    for claim in claims {
        let (name, json) =
            claim.split_once('=').ok_or_else(|| anyhow!("--claim {claim}: write it as name=JSON"))?;
        let json: Json = serde_json::from_str(json)
            .with_context(|| format!("--claim {name}: its value is no JSON; text stands in quotes"))?;
        all.insert(name.to_owned(), json);
    }
    Ok(all)
}

/// Reads a time: seconds, or a number with a unit; `None` for `never`.
fn seconds(text: &str) -> anyhow::Result<Option<u64>> {
    if text == "never" {
        return Ok(None);
    }
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "" | "s" => Some(1),
        "m" => Some(60),
        "h" => Some(3600),
        "d" => Some(86_400),
        _ => None,
    };
    let seconds = unit.and_then(|unit: u64| digits.parse::<u64>().ok()?.checked_mul(unit));
    let wrong = || anyhow!("--expires {text}: write it as 30s, 15m, 1h, 7d, or never");
    seconds.map(Some).ok_or_else(wrong)
}

fn check(
    token: &str,
    config: &Path,
    open: impl FnOnce(&Path) -> anyhow::Result<Option<Authenticator>>,
) -> anyhow::Result<String> {
    let mut token = token.to_owned();
    if token == "-" {
        token.clear();
        // More than a token is none.
        std::io::stdin().take(64 * 1024).read_to_string(&mut token).context("cannot read standard input")?;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let checked = runtime.block_on(async {
        // It opens what fetches keys, within the runtime.
        let authenticator = open(config)?.ok_or_else(|| {
            anyhow!("{}: this gateway asks for no tokens: there is no key in [auth]", config.display())
        })?;
        let checked = authenticator.check_once(token.trim()).await;
        anyhow::Ok(checked.map_err(|refusal| match authenticator.problem() {
            Some(problem) => anyhow!("refused: {refusal} ({problem})"),
            None => anyhow!("refused: {refusal}"),
        }))
    })?;
    Ok(describe(&checked?, unix_s()))
}

/// Returns what a client with this identity is, in lines.
fn describe(identity: &Identity, now_s: u64) -> String {
    let mut text = "accepted".to_owned();
    let name = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if let Some(uid) = &identity.uid {
        let _ = write!(text, "\nuid: {}", name(uid));
    }
    if !identity.groups.is_empty() {
        let groups: Vec<_> = identity.groups.iter().map(|group| name(group)).collect();
        let _ = write!(text, "\ngroups: {}", groups.join(", "));
    }
    if let Some(session) = php::json_encode(&identity.session).filter(|_| !identity.session.is_empty()) {
        let _ = write!(text, "\nsession: {session}");
    }
    match identity.expires_at {
        Some(at) => write!(text, "\nexpires: in {} s", at.saturating_sub(now_s)),
        None => write!(text, "\nexpires: never"),
    }
    .unwrap_or_default();
    text
}

#[cfg(test)]
mod tests {
    use clap::{Args as _, FromArgMatches};
    use serde_json::json;

    use super::*;

    fn flags(arguments: &[&str]) -> TokenFlags {
        let command = TokenFlags::augment_args(clap::Command::new("token")).no_binary_name(true);
        TokenFlags::from_arg_matches(&command.try_get_matches_from(arguments).unwrap()).unwrap()
    }

    #[test]
    fn flags_become_claims() {
        let all = flags(&[
            "--uid",
            "u1",
            "--group",
            "a",
            "--group",
            "b",
            "--session",
            r#"{"name": "A"}"#,
            "--expires",
            "15m",
            "--audience",
            "chat",
            "--issuer",
            "me",
            "--claim",
            r#"client_calls={"join": ["room-*"]}"#,
        ]);
        let expected = json!({
            "sub": "u1", "groups": ["a", "b"], "session": {"name": "A"}, "aud": "chat", "iss": "me", "exp": 1900,
            "client_calls": {"join": ["room-*"]},
        });
        assert_eq!(Json::Object(claims_of(&all, 1000).unwrap()), expected);
        assert_eq!(Json::Object(claims_of(&flags(&["--expires", "never"]), 1000).unwrap()), json!({}));
    }

    #[test]
    fn what_cannot_be_a_claim_is_named_by_its_flag() {
        for (arguments, says) in [
            (["--session", "[1]"], "--session: give a JSON object"),
            (["--claim", "a"], "--claim a: write it as name=JSON"),
            (["--claim", "a=b"], "--claim a: its value is no JSON"),
            (["--expires", "soon"], "--expires soon: write it as"),
            (["--expires", "1.5h"], "--expires 1.5h: write it as"),
            (["--expires", "99999999999999999999d"], "--expires 99999999999999999999d"),
        ] {
            let error = format!("{:#}", claims_of(&flags(&arguments), 1000).unwrap_err());
            assert!(error.starts_with(says), "{error}");
        }
        let error = make(&flags(&[]), 1000).unwrap_err().to_string();
        assert!(error.starts_with("give --hs256-secret-file or --private-key-file"), "{error}");
    }
}
