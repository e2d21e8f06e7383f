//! Members that come late, with an empty disk.

use super::{
    seeds,
    world::{Plan, Story},
};
use std::time::Duration;

#[test]
fn members_that_join_late_have_all_blocks_and_bodies() {
    seeds("members_that_join_late_have_all_blocks_and_bodies", 0..3, |seed| {
        // One of the validators and a member that does not validate.
        let plan = Plan { followers: 1, blocks_per_epoch: if seed == 0 { 1 << 40 } else { 12 }, ..Plan::of(4) };
        drop(Story::new(plan, seed).live(async |world| {
            for index in 0..3 {
                world.start(index).await;
            }
            world.load(&[0, 1, 2], Duration::from_millis(200));
            world.reach(30, Duration::from_secs(240)).await;
            world.start(3).await;
            world.start(4).await;
            world.reach(world.top() + 3, Duration::from_secs(60)).await;
            world.load(&[3, 4], Duration::from_millis(200));
            world.reach(world.top() + 5, Duration::from_secs(60)).await;
            let signing: Vec<bool> = (0..5).map(|index| world.chain(index).unwrap().status().signing).collect();
            assert_eq!(signing, [true, true, true, true, false]);
            world.audit(Duration::from_secs(60)).await;
            world.all_honest().await;
        }));
    });
}
