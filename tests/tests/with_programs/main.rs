//! The daemons with other programs: a browser, nginx, Redis, NATS, openssl, curl.

#![allow(clippy::unwrap_used, reason = "a test fails where it unwraps")]

mod admin_page;
mod any_language;
mod channel;
mod client_guide;
mod compression;
mod federation;
mod federation_bench;
mod federation_daemons;
mod federation_durable;
mod federation_faults;
mod federation_ids;
mod federation_login;
mod federation_move;
mod federation_names;
mod history;
mod http_guide;
mod javascript_client;
mod javascript_client_page;
mod javascript_gateways;
mod javascript_mini_program;
mod javascript_requests;
mod javascript_tokens;
mod listeners;
mod metrics;
mod nginx;
mod no_code;
mod page;
mod php_example;
mod php_guide;
mod resume;
mod resume_outage;
mod tls;
mod units;

/// The clusters of processes that the tests of the control tool have, too.
#[path = "../processes/control_tool/site.rs"]
#[allow(dead_code, reason = "those tests use all of it")]
mod site;

gatewayworker_tests::tests_with_programs! {
    []
        any_language::the_backend_in_rust_echoes_and_checks_signatures,
        channel::over_the_gateways_an_event_reaches_every_worker_once_and_another_gateway_takes_over,
        channel::an_event_goes_only_to_workers_with_the_feature,
        channel::an_event_is_never_sent_to_a_php_gateway,
        history::in_memory_who_returns_gets_what_was_missed_and_is_told_whether_that_is_all,
        history::in_memory_old_messages_go_by_the_time_of_their_group,
        history::in_memory_a_group_of_which_nothing_is_kept_begins_a_new_epoch,
        history::in_memory_members_get_messages_in_order_and_who_joins_misses_none,
        history::in_memory_groups_and_messages_are_any_bytes,
        history::in_memory_a_second_worker_is_refused_until_the_first_has_no_history_any_more,
        history::in_memory_metrics_count_what_is_published_read_and_kept,
        history::in_memory_of_two_workers_with_one_in_their_file_one_is_refused_and_shows_it,
        history::over_http_and_in_handlers_it_is_the_one_of_the_workers_file,
        history::a_worker_without_one_says_so,
        http_guide::every_call_has_an_example,
        php_example::the_files_of_the_guide_are_valid_and_ping_as_php_does,
        nginx::a_silent_client_is_pinged_before_nginx_closes_it;
    [REDIS]
        channel::over_redis_an_event_reaches_every_worker_and_a_lost_server_is_found_again,
        history::in_redis_who_returns_gets_what_was_missed_and_is_told_whether_that_is_all,
        history::in_redis_old_messages_go_by_the_time_of_their_group,
        history::in_redis_a_group_of_which_nothing_is_kept_begins_a_new_epoch,
        history::in_redis_members_get_messages_in_order_and_who_joins_misses_none,
        history::in_redis_groups_and_messages_are_any_bytes,
        history::in_redis_two_workers_publish_one_sequence,
        history::a_redis_that_is_away_is_named_until_it_is_back,
        history::after_redis_has_lost_everything_or_may_have_a_gap_is_not_whole;
    [NATS]
        channel::over_nats_an_event_reaches_every_worker_and_a_lost_server_is_found_again,
        channel::over_nats_the_user_of_the_url_is_logged_in,
        history::in_nats_who_returns_gets_what_was_missed_and_is_told_whether_that_is_all,
        history::in_nats_old_messages_go_by_the_time_of_their_group,
        history::in_nats_a_group_of_which_nothing_is_kept_begins_a_new_epoch,
        history::in_nats_members_get_messages_in_order_and_who_joins_misses_none,
        history::in_nats_groups_and_messages_are_any_bytes,
        history::in_nats_two_workers_publish_one_sequence,
        history::a_nats_that_is_away_is_named_until_it_is_back,
        history::after_nats_was_killed_the_gap_is_whole_and_without_its_disk_it_is_not,
        history::without_jetstream_nats_says_what_to_do,
        federation::sends_reach_the_clients_of_all_clusters_once_and_in_order,
        federation::a_client_of_another_cluster_is_reached_by_its_id_and_excepted_by_it,
        federation::questions_ask_all_clusters_and_name_the_one_that_does_not_answer,
        federation::while_nats_is_away_each_cluster_works_alone_and_says_so,
        federation::a_worker_that_stops_leaves_its_part_to_another,
        federation::what_is_not_signed_with_the_key_reaches_nobody_and_is_counted,
        federation::a_message_that_nats_does_not_take_is_refused_with_both_numbers,
        federation_durable::sends_reach_the_clients_of_all_clusters_once_and_in_order,
        federation_durable::a_killed_worker_of_the_other_cluster_loses_nothing,
        federation_durable::a_worker_that_stops_hands_over_and_nothing_is_lost_or_comes_twice,
        federation_durable::a_nats_server_that_is_killed_and_started_again_loses_nothing_and_keeps_the_order,
        federation_durable::of_three_nats_servers_one_may_be_killed_and_nothing_is_lost,
        federation_durable::a_cluster_without_workers_gets_later_what_was_sent_meanwhile,
        federation_durable::clusters_that_are_durable_and_those_that_are_not_hear_each_other,
        federation_durable::calls_beyond_the_bound_are_refused_and_the_others_arrive,
        federation_durable::without_jetstream_sends_say_so_and_so_does_status,
        federation_daemons::nats_that_is_away_at_the_start_is_named_by_status_and_joined_when_it_comes,
        federation_daemons::a_rolling_replacement_of_workers_loses_no_more_than_what_is_on_its_way_to_them,
        federation_login::with_the_permissions_of_the_guide_everything_works_and_nothing_is_refused,
        federation_login::a_wrong_password_is_named_as_the_reason,
        federation_login::an_nkey_authenticates,
        federation_login::a_credentials_file_authenticates,
        federation_login::over_tls_the_servers_certificate_is_checked,
        federation_login::a_nats_that_wants_a_certificate_gets_the_one_that_is_set,
        federation_faults::what_a_dying_nats_server_loses_is_counted_and_the_rest_arrives_once_and_in_order,
        federation_faults::of_two_regions_each_works_alone_while_their_leaf_node_is_cut,
        federation_names::a_send_goes_to_the_clusters_that_have_a_member_and_to_no_other,
        federation_names::whoever_is_answered_at_once_after_a_first_join_gets_the_answer,
        federation_names::a_client_of_another_cluster_that_was_joined_by_its_id_is_reached_at_once,
        federation_names::a_first_member_gets_what_is_sent_at_once_after_its_join,
        federation_names::the_names_of_a_gateway_that_stops_are_gone_and_those_of_its_successor_are_found,
        federation_names::what_was_joined_while_nats_was_away_is_found_when_it_is_back,
        federation_names::a_cluster_without_interest_gets_everything,
        federation_bench::two_clusters_and_their_plain_mesh_are_measured,
        federation_bench::what_a_killed_nats_server_loses_is_measured,
        federation_bench::a_leaf_node_that_is_cut_off_delivers_late_and_loses_nothing,
        federation_bench::groups_and_broadcasts_of_many_clients_reach_all_clusters,
        federation_move::a_live_system_goes_from_one_cluster_to_two_and_back_and_loses_nothing,
        federation_ids::one_mesh_under_two_names_is_refused_and_nobody_gets_a_message_twice;
    [NATS, NAMESPACES]
        federation_ids::clients_of_two_networks_with_the_same_addresses_are_told_apart_by_their_ids,
        federation_ids::what_is_said_by_an_id_or_except_an_id_concerns_nobody_in_the_other_network,
        federation_ids::a_gateway_that_starts_again_is_still_one_of_its_own_network;
    [NAMESPACES] resume_outage::phones_that_lose_the_network_at_once_come_back_and_have_missed_nothing;
    [CURL] http_guide::the_command_lines_are_answered_as_the_guide_says;
    [PHP]
        http_guide::the_program_in_php_pushes,
        any_language::the_backend_in_php_echoes_and_checks_signatures,
        php_example::without_the_packages_the_start_script_says_what_to_do;
    [PHP_PACKAGES]
        php_example::the_chat_in_php_answers_as_the_chat_in_rust_does,
        php_example::while_the_php_workers_start_again_clients_stay_and_wait,
        php_guide::the_commands_bring_an_application_over_and_back;
    [PHP_PACKAGES, CHROMIUM] php_example::two_pages_chat_through_php;
    [PYTHON]
        http_guide::the_program_in_python_pushes,
        any_language::the_backend_in_python_echoes_and_checks_signatures,
        resume::a_client_written_from_the_page_loses_nothing_over_cuts;
    [NGINX, PYTHON] resume::behind_nginx_clients_come_back_to_either_gateway_while_workers_are_replaced;
    [TELNET] listeners::telnet_chats_on_a_text_listener;
    [NETCAT] listeners::netcat_chats_on_a_text_listener;
    [NGINX]
        nginx::behind_nginx_the_worker_sees_the_clients_address_and_messages_go_both_ways,
        nginx::a_forged_address_is_ignored,
        nginx::a_text_client_keeps_its_address_behind_nginxs_stream,
        nginx::clients_reconnect_after_nginx_restarts,
        nginx::clients_of_a_gateway_that_stops_go_to_the_next_one;
    [PROMTOOL]
        metrics::promtool_has_no_objection_to_the_metrics_of_any_daemon,
        metrics::the_alert_rules_are_valid,
        metrics::the_queries_of_the_dashboard_are_valid;
    [NGINX, CHROMIUM] compression::behind_nginx_a_page_and_the_gateway_compress_both_ways;
    [CHROMIUM]
        compression::a_page_and_the_gateway_compress_both_ways,
        admin_page::without_the_token_it_shows_the_cluster_and_nothing_of_a_client,
        admin_page::a_client_is_found_by_a_uid_that_is_markup_and_runs_no_code,
        admin_page::a_message_arrives_at_the_client_and_a_kick_closes_it,
        admin_page::a_trace_shows_frames_and_payloads_only_on_request,
        admin_page::any_call_is_made_from_a_form_and_its_command_lines_lack_the_token,
        admin_page::a_gateway_that_is_gone_is_a_problem_and_so_is_the_pages_own_server,
        admin_page::it_speaks_the_language_of_its_user_and_no_other,
        admin_page::it_does_not_scroll_sideways_on_a_phone,
        no_code::two_browsers_chat_without_an_application_and_a_backend_pushes_to_them,
        no_code::a_pulled_cable_loses_no_message_and_nobody_is_shown_leaving,
        no_code::a_page_whose_gateway_stops_joins_again_and_says_what_may_not_have_arrived,
        no_code::a_token_that_is_refused_is_shown_as_such_before_and_after_it_has_ended,
        no_code::the_page_speaks_the_language_of_its_user_and_no_other,
        client_guide::the_program_with_the_library_loses_nothing_over_a_cut,
        client_guide::the_program_of_the_guide_answers_pings_and_comes_back,
        javascript_client_page::a_page_that_was_offline_comes_back_at_once_and_nothing_is_lost_in_either_direction,
        javascript_client_page::a_line_that_dies_without_a_word_is_noticed_and_nothing_is_lost,
        javascript_client_page::a_page_that_is_loaded_again_is_the_same_client_if_it_wants,
        javascript_client_page::with_a_gateway_that_does_not_know_it_the_library_is_a_plain_client_that_comes_back,
        page::two_users_chat_and_see_each_message_once_with_its_senders_name,
        page::a_name_with_html_runs_no_code,
        page::the_page_reconnects_after_a_gateway_restart,
        page::refused_and_unsent_messages_return_to_the_field,
        page::refused_messages_return_to_the_field_in_order_before_the_draft,
        page::unsent_messages_return_in_order_and_keep_their_lines,
        page::a_lost_message_returns_to_the_field_when_a_later_one_arrives,
        page::the_page_speaks_the_language_of_its_user_and_no_other,
        page::a_pulled_cable_loses_nothing_that_was_typed_and_nobody_is_shown_leaving,
        page::the_page_shows_its_address_without_secrets,
        page::the_page_stays_responsive_in_a_flood_of_messages,
        page::a_phones_keyboard_does_not_hide_the_field,
        page::the_console_sends_and_shows_messages_unchanged,
        page::the_console_answers_the_heartbeat_and_stays_connected,
        page::the_console_speaks_the_language_of_its_user_and_no_other,
        tls::the_chat_page_works_over_wss_in_a_browser;
    [NODE, NPM] javascript_client::the_packed_package_is_installed_imported_and_used;
    [NODE]
        javascript_client::the_librarys_own_tests_pass,
        javascript_client::over_hundreds_of_cuts_at_any_byte_everything_arrives_once_and_in_order,
        javascript_gateways::through_another_gateway_it_is_the_same_client_and_everything_comes_once_and_in_order,
        javascript_gateways::when_its_gateway_stops_the_page_knows_what_was_not_acknowledged,
        javascript_gateways::when_its_gateway_stops_another_one_takes_it_as_a_new_client,
        javascript_mini_program::a_mini_program_that_is_cut_comes_back_as_the_same_client_and_nothing_is_lost,
        javascript_mini_program::a_mini_program_that_is_seen_again_notices_a_dead_line,
        javascript_mini_program::where_the_platform_does_not_tell_the_subprotocol_it_is_a_plain_client,
        javascript_requests::each_request_gets_the_answer_with_its_id_and_other_texts_are_messages,
        javascript_requests::a_request_without_an_answer_ends_at_its_timeout_or_with_its_client,
        javascript_requests::a_request_waits_through_a_cut_and_is_rejected_where_the_client_is_lost,
        javascript_tokens::a_token_is_renewed_before_it_ends_and_the_client_is_the_same,
        javascript_tokens::a_client_whose_token_has_ended_comes_back_with_a_fresh_one_and_is_a_new_one,
        javascript_tokens::a_client_whose_token_ends_while_it_is_cut_off_stays_the_same_with_a_fresh_one,
        javascript_tokens::a_token_that_is_refused_is_a_close_and_attempts_become_rare;
    [OPENSSL]
        tls::openssl_talks_lines_of_text_over_tls,
        tls::tls_below_the_listeners_minimum_is_refused;
    [SYSTEMD_ANALYZE] units::systemd_finds_nothing_wrong_and_little_exposed;
}
