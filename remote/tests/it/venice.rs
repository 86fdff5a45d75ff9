//! What a broker of its kind does, and where it fails: the behaviours and the defects of Venice's IPC, each as a test.
//!
//! Venice (jlangch/venice, 1.12.55 to 1.13.13) has a broker process with functions, queues and topics, and clients over
//! TCP and Unix sockets. Its suite, and the probes with which its defects were found, are the best list there is of what
//! users of such a thing meet. The tables go through that list: what is there, what is here in its place, and the tests
//! that show it. Where we differ on purpose they say so, and why. (Sections are those of the study this list was drawn from.)
//!
//! The tests of this module run over plain and over encrypted bytes, as Venice's suites come in pairs. Others are found
//! by their names: those over all transports are the conformance suite's, some are core's or the store's. That each of
//! them is there is a test, too.
//!
//! # Clients (sections 2, 3, 7, 10, 14)
//!
//! | there | here | tests |
//! |---|---|---|
//! | open, running?, close; a client aborted during a call | phases; what is in hand ends with its verdict | `an_ended_session_is_told_and_gives_the_next_message_back`, `g12_a_watch_fires_when_the_peer_is_closed_for_good`, `dropping_the_last_handle_closes_the_connection` |
//! | `copy` | another peer with the same config; a clone is the same link | `a_clone_is_the_same_link_and_another_peer_a_session_of_its_own` |
//! | open without a server; a server that ends | a typed error at once; later the message comes back unsent | `what_cannot_be_reached_is_named_in_the_error`, `g06_without_a_connection_the_message_comes_back_unsent`, `g07_a_lost_connection_ends_each_ask_with_its_verdict` |
//! | send, async and oneway, mixed; 10 clients, 10 threads of one | asks and tells, each with its own answer | `an_ask_and_a_tell_reach_an_exposed_actor`, `many_clients_and_many_tasks_of_one_get_their_own_answers`, `g02_messages_of_one_sender_keep_their_order` |
//! | text, JSON, binary, Venice data; a handler that answers nil; that throws | typed messages; an error is a value | `text_bytes_nothing_and_errors_come_back_as_they_went`, `large_messages_go_both_ways`, `g07_a_panic_and_a_dropped_responder_are_told_at_once` |
//! | a buffer changed after it was sent changes the answer | sending moves the message: the types rule it out |  |
//! | a fixed limit of 10 s for each call | each ask has its deadline, and none by name | `g09_a_deadline_ends_an_ask_and_withdraws_it_over_there`, `g09_deadline_travels_as_remaining_time`, `a_wait_without_a_deadline_lasts_and_its_item_is_not_lost` |
//! | unknown function, bad request, no permission | typed answers | `g34_what_cannot_be_delivered_is_answered_at_once`, `g34_a_tell_nobody_understands_is_a_counted_dead_letter`, `g34_who_has_no_right_cant_tell_what_exists` |
//! | request id, carried and unused | the key travels; who stores it runs a request once | `g17_key_attempt_and_retry_marker_travel`, `g26_an_offer_made_again_with_its_key_is_stored_once`, `g19_after_a_lost_answer_the_caller_learns_what_became_of_it` |
//! | functions live in the server | either side may expose, and references travel | `a_message_says_whom_to_call_back`, `a_reply_gives_somebody_to_talk_to` |
//! | `send` of code that the server runs | on purpose not: no code crosses |  |
//! | `benchmark` | benches/remote |  |
//!
//! # Queues and topics (sections 5, 7, 9, 14)
//!
//! | there | here | tests |
//! |---|---|---|
//! | offer and poll, with terms; offer to a full queue, poll of an empty one | the handle of local queues | `a_queue_elsewhere_is_used_like_one_of_this_process`, `g03_a_full_queue_elsewhere_makes_offers_wait`, `g32_a_queue_elsewhere_does_what_a_local_one_does_though_connections_are_cut` |
//! | unknown queue | opening says why | `g34_a_queue_that_cannot_be_opened_says_why` |
//! | acknowledge modes, declared and unused | leases | `g23_leases_of_a_dead_peer_come_back_as_failed`, `g22_a_late_acknowledgement_from_elsewhere_is_refused`, `g21_a_session_that_ends_at_any_byte_of_a_queues_use_tells_what_is_known` |
//! | reply-to queue | the name travels; who takes the item opens the queue by it | `a_worker_answers_in_the_queue_that_the_offer_named`, `an_answer_goes_to_the_queue_that_was_named` |
//! | temporary queue, named by a UUID, gone with its client's connection | a queue with an owner; or a reference in the message | `a_temporary_queue_ends_with_its_value`, `a_message_says_whom_to_call_back`, `a_queue_of_one_user_is_open_to_no_other` |
//! | circular queue | the same, and its polls wait | `a_circular_queue_elsewhere_drops_its_oldest_and_its_polls_wait` |
//! | dead-letter queue without reason or count | with both, reached through its queue alone | `an_item_that_got_too_old_is_handed_out_to_nobody`, `g23_an_item_that_fails_too_often_is_dead_with_its_history`, `a_dead_letter_queue_is_reached_through_its_queue_alone` |
//! | expiry of messages | time to live of items, deadlines of asks | `an_item_that_got_too_old_is_handed_out_to_nobody`, `g23_an_item_too_old_goes_to_the_dead_letter_queue`, `g09_expired_work_is_dropped_before_the_handler` |
//! | publish, subscribe, unsubscribe; 3 topics, 3 subscribers | the same, with patterns | `three_topics_reach_their_own_subscribers_only`, `two_subscriptions_to_the_same_subjects_both_get_them`, `g27_a_subscriber_gets_each_message_that_matches_in_order` |
//! | a slow subscriber loses messages | it is told which | `g28_a_slow_subscriber_is_told_what_it_missed_and_delays_nobody` |
//! | polling any queue by its name, whatever is in it | on purpose not: a queue has a type and a version, checked when it is opened | `g34_a_queue_that_cannot_be_opened_says_why`, `g34_an_item_nobody_can_read_is_a_failed_delivery` |
//! | durable queues; the load demo | answered means on disk, for peers too | `g25_what_a_peer_was_told_is_stored_outlives_a_loss_of_power`, `g25_a_queue_elsewhere_goes_on_where_it_was_after_a_restart` |
//!
//! # Servers (sections 3, 6, 7, 10, 12, 14)
//!
//! | there | here | tests |
//! |---|---|---|
//! | a second server at the same port | a clear error | `a_port_in_use_is_a_clear_error`, `a_stale_socket_file_is_replaced_and_a_live_one_is_not` |
//! | create, exists and remove of functions, topics, queues in the server | expose and conceal | `what_is_taken_away_is_unknown_and_can_come_again` |
//! | the server's close: calls in hand end with an EOF | with their verdict; dropping the node closes it | `a_node_that_is_dropped_ends_its_listeners_and_connections`, `g07_a_lost_connection_ends_each_ask_with_its_verdict`, `closing_the_node_ends_handshakes_in_hand` |
//! | one call at a time on a connection, run by its thread | the actor decides, for itself alone | `g33_a_slow_actor_holds_back_its_own_senders_only`, `a_hundred_calls_in_hand_hold_up_no_other` |
//! | header, body and codec round trips | golden bytes and mutants | `g37_golden_an_ask_from_hello_to_bye`, `g36_mutants_of_a_peers_stream_harm_nobody_else`, `g37_the_kept_streams_are_understood` |
//! | server status, thread pool statistics, queue status | states are plain data, and both sides count alike | `both_sides_count_the_same`, `a_queue_elsewhere_can_be_looked_into_and_ended`, `a_queue_shows_its_age_its_rates_and_its_consumers` |
//! | a log file that is opened for each line | tracing, counters and events |  |
//! | socket buffer sizes | on purpose not: the kernel sizes them, and frames are written together |  |
//!
//! # Limits (sections 3, 14)
//!
//! | there | here | tests |
//! |---|---|---|
//! | max connections | of a node, of handshakes, of sessions of a principal | `g03_a_node_refuses_more_connections_than_it_has_room_for`, `g36_handshakes_have_a_bound_and_a_place_is_free_at_once`, `g35_a_place_of_a_session_is_free_as_soon_as_the_session_is_over` |
//! | max message size, taken over by the client | each side says its own; of a principal there is one, too | `g36_a_message_above_the_peers_limit_comes_back_unsent`, `a_message_as_large_as_both_sides_allow_passes`, `a_message_as_large_as_both_sides_allow_passes_encrypted`, `the_least_limit_is_enough_for_small_messages`, `g35_limits_of_a_principal_hold_in_its_sessions` |
//! | client receive queue, 100 answers, the rest dropped | asks in flight are bounded where they begin | `g03_asks_in_flight_on_one_connection_are_bounded`, `g03_asks_that_ended_here_take_no_place_any_more`, `g03_a_peer_that_does_not_read_its_answers_is_cut_off` |
//! | publish queue of 50 | said by each subscriber, up to the node's limit | `g28_a_slow_subscriber_is_told_what_it_missed_and_delays_nobody`, `g03_a_subscription_number_used_again_at_once_does_not_get_around_the_bound` |
//! | max functions, topics | on purpose not: what a node exposes is its program's; what peers do is limited | `g35_limits_of_a_principal_hold_in_its_sessions` |
//! | names: 100 letters, digits and signs, some reserved | any text of 255 bytes; none is reserved, for nothing of ours has a name among them | `the_longest_names_and_subjects_pass_and_longer_ones_are_refused`, `names_and_paths_that_cannot_be_are_named_in_the_error` |
//! | compression above a size | the same, and only if it gains | `what_is_compressed_takes_less_and_arrives_as_it_was`, `g37_golden_a_compressed_payload` |
//! | heartbeats, off unless asked for | always, and no wait is too long for them | `an_idle_connection_lasts_and_costs_a_ping_a_second`, `a_peer_that_falls_silent_is_given_up`, `a_wait_without_a_deadline_lasts_and_its_item_is_not_lost` |
//! | timeouts of the handshake | limits that are set | `g36_a_stalled_handshake_is_cut`, `g36_a_stalled_handshake_holds_nobody_up_and_is_cut` |
//! | what a client takes over from the server | each side keeps to the smaller of both | `the_shorter_time_of_both_sides_ends_a_session`, `g37_a_feature_is_in_force_where_both_sides_have_it` |
//!
//! # Encryption (sections 6, 11, 14)
//!
//! | there | here | tests |
//! |---|---|---|
//! | security level | each connection says who can read along | `g35_nothing_that_passes_over_tls_can_be_read` |
//! | each test again encrypted | the conformance suite and the twins here run over TLS | `g35_messages_carry_the_principal_of_the_certificate` |
//! | Diffie-Hellman with a fixed salt, AES-GCM for each part | TLS 1.3 | `g35_nothing_older_than_tls_1_3_is_spoken`, `g35_nothing_that_passes_over_tls_can_be_read`, `g32_bytes_that_were_changed_on_the_way_end_their_connection_and_nothing_else` |
//! | signed keys, one client's and a list of them | certificates of an authority, and pins | `g35_pinned_certificates_need_no_authority_and_are_who_the_pin_says`, `g35_an_authority_that_nobody_trusts_vouches_for_nobody` |
//! | on if either side asks | on purpose not: a listener speaks TLS or doesn't, and nothing is talked down | `g35_a_plain_peer_at_a_port_with_tls_is_not_served_and_told_so`, `a_tls_peer_at_a_plain_port_is_told_so`, `g35_plain_tcp_off_loopback_needs_the_word` |
//!
//! # Rights (sections 2, 11, 14)
//!
//! | there | here | tests |
//! |---|---|---|
//! | good, bad and missing credentials | logins over TLS, and nothing else may carry them | `g35_a_secret_proves_a_principal_over_real_tls`, `g35_a_wrong_login_is_refused_in_the_handshake`, `g35_a_secret_never_leaves_over_a_channel_that_others_read` |
//! | credentials: add, remove, clear, count, store, load | secrets as hashes in a text | `hashes_are_stored_and_loaded`, `a_text_with_a_wrong_line_is_refused_whole_and_not_repeated`, `g35_a_replaced_or_removed_secret_is_refused_also_if_it_is_remembered` |
//! | ACL of queue, topic and function for tom, jak and admin | rules of principal, verbs and names | `each_principal_does_what_its_rules_say_and_nothing_else`, `g35_rules_decide_as_a_model_does`, `rules_come_from_a_file` |
//! | an inactive authenticator accepts all | on purpose not: closed until a rule says so | `g35_off_the_host_nothing_is_allowed_until_a_rule_says_so`, `g35_without_rules_only_this_host_may_anything` |
//! | CIDR list at accept | on purpose not: an address proves nobody; where a node listens says who can come, and failed logins are counted by address | `a_listener_is_at_its_own_address_and_at_no_other`, `g35_failed_logins_count_by_the_address_they_come_from` |
//! | no limit on guesses | waits that double | `g35_an_origin_guesses_no_faster_than_the_waits_allow`, `g35_failed_logins_lock_out_for_a_time` |
//! | admin bypasses rules | on purpose not: what is denied is denied to all | `each_principal_does_what_its_rules_say_and_nothing_else` |
//!
//! # Defects (section 15 A)
//!
//! | there | here | tests |
//! |---|---|---|
//! | 1. a message lost after a poll of more than 10 s | a wait lasts; who gives up takes nothing | `a_wait_without_a_deadline_lasts_and_its_item_is_not_lost`, `g21_a_lease_that_is_given_up_takes_nothing` |
//! | 2. `-1` doesn't wait | no deadline waits | `a_wait_without_a_deadline_lasts_and_its_item_is_not_lost` |
//! | 3. expiry set by clients is forgotten | kept | `an_item_that_got_too_old_is_handed_out_to_nobody` |
//! | 4. a torn log stops the server | cut and counted | `g25_what_was_told_synced_survives_a_loss_of_power_at_any_point` |
//! | 5. one bad byte discards all that follows | costs its own record | `g25_a_flipped_bit_inside_costs_its_own_record_and_is_told` |
//! | 6. the log never shrinks | space comes back while it runs | `space_comes_back_and_what_lives_stays` |
//! | 7. one call in flight; long polls block calls and heartbeats | many | `a_hundred_calls_in_hand_hold_up_no_other`, `a_wait_without_a_deadline_lasts_and_its_item_is_not_lost` |
//! | 8. the tenth async call is refused | the limit is set, and asks wait | `a_hundred_calls_in_hand_hold_up_no_other`, `g03_a_full_outbox_makes_senders_wait_and_loses_nothing` |
//! | 9. a call from a subscription's handler waits for itself | it doesn't | `who_listens_calls_and_publishes_in_between` |
//! | 10. publish says OK though messages were dropped | it says how many lost one | `who_publishes_is_told_how_many_lost_a_message_and_that_nobody_listens` |
//! | 11. no reconnect, and running? lies | sessions; phases | `what_was_cut_is_connected_again_once_it_can_be`, `g13_a_reference_stays_valid_over_a_restart_of_the_other_side`, `g28_a_subscription_survives_a_lost_connection_and_names_the_gap`, `an_ended_session_is_told_and_gives_the_next_message_back` |
//! | 12. a freed place is refused for 10 s | free at once | `a_place_of_a_connection_is_free_at_once`, `g35_a_freed_place_is_free_at_once` |
//! | 13. a oneway message of a kind kills the connection | a counted dead letter | `g34_a_tell_nobody_understands_is_a_counted_dead_letter` |
//! | 14. an answer above the limit kills the connection | is told with its verdict | `g36_a_reply_above_the_askers_limit_is_told_with_its_verdict` |
//! | 15. encryption not enforced | enforced | `g35_a_plain_peer_at_a_port_with_tls_is_not_served_and_told_so` |
//! | 15. bound to every address | to its own | `a_listener_is_at_its_own_address_and_at_no_other`, `g35_tcp_is_for_loopback_only` |
//! | 15. 1 GB for a packet of 56 bytes | sizes are checked first | `g36_giant_lengths_and_floods_take_no_memory`, `g36_every_field_at_its_extremes_harms_nobody_else` |
//! | 15. a header in two segments closes the connection | any pieces do | `a_stream_of_single_bytes_carries_everything`, `g36_wherever_a_stream_is_torn_the_same_answers_come` |
//! | 15. stack traces go to clients | the kind of a failure, and no text | `g07_a_panic_and_a_dropped_responder_are_told_at_once`, `g12_of_a_failure_elsewhere_the_class_is_told_and_no_text`, `g36_strangers_learn_nothing_but_an_alert` |
//! | 15. rights that change hold for nobody who is connected | at once | `g35_off_the_host_nothing_is_allowed_until_a_rule_says_so`, `g35_a_subscription_ends_when_its_right_does`, `a_queue_of_one_user_is_open_to_no_other` |
//! | 15. temporary queues are open to anyone | rights are of names | `a_queue_of_one_user_is_open_to_no_other` |
//! | 15. no protection against replay | TLS, and sequence numbers | `g32_recorded_bytes_played_again_execute_nothing_and_harm_no_session` |
//! | 16. limits mixed up; a queue opened again at the limit fails; the name of the dead-letter queue is free | opening again is no creation; it has no name | `a_name_leads_to_one_queue`, `a_queue_opened_with_other_settings_shows_all_differences`, `a_dead_letter_queue_is_reached_through_its_queue_alone` |
//! | 17. a circular queue's poll doesn't wait | it does | `a_circular_queue_elsewhere_drops_its_oldest_and_its_polls_wait`, `a_poll_of_a_circular_queue_waits_as_long_as_it_says` |
//! | 18. a second handler replaces the first | both get all | `two_subscriptions_to_the_same_subjects_both_get_them`, `g27_a_pattern_can_have_several_handlers` |
//! | 19. durable and circular becomes bounded | is both | `a_durable_circular_queue_drops_its_oldest_on_disk_too` |

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Runs each test over plain and over encrypted bytes, and over the simulated network.
macro_rules! twins {
    ($($test:ident)*) => {
        mod plain {
            use callboard::System;
            $(#[callboard::test(arbiters)]
            async fn $test(system: System) {
                super::$test::<crate::wires::Tcp>(system).await;
            })*
        }

        mod encrypted {
            use callboard::System;
            $(#[callboard::test(arbiters)]
            async fn $test(system: System) {
                super::$test::<crate::tls::TlsWire>(system).await;
            })*
        }

        mod simulated {
            use callboard::System;
            $(#[callboard::test(both)]
            async fn $test(system: System) {
                super::$test::<crate::wires::Simulated>(system).await;
            })*
        }
    };
}

