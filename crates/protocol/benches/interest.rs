//! Looking a name up in the filters of many gateways, as a worker does for each send to a group or uid.

#![allow(missing_docs)]

use std::hint::black_box;

use gatewayworker_microbench::Suite;
use gatewayworker_protocol::interest::{Name, NameFilter};

/// Names in each filter, at the bits with which one is made.
const NAMES: u64 = 100_000;

fn main() {
    let mut suite = Suite::default();
    let mut number = 0_u64;
    suite.add("name of 24 bytes", move || {
        number += 1;
        black_box(Name::group(with_number(&mut [0; 24], number)));
    });
    for (case, gateways) in [("1 gateway", 1), ("20 gateways", 20), ("40 gateways", 40)] {
        let filters: Vec<NameFilter> = (0..gateways).map(filter).collect();
        let mut number = 0_u64;
        suite.add(case, move || {
            number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let name = Name::from_bits(number);
            black_box(filters.iter().filter(|filter| filter.may_have(name)).count());
        });
    }
    suite.measure();
}

/// A filter with names of its own.
fn filter(gateway: u64) -> NameFilter {
    let mut filter = NameFilter::new(NAMES as usize * 18 / 8);
    for number in 0..NAMES {
        filter.insert(Name::uid(&(gateway * NAMES + number).to_le_bytes()));
    }
    filter
}

/// A name without memory of its own.
fn with_number(name: &mut [u8; 24], number: u64) -> &[u8] {
    name[..8].copy_from_slice(&number.to_le_bytes());
    name
}
