//! Whether a call of a client is allowed. Plain data: the settings, what the token allows, what the gateway knows of the
//! client, and the call.

use std::borrow::Cow;

use gatewayworker_protocol::EventContext;
use gatewayworker_protocol::pattern::matches;
use serde::Deserialize;

use super::config::ClientCallsConfig;
use super::vocabulary::{Call, Refusal, Verb};

/// What stands in a pattern for the client's own uid.
const UID: &str = "{uid}";

/// Patterns of the groups that a token allows. A list that is missing allows nothing; other keys are ignored.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct Patterns {
    join: Vec<String>,
    publish: Vec<String>,
    presence: Vec<String>,
}

/// What the rules say of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ruling {
    /// It is to be done.
    Allowed,
    /// It is not.
    Refused(Refusal),
    /// It is not, if what is known of the client is not older than its last call.
    Unclear(Refusal),
}

/// Decides about a call; `client` is what is known of its client. A call that needs to know more than a context may
/// hold is unclear.
pub(super) fn rule(
    config: &ClientCallsConfig,
    token: &Patterns,
    call: &Call<'_>,
    client: &EventContext,
) -> Ruling {
    let (settings, of_token) = match call.verb {
        // Who may join a group may leave it. A group that an application or a token has put the client into stays.
        Verb::Join | Verb::Leave => (&config.join, &token.join),
        Verb::Publish => (&config.publish, &token.publish),
        Verb::Presence => (&config.presence, &token.presence),
    };
    let group = call.group.as_bytes();
    let allows = |pattern: &String| with_uid(pattern, client).is_some_and(|pattern| matches(&pattern, group));
    if !settings.iter().chain(of_token).any(allows) {
        return Ruling::Refused(Refusal::Forbidden);
    }
    let is_member = client.is_in_group(group);
    match call.verb {
        Verb::Join if !is_member && client.groups.len() >= config.max_groups => {
            Ruling::Unclear(Refusal::TooMany)
        }
        Verb::Join if !is_member && client.is_cut => Ruling::Unclear(Refusal::TooMany),
        Verb::Publish if !is_member => Ruling::Unclear(Refusal::NotAMember),
        Verb::Join | Verb::Leave | Verb::Publish | Verb::Presence => Ruling::Allowed,
    }
}

/// Puts the client's uid into a pattern that names it. `None` where the client has none, or one with a `*`, which would
/// stand for the uids of others.
fn with_uid<'p>(pattern: &'p str, client: &EventContext) -> Option<Cow<'p, [u8]>> {
    if !pattern.contains(UID) {
        return Some(Cow::Borrowed(pattern.as_bytes()));
    }
    let uid = client.uid.as_ref().filter(|uid| !uid.contains(&b'*'))?;
    let parts: Vec<&[u8]> = pattern.split(UID).map(str::as_bytes).collect();
    Some(Cow::Owned(parts.join(&uid[..])))
}

#[cfg(test)]
mod tests {
    use super::super::vocabulary::read;
    use super::*;

    fn config() -> ClientCallsConfig {
        ClientCallsConfig {
            join: vec!["room-*".into(), "user-{uid}-*".into()],
            publish: vec!["room-*".into()],
            presence: vec!["room-*".into()],
            max_groups: 2,
            ..ClientCallsConfig::default()
        }
    }

