//! The live room with its page in a browser, and with Redis.

#![allow(clippy::unwrap_used, reason = "a test fails where it unwraps")]

#[path = "../support/mod.rs"]
mod support;

mod page;
mod redis;

gatewayworker_tests::tests_with_programs! {
    [CHROMIUM]
        page::two_users_talk_and_a_wall_shows_it,
        page::many_messages_at_once_do_not_block_the_page,
        page::requests_can_be_written_by_hand_and_their_answers_are_shown,
        page::a_refused_user_reads_the_reason_on_the_page,
        page::a_pulled_cable_loses_no_message_and_nobody_is_shown_leaving,
        page::refused_messages_return_to_the_field_in_order_before_the_draft,
        page::a_message_typed_while_disconnected_keeps_its_lines,
        page::the_page_speaks_the_language_of_its_user_and_no_other,
        page::the_page_shows_its_address_without_its_ticket,
        page::a_message_over_the_rate_stays_in_the_field;
    [CHROMIUM, REDIS] page::the_page_reconnects_after_gateway_and_redis_restart;
    [REDIS]
        redis::redis_is_empty_after_the_last_user_has_left,
        redis::a_member_that_no_worker_renews_leaves_the_room,
        redis::an_emptied_redis_gets_all_members_again,
        redis::without_redis_a_request_gets_an_error_until_it_returns,
        redis::a_request_to_a_hanging_redis_fails_in_bounded_time,
        redis::a_worker_starts_without_redis_and_finds_it_later,
        redis::a_user_who_leaves_while_redis_is_down_is_removed_afterwards,
        redis::a_join_that_redis_has_written_too_late_is_removed,
        redis::a_worker_removes_the_members_of_a_killed_worker,
        redis::two_workers_share_one_room;
}
