//! Clients that come back where clients are admitted by tokens.

use super::*;

fn grant(uid: &'static str, expires_ms: Option<u64>) -> Grant {
    Grant { uid: Some(uid.into()), expires_ms, ..Grant::default() }
}

/// A client whose token says that it is lena, and is good until this time.
fn site(expires_ms: u64) -> Site {
    let mut site = Site::new();
    site.shard.identify(site.key, grant("lena", Some(expires_ms)), || 1, 0).unwrap();
    site
}

impl Site {
    fn advance(&mut self, now_ms: u64) {
        self.now_ms = now_ms;
        self.shard.advance(now_ms);
    }
}

#[test]
fn a_token_that_ends_while_its_client_is_away_may_be_followed_by_another() {
    let mut site = site(10_000);
    site.shard.read_ended(site.key);
    site.advance(30_000);
    assert!(site.shard.connection(site.key).is_some(), "it is kept for resume_ms");
    assert!(matches!(site.come_back_as(Some(grant("lena", Some(90_000)))), Attached::Yes(_)));
    site.advance(89_999);
    assert!(site.shard.connection(site.key).is_some());
    site.advance(90_000);
    site.settle();
    assert_eq!(testing::told(&site.worker), ["connect 1", "close 1"]);
}

#[test]
fn a_client_that_comes_back_with_a_token_that_has_ended_is_closed() {
    let mut site = site(10_000);
    site.shard.read_ended(site.key);
    site.advance(30_000);
    assert!(matches!(site.come_back(), Attached::Yes(_)), "it needs none");
    site.advance(30_001);
    assert!(site.shard.connection(site.key).is_none());
    site.settle();
    assert_eq!(testing::told(&site.worker), ["connect 1", "close 1"]);
}

#[test]
fn the_token_that_is_good_for_longer_counts() {
    for (shown_until_ms, until_ms) in [(Some(5_000), 20_000), (Some(50_000), 50_000), (None, u64::MAX)] {
        let mut site = site(20_000);
        assert!(matches!(site.come_back_as(Some(grant("lena", shown_until_ms))), Attached::Yes(_)));
        site.advance(until_ms.min(60_000) - 1);
        assert!(site.shard.connection(site.key).is_some(), "{shown_until_ms:?}");
        site.advance(until_ms.min(60_000));
        assert_eq!(site.shard.connection(site.key).is_some(), until_ms > 60_000, "{shown_until_ms:?}");
    }
}

#[test]
fn another_user_does_not_get_the_client_and_one_that_is_gone_is_nobodys() {
    let mut site = site(90_000);
    assert!(matches!(site.come_back_as(Some(grant("tom", None))), Attached::Lost(_, Lost::Unknown)));
    site.shard.read_ended(site.key);
    site.settle();
    site.advance(60_000);
    assert!(matches!(site.come_back_as(Some(grant("lena", None))), Attached::Lost(_, Lost::Expired)));
}