    fn client(uid: Option<&'static str>, groups: &[&'static str]) -> EventContext {
        EventContext {
            uid: uid.map(Into::into),
            groups: groups.iter().map(|group| (*group).into()).collect(),
            ..EventContext::default()
        }
    }

    fn ruling(token: &Patterns, call: &str, group: &str, client: &EventContext) -> Ruling {
        let message = serde_json::json!({"gw": call, "group": group, "message": "hi"}).to_string();
        let config = config();
        rule(&config, token, &read(message.as_bytes(), &config).unwrap(), client)
    }

    const FORBIDDEN: Ruling = Ruling::Refused(Refusal::Forbidden);

    #[test]
    fn a_client_joins_and_leaves_what_a_pattern_allows() {
        let nothing = Patterns::default();
        for call in ["join", "leave"] {
            assert_eq!(ruling(&nothing, call, "room-1", &client(None, &["room-1"])), Ruling::Allowed);
            assert_eq!(ruling(&nothing, call, "lobby", &client(None, &["lobby"])), FORBIDDEN);
            assert_eq!(ruling(&nothing, call, "a-room-1", &client(None, &[])), FORBIDDEN);
        }
    }

    #[test]
    fn a_pattern_with_the_uid_allows_the_clients_own_alone() {
        let nothing = Patterns::default();
        let ruling = |uid, group| ruling(&nothing, "join", group, &client(uid, &[]));
        assert_eq!(ruling(Some("ann"), "user-ann-inbox"), Ruling::Allowed);
        assert_eq!(ruling(Some("ann"), "user-bob-inbox"), FORBIDDEN);
        assert_eq!(ruling(None, "user--inbox"), FORBIDDEN);
        assert_eq!(ruling(None, "user-{uid}-inbox"), FORBIDDEN);
        for cunning in ["*", "a*", "bob-*"] {
            assert_eq!(ruling(Some(cunning), "user-bob-inbox"), FORBIDDEN, "{cunning}");
        }
        // A uid that reads like a placeholder is only itself.
        assert_eq!(ruling(Some("{uid}"), "user-{uid}-inbox"), Ruling::Allowed);
    }

    #[test]
    fn a_client_publishes_to_groups_that_it_is_in() {
        let nothing = Patterns::default();
        let publish = |group, client: &EventContext| ruling(&nothing, "publish", group, client);
        let member = client(Some("ann"), &["room-1", "user-ann-inbox"]);
        assert_eq!(publish("room-1", &member), Ruling::Allowed);
        assert_eq!(publish("room-2", &member), Ruling::Unclear(Refusal::NotAMember));
        assert_eq!(publish("user-ann-inbox", &member), FORBIDDEN, "to join is not to publish");
    }

    #[test]
    fn a_client_asks_who_is_in_a_group_that_it_need_not_be_in() {
        let nothing = Patterns::default();
        assert_eq!(ruling(&nothing, "presence", "room-1", &client(None, &[])), Ruling::Allowed);
        assert_eq!(ruling(&nothing, "presence", "user-ann-inbox", &client(Some("ann"), &[])), FORBIDDEN);
    }

    #[test]
    fn a_token_allows_more() {
        let token = Patterns {
            join: vec!["vip-{uid}".into()],
            publish: vec!["vip-*".into()],
            presence: vec!["vip-*".into()],
        };
        let member = client(Some("ann"), &["vip-ann"]);
        assert_eq!(ruling(&token, "join", "vip-ann", &member), Ruling::Allowed);
        assert_eq!(ruling(&token, "publish", "vip-ann", &member), Ruling::Allowed);
        assert_eq!(ruling(&token, "presence", "vip-bob", &member), Ruling::Allowed);
        assert_eq!(ruling(&token, "join", "vip-bob", &member), FORBIDDEN);
        assert_eq!(ruling(&Patterns::default(), "join", "vip-ann", &member), FORBIDDEN);
    }

    #[test]
    fn a_client_joins_as_many_groups_as_it_may() {
        let nothing = Patterns::default();
        let full = client(None, &["room-1", "room-2"]);
        assert_eq!(ruling(&nothing, "join", "room-3", &full), Ruling::Unclear(Refusal::TooMany));
        assert_eq!(ruling(&nothing, "join", "room-2", &full), Ruling::Allowed, "it is there already");
        assert_eq!(ruling(&nothing, "leave", "room-2", &full), Ruling::Allowed);
        assert_eq!(ruling(&nothing, "join", "room-3", &client(None, &["room-1"])), Ruling::Allowed);
        let cut = EventContext { is_cut: true, ..client(None, &[]) };
        assert_eq!(ruling(&nothing, "join", "room-3", &cut), Ruling::Unclear(Refusal::TooMany));
    }
}
