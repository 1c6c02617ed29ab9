//! Tests of a view: what it takes, and when it is trusted.

use bytes::Bytes;

use super::*;

const LEASE_MS: u32 = 3_000;

fn name(name: &str) -> Name {
    Name::group(name.as_bytes())
}

fn filter(names: &[&str]) -> Bytes {
    let mut filter = NameFilter::new(0);
    names.iter().for_each(|group| filter.insert(name(group)));
    filter.to_bytes()
}

/// A view that has a filter with these names.
fn view(names: &[&str]) -> InterestView {
    let mut view = InterestView::default();
    view.link_begins();
    let mut answers = Vec::new();
    for piece in InterestUpdate::filter(7, &filter(names)) {
        answers.extend(view.receive(piece, 0).unwrap());
    }
    assert_eq!(answers, [InterestReport::Applied(7)]);
    pass_barrier(&mut view);
    view
}

fn pass_barrier(view: &mut InterestView) {
    let barrier = view.begin_barrier().unwrap();
    view.end_barrier(barrier, true);
}

/// Such a view that is trusted from this time on.
fn trusted(names: &[&str], now_ms: u64) -> InterestView {
    let mut view = view(names);
    assert!(view.note_send(now_ms));
    assert_eq!(view.advance(now_ms), Some(InterestReport::Renew(now_ms)));
    let grant = InterestUpdate::Grant { renewed_at_ms: now_ms, lease_ms: LEASE_MS };
    assert_eq!(view.receive(grant, now_ms), Ok(None));
    view
}

#[test]
fn a_gateway_has_everything_until_its_view_is_trusted() {
    let mut view = InterestView::default();
    assert!(view.may_have(&[name("a")], 0));
    view.link_begins();
    assert!(view.may_have(&[name("a")], 0) && !view.note_send(0) && view.advance(0).is_none());
    let view = self::view(&["b"]);
    assert!(view.may_have(&[name("a")], 0));
    let view = trusted(&["b"], 5);
    assert!(!view.may_have(&[name("a")], 5));
    assert!(view.may_have(&[name("b")], 5) && view.may_have(&[name("a"), name("b")], 5));
}

#[test]
fn the_trust_ends_before_the_lease() {
    let view = trusted(&[], 1_000);
    let lease_ms = u64::from(LEASE_MS);
    assert!(!view.may_have(&[name("a")], 1_000 + lease_ms * 14 / 16));
    assert!(view.may_have(&[name("a")], 1_000 + lease_ms * 15 / 16 + 1));
}

#[test]
fn announced_names_are_in_the_view_when_they_are_reported_as_applied() {
    let mut view = trusted(&[], 0);
    let names = InterestUpdate::Names { version: 8, names: vec![name("a")] };
    assert_eq!(view.receive(names, 1), Ok(Some(InterestReport::Applied(8))));
    assert!(view.may_have(&[name("a")], 1));
}

#[test]
fn a_new_filter_counts_when_it_is_whole() {
    let mut view = trusted(&["old"], 0);
    let whole = NameFilter::new(200_000);
    let mut pieces: Vec<_> = InterestUpdate::filter(9, &whole.to_bytes()).collect();
    let last = pieces.pop().unwrap();
    for piece in pieces {
        assert_eq!(view.receive(piece, 1), Ok(None));
        assert!(view.may_have(&[name("old")], 1));
    }
    assert_eq!(view.receive(last, 1), Ok(Some(InterestReport::Applied(9))));
    assert!(!view.may_have(&[name("old")], 1));
}

#[test]
fn a_view_without_a_link_is_not_trusted_and_the_next_link_begins_anew() {
    let mut view = trusted(&["a"], 0);
    view.link_over();
    assert!(view.may_have(&[name("b")], 1));
    view.link_begins();
    let late = InterestUpdate::Grant { renewed_at_ms: 0, lease_ms: LEASE_MS };
    assert_eq!(view.receive(late, 1), Err(InterestError::Grant));
}

