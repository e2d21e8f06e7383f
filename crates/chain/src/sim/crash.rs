//! Crashes: of one member after another, of all at once with writes torn, and what a restarted member knows.

use super::{
    load::{GOOD_UP_TO, transaction},
    seeds,
    world::{Plan, Story},
};
use crate::SubmitError;
use commonware_runtime::deterministic::{FaultConfig, PartialWriteMode, WriteConfig};
use commonware_utils::probability;
use std::time::Duration;

#[test]
fn members_that_crash_again_and_again_lose_nothing_and_never_vote_twice() {
    seeds("members_that_crash_again_and_again_lose_nothing_and_never_vote_twice", 0..4, |seed| {
        drop(Story::new(Plan::of(4), seed).live(async |world| {
            world.start_all().await;
            world.load(&world.running(), Duration::from_millis(100));
            world.reach(3, Duration::from_secs(60)).await;
            for _ in 0..8 {
                let victim = world.random(4) as usize;
                let (up, down) = (world.random(1_000), world.random(800));
                world.pass(Duration::from_millis(up)).await;
                let known = world.height(victim);
                world.crash(victim);
                world.pass(Duration::from_millis(down)).await;
                world.start(victim).await;
                world.until("a member is where it was", Duration::from_secs(30), |w| w.height(victim) >= known).await;
            }
            world.reach(world.top() + 3, Duration::from_secs(60)).await;
            world.audit(Duration::from_secs(60)).await;
            world.all_honest().await;
        }));
    });
}

#[test]
fn all_members_crash_at_once_again_and_again_and_lose_nothing() {
    seeds("all_members_crash_at_once_again_and_again_and_lose_nothing", 0..4, |seed| {
        let mut story = Story::new(Plan::of(4), seed);
        let mut height = 0;
        for life in 1..=4 {
            story = story.live(async |world| {
                // A crash keeps some of what was written and not synced, cut anywhere.
                let mode = if seed % 2 == 0 { PartialWriteMode::Prefix } else { PartialWriteMode::Subset };
                let (failure_rate, retention_rate) = (probability!(0.0), probability!(0.5));
                let torn = FaultConfig::default().write(WriteConfig { failure_rate, retention_rate, mode });
                *world.context.storage_fault_config().write() = torn;
                world.start_all().await;
                world.load(&world.running(), Duration::from_millis(100));
                world.reach(height + 6, Duration::from_secs(60)).await;
                let more = world.random(1_000);
                world.pass(Duration::from_millis(more)).await;
                height = world.top();
                if life == 4 {
                    world.audit(Duration::from_secs(60)).await;
                    world.all_honest().await;
                }
            });
        }
    });
}

#[test]
fn a_restarted_member_knows_its_tip_before_the_next_block() {
    seeds("a_restarted_member_knows_its_tip_before_the_next_block", 0..2, |seed| {
        let mut tip = None;
        let story = Story::new(Plan::of(4), seed).live(async |world| {
            world.start_all().await;
            world.reach(5, Duration::from_secs(60)).await;
            // What is acknowledged after the last flush is delivered again; without a quorum nothing comes after it.
            for index in 1..4 {
                world.crash(index);
            }
            world.pass(Duration::from_secs(2)).await;
            tip = Some(world.chain(0).unwrap().tip());
        });
        drop(story.live(async |world| {
            world.start(0).await;
            world.pass(Duration::from_secs(1)).await;
            let (before, now) = (tip.unwrap(), world.chain(0).unwrap().tip());
            assert_eq!((now.height, now.time_ms), (before.height, before.time_ms));
            assert!(now.at.elapsed() > Duration::from_secs(60), "what was heard before the start is no news");
        }));
    });
}

/// Grants are judged at the tip, and only at a fresh one: a member that was away must not take an old state for news,
/// neither when it starts nor while it catches up.
#[test]
fn a_member_that_catches_up_does_not_take_old_blocks_for_news() {
    seeds("a_member_that_catches_up_does_not_take_old_blocks_for_news", 0..2, |seed| {
        drop(Story::new(Plan::of(4), seed).live(async |world| {
            world.start_all().await;
            world.reach(5, Duration::from_secs(60)).await;
            world.crash(3);
            world.pass(Duration::from_secs(60)).await;
            let (back, top) = (world.now_ms(), world.top());
            world.start(3).await;
            let (mut behind, mut fresh) = (0, false);
            while !fresh {
                let tip = world.chain(3).unwrap().tip();
                let age = Duration::from_millis(back.saturating_sub(tip.time_ms));
                assert!(tip.height == 0 || tip.at.elapsed() >= age, "height {} looks newer than it is", tip.height);
                behind += usize::from(tip.height < top);
                fresh = tip.height > top && tip.at.elapsed() < Duration::from_secs(30);
                world.pass(Duration::from_millis(2)).await;
            }
            assert!(behind > 0, "it was never seen to be behind");
        }));
    });
}

#[test]
fn who_waits_for_a_transaction_hears_that_the_chain_has_stopped() {
    seeds("who_waits_for_a_transaction_hears_that_the_chain_has_stopped", 0..1, |seed| {
        drop(Story::new(Plan::of(4), seed).live(async |world| {
            // Alone: nothing becomes final.
            world.start(0).await;
            let chain = world.chain(0).unwrap();
            let submitted = world.submit_later(0, transaction(&world.story.genesis, 0, 1, GOOD_UP_TO));
            world.until("it is in the pool", Duration::from_secs(5), |_| chain.status().pool == 1).await;
            world.crash(0);
            world
                .until("the submit is answered", Duration::from_secs(5), |_| submitted.lock().unwrap().is_some())
                .await;
            assert_eq!(*submitted.lock().unwrap(), Some(Err(SubmitError::Stopped)));
        }));
    });
}
