//! Bad links: loss, delay, partitions.

use super::{
    load::transaction,
    seeds,
    world::{Plan, Story, World},
};
use crate::SubmitError;
use commonware_p2p::simulated::Link;
use commonware_utils::probability;
use std::time::Duration;

/// What is under way when links are cut may still arrive and be finished.
const AFTERMATH: Duration = Duration::from_secs(1);

#[test]
fn lossy_slow_links_stop_neither_progress_nor_agreement() {
    seeds("lossy_slow_links_stop_neither_progress_nor_agreement", 0..4, |seed| {
        let mut plan = Plan::of(4);
        plan.pace.leader = Duration::from_secs(2);
        let rate = if seed % 2 == 0 { probability!(0.8) } else { probability!(0.7) };
        plan.link = Link {
            latency: Duration::from_millis(125),
            jitter: Duration::from_millis(if seed < 2 { 50 } else { 200 }),
            success_rate: rate,
        };
        drop(Story::new(plan, seed).live(async |world| {
            world.start_all().await;
            world.load(&world.running(), Duration::from_millis(300));
            world.reach(15, Duration::from_secs(300)).await;
            assert!(world.done() > 0, "transactions become final");
            world.audit(Duration::from_secs(120)).await;
            world.all_honest().await;
        }));
    });
}

/// Splits for ten seconds and returns the heights when it began to bite and at its end.
async fn split(world: &mut World, sides: &[&[usize]]) -> (Vec<u64>, Vec<u64>) {
    let heights = |world: &World| (0..4).map(|index| world.height(index)).collect();
    world.split(sides).await;
    world.pass(AFTERMATH).await;
    let began = heights(world);
    world.pass(Duration::from_secs(10)).await;
    (began, heights(world))
}

#[test]
fn two_halves_finalize_nothing_and_go_on_when_they_meet() {
    seeds("two_halves_finalize_nothing_and_go_on_when_they_meet", 0..3, |seed| {
        drop(Story::new(Plan::of(4), seed).live(async |world| {
            world.start_all().await;
            world.load(&world.running(), Duration::from_millis(200));
            world.reach(8, Duration::from_secs(60)).await;
            let (began, ended) = split(world, &[&[0, 1], &[2, 3]]).await;
            assert_eq!(began, ended, "half of the validators finalize nothing");
            let done = world.done();
            world.heal().await;
            world.reach(world.top() + 8, Duration::from_secs(60)).await;
            assert!(world.done() > done, "what was submitted on either side becomes final");
            world.audit(Duration::from_secs(60)).await;
            world.all_honest().await;
        }));
    });
}

#[test]
fn a_validator_cut_off_finalizes_nothing_and_catches_up_later() {
    seeds("a_validator_cut_off_finalizes_nothing_and_catches_up_later", 0..3, |seed| {
        drop(Story::new(Plan::of(4), seed).live(async |world| {
            world.start_all().await;
            world.load(&world.running(), Duration::from_millis(200));
            world.reach(8, Duration::from_secs(60)).await;
            let lone = seed as usize % 4;
            let others: Vec<usize> = (0..4).filter(|index| *index != lone).collect();
            let (began, ended) = split(world, &[&[lone], &others]).await;
            assert_eq!(began[lone], ended[lone], "a quarter of the validators finalizes nothing");
            assert!(others.iter().all(|index| ended[*index] > began[*index] + 4), "three quarters go on");
            world.heal().await;
            world.reach(world.top() + 4, Duration::from_secs(60)).await;
            world.audit(Duration::from_secs(60)).await;
            world.all_honest().await;
        }));
    });
}

#[test]
fn a_transaction_whose_last_height_passes_while_its_member_is_cut_off_is_answered_as_expired() {
    seeds("a_transaction_whose_last_height_passes_while_its_member_is_cut_off_is_answered_as_expired", 0..2, |seed| {
        drop(Story::new(Plan::of(4), seed).live(async |world| {
            world.start_all().await;
            world.reach(3, Duration::from_secs(60)).await;
            world.split(&[&[0], &[1, 2, 3]]).await;
            world.pass(AFTERMATH).await;
            let last = world.height(0) + 2;
            let answer = world.submit_later(0, transaction(&world.story.genesis, 0, 1, last));
            world.until("the others are past it", Duration::from_secs(60), |world| world.height(1) > last + 2).await;
            assert_eq!(*answer.lock().unwrap(), None, "nobody can tell yet");
            world.heal().await;
            world.until("it is answered", Duration::from_secs(60), |_| answer.lock().unwrap().is_some()).await;
            assert_eq!(*answer.lock().unwrap(), Some(Err(SubmitError::Expired)));
        }));
    });
}
