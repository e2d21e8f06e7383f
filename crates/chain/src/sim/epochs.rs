//! Short epochs: consensus moves to a new engine again and again, also across crashes.

use super::{
    seeds,
    world::{Plan, Story},
};
use std::time::Duration;

fn plan() -> Plan {
    Plan { blocks_per_epoch: 10, ..Plan::of(4) }
}

#[test]
fn epochs_follow_one_another_and_proofs_need_no_sets() {
    seeds("epochs_follow_one_another_and_proofs_need_no_sets", 0..2, |seed| {
        drop(Story::new(plan(), seed).live(async |world| {
            world.start_all().await;
            world.load(&world.running(), Duration::from_millis(200));
            world.reach(45, Duration::from_secs(120)).await;
            world.audit(Duration::from_secs(60)).await;
            world.all_honest().await;
        }));
    });
}

#[test]
fn a_member_that_slept_through_epochs_catches_up() {
    seeds("a_member_that_slept_through_epochs_catches_up", 0..2, |seed| {
        drop(Story::new(plan(), seed).live(async |world| {
            world.start_all().await;
            world.load(&world.running(), Duration::from_millis(200));
            world.reach(5, Duration::from_secs(60)).await;
            world.crash(3);
            world.until("epochs pass", Duration::from_secs(120), |world| world.top() >= 33).await;
            world.start(3).await;
            world.reach(world.top() + 3, Duration::from_secs(60)).await;
            world.audit(Duration::from_secs(60)).await;
            world.all_honest().await;
        }));
    });
}

#[test]
fn crashes_around_the_end_of_an_epoch_lose_nothing() {
    seeds("crashes_around_the_end_of_an_epoch_lose_nothing", 0..4, |seed| {
        let mut story = Story::new(plan(), seed);
        for epoch in 1..=3 {
            story = story.live(async |world| {
                world.start_all().await;
                world.load(&world.running(), Duration::from_millis(150));
                let end = epoch * 10 - 1;
                world.until("an epoch ends", Duration::from_secs(60), |world| world.top() >= end - 1).await;
                // Blocks are 100 ms apart: the crash falls before, at or after the switch.
                let more = world.random(300);
                world.pass(Duration::from_millis(more)).await;
                let victim = world.random(4) as usize;
                world.crash(victim);
                if epoch == 3 {
                    world.start(victim).await;
                    world.reach(end + 5, Duration::from_secs(60)).await;
                    world.audit(Duration::from_secs(60)).await;
                    world.all_honest().await;
                }
            });
        }
    });
}
