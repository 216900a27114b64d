//! What every bus does, in one process and over Redis: the same tests against both.

#![allow(clippy::unwrap_used, unreachable_pub)] // All of this is a test, also what stands outside of #[test] functions.

#[path = "../bus_rig/mod.rs"]
mod bus_rig;
mod suite;

use bus_rig::{embedded, over_redis};

macro_rules! both {
    ($($name:ident),* $(,)?) => {
        mod in_one_process {
            $(#[tokio::test]
            async fn $name() {
                super::suite::$name(super::embedded()).await;
            })*
        }
        mod over_redis {
            $(#[tokio::test]
            async fn $name() {
                let (_server, rig) = super::over_redis().await;
                super::suite::$name(rig).await;
            })*
        }
    };
}

both! {
    offsets_follow_each_other_and_history_reads_them,
    history_is_bounded_by_number,
    history_is_bounded_by_time_and_positions_go_on,
    pages_go_forward_and_backward,
    recovery_is_all_that_was_missed_or_nothing,
    an_idempotency_key_publishes_once,
    without_history_there_is_no_place,
    what_skips_history_is_delivered_and_not_kept,
    clearing_keeps_the_position,
    a_subscriber_gets_everything_once_and_in_order,
    whoever_subscribes_under_load_has_neither_gap_nor_double,
    everything_of_a_publication_arrives,
    pieces_of_another_region_are_taken_once_and_in_order,
    what_another_region_has_lost_is_told,
    a_mark_says_how_far_a_region_s_stream_was_here,
    two_who_bring_the_same_pieces_bring_each_once,
    a_region_tells_what_it_has_published_itself,
}
