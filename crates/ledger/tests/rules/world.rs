//! A network of two members and its whole state, for tests of the rules. The same actions make the same octets.

use ledger::{
    Action, Effects, Key, Moment, Rejection, Snapshot, Transaction, Value,
    access::Request,
    anchor::{Enter, Lane, Tagged},
    consent::{Grant, Revoke, Slot},
};
use std::{collections::BTreeMap, ops::Range};
use wire::{
    genesis::{Genesis, Kind, Member, Parameters},
    hash::hash,
    message::GRANT_SLOT_OCTETS,
    seal::PUBLIC_KEY_OCTETS,
    sign::{Network, Signer},
};

/// Milliseconds of a month of consents.
pub const MONTH: u64 = 30 * 86_400_000;
/// The month in which tests begin.
pub const NOW: u32 = 690;
/// The height at which they begin.
pub const HEIGHT: u64 = 5_000;

/// A moment of the month [`NOW`].
pub fn at(height: u64) -> Moment {
    Moment { height, time_ms: u64::from(NOW) * MONTH + MONTH / 2 }
}

/// A genesis, what the state holds, and when the next transaction is executed.
#[derive(Debug, Clone, PartialEq)]
pub struct World {
    /// Members 1 and 2, whose signers are [`signer`] of their numbers.
    pub genesis: Genesis,
    /// The state's first half.
    pub registry: BTreeMap<Key, Value>,
    /// The other.
    pub strands: BTreeMap<Key, Value>,
    /// Now.
    pub moment: Moment,
}

impl World {
    /// The beginning.
    pub fn new() -> Self {
        Self::named("rules")
    }

    /// The beginning of the network with this name.
    pub fn named(network: &str) -> Self {
        let member = |number: u8| Member {
            number: number.into(),
            name: format!("member-{number}"),
            title: format!("Member {number}"),
            kind: Kind::Hospital,
            identity: signer(number).public(),
            consensus: signer(number + 100).public(),
            hpke: vec![number; PUBLIC_KEY_OCTETS],
            validator: true,
        };
        let genesis = Genesis {
            format: 1,
            network: network.into(),
            time_ms: 0,
            nonce: [0; 32],
            parameters: Parameters::default(),
            members: vec![member(1), member(2)],
        };
        let Effects { registry, strands, bodies } = ledger::genesis_effects(&genesis);
        assert!(strands.is_empty() && bodies.is_empty());
        let registry = registry.into_iter().collect();
        Self { genesis, registry, strands: BTreeMap::new(), moment: at(HEIGHT) }
    }

    /// What signatures are for.
    pub fn network(&self) -> Network {
        self.genesis.network()
    }

    /// A transaction of `member`, good for a while.
    pub fn sign(&self, member: u32, sequence: u64, action: Action) -> Transaction {
        let last_height = self.moment.height + 10;
        Transaction::sign(&signer(member as u8), self.network(), member, sequence, last_height, action)
    }

    /// Exactly what `transaction` says it reads.
    pub fn snapshot(&self, transaction: &Transaction) -> Snapshot {
        let mut snapshot = Snapshot::new();
        self.load(transaction, &mut snapshot);
        snapshot
    }

    /// Loads what `transaction` says it reads.
    pub fn load(&self, transaction: &Transaction, snapshot: &mut Snapshot) {
        let reads = transaction.reads();
        reads.registry.into_iter().for_each(|key| snapshot.insert_registry(key, self.registry.get(&key).copied()));
        reads.strands.into_iter().for_each(|key| snapshot.insert_strand(key, self.strands.get(&key).copied()));
    }

    /// Executes `transaction` now and keeps its effects.
    pub fn apply(&mut self, transaction: &Transaction) -> Result<Effects, Rejection> {
        let effects = ledger::apply(&self.genesis, self.moment, transaction, &mut self.snapshot(transaction))?;
        self.registry.extend(effects.registry.iter().copied());
        for (key, value) in &effects.strands {
            assert_eq!(self.strands.insert(*key, *value), None, "strands only gain entries");
        }
        Ok(effects)
    }
}

/// The signer with this number.
pub fn signer(seed: u8) -> Signer {
    Signer::from_seed(&[seed; 32])
}

/// Entries with these tags, in their order.
pub fn entries(tags: Range<usize>) -> Vec<Tagged> {
    let tagged = |number: usize| {
        let mut tag = [0; 32];
        tag[..8].copy_from_slice(&(number as u64).to_be_bytes());
        Tagged { tag, commitment: hash("commitment", &[&tag]) }
    };
    tags.map(tagged).collect()
}

/// An Enter of these tags.
pub fn enter(lane: Lane, tags: Range<usize>) -> Action {
    Action::Enter(Enter { lane, entries: entries(tags) })
}

/// So many slots.
pub fn slots(count: usize) -> Vec<Slot> {
    (0..count).map(|n| Slot { sealed: vec![n as u8; GRANT_SLOT_OCTETS] }).collect()
}

/// A Grant by the key with this seed in `world`.
pub fn grant(world: &World, key: u8, month: u32) -> Action {
    Action::Grant(Grant::sign(&signer(key), world.network(), 0, month, slots(8)))
}

/// A Grant in [`World::new`].
pub fn grant_of(key: u8, month: u32) -> Action {
    grant(&World::new(), key, month)
}

/// A Revoke of the grant by the key with this seed in `world`.
pub fn revoke(world: &World, key: u8) -> Action {
    Action::Revoke(Revoke::sign(&signer(key), world.network(), 0))
}

/// A Request.
pub fn request(root: u8) -> Action {
    Action::Request(Request { group: 0, slots_root: [root; 32], reader_key: [0x5a; 32] })
}
