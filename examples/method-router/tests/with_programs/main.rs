//! The live room with its page in a browser, and with Redis.

#![allow(clippy::unwrap_used, reason = "a test fails where it unwraps")]

#[path = "../support/mod.rs"]
mod support;

mod page;
mod redis;

gatewayworker_tests::tests_with_programs! {
    [CHROMIUM]
        page::two_users_talk_and_a_wall_shows_it,
        page::a_crowd_that_talks_at_once_does_not_hold_the_page_up,
        page::requests_can_be_written_by_hand_and_their_answers_are_shown,
        page::who_is_not_let_in_reads_why_at_the_entrance,
        page::messages_that_are_refused_come_back_in_their_order_before_the_draft,
        page::what_is_said_while_the_connection_is_lost_stays_line_by_line,
        page::the_page_speaks_the_language_of_its_user_and_no_other,
        page::the_page_says_where_it_is_connected_and_keeps_its_ticket_out_of_sight,
        page::who_talks_too_fast_keeps_the_words;
    [CHROMIUM, REDIS] page::the_page_comes_back_when_gateway_and_redis_do;
    [REDIS]
        redis::what_is_in_redis_goes_when_the_last_one_has_left,
        redis::who_is_not_heard_of_any_more_is_not_in_the_room,
        redis::a_redis_that_comes_back_empty_has_everybody_again,
        redis::a_lost_redis_is_an_answer_and_comes_back_by_itself,
        redis::a_redis_that_does_not_answer_is_not_waited_for,
        redis::a_worker_starts_without_redis_and_finds_it_later,
        redis::who_leaves_while_redis_is_away_is_struck_off_afterwards,
        redis::a_join_that_redis_wrote_too_late_leaves_nothing_behind,
        redis::another_worker_clears_away_after_one_that_was_killed,
        redis::two_workers_have_one_room;
}
