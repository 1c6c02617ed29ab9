//! Relative links lead to files that are there, and to headings that are there.

use std::path::{Component, Path, PathBuf};

use crate::pages::{self, Page, files_below, root};

/// The path without `.` and `..`; `None` where it leaves the repository.
fn normal(path: &Path) -> Option<PathBuf> {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => normal.push(name),
            Component::ParentDir if !normal.pop() => return None,
            _ => {}
        }
    }
    Some(normal)
}

/// What is wrong with a link of a page; `None` where it leads somewhere.
fn mistake(page: &Page, target: &str) -> Option<&'static str> {
    if target.contains("://") || target.starts_with("mailto:") {
        return None;
    }
    let (path, anchor) = target.split_once('#').map_or((target, None), |(path, anchor)| (path, Some(anchor)));
    let folder = Path::new(&page.path).parent().unwrap_or(Path::new(""));
    let file = if path.is_empty() { PathBuf::from(&page.path) } else { folder.join(path) };
    let Some(file) = normal(&file) else { return Some("it leads out of the repository") };
    if !root().join(&file).exists() {
        return Some("there is no such file");
    }
    let anchor = anchor?;
    let there = Page::read(file.to_str()?)?;
    (!there.anchors().iter().any(|one| one == anchor)).then_some("there is no such heading")
}

#[test]
fn relative_links_lead_to_files_and_headings() {
    let mut mistakes = Vec::new();
    for page in pages::all() {
        for (line, target) in page.links() {
            if let Some(mistake) = mistake(&page, &target) {
                mistakes.push(format!("{}:{line}: {target}: {mistake}", page.path));
            }
        }
    }
    assert!(mistakes.is_empty(), "{}", mistakes.join("\n"));
}

#[test]
fn pages_that_code_and_configuration_name_are_there() {
    let mut missing = Vec::new();
    for path in files_below("", &["rs", "toml", "html", "conf"]) {
        let Ok(text) = std::fs::read_to_string(root().join(&path)) else { continue };
        for (before, after) in text.match_indices("docs/").map(|(at, _)| text.split_at(at)) {
            let name: String =
                after.chars().take_while(|c| c.is_ascii_alphanumeric() || "/-_.".contains(*c)).collect();
            let name = name.trim_end_matches('.');
            let is_page = name.ends_with(".md") && !before.ends_with(|c: char| c.is_alphanumeric());
            if is_page && !root().join(name).exists() {
                missing.push(format!("{path}: {name}"));
            }
        }
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}
