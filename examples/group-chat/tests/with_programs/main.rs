//! The application with its databases and its page, in a browser and behind nginx.

#![allow(clippy::unwrap_used, reason = "a test fails where it unwraps")]

#[path = "../support/mod.rs"]
mod support;

mod chat;
mod database;
mod page;

gatewayworker_tests::tests_with_programs! {
    []
        chat::sqlite::each_action_has_its_codes,
        chat::sqlite::what_is_sent_is_what_is_stored_and_reaches_every_gateway,
        chat::sqlite::what_is_sent_again_with_its_key_is_stored_once,
        chat::sqlite::the_history_comes_in_pages,
        chat::sqlite::who_is_there_is_known,
        chat::who_asks_too_often_is_told_so,
        chat::a_connection_may_be_in_so_many_threads,
        database::a_worker_starts_without_its_database_and_uses_it_once_it_is_there,
        database::a_database_that_is_held_up_costs_the_time_out_and_no_more,
        database::workers_that_start_together_make_one_schema_in_sqlite;
    [POSTGRESQL]
        chat::postgres::each_action_has_its_codes,
        chat::postgres::what_is_sent_is_what_is_stored_and_reaches_every_gateway,
        chat::postgres::what_is_sent_again_with_its_key_is_stored_once,
        chat::postgres::the_history_comes_in_pages,
        chat::postgres::who_is_there_is_known,
        database::a_postgresql_that_crashes_costs_an_error_and_is_used_again,
        database::workers_that_start_together_make_one_schema_in_postgresql;
    [CHROMIUM]
        page::two_members_talk_and_see_each_other_come_and_go,
        page::a_lost_connection_comes_back_with_what_was_said_meanwhile,
        page::a_long_history_is_read_to_its_beginning_in_few_elements,
        page::a_crowd_that_talks_at_once_does_not_hold_the_page_up,
        page::what_is_said_while_the_newest_page_is_on_its_way_is_not_lost,
        page::what_was_under_way_when_the_connection_was_lost_is_sent_again_and_stored_once,
        page::messages_that_are_refused_come_back_in_their_order_before_the_draft,
        page::messages_that_are_too_long_come_back_in_their_order_and_the_others_are_said,
        page::the_page_speaks_the_language_of_its_user_and_no_other,
        page::the_page_says_where_it_is_connected_and_keeps_what_is_secret_in_an_address,
        page::the_page_fits_a_narrow_phone;
    [CHROMIUM, NGINX, OPENSSL] page::behind_nginx_page_and_connection_come_over_tls;
}
