//! English pages (`docs/…`) and Chinese ones (`docs/zh/…`, at the same path) are in step.

use crate::pages::{Page, of_the_site};

/// Pages that are in English only, each with the reason. A name that ends in a slash is a folder.
const ENGLISH_ONLY: &[(&str, &str)] = &[
    ("architecture.md", "for those who change the code"),
    ("invariants.md", "for those who change the code"),
    ("decisions/", "for those who change the code"),
    ("benchmarks.md", "long tables that a program makes"),
    ("client-protocol.md", "a specification, which has one text"),
];

fn is_english_only(page: &str) -> bool {
    let is_it = |name: &str| page == name || name.ends_with('/') && page.starts_with(name);
    ENGLISH_ONLY.iter().any(|(name, _)| is_it(name))
}

/// Each page that is there in both languages.
pub(crate) fn pairs() -> Vec<(Page, Page)> {
    let read = |path: String| {
        let page = |folder| Page::read(&format!("{folder}{path}"));
        Some((page("docs/")?, page("docs/zh/")?))
    };
    of_the_site("docs/zh/").into_iter().filter_map(read).collect()
}

#[test]
fn every_page_is_there_in_both_languages_or_says_why_not() {
    let (english, chinese) = (of_the_site("docs/"), of_the_site("docs/zh/"));
    for page in &english {
        let is_translated = chinese.contains(page);
        assert!(
            is_translated != is_english_only(page),
            "docs/{page}: has a page docs/zh/{page}, or else a reason in {}",
            file!()
        );
    }
    for page in &chinese {
        assert!(english.contains(page), "docs/zh/{page}: there is no docs/{page}");
    }
    for (name, _) in ENGLISH_ONLY {
        assert!(english.iter().any(|page| page.starts_with(name)), "{name}: there is no such page");
    }
}

#[test]
fn both_languages_have_the_same_headings() {
    let levels = |page: &Page| page.headings().iter().map(|(level, _)| *level).collect::<Vec<_>>();
    for (english, chinese) in pairs() {
        let titles =
            |page: &Page| page.headings().iter().map(|(_, text)| format!("\n  {text}")).collect::<String>();
        assert!(
            levels(&english) == levels(&chinese),
            "{} and {} differ in their headings:{}\n and{}",
            english.path,
            chinese.path,
            titles(&english),
            titles(&chinese)
        );
    }
}

#[test]
fn both_languages_have_the_same_code_blocks() {
    for (english, chinese) in pairs() {
        let (here, there) = (english.code_blocks(), chinese.code_blocks());
        for (n, (here, there)) in here.iter().zip(&there).enumerate() {
            assert!(here == there, "{}: block {n} is not that of {}: {there}", chinese.path, english.path);
        }
        assert_eq!(here.len(), there.len(), "{}: the number of code blocks", chinese.path);
    }
}

/// The first cells of a table of the page, from the row that begins with `first` to the last.
fn rows<'p>(page: &'p Page, first: &str) -> Vec<&'p str> {
    let begin = format!("| {first} |");
    let lines = page.prose().map(|(_, line)| line).skip_while(|line| !line.starts_with(&begin));
    let table = lines.take_while(|line| line.starts_with('|'));
    table.filter_map(|line| line.split('|').nth(1)).map(str::trim).collect()
}

#[test]
fn the_chinese_tables_have_the_rows_that_programs_make_in_the_english_ones() {
    for (path, first) in [("reliability.md", "worker-killed"), ("migrating-from-php.md", "close-frame")] {
        let read = |folder: &str| Page::read(&format!("{folder}{path}")).expect("the page is there");
        let (english, chinese) = (read("docs/"), read("docs/zh/"));
        assert!(rows(&english, first).len() > 5, "{path}: {:?}", rows(&english, first));
        assert_eq!(rows(&english, first), rows(&chinese, first), "{path}");
    }
}

#[test]
fn a_page_links_to_itself_in_the_other_language_below_its_title() {
    let line = |page: &Page| page.text.lines().nth(2).unwrap_or_default().to_owned();
    for (english, chinese) in pairs() {
        let path = &english.path["docs/".len()..];
        let up = "../".repeat(path.matches('/').count());
        assert_eq!(line(&english), format!("[中文]({up}zh/{path})"), "{}, line 3", english.path);
        assert_eq!(line(&chinese), format!("[English]({up}../{path})"), "{}, line 3", chinese.path);
    }
}
