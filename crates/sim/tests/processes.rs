//! Tests that processes freeze, thaw, die and start as a script says.

use gatewayworker_sim::{
    Context, Fault, Input, Model, NetworkOptions, Path, Plan, ProcessId, ScriptEvent, ScriptStep, Simulation,
    Socket, Violation,
};

/// Two processes. The second hears words, wants a turn 5 ms and a deadline 7 ms after each; the first connects to it
/// when it is told to.
#[derive(Debug, Default)]
struct Listeners {
    heard: Vec<(u64, ProcessId, String)>,
    starts: usize,
    crashes: usize,
}

#[derive(Debug, Default)]
struct Node {
    deadline: Option<u64>,
    sockets: Vec<Socket>,
}

impl Model for Listeners {
    type Node = Node;
    type Action = &'static str;

    fn start(&mut self, _: &mut Context<'_>) -> Node {
        self.starts += 1;
        Node::default()
    }

    fn step(
        &mut self,
        node: &mut Node,
        input: Input<&'static str>,
        context: &mut Context<'_>,
    ) -> Result<(), Violation> {
        let what = match input {
            Input::Act("connect") => {
                node.sockets.push(context.connect(1, 9));
                "connects".into()
            }
            Input::Act(word) => {
                context.turn_after(5, 1);
                node.deadline = Some(context.now_ms + 7);
                word.into()
            }
            Input::Accepted { socket, port } => {
                node.sockets.push(socket);
                format!("accepted on {port}")
            }
            Input::Deadline => {
                node.deadline = None;
                "deadline".into()
            }
            Input::Connected(_) => "connected".into(),
            Input::Readable(_) => format!("{:?}", node.sockets[0].try_read(&mut [0; 8])),
            Input::Writable(_) => "writable".into(),
            Input::Turn(number) => format!("turn {number}"),
            Input::Finish(_) => return Ok(()),
        };
        self.heard.push((context.now_ms, context.process, what));
        Ok(())
    }

    fn next_deadline(&self, node: &Node) -> Option<u64> {
        node.deadline
    }

    fn crashed(&mut self, _: ProcessId, _: &Node, _: u64) {
        self.crashes += 1;
    }

    fn check(&mut self, _: ProcessId, _: &[Option<Node>]) -> Result<(), Violation> {
        Ok(())
    }

    /// Hands out what was heard, as the error that ends the run.
    fn check_stage(&mut self, _: usize, _: &[Option<Node>], connections: usize) -> Result<(), Violation> {
        let mut lines: Vec<String> =
            self.heard.iter().map(|(at, who, what)| format!("{at} {who} {what}")).collect();
        lines.push(format!("{} starts, {} crashes, {connections} connections", self.starts, self.crashes));
        Err(Violation::new("heard", lines.join("\n")))
    }
}

fn heard(script: &[(u64, ScriptEvent<&'static str>)]) -> Vec<String> {
    let step = |(at_ms, event): &(u64, ScriptEvent<&'static str>)| ScriptStep {
        at_ms: *at_ms,
        event: event.clone(),
    };
    let plan = Plan {
        model: Listeners::default(),
        processes: 2,
        network: NetworkOptions { delay_ms: 1..=1, slow_percent: 0, ..NetworkOptions::default() },
        script: script.iter().map(step).collect(),
        script_ms: 100,
        stages: vec![100],
        max_steps: 1000,
    };
    let details =
        Simulation::new(1, plan, None).run().violation.expect("the last check always fails").details;
    details.lines().map(str::to_owned).collect()
}

use ScriptEvent::{Act, Fault as Goes};

#[test]
fn a_frozen_process_takes_its_inputs_when_it_thaws() {
    let script = [
        (10, Act(1, "before")),
        (11, Goes(Fault::Freeze(1))),
        (12, Act(1, "meanwhile")),
        (13, Act(0, "connect")),
        (50, Goes(Fault::Thaw(1))),
    ];
    let expected = [
        "10 1 before",
        "13 0 connects",
        // The system accepts for it.
        "15 0 connected",
        "50 1 meanwhile",
        "50 1 accepted on 9",
        "50 1 turn 1",
        "50 1 deadline",
        "55 1 turn 1",
        "2 starts, 0 crashes, 1 connections",
    ];
    assert_eq!(heard(&script), expected);
}

#[test]
fn a_process_that_is_killed_hears_nothing_and_the_next_one_knows_nothing() {
    let script = [
        (10, Act(1, "before")),
        (12, Goes(Fault::Kill(1))),
        (13, Act(1, "nobody hears it")),
        (14, Goes(Fault::Start(1))),
        (30, Act(1, "after")),
    ];
    let expected =
        ["10 1 before", "30 1 after", "35 1 turn 1", "37 1 deadline", "3 starts, 1 crashes, 0 connections"];
    assert_eq!(heard(&script), expected);
}

#[test]
fn who_connects_to_a_process_that_is_gone_is_refused() {
    let script = [(10, Goes(Fault::Kill(1))), (11, Act(0, "connect"))];
    let expected = ["11 0 connects", "13 0 Reset", "3 starts, 1 crashes, 1 connections"];
    assert_eq!(heard(&script), expected);
}

#[test]
fn a_killed_process_ends_its_connections_and_one_that_crashes_resets_them() {
    for (fault, end) in [(Fault::Kill(1), "End"), (Fault::Crash(1), "Reset")] {
        let heard = heard(&[(10, Act(0, "connect")), (20, Goes(fault))]);
        assert_eq!(heard[3], format!("21 0 {end}"));
    }
}

#[test]
fn all_is_mended_before_the_end() {
    let script = [
        (10, Goes(Fault::Kill(1))),
        (11, Goes(Fault::Freeze(0))),
        (12, Goes(Fault::Cut(Path::all(0, 1)))),
        (13, Act(0, "connect")),
    ];
    let expected =
        ["100 0 connects", "101 1 accepted on 9", "102 0 connected", "3 starts, 1 crashes, 1 connections"];
    assert_eq!(heard(&script), expected);
}
