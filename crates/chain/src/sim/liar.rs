//! A validator that votes for two blocks at once.

use super::{
    seeds,
    world::{Plan, Story, World, private_key},
};
use crate::block::{Key, Scheme};
use commonware_codec::{DecodeExt as _, Encode as _};
use commonware_consensus::simplex::types::{Finalize, Notarize, Proposal, Vote};
use commonware_cryptography::{Hasher as _, Sha256};
use commonware_p2p::{Receiver as _, Recipients, Sender as _, utils::mux::Muxer};
use commonware_runtime::{Spawner as _, Supervisor as _};
use std::time::Duration;
use wire::engine::{Digest, namespace, set_of};

impl World {
    /// In place of this member, one that answers each vote with two that contradict each other.
    async fn start_liar(&self, index: usize) {
        let genesis = self.story.genesis.clone();
        let set = set_of(&genesis).unwrap();
        let scheme = Scheme::signer(&namespace(&genesis.id()), set, private_key(index)).unwrap();
        let (sender, receiver) = self.channels(index).await.swap_remove(0);
        let (mux, mut votes) = Muxer::new(self.context.child("liar_mux"), sender, receiver);
        mux.start();
        self.context.child("liar").spawn(move |_| async move {
            let (mut sender, mut receiver) = votes.register(0).await.expect("the mux runs");
            while let Ok((_, message)) = receiver.recv().await {
                let mut say =
                    |vote: Vote<Scheme, Digest>| drop(sender.send(Recipients::<Key>::All, vote.encode(), true));
                let other = |proposal: &Proposal<Digest>| {
                    Proposal::new(proposal.round, proposal.parent, Sha256::hash(&[proposal.payload.as_ref(), b"a lie"]))
                };
                match Vote::<Scheme, Digest>::decode(message) {
                    Ok(Vote::Notarize(vote)) => {
                        say(Vote::Notarize(Notarize::sign(&scheme, other(&vote.proposal)).unwrap()));
                        say(Vote::Notarize(Notarize::sign(&scheme, vote.proposal).unwrap()));
                    }
                    Ok(Vote::Finalize(vote)) => {
                        say(Vote::Finalize(Finalize::sign(&scheme, other(&vote.proposal)).unwrap()));
                        say(Vote::Finalize(Finalize::sign(&scheme, vote.proposal).unwrap()));
                    }
                    _ => {}
                }
            }
        });
    }
}

#[test]
fn a_validator_that_votes_twice_is_noticed_and_the_rest_goes_on() {
    seeds("a_validator_that_votes_twice_is_noticed_and_the_rest_goes_on", 0..2, |seed| {
        drop(Story::new(Plan::of(4), seed).live(async |world| {
            for index in 0..3 {
                world.start(index).await;
            }
            world.start_liar(3).await;
            world.load(&[0, 1, 2], Duration::from_millis(200));
            world.reach(12, Duration::from_secs(120)).await;
            for index in 0..3 {
                assert!(world.chain(index).unwrap().status().evidence > 0, "member {index} noticed nothing");
            }
            world.audit(Duration::from_secs(60)).await;
        }));
    });
}
