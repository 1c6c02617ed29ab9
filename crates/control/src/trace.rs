//! `trace`: what one client of a running cluster says, and what is queued for it, as it happens.
//!
//! A line for each frame, or JSON. Bytes that could write elsewhere on a terminal are replaced. The status is 0 when the
//! trace ends: the client is closed, the time is over, Ctrl-C, or nobody reads the lines any more; 1 where it cannot
//! begin, or breaks off.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use anyhow::Context;
use gatewayworker_client::ClientId;
use gatewayworker_client::inspect::{
    Direction, Inspector, MAX_TRACE_SECONDS, Preview, TRACE_SECONDS, TraceLine, TraceOptions, TracedFrame,
};

use crate::cluster_access::AccessFlags;
use crate::cluster_dirs::ConfigDir;
use crate::console::print_error;
use crate::table::text;
use crate::units::{bytes, time_of_day};

/// The flags of `trace`.
#[derive(Debug, clap::Args)]
pub struct TraceFlags {
    /// The client id, as `connections` shows it
    id: ClientId,

    /// Show what is in the frames, up to 4 KiB of each
    #[arg(long)]
    payloads: bool,

    /// End after N seconds
    #[arg(long, value_name = "N", default_value_t = TRACE_SECONDS)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_TRACE_SECONDS)))]
    seconds: u32,

    /// Print JSON, an object a line
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    configs: ConfigDir,

    #[command(flatten)]
    access: AccessFlags,
}

/// Prints the frames of a client until the trace ends: status 0, or 1 if it cannot be traced.
pub fn run(flags: &TraceFlags) -> ExitCode {
    match trace(flags) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            print_error(format_args!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn trace(flags: &TraceFlags) -> anyhow::Result<()> {
    let access = flags.configs.find().and_then(|configs| flags.access.access_or_of(configs))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let inspector = access.inspector();
        tokio::select! {
            traced = print_lines(flags, &inspector) => traced,
            _ = tokio::signal::ctrl_c() => Ok(()),
        }
    })
}

async fn print_lines(flags: &TraceFlags, inspector: &Inspector) -> anyhow::Result<()> {
    let options = TraceOptions::default().with_payloads(flags.payloads).with_seconds(flags.seconds);
    let mut trace = inspector
        .trace(flags.id, options)
        .await
        .with_context(|| format!("the client {} cannot be traced", flags.id))?;
    if io::stdout().is_terminal() && !flags.json {
        let _ = writeln!(io::stderr(), "tracing {} for {} s; Ctrl-C ends it", flags.id, flags.seconds);
    }
    while let Some(line) = trace.next().await {
        let line = line?;
        let shown = if flags.json { serde_json::to_string(&line)? } else { describe(&line) };
        if writeln!(io::stdout(), "{shown}").is_err() {
            // Nobody reads any more.
            return Ok(());
        }
    }
    Ok(())
}

/// Returns a line for people: `14:03:07.125  in   text    5 B  hello`. The time is UTC.
fn describe(line: &TraceLine) -> String {
    match line {
        TraceLine::Frame(frame) => describe_frame(frame),
        TraceLine::Missed { missed } => format!("({missed} frames are left out: they came too fast)"),
        TraceLine::End { end } => format!("({})", text(end)),
        _ => "(a line of a newer version)".to_owned(),
    }
}

fn describe_frame(frame: &TracedFrame) -> String {
    let TracedFrame { at_ms, direction, kind, bytes: len, code, preview } = frame;
    let direction = if *direction == Direction::In { "in" } else { "out" };
    let (time, kind, len) = (time_of_day(*at_ms), kind.as_str(), bytes(*len));
    let code = code.map(|code| format!("{code} ")).unwrap_or_default();
    let line = format!("{time}  {direction:<3}  {kind:<7}  {len:>8}  {code}{}", payload(preview));
    line.trim_end().to_owned()
}

/// Returns a payload on one line; `base64:` stands before bytes that are no text.
pub(crate) fn payload(preview: &Preview) -> String {
    let Preview { payload, payload_base64, cut } = preview;
    let shown = match (payload, payload_base64) {
        (Some(payload), _) => text(payload),
        (None, Some(base64)) => format!("base64:{}", text(base64)),
        (None, None) => return String::new(),
    };
    if *cut { format!("{shown}…") } else { shown }
}

#[cfg(test)]
mod tests {
    use gatewayworker_client::inspect::FrameKind;

    use super::*;

    #[test]
    fn a_frame_is_one_line_that_cannot_write_elsewhere() {
        let frame = TracedFrame {
            at_ms: 1_700_000_000_125,
            direction: Direction::In,
            kind: FrameKind::Text,
            bytes: 12,
            code: None,
            preview: Preview::new("hi\x1b[2J\nyou".as_bytes(), 100),
        };
        let shown = describe(&TraceLine::Frame(frame.clone()));
        assert_eq!(shown, "22:13:20.125  in   text         12 B  hi\u{fffd}[2J\u{fffd}you");
        let close = TracedFrame {
            direction: Direction::Out,
            kind: FrameKind::Close,
            bytes: 0,
            code: Some(4001),
            preview: Preview::default(),
            ..frame
        };
        assert_eq!(describe(&TraceLine::Frame(close)), "22:13:20.125  out  close         0 B  4001");
    }

    #[test]
    fn bytes_that_are_no_text_are_marked_and_so_is_what_is_cut() {
        assert_eq!(payload(&Preview::new(b"\xff\xfe", 10)), "base64://4=");
        assert_eq!(payload(&Preview::new(b"abc", 2)), "ab…");
        assert_eq!(payload(&Preview::default()), "");
    }
}