#[test]
fn it_renews_while_it_is_used() {
    let mut view = trusted(&[], 0);
    assert_eq!(view.next_deadline(), Some(1_000));
    assert!(!view.note_send(500) && view.advance(999).is_none());
    assert_eq!(view.advance(1_000), Some(InterestReport::Renew(1_000)));
    for now_ms in (2_000..10_500).step_by(1_000) {
        assert_eq!(view.advance(now_ms), Some(InterestReport::Renew(now_ms)));
    }
    assert_eq!((view.advance(11_000), view.next_deadline()), (None, None));
    assert!(view.note_send(60_000));
    assert_eq!(view.advance(60_000), Some(InterestReport::Renew(60_000)));
}

#[test]
fn a_renewal_that_is_late_and_of_no_use_any_more_is_not_due_for_ever() {
    let mut view = trusted(&[], 0);
    view.note_send(500);
    assert!(view.advance(9_000).is_some());
    assert_eq!(view.next_deadline(), Some(10_000));
    assert_eq!((view.advance(10_600), view.next_deadline()), (None, None));
    assert!(view.note_send(60_000) && view.advance(60_000).is_some());
}

#[test]
fn an_own_join_is_in_the_view_at_once_and_until_a_barrier_behind_it() {
    let mut view = trusted(&[], 0);
    assert_eq!(view.begin_barrier(), None);
    view.note_join(name("a"));
    assert!(view.may_have(&[name("a")], 1) && !view.may_have(&[name("b")], 1));
    let first = view.begin_barrier().unwrap();
    view.note_join(name("b"));
    assert_eq!(view.begin_barrier(), None);
    view.end_barrier(first, false);
    let second = view.begin_barrier().unwrap();
    view.note_join(name("c"));
    view.end_barrier(first, true);
    assert!(view.may_have(&[name("a")], 1) && view.may_have(&[name("b")], 1));
    view.end_barrier(second, true);
    assert!(!view.may_have(&[name("a")], 1) && !view.may_have(&[name("b")], 1));
    assert!(view.may_have(&[name("c")], 1));
}

#[test]
fn what_was_joined_before_the_link_counts_until_the_first_barrier() {
    let mut view = InterestView::default();
    view.note_join(name("a"));
    view.link_begins();
    for piece in InterestUpdate::filter(7, &filter(&[])) {
        view.receive(piece, 0).unwrap();
    }
    assert!(view.note_send(0) && view.advance(0).is_some());
    view.receive(InterestUpdate::Grant { renewed_at_ms: 0, lease_ms: LEASE_MS }, 0).unwrap();
    assert!(view.is_trusted(0) && view.may_have(&[name("a")], 0));
    pass_barrier(&mut view);
    assert!(!view.may_have(&[name("a")], 0));
}

#[test]
fn too_many_own_joins_make_everything_joined() {
    let mut view = trusted(&[], 0);
    (0..=64 * 1024).for_each(|number| view.note_join(name(&format!("room {number}"))));
    assert!(view.may_have(&[name("b")], 1));
    let barrier = view.begin_barrier().unwrap();
    assert!(view.may_have(&[name("b")], 1));
    view.end_barrier(barrier, true);
    assert!(!view.may_have(&[name("b")], 1));
}

#[test]
fn what_makes_no_sense_ends_the_link() {
    let bits = filter(&[]);
    let piece = |len: usize, offset: u32, bits: &Bytes| {
        InterestUpdate::Filter(FilterPiece { version: 1, len: len as u32, offset, bits: bits.clone() })
    };
    for first in [piece(5, 0, &bits), piece(bits.len(), 1, &bits), piece(bits.len(), 0, &Bytes::new())] {
        let mut view = InterestView::default();
        view.link_begins();
        assert_eq!(view.receive(first.clone(), 0), Err(InterestError::Piece), "{first:?}");
    }
    let names = || InterestUpdate::Names { version: 2, names: vec![name("a")] };
    let mut view = InterestView::default();
    assert_eq!(view.receive(names(), 0), Err(InterestError::NoFilter));
    assert_eq!(view.receive(piece(bits.len(), 0, &bits.slice(..9)), 0), Ok(None));
    assert_eq!(view.receive(names(), 0), Err(InterestError::Piece));
    assert_eq!(view.receive(piece(bits.len(), 0, &bits.slice(..9)), 0), Err(InterestError::Piece));
    let grant = InterestUpdate::Grant { renewed_at_ms: 9, lease_ms: LEASE_MS };
    assert_eq!(self::view(&[]).receive(grant, 0), Err(InterestError::Grant));
}
