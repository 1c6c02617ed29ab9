//! The pages of the examples contain the library for JavaScript as it is built.

use crate::pages::root;

#[test]
fn the_pages_of_the_examples_have_the_library_as_it_is() {
    let read = |path: &str| std::fs::read_to_string(root().join(path)).unwrap();
    let library = read("clients/js/dist/gatewayworker-client.min.js");
    let script = read("clients/js/inline.mjs");
    let pages = script.split('"').filter(|word| word.ends_with(".html"));
    let mut count = 0;
    for page in pages {
        let has = read(&format!("examples/{page}")).contains(library.trim());
        assert!(has, "examples/{page} has another copy: node clients/js/inline.mjs");
        count += 1;
    }
    assert!(count > 0);
}
