//! Draws the state of `top` on a terminal. It decides nothing.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Row, Sparkline, Table, Wrap};

use super::slow;
use super::state::{Screen, State};
use crate::cluster_status::{reported, state_of};
use crate::table::text;
use crate::units::{bytes, duration, short_time};

const BOLD: Style = Style::new().add_modifier(Modifier::BOLD);

/// Draws the state.
pub(super) fn draw(state: &State, frame: &mut Frame<'_>) {
    let problems = u16::try_from(state.problems.len()).unwrap_or(u16::MAX).min(3) * 2;
    let parts =
        [Constraint::Length(1), Constraint::Fill(1), Constraint::Length(problems), Constraint::Length(1)];
    let [head, body, foot, keys] = Layout::vertical(parts).areas(frame.area());
    frame.render_widget(title(state), head);
    match state.screen {
        _ if state.is_waiting => {
            frame.render_widget(Paragraph::new("waiting for the gateways' answers"), body)
        }
        Screen::Overview => overview(state, frame, body),
        Screen::Mesh => mesh(state, frame, body),
        Screen::Slow => slow_handlers(state, frame, body),
    }
    let problems: Vec<Line<'_>> = state.problems.iter().map(|problem| Line::from(text(problem))).collect();
    frame.render_widget(
        Paragraph::new(problems).style(colour(state, Color::Red)).wrap(Wrap { trim: true }),
        foot,
    );
    let sort = format!("q quit   tab next screen   ↑↓ scroll   s sort (by {})", state.sort.name());
    frame.render_widget(Paragraph::new(sort).style(Style::new().add_modifier(Modifier::DIM)), keys);
}

/// The style of a colour, or none where the terminal is to have no colours.
fn colour(state: &State, colour: Color) -> Style {
    if state.with_colour { Style::new().fg(colour) } else { Style::new() }
}

fn title(state: &State) -> Line<'static> {
    let screen = |screen, name: &'static str| {
        let is_shown = state.screen == screen;
        Span::styled(name, if is_shown { BOLD.add_modifier(Modifier::REVERSED) } else { Style::new() })
    };
    let clients = state.total("clients").unwrap_or_default();
    Line::from(vec![
        Span::styled("GatewayWorker  ", BOLD),
        screen(Screen::Overview, " Overview "),
        Span::raw(" "),
        screen(Screen::Mesh, " Mesh "),
        Span::raw(" "),
        screen(Screen::Slow, " Slow "),
        Span::raw(format!("  gateways {}  clients {clients}", state.gateways.len())),
    ])
}

fn overview(state: &State, frame: &mut Frame<'_>, area: Rect) {
    let parts = [Constraint::Length(1), Constraint::Length(1), Constraint::Length(4), Constraint::Fill(1)];
    let [_, heading, graph, numbers] = Layout::vertical(parts).areas(area);
    let past = state.clients();
    let most = past.iter().max().copied().unwrap_or_default();
    let clients = state.total("clients").unwrap_or_default();
    frame.render_widget(
        Paragraph::new(format!("Clients: {clients}, at most {most} while this runs")),
        heading,
    );
    // The latest that fit.
    let points = &past[past.len().saturating_sub(graph.width.into())..];
    frame.render_widget(Sparkline::default().data(points).style(colour(state, Color::Cyan)), graph);

    let number = |stat| state.total(stat).map_or_else(|| "-".to_owned(), |total| total.to_string());
    let mut rows = vec![
        Row::new(["workers × gateways".to_owned(), number("workers"), String::new()]),
        Row::new(["events not finished".to_owned(), number("unfinished"), String::new()]),
    ];
    rows.extend(state.rates.iter().map(|rate| {
        let per_second = rate.per_second.map_or_else(|| "-".to_owned(), |rate| format!("{rate:.1}"));
        Row::new([rate.name.to_owned(), rate.total.to_string(), per_second])
    }));
    let widths = [Constraint::Length(22), Constraint::Length(16), Constraint::Length(14)];
    let table = Table::new(rows, widths).header(Row::new(["", "TOTAL", "PER SECOND"]).style(BOLD));
    frame.render_widget(table, numbers);
}

