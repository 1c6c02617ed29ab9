//! The room with its page in a browser, and with Redis.

#![allow(clippy::unwrap_used, reason = "a test fails where it unwraps")]

#[path = "../support/mod.rs"]
mod support;

mod page;
mod redis;

gatewayworker_tests::tests_with_programs! {
    [CHROMIUM]
        page::two_users_hear_each_other_through_the_backend,
        page::two_users_hear_each_other_over_the_socket,
        page::what_users_write_never_becomes_markup,
        page::from_disk_the_page_goes_over_the_socket,
        page::a_comment_that_is_refused_over_the_socket_is_back_in_the_field,
        page::comments_that_are_refused_come_back_in_their_order_before_the_draft,
        page::a_refused_comment_that_was_for_one_person_does_not_go_to_everybody_the_second_time,
        page::the_page_speaks_the_language_of_its_user_and_no_other,
        page::the_page_takes_its_gateway_from_the_address_and_shows_it_without_secrets,
        page::the_page_comes_back_when_the_gateway_does_and_keeps_the_draft,
        page::the_page_logs_in_anew_where_the_backend_does_not_know_it_any_more,
        page::a_flood_of_comments_leaves_a_page_that_answers,
        page::a_phone_shows_all_of_it_without_scrolling_sideways;
    [REDIS]
        redis::views_of_both_ways_are_counted_in_the_rooms_hash,
        redis::a_redis_that_is_lost_is_said_the_room_goes_on_and_it_comes_back_by_itself,
        redis::a_redis_that_is_back_before_anybody_asks_has_not_been_away,
        redis::a_redis_that_hangs_holds_nobody_up_for_long;
}
