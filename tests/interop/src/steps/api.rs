//! Every call of the GatewayClient, and what each client receives.

use serde_json::{Map, Value, json};

use super::Run;
use super::calls::{SCRIPT, WITH_ANOTHER_KEY};
use crate::client::Client;

pub(super) async fn run(run: &mut Run) {
    let mut clients = Vec::new();
    for (place, name) in [(0, "A"), (0, "B"), (1, "C"), (1, "D")] {
        clients.push(Some(run.client(name, place).await));
    }
    let ids: Vec<String> = clients.iter().flatten().map(|client| client.id.clone()).collect();
    let gone = format!("{}fffffffe", &ids[0][..12]);
    let ids = [("$a", &ids[0]), ("$b", &ids[1]), ("$c", &ids[2]), ("$d", &ids[3]), ("$gone", &gone)];
    let code = |call: &str| {
        ids.iter().fold(format!("Gateway::{call}"), |code, (name, id)| code.replace(name, &format!("'{id}'")))
    };

    for (n, (commands, questions)) in SCRIPT.iter().enumerate() {
        for (m, command) in commands.iter().enumerate() {
            let mut outcome = run.caller.call(&code(command)).await;
            outcome["heard"] = heard(run, &mut clients).await;
            run.note(format!("{}.{} {command}", n + 1, m + 1), outcome);
        }
        for question in questions.iter().copied().flatten() {
            let outcome = run.caller.call(&code(question)).await;
            run.note(format!("{}. {question}", n + 1), outcome);
        }
    }
    let key = run.caller.answer("Gateway::$secretKey").await;
    for other in ["wrong", ""].into_iter().filter(|other| key != *other) {
        for call in WITH_ANOTHER_KEY {
            run.caller.call(&format!("Gateway::$secretKey = '{other}'")).await;
            let outcome = run.caller.call(&code(call)).await;
            run.caller.call(&format!("Gateway::$secretKey = {key}")).await;
            let heard = heard(run, &mut clients).await;
            run.note(format!("{call} with the key '{other}'"), json!({"outcome": outcome, "heard": heard}));
        }
    }
    for client in clients.into_iter().flatten() {
        client.leave().await;
    }
}

/// What each client has received so far, by its letter.
async fn heard(run: &mut Run, clients: &mut [Option<Client>]) -> Value {
    run.settle().await;
    let mut all = Map::new();
    for (letter, place) in ["A", "B", "C", "D"].into_iter().zip(clients) {
        let Some(client) = place else { continue };
        run.caller.call(&format!("Gateway::sendToClient('{}', '#mark')", client.id)).await;
        let heard = client.heard_before("#mark").await;
        if heard.last().is_some_and(|last| last == "end" || last.starts_with("closed")) {
            *place = None;
        }
        if !heard.is_empty() {
            let short = heard
                .iter()
                .map(|text| if text.len() > 200 { format!("{} bytes", text.len()) } else { text.clone() });
            all.insert(letter.into(), short.collect());
        }
    }
    Value::Object(all)
}
