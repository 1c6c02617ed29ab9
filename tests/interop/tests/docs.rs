//! The tables in the documentation are those of the code. Needs no PHP.

use gatewayworker_interop::results::{differences_table, put};

#[test]
fn the_documented_differences_are_those_of_the_code() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/migrating-from-php.md");
    let text = std::fs::read_to_string(path).expect("the page is there");
    let right = put(&text, "differences", &differences_table()).expect("the table has a place");
    assert!(text == right, "{path}: run interop-table, as tests/interop/README.md says");
}
