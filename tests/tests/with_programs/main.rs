//! The daemons with programs that people use beside them: a browser, nginx, Redis, NATS, openssl, curl.

#![allow(clippy::unwrap_used, reason = "a test fails where it unwraps")]

mod channel;
mod http_guide;
mod listeners;
mod nginx;
mod page;
mod tls;

gatewayworker_tests::tests_with_programs! {
    []
        channel::over_the_gateways_every_worker_hears_it_once_and_another_gateway_takes_over,
        channel::an_event_goes_to_workers_that_know_it_and_to_none_of_the_originals,
        channel::a_gateway_of_the_original_is_never_told,
        http_guide::every_call_has_an_example,
        nginx::a_silent_client_is_pinged_before_nginx_gives_it_up;
    [REDIS] channel::over_redis_every_worker_hears_it_and_a_lost_server_is_found_again;
    [NATS] channel::over_nats_every_worker_hears_it_and_a_lost_server_is_found_again;
    [CURL] http_guide::the_command_lines_are_answered_as_the_guide_says;
    [PHP] http_guide::the_program_in_php_pushes;
    [PYTHON] http_guide::the_program_in_python_pushes;
    [TELNET] listeners::telnet_chats_at_a_text_listener;
    [NETCAT] listeners::netcat_chats_at_a_text_listener;
    [NGINX]
        nginx::through_nginx_the_worker_sees_the_persons_address_and_messages_go_both_ways,
        nginx::an_address_that_a_person_made_up_is_not_believed,
        nginx::a_text_client_comes_through_nginxs_stream_with_its_address,
        nginx::clients_come_back_when_nginx_is_started_anew;
    [CHROMIUM]
        page::two_users_chat_and_see_each_message_once_with_its_senders_name,
        page::a_user_whose_name_is_html_runs_no_code_in_anybodys_page,
        page::the_page_comes_back_when_the_gateway_does,
        page::what_the_chat_refuses_and_what_nobody_heard_is_back_in_the_field,
        page::messages_that_are_refused_come_back_in_their_order_before_the_draft,
        page::messages_that_nobody_heard_come_back_in_their_order_and_new_lines_stay_lines,
        page::a_message_that_was_lost_on_its_way_comes_back_when_a_later_one_is_heard,
        page::the_page_speaks_the_language_of_its_user_and_no_other,
        page::the_page_says_where_it_is_connected_and_keeps_what_is_secret_in_an_address,
        page::a_flood_of_messages_leaves_a_page_that_answers,
        page::a_phone_whose_keyboard_comes_at_the_entrance_shows_a_whole_field_in_the_room,
        page::the_console_sends_what_is_typed_and_shows_what_arrives_as_it_is,
        page::the_console_stays_connected_as_long_as_it_answers_the_heartbeat,
        page::the_console_speaks_the_language_of_its_user_and_no_other,
        tls::the_chat_page_works_over_wss_in_a_browser;
    [OPENSSL]
        tls::openssl_talks_lines_of_text_over_tls,
        tls::tls_1_1_is_refused_and_so_is_1_2_where_the_listener_wants_1_3;
}
