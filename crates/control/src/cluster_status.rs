//! `status --register-address`: a cluster on any host, as its gateways see it: gateways × workers, what is not finished,
//! what keeps it from its work, and what is to be mended.
//!
//! The status is 0 if the cluster can do its work, and 1 if not: no gateway is listed, one does not answer, has no
//! worker, or has another problem.

use gatewayworker_admin::cluster::{ClusterLook, GatewayLook};
use gatewayworker_client::inspect::{
    GatewayReport, InspectAnswer, InspectRequest, Inspector, WorkerHandlers, WorkerReport,
};
use serde_json::json;

use crate::cluster_access::Access;
use crate::inspecting;
use crate::look::Look;
use crate::table::{Table, text};
use crate::units::{bytes, duration, short_time};

/// Asks all gateways about themselves.
///
/// # Errors
/// When no gateway is listed.
pub(crate) async fn view(inspector: &Inspector, access: &Access) -> anyhow::Result<ClusterLook> {
    let asked = inspecting::ask_all(inspector, access, &InspectRequest::Gateway).await?;
    let looks = asked.into_iter().map(|(gateway, answered)| GatewayLook::new(gateway, answered));
    Ok(ClusterLook::new(looks.collect()))
}

/// Returns what is printed.
pub(crate) async fn look(inspector: &Inspector, access: &Access, json: bool) -> Look {
    let view = match view(inspector, access).await {
        Ok(view) => view,
        Err(error) => return Look::failed(format_args!("{error:#}")),
    };
    let mut seen = Look { status: u8::from(!view.problems.is_empty()), ..Look::default() };
    if json {
        let ready = view.problems.is_empty();
        let gateways: Vec<_> = view.reports().collect();
        let all =
            json!({"ready": ready, "gateways": gateways, "problems": view.problems, "notices": view.notices});
        seen.notes.push(all.to_string());
        return seen;
    }
    seen.has_head = true;
    seen.lines = gateways(view.reports()).lines(None);
    if view.reports().any(|gateway| !gateway.workers.is_empty()) {
        seen.lines.push(String::new());
        seen.lines.extend(workers(view.reports()).lines(None));
    }
    for (head, sentences) in
        [("The cluster cannot do its work:", &view.problems), ("Notices:", &view.notices)]
    {
        if !sentences.is_empty() {
            seen.notes.extend([String::new(), head.to_owned()]);
            seen.notes.extend(sentences.iter().map(|sentence| format!("  {}", text(sentence))));
        }
    }
    seen
}

fn gateways<'a>(gateways: impl Iterator<Item = &'a GatewayReport>) -> Table {
    let mut table =
        Table::new(["GATEWAY", "STATE", "CLIENTS", "WORKERS", "UNFINISHED", "UP", "VERSION", "LISTENERS"]);
    for gateway in gateways {
        let stat = |name| gateway.stats.get(name).map_or_else(|| "-".into(), u64::to_string);
        let listeners: Vec<_> = gateway.listeners.iter().map(|listener| text(&listener.url)).collect();
        table.push(vec![
            text(&gateway.address),
            state_of(gateway).to_owned(),
            stat("clients"),
            gateway.workers.len().to_string(),
            stat("unfinished"),
            duration(gateway.uptime_ms),
            text(&gateway.version),
            listeners.join(", "),
        ]);
    }
    table
}

/// Returns how a gateway does, in a word.
pub(crate) fn state_of(gateway: &GatewayReport) -> &'static str {
    match (gateway.stopping, gateway.problems.is_empty()) {
        (true, _) => "stopping",
        (false, true) => "ready",
        (false, false) => "problem",
    }
}

fn workers<'a>(gateways: impl Iterator<Item = &'a GatewayReport>) -> Table {
    let mut table = Table::new([
        "GATEWAY",
        "WORKER",
        "STATE",
        "CLIENTS",
        "UNFINISHED",
        "OLDEST",
        "BYTES",
        "ROUND TRIP",
        "UP",
        "VERSION",
        "PROCESS",
    ]);
    let pairs = gateways.flat_map(|gateway| gateway.workers.iter().map(move |worker| (gateway, worker)));
    for (gateway, worker) in pairs {
        let WorkerReport { key, state, clients, unfinished, unfinished_bytes, oldest_ms, process, .. } =
            worker;
        let [round_trip, up, version] = reported(worker);
        table.push(vec![
            text(&gateway.address),
            text(key),
            text(state),
            clients.to_string(),
            unfinished.to_string(),
            if *unfinished > 0 { duration(*oldest_ms) } else { "-".into() },
            bytes(*unfinished_bytes),
            round_trip,
            up,
            version,
            process.as_deref().map_or_else(|| "-".into(), text),
        ]);
    }
    table
}

/// Returns what a worker has reported of itself: round trip, time since its start, version.
pub(crate) fn reported(worker: &WorkerReport) -> [String; 3] {
    let shown = [
        worker.round_trip_ms.map(short_time),
        worker.uptime_ms.map(duration),
        worker.version.as_deref().map(text),
    ];
    shown.map(|shown| shown.unwrap_or_else(|| "-".to_owned()))
}

/// Asks all gateways what the handlers of their workers do. Those that do not know the question are left out.
pub(crate) async fn handlers(inspector: &Inspector, access: &Access) -> Vec<WorkerHandlers> {
    let Ok(asked) = inspecting::ask(inspector, access, &InspectRequest::Handlers).await else {
        return Vec::new();
    };
    let lists = asked.answers.into_iter().filter_map(|(_, answer)| match answer {
        InspectAnswer::Handlers(list) => Some(list.workers),
        _ => None,
    });
    lists.flatten().collect()
}
