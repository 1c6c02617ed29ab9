//! The Markdown files of the repository, and what the other modules look at in them: headings, code blocks,
//! links.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The folder of the repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A Markdown file.
pub(crate) struct Page {
    /// Its path below the repository's folder, with slashes.
    pub(crate) path: String,
    pub(crate) text: String,
}

impl Page {
    /// Reads the page at this path below the repository's folder; `None` where there is none.
    pub(crate) fn read(path: &str) -> Option<Self> {
        let text = std::fs::read_to_string(root().join(path)).ok()?;
        Some(Self { path: path.to_owned(), text })
    }

    /// The lines outside of code blocks, each with its number.
    pub(crate) fn prose(&self) -> impl Iterator<Item = (usize, &str)> {
        let mut fence = None;
        (1..).zip(self.text.lines()).filter(move |(_, line)| {
            let was_open = fence.is_some();
            step(&mut fence, line);
            !was_open && fence.is_none()
        })
    }

    /// The headings: their level, and their text.
    pub(crate) fn headings(&self) -> Vec<(usize, &str)> {
        let heading = |line: &'_ str| line.bytes().take_while(|byte| *byte == b'#').count();
        let of_line = |(_, line)| match heading(line) {
            level @ 1..=6 => line[level..].strip_prefix(' ').map(|text| (level, text.trim())),
            _ => None,
        };
        self.prose().filter_map(of_line).collect()
    }

    /// The code blocks: each with the line that says its language, and its lines.
    pub(crate) fn code_blocks(&self) -> Vec<String> {
        let mut blocks = Vec::new();
        let mut fence = None;
        for line in self.text.lines() {
            let was_open = fence.is_some();
            step(&mut fence, line);
            match (was_open, fence.is_some()) {
                (false, true) => blocks.push(line.to_owned()),
                (true, true) => {
                    let block: &mut String = blocks.last_mut().expect("a block is open");
                    block.push('\n');
                    block.push_str(line);
                }
                _ => {}
            }
        }
        assert!(fence.is_none(), "{}: the last code block has no end", self.path);
        blocks
    }

    /// The targets of its links and pictures, each with the number of its line.
    pub(crate) fn links(&self) -> Vec<(usize, String)> {
        let mut links = Vec::new();
        for (number, line) in self.prose() {
            let line = without_code(line);
            let targets = line.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
            links.extend(targets.map(|(target, _)| (number, target.to_owned())));
        }
        links
    }

    /// The first cells of the rows of the first table behind a heading, without backticks. `heading` counts from 0,
    /// the title.
    pub(crate) fn first_cells(&self, heading: usize) -> BTreeSet<String> {
        let title = self.headings()[heading].1.to_owned();
        let is_title = |line: &str| line.starts_with('#') && line.trim_start_matches('#').trim() == title;
        let behind = self.prose().map(|(_, line)| line).skip_while(|line| !is_title(line));
        let table = behind.skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|'));
        let cell = |row: &str| row.split('|').nth(1).unwrap_or_default().trim().trim_matches('`').to_owned();
        table.skip(2).map(cell).collect()
    }

    /// The anchors of its headings, as GitHub and mdBook make them.
    pub(crate) fn anchors(&self) -> Vec<String> {
        let mut anchors: Vec<String> = Vec::new();
        for (_, heading) in self.headings() {
            let plain = anchor(heading);
            let repeated = (1..).map(|n| format!("{plain}-{n}"));
            let free = std::iter::once(plain.clone()).chain(repeated).find(|one| !anchors.contains(one));
            anchors.extend(free);
        }
        anchors
    }
}

/// Opens or closes a code block at its fence.
fn step(fence: &mut Option<usize>, line: &str) {
    let ticks = line.bytes().take_while(|byte| *byte == b'`').count();
    match *fence {
        None if ticks >= 3 => *fence = Some(ticks),
        Some(open) if ticks >= open && line.len() == ticks => *fence = None,
        _ => {}
    }
}

/// The line without what stands between backticks. A link's own text may be code.
fn without_code(line: &str) -> String {
    line.split('`').step_by(2).collect::<Vec<_>>().join("")
}

fn anchor(heading: &str) -> String {
    let mut text = heading.to_owned();
    // A link in a heading counts with its text only.
    while let Some((start, rest)) = text.split_once("](") {
        let end = rest.split_once(')').map_or("", |(_, end)| end);
        text = format!("{start}{end}");
    }
    let kept =
        text.to_lowercase().chars().filter(|c| c.is_alphanumeric() || "-_ ".contains(*c)).collect::<String>();
    kept.replace(' ', "-")
}

/// All Markdown files of the repository.
pub(crate) fn all() -> Vec<Page> {
    let files = files_below("", &["md"]);
    files.iter().map(|path| Page::read(path).expect("a file that can be read")).collect()
}

/// The Markdown files of the site, in one language, relative to the folder of that language: `docs/` or
/// `docs/zh/`.
pub(crate) fn of_the_site(folder: &str) -> Vec<String> {
    let below = |path: String| path.strip_prefix(folder).map(str::to_owned);
    let files = files_below(folder.trim_end_matches('/'), &["md"]).into_iter().filter_map(below);
    files.filter(|path| path != "SUMMARY.md" && !path.starts_with("zh/")).collect()
}

/// The files with one of these extensions below a folder, sorted; their paths are below the repository's folder.
/// Leaves out what Cargo and Git make.
pub(crate) fn files_below(folder: &str, extensions: &[&str]) -> Vec<String> {
    let mut files = Vec::new();
    let entries = std::fs::read_dir(root().join(folder)).expect("a folder that can be read");
    for entry in entries {
        let entry = entry.expect("an entry that can be read");
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = if folder.is_empty() { name.clone() } else { format!("{folder}/{name}") };
        if entry.file_type().expect("a type").is_dir() {
            let is_made = name.starts_with('.') || ["target", "vendor", "node_modules"].contains(&&*name);
            if !is_made {
                files.extend(files_below(&path, extensions));
            }
        } else if Path::new(&name)
            .extension()
            .is_some_and(|one| extensions.iter().any(|wanted| one == *wanted))
        {
            files.push(path);
        }
    }
    files.sort();
    files
}
