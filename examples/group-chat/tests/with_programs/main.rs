//! The group chat with its databases, and with its page in a browser and behind nginx.

#![allow(clippy::unwrap_used, reason = "a test fails where it unwraps")]

#[path = "../support/mod.rs"]
mod support;

mod chat;
mod database;
mod page;

gatewayworker_tests::tests_with_programs! {
    []
        chat::sqlite::each_action_has_its_codes,
        chat::sqlite::a_message_is_sent_as_stored_and_reaches_every_gateway,
        chat::sqlite::a_message_sent_again_with_its_key_is_stored_once,
        chat::sqlite::the_history_comes_in_pages,
        chat::sqlite::the_members_online_are_listed,
        chat::a_client_over_the_rate_gets_an_error,
        chat::a_connection_over_the_limit_of_threads_gets_an_error,
        database::a_worker_starts_without_its_database_and_connects_later,
        database::a_request_to_a_locked_database_fails_after_the_time_out,
        database::workers_that_start_together_make_one_schema_in_sqlite;
    [POSTGRESQL]
        chat::postgres::each_action_has_its_codes,
        chat::postgres::a_message_is_sent_as_stored_and_reaches_every_gateway,
        chat::postgres::a_message_sent_again_with_its_key_is_stored_once,
        chat::postgres::the_history_comes_in_pages,
        chat::postgres::the_members_online_are_listed,
        database::after_a_crash_postgresql_is_used_again,
        database::workers_that_start_together_make_one_schema_in_postgresql;
    [CHROMIUM]
        page::two_members_talk_and_see_each_other_come_and_go,
        page::a_reconnected_page_shows_the_messages_it_has_missed,
        page::a_long_history_is_read_to_its_beginning_in_few_elements,
        page::many_messages_at_once_do_not_block_the_page,
        page::a_message_sent_while_the_newest_page_loads_is_shown,
        page::an_unanswered_message_is_sent_again_after_a_reconnect_and_stored_once,
        page::a_pulled_cable_loses_no_message_and_the_member_stays_online,
        page::refused_messages_return_to_the_field_in_order_before_the_draft,
        page::messages_that_are_too_long_return_in_order_and_others_are_sent,
        page::the_page_speaks_the_language_of_its_user_and_no_other,
        page::the_page_shows_its_address_without_secrets,
        page::the_page_fits_a_narrow_phone;
    [CHROMIUM, NGINX, OPENSSL] page::behind_nginx_page_and_connection_come_over_tls;
}
