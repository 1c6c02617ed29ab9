//! The page for operators names figures and log lines that the daemons have.

use std::collections::BTreeSet;

use crate::pages::{Page, files_below, root};

const PAGES: [&str; 2] = ["docs/guide/operating.md", "docs/zh/guide/operating.md"];

/// All code of the daemons, with strings that go on in the next line put together.
fn code() -> String {
    let files = files_below("crates", &["rs"]).into_iter().filter(|path| path.contains("/src/"));
    let read = |path: String| std::fs::read_to_string(root().join(path)).expect("a file that can be read");
    let mut code = String::new();
    for text in files.map(read) {
        let mut parts = text.split("\\\n");
        code.push_str(parts.next().unwrap_or_default());
        parts.for_each(|part| code.push_str(part.trim_start()));
    }
    code
}

#[test]
fn the_page_for_operators_explains_figures_that_status_has() {
    let code = code();
    for path in PAGES {
        let figures = Page::read(path).expect("the page is there").first_cells(2);
        assert!(figures.len() > 15, "{path}: {figures:?}");
        for figure in figures {
            assert!(code.contains(&format!("\"{figure}\"")), "{path}: {figure}");
        }
    }
}

#[test]
fn the_page_for_operators_explains_log_lines_that_daemons_write() {
    let code = code();
    let lines = PAGES.map(|path| Page::read(path).expect("the page is there").first_cells(3));
    assert!(lines[0].len() > 25, "{lines:?}");
    for line in lines.iter().flat_map(BTreeSet::iter) {
        assert!(code.contains(line.as_str()), "no daemon writes: {line}");
    }
    assert_eq!(lines[0], lines[1]);
}
