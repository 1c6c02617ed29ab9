//! Table.

fn main() {}