/// The width from which the mesh has all columns.
const WIDE: u16 = 110;

/// Draws the mesh. A narrow terminal shows neither the bytes nor the worker's version and time since its start.
fn mesh(state: &State, frame: &mut Frame<'_>, area: Rect) {
    let columns = if area.width < WIDE { 6 } else { 9 };
    let rows = state.mesh().into_iter().skip(state.scroll).map(|(gateway, worker)| {
        let shown = match worker {
            None => {
                let none = || "-".to_owned();
                ["no worker".into(), state_of(gateway).into(), none(), none(), none(), none(), none(), none()]
            }
            Some(worker) => {
                let [round_trip, up, version] = reported(worker);
                [
                    text(&worker.key),
                    text(&worker.state),
                    worker.clients.to_string(),
                    worker.unfinished.to_string(),
                    round_trip,
                    up,
                    bytes(worker.unfinished_bytes),
                    version,
                ]
            }
        };
        let style = if worker.is_none() { colour(state, Color::Red) } else { Style::new() };
        Row::new([text(&gateway.address)].into_iter().chain(shown).take(columns)).style(style)
    });
    // All else is the worker's: its key is the longest.
    let longest = state.gateways.iter().map(|gateway| gateway.address.len()).max();
    let addresses = longest.and_then(|longest| u16::try_from(longest).ok()).unwrap_or(0).clamp(7, 21);
    let widths = [
        Constraint::Length(addresses + 1),
        Constraint::Fill(1),
        Constraint::Length(8),
        Constraint::Length(7),
        Constraint::Length(10),
        Constraint::Length(10),
        Constraint::Length(11),
        Constraint::Length(8),
        Constraint::Length(7),
    ];
    let head =
        ["GATEWAY", "WORKER", "STATE", "CLIENTS", "UNFINISHED", "ROUND TRIP", "UP", "BYTES", "VERSION"];
    let table = Table::new(rows, widths.into_iter().take(columns));
    frame.render_widget(table.header(Row::new(head.into_iter().take(columns)).style(BOLD)), area);
}

