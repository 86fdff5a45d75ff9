//! What holds over every transport: one list of tests, one line for each transport.

use callboard::{Boundary, System};

use crate::tls::TlsWire;
use crate::wires::{Attached, Fifo, InMemory, Memory, OfTheSystem, Simulated, Tcp, Unix, Wire};

macro_rules! conformance {
    ($($transport:ident, $wire:ty, $on:ident;)*) => {
        $(mod $transport {
            use super::*;
            each! { asks, $wire, $on;
                an_ask_and_a_tell_reach_an_exposed_actor
                g02_messages_of_one_sender_keep_their_order
                g02_messages_of_all_types_keep_their_order
                g03_a_full_outbox_makes_senders_wait_and_loses_nothing
                g06_without_a_connection_the_message_comes_back_unsent
                g07_a_lost_connection_ends_each_ask_with_its_verdict
                g07_a_panic_and_a_dropped_responder_are_told_at_once
                g09_a_deadline_ends_an_ask_and_withdraws_it_over_there
                g09_deadline_travels_as_remaining_time
                g17_key_attempt_and_retry_marker_travel
                g34_what_cannot_be_delivered_is_answered_at_once
                g34_a_tell_nobody_understands_is_a_counted_dead_letter
                g34_a_full_mailbox_is_an_answer_and_the_reader_goes_on
                g36_a_message_above_the_peers_limit_comes_back_unsent
                g36_a_reply_above_the_askers_limit_is_told_with_its_verdict
                g13_a_reference_stays_valid_over_a_restart_of_the_other_side
                g12_a_watch_fires_when_the_peer_is_closed_for_good
                dropping_the_last_handle_closes_the_connection
                a_weak_recipient_keeps_no_connection
            }
            each! { broken, $wire, $on;
                g36_a_stream_cut_at_any_byte_runs_nothing_twice
                g36_a_stream_truncated_at_any_byte_runs_nothing_twice
                g36_a_stream_half_closed_at_any_byte_runs_nothing_twice
                g36_a_stream_that_falls_silent_is_given_up
                a_stream_of_single_bytes_carries_everything
                a_short_stall_costs_nothing_but_time
                what_was_cut_is_connected_again_once_it_can_be
            }
            each! { queues, $wire, $on;
                a_queue_elsewhere_is_used_like_one_of_this_process
                a_queue_elsewhere_can_be_looked_into_and_ended
                g34_a_queue_that_cannot_be_opened_says_why
                g37_a_handle_refuses_a_queue_that_became_another
                g03_a_full_queue_elsewhere_makes_offers_wait
                g09_an_offer_that_is_given_up_is_not_stored
                g21_a_lease_that_is_given_up_takes_nothing
                g22_a_late_acknowledgement_from_elsewhere_is_refused
                g23_leases_of_a_dead_peer_come_back_as_failed
                g22_what_is_dropped_goes_back
                g22_a_lease_of_a_queue_that_was_started_again_is_stale
                g26_an_offer_made_again_with_its_key_is_stored_once
                items_stream_from_elsewhere_with_a_bound
                handlers_run_for_items_from_elsewhere
                g21_a_single_active_consumer_elsewhere_is_followed_by_the_next
                g36_items_that_do_not_fit_harm_nobody_else
                g34_an_item_nobody_can_read_is_a_failed_delivery
            }
            each! { admin, $wire, $on;
                a_node_elsewhere_is_looked_into_and_administered
                g23_dead_letters_elsewhere_are_looked_at_and_offered_again
                g32_what_a_lost_session_began_is_finished
            }
            each! { locks, $wire, $on;
                g31_a_mutex_elsewhere_has_one_holder_in_order
                g31_a_lease_from_elsewhere_runs_out_and_its_token_is_stale
                g31_a_lease_from_elsewhere_is_renewed
                g31_a_long_wait_costs_nothing_of_the_lease
                g31_a_wish_that_is_given_up_holds_nothing
                g31_permits_and_readers_are_shared_elsewhere
                g34_a_lock_that_cannot_be_opened_says_why
            }
            each! { watching, $wire, $on;
                g12_the_end_of_an_actor_elsewhere_is_told_once_with_its_reason
                g12_restarts_elsewhere_are_told_and_end_nothing
                g12_of_a_failure_elsewhere_the_class_is_told_and_no_text
                g12_what_has_no_name_elsewhere_never_existed
                g12_a_watch_that_was_ended_tells_nothing
                g12_a_lost_connection_is_told_and_ends_nothing
                g12_another_incarnation_of_the_node_ends_what_was_watched
                g12_watches_outlive_the_session_while_the_actor_is_the_same
                g12_closing_the_peer_ends_its_watches
            }
            each! { crossing, $wire, $on;
                g33_asks_that_cross_each_other_on_full_flows_end
            }
            each! { references, $wire, $on;
                a_message_says_whom_to_call_back
                a_reply_gives_somebody_to_talk_to
            }
            each! { topics, $wire, $on;
                g27_a_subscriber_gets_each_message_that_matches_in_order
                g27_a_message_is_encoded_once_for_all_subscribers
                g27_a_large_message_is_overtaken_by_none
                g27_what_is_published_from_elsewhere_reaches_every_subscriber
                g28_a_subscription_survives_a_lost_connection_and_names_the_gap
                g28_a_slow_subscriber_is_told_what_it_missed_and_delays_nobody
                g34_a_subscription_that_cannot_be_is_answered_at_once
            }
        })*
    };
}

macro_rules! each {
    ($suite:ident, $wire:ty, $on:ident; $($test:ident)*) => {
        $(#[callboard::test($on)]
        async fn $test(system: System) {
            crate::$suite::$test::<$wire>(system).await;
        })*
    };
}

conformance! {
    memory, Memory, both;
    simulated, Simulated, both;
    attached, Attached<InMemory>, both;
    pipe, Attached<OfTheSystem>, arbiters;
    fifo, Fifo, arbiters;
    unix, Unix<false>, arbiters;
    unix_abstract, Unix<true>, arbiters;
    tcp, Tcp, arbiters;
    tls, TlsWire, arbiters;
}

#[test]
fn boundaries_are_told() {
    assert_eq!(
        (Unix::<false>::BOUNDARY, Fifo::BOUNDARY, Tcp::BOUNDARY),
        (Boundary::SameHost, Boundary::SameHost, Boundary::Network)
    );
}
