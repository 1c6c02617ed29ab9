//! The page of close codes names exactly the codes and reasons that the code has.

use std::collections::BTreeSet;

use gatewayworker_protocol::CloseReason;

use crate::pages::Page;

const CODES: &str = include_str!("../../../crates/protocol/src/close_code.rs");
const PAGES: [&str; 2] = ["docs/guide/close-codes.md", "docs/zh/guide/close-codes.md"];

/// The codes that the daemons send: the constants of `close_code.rs`.
fn codes() -> BTreeSet<String> {
    let constants = CODES.lines().filter_map(|line| line.strip_prefix("pub const ")?.split_once(": u16 = "));
    constants.map(|(_, code)| code.trim_end_matches(';').to_owned()).collect()
}

#[test]
fn the_page_of_close_codes_names_the_codes_that_the_daemons_send() {
    for path in PAGES {
        let page = Page::read(path).unwrap_or_else(|| panic!("{path} is not there"));
        assert_eq!(page.first_cells(1), codes(), "{path}");
    }
}

#[test]
fn the_page_of_close_codes_names_the_reasons_that_applications_receive() {
    let reasons: BTreeSet<_> = CloseReason::all().map(|reason| reason.to_string()).collect();
    for path in PAGES {
        let page = Page::read(path).unwrap_or_else(|| panic!("{path} is not there"));
        assert_eq!(page.first_cells(2), reasons, "{path}");
    }
}
