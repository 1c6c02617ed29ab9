//! The live room with its page in a browser, and with Redis.

#![allow(clippy::unwrap_used, reason = "a test fails where it unwraps")]

#[path = "../support/mod.rs"]
mod support;

mod page;
mod redis;

gatewayworker_tests::tests_with_programs! {
    [CHROMIUM]
        page::two_users_talk_through_the_backend,
        page::two_users_talk_over_the_socket,
        page::text_of_users_never_becomes_markup,
        page::a_page_opened_from_disk_uses_the_socket,
        page::a_comment_refused_over_the_socket_returns_to_the_field,
        page::refused_comments_return_to_the_field_in_order_before_the_draft,
        page::a_refused_private_comment_stays_private_when_sent_again,
        page::the_page_speaks_the_language_of_its_user_and_no_other,
        page::the_page_takes_its_gateway_from_its_url_and_shows_it_without_secrets,
        page::the_page_reconnects_after_a_gateway_restart_and_keeps_the_draft,
        page::a_pulled_cable_loses_no_comment_and_nobody_is_shown_coming_again,
        page::the_page_logs_in_again_after_a_backend_restart,
        page::the_page_stays_responsive_in_a_flood_of_comments,
        page::the_page_fits_a_phone_without_scrolling_sideways;
    [REDIS]
        redis::views_of_backend_and_socket_are_counted_in_the_rooms_hash,
        redis::the_room_goes_on_without_redis_and_uses_it_again,
        redis::a_redis_restart_between_two_requests_is_not_noticed,
        redis::a_hanging_redis_delays_a_request_for_a_bounded_time;
}