/// Draws the handlers that run for long, and below them those that took most of the last minute.
fn slow_handlers(state: &State, frame: &mut Frame<'_>, area: Rect) {
    let running = slow::running(&state.handlers);
    let lines = u16::try_from(running.len()).unwrap_or(u16::MAX).max(1);
    let above = (lines + 2).min(area.height / 2);
    let [above, below] = Layout::vertical([Constraint::Length(above), Constraint::Fill(1)]).areas(area);
    if running.is_empty() {
        frame.render_widget(Paragraph::new("No handler has run for a second or longer."), above);
    } else {
        let rows = running
            .iter()
            .map(|one| Row::new([text(&one.event), duration(one.ms), text(&one.client), text(&one.worker)]));
        let widths =
            [Constraint::Length(20), Constraint::Length(11), Constraint::Length(20), Constraint::Fill(1)];
        let table = Table::new(rows, widths).style(colour(state, Color::Red));
        let head = Row::new(["RUNS NOW", "FOR", "CLIENT", "WORKER"]).style(BOLD);
        frame.render_widget(table.header(head), above);
    }
    let rows = slow::by_time(&state.gateways).into_iter().skip(state.scroll).map(|one| {
        Row::new([
            text(&one.event),
            one.times.count.to_string(),
            duration(one.times.total_ms),
            short_time(one.average_ms()),
            short_time(one.times.max_ms as f64),
            text(&one.worker),
        ])
    });
    let widths = [
        Constraint::Length(20),
        Constraint::Length(8),
        Constraint::Length(11),
        Constraint::Length(8),
        Constraint::Length(8),
        Constraint::Fill(1),
    ];
    let head = ["LAST MINUTE", "CALLS", "TIME", "AVERAGE", "LONGEST", "WORKER"];
    frame.render_widget(Table::new(rows, widths).header(Row::new(head).style(BOLD)), below);
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::super::state::Key;
    use super::super::state::tests::{gateway, view};
    use super::*;

    /// The lines of a terminal with this size.
    fn shown(state: &State, width: u16, height: u16) -> Vec<String> {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(state, frame)).unwrap();
        let buffer = terminal.backend().buffer().clone();
        let line = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned();
        (0..height).map(line).collect()
    }

    fn state() -> State {
        let mut state = State::new(true);
        let at = |clients, closed| {
            gateway(
                "2300",
                &[("clients", clients), ("workers", 2), ("unfinished", 11), ("closed", closed)],
                &[("10.0.0.2:Chat:0", 3, 2), ("10.0.0.2:Chat:1", 4, 9)],
            )
        };
        state.take(Ok(view(vec![at(2, 0)])), 0);
        state.take(Ok(view(vec![at(7, 5)])), 2_000);
        state
    }

    #[test]
    fn the_overview_has_the_numbers_and_their_change() {
        let lines = shown(&state(), 80, 24);
        assert_eq!(lines[0], "GatewayWorker   Overview   Mesh   Slow   gateways 1  clients 7");
        assert_eq!(lines[2], "Clients: 7, at most 7 while this runs");
        assert_eq!(lines[7].split_whitespace().collect::<Vec<_>>(), ["TOTAL", "PER", "SECOND"]);
        assert_eq!(lines[9], "events not finished    11");
        assert_eq!(lines[10], "closes                 5                2.5");
        assert_eq!(lines[23], "q quit   tab next screen   ↑↓ scroll   s sort (by unfinished)");
    }

    #[test]
    fn the_mesh_has_a_row_for_each_worker_of_each_gateway() {
        let mut state = state();
        state.press(Key::Next);
        let lines = shown(&state, 120, 10);
        let cells = |line: &str| {
            line.split("  ")
                .map(str::trim)
                .filter(|cell| !cell.is_empty())
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        assert_eq!(
            cells(&lines[2]),
            ["10.0.0.1:2300", "10.0.0.2:Chat:1", "open", "4", "9", "-", "-", "0 B", "-"]
        );
        assert_eq!(cells(&lines[3])[1], "10.0.0.2:Chat:0");
        state.press(Key::Down);
        assert_eq!(cells(&shown(&state, 80, 24)[2])[1], "10.0.0.2:Chat:0");
        assert!(
            shown(&state, 80, 24)[1].ends_with("ROUND TRIP"),
            "a narrow one has the most important columns"
        );
    }

    #[test]
    fn a_worker_that_reports_shows_its_round_trip_and_its_version() {
        let mut state = state();
        let worker = &mut state.gateways[0].workers[1];
        (worker.round_trip_ms, worker.uptime_ms) = (Some(0.312), Some(59_000));
        worker.version = Some("0.2.0".into());
        state.press(Key::Next);
        let line = &shown(&state, 120, 10)[2];
        assert!(line.contains(" 0.31 ms ") && line.contains(" 59 s ") && line.ends_with("0.2.0"), "{line}");
    }

    #[test]
    fn slow_has_the_handlers_that_run_and_those_of_the_last_minute() {
        let mut state = state();
        (state.gateways[0].workers[0].handlers, state.handlers) = slow::tests::handlers();
        state.press(Key::Previous);
        let lines = shown(&state, 100, 12);
        let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(words(&lines[2]), ["on_message", "12", "s", "7f00000108fc86622f2b", "10.0.0.2:Chat:0"]);
        let last = words(&lines[5]);
        assert_eq!(last, ["on_message", "4", "2", "s", "500", "ms", "1.2", "s", "10.0.0.2:Chat:0"]);
        state.handlers.clear();
        assert!(shown(&state, 100, 12)[1].starts_with("No handler has run"));
    }

    #[test]
    fn problems_stand_below_and_no_size_is_too_small() {
        let mut state = state();
        state.take(Err("no register at 127.0.0.1:1236: start one".into()), 3_000);
        let lines = shown(&state, 80, 24);
        assert!(lines.iter().any(|line| line == "no register at 127.0.0.1:1236: start one"), "{lines:?}");
        for (width, height) in [(1, 1), (10, 3), (80, 2), (300, 100)] {
            for screen in [Screen::Overview, Screen::Mesh, Screen::Slow] {
                state.screen = screen;
                shown(&state, width, height);
            }
        }
    }
}