mod clients;
mod encryption;
mod limits;
mod queues;
mod rights;
mod servers;

/// All files of Rust below a directory.
fn sources(below: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(below).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("target") {
            sources(&path, found);
        } else if path.extension().is_some_and(|end| end == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn each_test_of_the_tables_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut files = Vec::new();
    for part in ["core", "remote", "tests"] {
        sources(&root.join(part), &mut files);
    }
    let texts = files
        .iter()
        .map(|file| std::fs::read_to_string(file).unwrap());
    let known: BTreeSet<String> = texts
        .flat_map(|text| {
            let names = text.split("fn ").skip(1).map(|rest| {
                let ends = |c: char| !c.is_alphanumeric() && c != '_';
                rest.split(ends).next().unwrap_or_default().to_owned()
            });
            names.collect::<Vec<_>>()
        })
        .collect();
    let rows = include_str!("venice.rs").lines();
    let rows = rows.filter_map(|line| line.strip_prefix("//! | ")?.strip_suffix(" |"));
    let tests = rows.filter_map(|row| row.rsplit(" | ").next());
    let tests: Vec<&str> = tests
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .collect();
    assert!(tests.len() > 100, "{tests:?}");
    let missing: Vec<_> = tests
        .iter()
        .filter(|name| !known.contains(**name))
        .collect();
    assert!(missing.is_empty(), "{missing:#?}");
}
