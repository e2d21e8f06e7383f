//! Nothing goes wrong.

use super::{
    load::{GOOD_UP_TO, transaction},
    seeds,
    world::{Plan, Story, World},
};
use crate::SubmitError;
use ledger::Rejection;
use std::time::Duration;

fn run(validators: usize, seed: u64) -> Story {
    Story::new(Plan::of(validators), seed).live(async |world| {
        world.start_all().await;
        world.load(&world.running(), Duration::from_millis(150));
        world.reach(30, Duration::from_secs(60)).await;
        assert!(world.done() >= 5 * validators, "transactions become final");
        world.audit(Duration::from_secs(30)).await;
        world.all_honest().await;
    })
}

#[test]
fn four_validators_finalize_what_is_submitted_at_the_same_heights() {
    seeds("four_validators_finalize_what_is_submitted_at_the_same_heights", 0..3, |seed| drop(run(4, seed)));
}

#[test]
fn five_validators_finalize_what_is_submitted_at_the_same_heights() {
    seeds("five_validators_finalize_what_is_submitted_at_the_same_heights", 0..2, |seed| drop(run(5, seed)));
}

#[test]
fn the_same_seed_makes_the_same_history() {
    seeds("the_same_seed_makes_the_same_history", 7..8, |seed| {
        let (one, other) = (run(4, seed), run(4, seed));
        assert_eq!(one.fingerprint(), other.fingerprint());
        assert_eq!(one.seen.lock().unwrap().blocks, other.seen.lock().unwrap().blocks);
    });
}

/// The state of block zero is empty, and what the genesis says counts instead: a transaction that was judged by that
/// state and block one's height, or the other way round, came from an unknown member.
#[test]
fn what_is_submitted_around_the_first_blocks_is_not_refused() {
    seeds("what_is_submitted_around_the_first_blocks_is_not_refused", 0..3, |seed| {
        drop(Story::new(Plan::of(4), seed).live(async |world| {
            world.start_all().await;
            let mut answers = Vec::new();
            for sequence in 1..=150 {
                let index = sequence as usize % 4;
                let transaction = transaction(&world.story.genesis, index, sequence, GOOD_UP_TO);
                answers.push(world.submit_later(index, transaction));
                world.pass(Duration::from_millis(4)).await;
            }
            let all = |_: &World| answers.iter().all(|answer| answer.lock().unwrap().is_some());
            world.until("all are answered", Duration::from_secs(60), all).await;
            for answer in &answers {
                let answer = answer.lock().unwrap().clone();
                assert!(matches!(answer, Some(Ok(_))), "{answer:?}");
            }
        }));
    });
}

#[test]
fn of_two_transactions_with_one_number_one_becomes_final_and_the_other_is_refused() {
    seeds("of_two_transactions_with_one_number_one_becomes_final_and_the_other_is_refused", 0..3, |seed| {
        drop(Story::new(Plan::of(4), seed).live(async |world| {
            world.start_all().await;
            world.reach(2, Duration::from_secs(60)).await;
            // Two transactions, since they are good up to different heights, at two members at once.
            let at = |index, last| world.submit_later(index, transaction(&world.story.genesis, 0, 1, last));
            let (one, other) = (at(0, GOOD_UP_TO), at(1, GOOD_UP_TO + 1));
            let both = |_: &World| one.lock().unwrap().is_some() && other.lock().unwrap().is_some();
            world.until("both are answered", Duration::from_secs(30), both).await;
            let (one, other) = (one.lock().unwrap().clone().unwrap(), other.lock().unwrap().clone().unwrap());
            let refused = Err(SubmitError::Rejected(Rejection::SequenceUsed));
            assert!(one.is_ok() && other == refused || one == refused && other.is_ok(), "{one:?} and {other:?}");
        }));
    });
}
