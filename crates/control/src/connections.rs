//! `connections`: the clients of a running cluster, those first that matter most; or one client in full.
//!
//! Every gateway is asked for its first clients, and the first of all are printed: a table, or JSON. The status is 0; 1
//! where a gateway has not answered (the clients of the others are printed all the same), or a client is not there.

use std::process::ExitCode;

use clap::ValueEnum;
use gatewayworker_client::ClientId;
use gatewayworker_client::inspect::{
    ClientDetail, ClientList, ClientQuery, ClientReport, ClientSort, InspectAnswer, InspectRequest, Inspector,
};
use serde_json::json;

use crate::cluster_access::Access;
use crate::inspecting::{self, Answers, InspectFlags};
use crate::look::Look;
use crate::outbox;
use crate::table::{Table, text};
use crate::units::{bytes, duration};

/// The flags of `connections`.
#[derive(Debug, clap::Args)]
pub struct ConnectionsFlags {
    /// Which clients come first
    #[arg(long, value_enum, default_value_t = Sort::Outbox)]
    sort: Sort,

    /// List N clients
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,

    /// Show one client in full: its groups, its session
    #[arg(long, value_name = "ID", conflicts_with_all = ["sort", "limit", "uid", "group", "address", "listener"])]
    id: Option<ClientId>,

    /// Show what waits to be written to the client of --id
    #[arg(long, requires = "id")]
    outbox: bool,

    /// Show what is in the frames of --outbox, up to 512 bytes of each
    #[arg(long, requires = "outbox")]
    payloads: bool,

    /// Only clients that are bound to UID
    #[arg(long)]
    uid: Option<String>,

    /// Only members of GROUP
    #[arg(long)]
    group: Option<String>,

    /// Only clients with this IPv4 address (10.0.0.7), or with one that begins so (10.0.)
    #[arg(long)]
    address: Option<String>,

    /// Only clients that came to this listener: its URL or its port
    #[arg(long)]
    listener: Option<String>,

    #[command(flatten)]
    inspect: InspectFlags,
}

/// The orders of clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Sort {
    /// Those for which most waits to be written
    Outbox,
    /// Those that have been connected longest
    Age,
    /// Those that have sent most messages
    Messages,
    /// Those with most events that no worker has finished
    Unfinished,
    /// Those whose first unfinished event has waited longest
    Oldest,
}

impl From<Sort> for ClientSort {
    fn from(sort: Sort) -> Self {
        match sort {
            Sort::Outbox => Self::Outbox,
            Sort::Age => Self::Age,
            Sort::Messages => Self::Messages,
            Sort::Unfinished => Self::Unfinished,
            Sort::Oldest => Self::Oldest,
        }
    }
}

/// Prints clients: status 0, or 1 if a gateway does not answer.
pub fn run(flags: &ConnectionsFlags) -> ExitCode {
    flags.inspect.show(async |inspector, access| match flags.id {
        Some(id) if flags.outbox => {
            outbox::look(id, flags.payloads, flags.inspect.json, inspector, access).await
        }
        Some(id) => one(id, flags.inspect.json, inspector, access).await,
        None => list(flags, inspector, access).await,
    })
}

async fn list(flags: &ConnectionsFlags, inspector: &Inspector, access: &Access) -> anyhow::Result<Look> {
    let sort = flags.sort.into();
    let query = ClientQuery {
        sort,
        limit: flags.limit,
        id: None,
        uid: flags.uid.clone(),
        group: flags.group.clone(),
        address: flags.address.clone(),
        listener: flags.listener.clone(),
    };
    let answers = inspecting::ask(inspector, access, &InspectRequest::Clients(query)).await?;
    let list = merge(&answers, sort, flags.limit as usize);
    let mut seen = answers.look();
    if flags.inspect.json {
        let errors = answers.errors();
        let list = json!({"total": list.total, "clients": list.clients, "errors": errors});
        seen.notes.push(list.to_string());
    } else {
        let (shown, total, gateways) = (list.clients.len(), list.total, answers.answers.len());
        seen.lines = table(&list.clients).lines(None);
        seen.has_head = true;
        seen.lines.push(String::new());
        seen.lines.push(format!("{shown} of {total} clients, gateways: {gateways}"));
    }
    Ok(seen)
}

/// Returns the first clients of all gateways.
fn merge(answers: &Answers, sort: ClientSort, limit: usize) -> ClientList {
    let mut merged = ClientList::default();
    for (_, answer) in &answers.answers {
        if let InspectAnswer::Clients(list) = answer {
            merged.total += list.total;
            merged.clients.extend(list.clients.iter().cloned());
        }
    }
    // Stable: clients of one gateway stay in its order.
    merged.clients.sort_by_key(|client| {
        std::cmp::Reverse(match sort {
            ClientSort::Outbox => client.outbox_bytes,
            ClientSort::Age => client.age_ms,
            ClientSort::Messages => client.messages,
            ClientSort::Unfinished => client.unfinished,
            ClientSort::Oldest => client.oldest_ms,
        })
    });
    merged.clients.truncate(limit);
    merged
}

