//! The worker's application, the same as `php/Events.php`: a client's message is a verb, and the rest of the line is its
//! argument. Our worker and the original's run one of them each, and must behave the same.

mod survey;

use gatewayworker::{
    Admission, Client, ClientId, CloseReason, Events, Handshake, Message, Result, SessionData, php,
};
use serde_json::Value;

/// The application: a little of everything, to show that it works: groups, uids, session counters, kicks.
#[derive(Debug, Clone, Copy, Default)]
pub struct App;

impl Events for App {
    async fn on_connect(&self, client: &Client) -> Result {
        client.send(format!("hello {}", client.id())).await?;
        Ok(())
    }

    async fn on_websocket_connect(&self, client: &Client, handshake: &Handshake) -> Result<Admission> {
        if let Some(message) = handshake.get("refuse") {
            return Ok(Admission::refuse_with(message.to_owned()));
        }
        let mut kept = php::Array::new();
        let server = |key| handshake.server(key).cloned().unwrap_or_default();
        kept.insert("uri", server("REQUEST_URI"));
        kept.insert("header", server("HTTP_X_INTEROP"));
        kept.insert("query", handshake.query().clone());
        kept.insert("cookie", handshake.cookies().clone());
        client.session().insert("handshake", php::Value::Array(kept))?;
        Ok(Admission::Admit)
    }

    async fn on_message(&self, client: &Client, message: Message) -> Result {
        let Ok(text) = message.text() else {
            client.send(message).await?;
            return Ok(());
        };
        let (verb, rest) = split(text);
        match answer(client, verb, rest).await? {
            Answer::Text(text) => _ = client.send(text).await?,
            Answer::Nothing => (),
            Answer::Echo => _ = client.send(message).await?,
        }
        Ok(())
    }

    async fn on_close(&self, client: &Client, _reason: CloseReason) -> Result {
        if let Some(name) = client.session().get::<String>("name")? {
            client.gateway().send_to_group(["lobby"], format!("gone {name}")).await?;
        }
        Ok(())
    }
}

enum Answer {
    Text(String),
    Nothing,
    Echo,
}

async fn answer(client: &Client, verb: &str, rest: &str) -> Result<Answer> {
    let (gateway, session) = (client.gateway(), client.session());
    let (first, second) = split(rest);
    let said = match verb {
        "login" => {
            session.insert("name", rest)?;
            client.bind_uid(rest).await?;
            client.join_group("lobby").await?;
            format!("logged in {rest}")
        }
        "say" => {
            gateway.send_to_all(format!("{}: {rest}", name(client))).await?;
            return Ok(Answer::Nothing);
        }
        "join" => {
            client.join_group(rest).await?;
            format!("joined {rest}")
        }
        "leave" => {
            client.leave_group(rest).await?;
            format!("left {rest}")
        }
        "group" => {
            gateway.send_to_group([first], format!("{} to {first}: {second}", name(client))).await?;
            return Ok(Answer::Nothing);
        }
        "others" => {
            let text = format!("{} to the others: {second}", name(client));
            gateway.send_to_group([first], text).except([client.id()]).await?;
            return Ok(Answer::Nothing);
        }
        "uid" => {
            gateway.send_to_uid([first], format!("{} to you: {second}", name(client))).await?;
            return Ok(Answer::Nothing);
        }
        "members" => format!("members {}", gateway.client_count_by_group(rest).await?),
        "uid-of" => {
            let uid = gateway.uid_by_client_id(rest.parse()?).await?;
            format!("uid {}", uid.as_ref().and_then(|uid| uid.as_str()).unwrap_or_default())
        }
        "only" => {
            gateway.send_to_all(second).only([first.parse()?]).await?;
            return Ok(Answer::Nothing);
        }
        "except" => {
            gateway.send_to_all(second).except([first.parse()?]).await?;
            return Ok(Answer::Nothing);
        }
        "set" => {
            gateway.set_session(first.parse()?, &serde_json::from_str::<Value>(second)?).await?;
            "set".into()
        }
        "update" => {
            gateway.update_session(first.parse()?, &serde_json::from_str::<Value>(second)?).await?;
            "updated".into()
        }
        "ungroup" => {
            gateway.ungroup(rest).await?;
            format!("ungrouped {rest}")
        }
        "unbind" => {
            client.unbind_uid(rest).await?;
            format!("unbound {rest}")
        }
        "survey" => survey::survey(client).await?.to_string(),
        "quit" => {
            client.close_with(rest).await?;
            return Ok(Answer::Nothing);
        }
        "kick" => {
            gateway.close_client(first.parse()?).last_message(second).await?;
            return Ok(Answer::Nothing);
        }
        "destroy" => {
            gateway.destroy_client(rest.parse()?).await?;
            return Ok(Answer::Nothing);
        }
        "count" => {
            let count = session.get::<u64>("count")?.unwrap_or(0) + 1;
            session.insert("count", count)?;
            format!("count {count}")
        }
        "handshake" => session.get::<Value>("handshake")?.unwrap_or_default().to_string(),
        "write" => {
            session.replace(SessionData::of(&serde_json::from_str::<Value>(rest)?)?);
            "written".into()
        }
        "put" => {
            session.insert(first, serde_json::from_str::<Value>(second)?)?;
            "put".into()
        }
        "remove" => {
            session.remove(rest)?;
            "removed".into()
        }
        "merge" => {
            gateway.update_session(client.id(), &serde_json::from_str::<Value>(rest)?).await?;
            "merged".into()
        }
        "dump" => hex(&session.to_data()?.to_bytes()),
        "recall" => match gateway.session(rest.parse::<ClientId>()?).await? {
            Some(session) => hex(&session.to_bytes()),
            None => hex(b"N;"),
        },
        "worker" => "ours".into(),
        _ => return Ok(Answer::Echo),
    };
    Ok(Answer::Text(said))
}

fn name(client: &Client) -> String {
    // A session that cannot be read counts as one without a name.
    client.session().get("name").ok().flatten().unwrap_or_else(|| "?".into())
}

fn split(line: &str) -> (&str, &str) {
    line.split_once(' ').unwrap_or((line, ""))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
