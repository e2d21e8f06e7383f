//! What must hold at the end of every simulation.

use super::{
    unexplained_panics,
    world::{World, number},
};
use crate::block::Block;
use commonware_consensus::{
    marshal::Identifier,
    types::{Epocher as _, FixedEpocher, Height},
};
use commonware_cryptography::Digestible as _;
use ledger::{Action, Key, Transaction};
use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroU64,
    time::Duration,
};
use wire::{
    Format as _, Hash,
    engine::{StateProof, verify},
    state::{Entry, GrantEntry, body_name, grant_key, member_key},
    strand::entry_key,
};

impl World {
    /// A finalized block as a running member has it.
    pub(super) async fn block(&self, index: usize, height: u64) -> Block {
        let block = self.marshal(index).get_block(Identifier::Height(Height::new(height))).await;
        block.unwrap_or_else(|| panic!("member {index} has no block {height}")).inner().clone()
    }

    /// Ends the load, waits until every running member has everything, and checks it all. Returns the height.
    pub(super) async fn audit(&mut self, within: Duration) -> u64 {
        self.drain(within).await;
        let height = self.top();
        self.reach(height, within).await;
        self.agree(height).await;
        self.prove_all(height).await;
        for outbox in &self.story.outboxes {
            assert_eq!(outbox.lock().unwrap().wrong, Vec::<String>::new());
        }
        assert_eq!(self.story.seen.lock().unwrap().wrong, Vec::<String>::new());
        for index in self.running() {
            assert_eq!(self.chain(index).unwrap().status().damaged, 0, "member {index}");
        }
        assert_eq!(unexplained_panics(self.story.crashes > 0), Vec::<String>::new());
        height
    }

    /// That no member has seen a lie or believes in one.
    pub(super) async fn all_honest(&self) {
        let evidence: usize = self.running().into_iter().map(|i| self.chain(i).unwrap().status().evidence).sum();
        assert_eq!(evidence + self.story.evidence, 0, "evidence against honest members");
        assert_eq!(self.blocked().await, 0, "honest members were blocked");
    }

    /// All members have the same blocks, the same as ever; each transaction is in one of them, with its bodies.
    async fn agree(&self, height: u64) {
        let blocks = self.story.seen.lock().unwrap().blocks.clone();
        let epocher = FixedEpocher::new(NonZeroU64::new(self.story.plan.blocks_per_epoch).unwrap());
        let mut places: BTreeMap<Hash, (u64, u64)> = BTreeMap::new();
        let mut before = (blocks[&1], 0);
        for at in 1..=height {
            let first = self.block(self.running()[0], at).await;
            for index in self.running() {
                let block = self.block(index, at).await;
                assert_eq!(block.digest(), blocks[&at], "member {index} at height {at}");
                // The digest covers the header alone: the body is compared too.
                assert!(block == first, "member {index} has another body at height {at}");
                for tx in &block.transactions {
                    for body in Transaction::decode(&tx.0).unwrap().bodies() {
                        let kept = self.chain(index).unwrap().body(&body_name(&body));
                        assert!(kept == Some(body), "member {index} lacks a body of block {at}");
                    }
                }
            }
            let header = &first.header;
            assert_eq!(header.height.get(), at);
            assert!(at == 1 || header.parent == before.0, "block {at} has another parent");
            assert!(header.timestamp_ms > before.1, "time goes back at height {at}");
            let epoch = epocher.containing(header.height).unwrap().epoch();
            assert_eq!(header.context.round.epoch(), epoch, "block {at} is of another epoch");
            assert_eq!(header.next.is_some(), epocher.last(epoch) == Some(header.height), "set in block {at}");
            assert_eq!(header.set_since, 0, "no set changes");
            before = (first.digest(), header.timestamp_ms);
            for tx in &first.transactions {
                let id = Transaction::decode(&tx.0).unwrap().id();
                let twice = places.insert(id, (at, header.timestamp_ms));
                assert_eq!(twice, None, "a transaction is in block {at} again");
            }
        }
        let mut made = 0;
        for outbox in &self.story.outboxes {
            let outbox = outbox.lock().unwrap();
            made += outbox.made as usize;
            for (id, receipt) in &outbox.receipts {
                assert_eq!(places.get(id), Some(&(receipt.height, receipt.time_ms)), "a receipt lies");
            }
            assert!(outbox.landed.iter().all(|id| places.contains_key(id)), "a used number of no transaction");
        }
        assert_eq!(places.len(), made, "what was made is in blocks");
    }

    /// Each member proves what is in the state and what is not, and the proof holds against the genesis alone.
    async fn prove_all(&self, height: u64) {
        let (mut registry, mut strands) = (BTreeMap::new(), BTreeMap::new());
        for at in 1..=height {
            for tx in &self.block(self.running()[0], at).await.transactions {
                let transaction = Transaction::decode(&tx.0).unwrap();
                match &transaction.body().action {
                    Action::Grant(grant) => {
                        registry.insert(grant_key(&grant.grant_key), (at, body_name(&grant.to_octets())));
                    }
                    Action::Enter(enter) => {
                        let entry = enter.entries[0];
                        strands.insert(entry_key(transaction.member(), &entry.tag), (at, entry.commitment));
                    }
                    Action::Revoke(_) | Action::Request(_) => {}
                }
            }
        }
        let absent: Key = [255; 32];
        let sorted = |keys: &mut dyn Iterator<Item = Key>| keys.collect::<BTreeSet<_>>().into_iter().collect();
        let keys: Vec<Key> = sorted(&mut registry.keys().copied().chain([absent, member_key(number(0))]));
        let of_strands: Vec<Key> = sorted(&mut strands.keys().copied().chain([absent]));
        for index in self.running() {
            let chain = self.chain(index).unwrap();
            let proof = chain.prove(keys.clone(), of_strands.clone(), height).await.expect("a proof comes");
            let proof = StateProof::from_octets(&proof.to_octets()).expect("a proof is in its one form");
            assert!(proof.sets.is_empty(), "no set changes");
            let proved = verify(&self.story.genesis, &proof).expect("a proof holds");
            assert!(proved.height >= height, "a proof of an old state");
            let header = self.block(index, proved.height).await.header;
            assert_eq!((proved.state_root, proved.time_ms), (header.state_root.0, header.timestamp_ms));
            assert!(proved.registry[&member_key(number(0))].is_some(), "member 1 is in the state");
            assert_eq!((proved.registry[&absent], proved.strands[&absent]), (None, None));
            for (key, (granted, body)) in &registry {
                let entry = GrantEntry::from_value(&proved.registry[key].expect("a grant is in the state"));
                assert!(entry.is_some_and(|e| (e.granted, e.body, e.revoked) == (*granted, *body, 0)));
            }
            for (key, (height, commitment)) in &strands {
                let entry = Entry { commitment: *commitment, height: *height };
                assert_eq!(proved.strands[key], Some(entry.to_value()), "an entry is in the state");
            }
        }
    }
}