/// Makes the table, with what a narrow terminal has to show first.
fn table(clients: &[ClientReport]) -> Table {
    let mut table = Table::new([
        "CLIENT",
        "OUTBOX",
        "UNFINISHED",
        "OLDEST",
        "MESSAGES",
        "AGE",
        "UID",
        "GROUPS",
        "ADDRESS",
        "LISTENER",
        "WORKER",
    ]);
    for client in clients {
        table.push(vec![
            text(&client.id),
            bytes(client.outbox_bytes),
            client.unfinished.to_string(),
            if client.unfinished > 0 { duration(client.oldest_ms) } else { "-".into() },
            client.messages.to_string(),
            duration(client.age_ms),
            client.uid.as_deref().map_or_else(|| "-".into(), text),
            client.groups.to_string(),
            client.address.as_deref().map_or_else(|| "-".into(), text),
            text(&client.listener),
            text(&client.worker),
        ]);
    }
    table
}

async fn one(id: ClientId, json: bool, inspector: &Inspector, access: &Access) -> anyhow::Result<Look> {
    let answers = inspecting::ask(inspector, access, &InspectRequest::Client { id: id.to_string() }).await?;
    let found = answers.answers.iter().find_map(|(_, answer)| match answer {
        InspectAnswer::Client(found) => found.as_ref(),
        _ => None,
    });
    let Some(client) = found else { return Ok(answers.not_connected(id)) };
    let notes = match json {
        true => vec![serde_json::to_string(client)?],
        false => in_full(client),
    };
    Ok(Look { notes, ..Look::default() })
}

/// Returns a line for each thing that is known of a client.
fn in_full(detail: &ClientDetail) -> Vec<String> {
    let ClientDetail { client, group_names, session, session_bytes, silent_ms, is_paused } = detail;
    let yes_or_no = |is: bool| if is { "yes" } else { "no" };
    let known = |name: &Option<String>| name.as_deref().map_or_else(|| "-".into(), text);
    let groups: Vec<String> = group_names.iter().map(|group| text(group)).collect();
    let more = client.groups.saturating_sub(groups.len() as u64);
    let session = match session {
        Some(session) => text(&session.to_string()),
        None => format!("{}, too long to be shown, or not plain data", bytes(*session_bytes)),
    };
    let mut lines = vec![
        format!("client      {}", text(&client.id)),
        format!("uid         {}", known(&client.uid)),
        format!("address     {}", known(&client.address)),
        format!("listener    {}", text(&client.listener)),
        format!("worker      {}", text(&client.worker)),
        format!("connected   {}", duration(client.age_ms)),
        format!("last heard  {} ago", duration(*silent_ms)),
        format!("messages    {}", client.messages),
        format!("outbox      {}", bytes(client.outbox_bytes)),
        match client.unfinished {
            0 => "unfinished  0 events".to_owned(),
            n => format!("unfinished  {n} events, the first for {}", duration(client.oldest_ms)),
        },
        format!("admitted    {}", yes_or_no(!client.is_pending)),
        format!("paused      {}", yes_or_no(*is_paused)),
        format!("session     {session}"),
        format!("groups      {}", client.groups),
    ];
    lines.extend(groups.iter().map(|group| format!("            {group}")));
    if more > 0 {
        lines.push(format!("            and {more} more"));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(id: &str, outbox_bytes: u64) -> ClientReport {
        ClientReport { id: id.into(), outbox_bytes, ..ClientReport::default() }
    }

    #[test]
    fn the_first_clients_of_all_gateways_are_merged() {
        let answer = |gateway: &str, total, clients| {
            (gateway.to_owned(), InspectAnswer::Clients(ClientList { total, clients }))
        };
        let one = answer("a", 10, vec![client("a1", 9), client("a2", 3)]);
        let two = answer("b", 20, vec![client("b1", 5), client("b2", 3)]);
        let answers = Answers { answers: vec![one, two], missing: vec![] };
        let merged = merge(&answers, ClientSort::Outbox, 3);
        assert_eq!(merged.total, 30);
        assert_eq!(merged.clients.iter().map(|one| &*one.id).collect::<Vec<_>>(), ["a1", "b1", "a2"]);
    }

    #[test]
    fn what_matters_of_a_client_fits_on_a_narrow_terminal() {
        let one = ClientReport {
            id: "7f00000108fc86622f2b".into(),
            uid: Some("ann\x1b[2J".into()),
            outbox_bytes: 1_500_000,
            unfinished: 12,
            oldest_ms: 4_000,
            messages: 3_456,
            age_ms: 61_000,
            ..ClientReport::default()
        };
        let lines = table(&[one]).lines(Some(80));
        assert!(
            lines[1]
                .starts_with("7f00000108fc86622f2b  1.5 MB  12          4 s     3456      1 min 1 s  ann")
        );
        assert!(lines.iter().all(|line| line.chars().count() <= 80));
    }
}
