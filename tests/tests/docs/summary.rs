//! The summaries, which mdBook makes the site from, name each page once, in the same order.

use crate::pages::{Page, of_the_site};

/// The pages that a summary names, in its order.
fn named(summary: &str) -> Vec<String> {
    let summary = Page::read(summary).expect("the summary is there");
    summary.links().into_iter().map(|(_, target)| target).collect()
}

#[test]
fn a_summary_names_each_page_of_its_language_once() {
    for folder in ["docs/", "docs/zh/"] {
        let mut named = named(&format!("{folder}SUMMARY.md"));
        named.sort();
        let pages = of_the_site(folder);
        for page in &pages {
            assert!(named.contains(page), "{folder}SUMMARY.md does not name {page}");
        }
        assert_eq!(named, pages, "{folder}SUMMARY.md names something twice, or a page that is not there");
    }
}

#[test]
fn both_summaries_have_the_same_order() {
    let (english, chinese) = (named("docs/SUMMARY.md"), named("docs/zh/SUMMARY.md"));
    let translated: Vec<_> = english.into_iter().filter(|page| chinese.contains(page)).collect();
    assert_eq!(translated, chinese);
}
