//! The replicated application: executes blocks into the two databases.

use crate::{
    Pace, Receipt, Tip, ago,
    block::{BODY_OCTETS_MAX, Block, Dbs, Scheme, SyncTarget, TRANSACTIONS_MAX, body_hash},
    bodies::Bodies,
    pool::{Pool, Waiting},
};
use commonware_consensus::{
    marshal::ancestry::Ancestry,
    types::{Epocher, FixedEpocher, Height},
};
use commonware_cryptography::Digestible as _;
use commonware_glue::stateful::{
    Application, Finality, Input, Proposed,
    db::{DatabaseSet, Merkleized as _, Unmerkleized as _},
};
use commonware_runtime::{Clock, Spawner};
use commonware_storage::{Context as StorageContext, qmdb::sync::Target as EngineTarget};
use commonware_utils::non_empty_range;
use futures::StreamExt as _;
use ledger::{Effects, Moment, Snapshot, Transaction};
use std::{
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};
use tokio::sync::watch;
use wire::{
    engine::{Digest, Header, Proposer, Set, Stored, Target, state_root},
    genesis::Genesis,
};

/// A proposer's clock may run ahead of a verifier's by this much; a block from further ahead is waited for, bounded.
const CLOCK_AHEAD_MS: u64 = 2_000;
/// A block from further ahead than this is not voted for: members' clocks agree within the transport's bound of ten
/// seconds, so its proposer lies. Whether it is final all the same, 2f+1 members decide.
const CLOCK_AHEAD_MS_MAX: u64 = 10_000;
/// A block's time lies at most this far after its parent's: a network may stand still for years, not for centuries.
const PARENT_AHEAD_MS: u64 = 20 * 365 * 86_400_000;

#[derive(Clone)]
pub(crate) struct App {
    pub(crate) genesis: Arc<Genesis>,
    pub(crate) first: Block,
    pub(crate) set: Set,
    pub(crate) pool: Arc<Pool>,
    pub(crate) bodies: Arc<dyn Bodies>,
    pub(crate) tip: Arc<watch::Sender<Tip>>,
    pub(crate) epocher: FixedEpocher,
    pub(crate) pace: Pace,
}

type Batches<E> = <Dbs<E> as DatabaseSet<E>>::Unmerkleized;
type Sealed<E> = <Dbs<E> as DatabaseSet<E>>::Merkleized;

/// Executes transactions one after another on loaded values.
struct Execution<'a> {
    genesis: &'a Genesis,
    moment: Moment,
    snapshot: Snapshot,
    effects: Vec<Effects>,
}

impl<'a> Execution<'a> {
    fn new(genesis: &'a Genesis, moment: Moment) -> Self {
        let mut execution = Self { genesis, moment, snapshot: Snapshot::new(), effects: Vec::new() };
        if moment.height == 1 {
            let effects = ledger::genesis_effects(genesis);
            execution.snapshot.absorb(&effects);
            execution.effects.push(effects);
        }
        execution
    }

    /// Loads all that these transactions read.
    async fn load<E: Spawner + StorageContext>(&mut self, batches: &Batches<E>, transactions: &[Arc<Transaction>]) {
        let (mut registry, mut strands) = (Vec::new(), Vec::new());
        for transaction in transactions {
            let reads = transaction.reads();
            registry.extend(reads.registry.into_iter().filter(|key| !self.snapshot.contains_registry(key)));
            strands.extend(reads.strands.into_iter().filter(|key| !self.snapshot.contains_strand(key)));
        }
        registry.sort_unstable();
        registry.dedup();
        strands.sort_unstable();
        strands.dedup();
        let keys: Vec<Digest> = registry.iter().map(|key| Digest::from(*key)).collect();
        if !keys.is_empty() {
            let found = batches.0.get_many(&keys.iter().collect::<Vec<_>>()).await.expect("registry is read");
            for (key, value) in registry.into_iter().zip(found) {
                self.snapshot.insert_registry(key, value.map(octets));
            }
        }
        let keys: Vec<Digest> = strands.iter().map(|key| Digest::from(*key)).collect();
        if !keys.is_empty() {
            let found = batches.1.get_many(&keys.iter().collect::<Vec<_>>()).await.expect("strands is read");
            for (key, value) in strands.into_iter().zip(found) {
                self.snapshot.insert_strand(key, value.map(octets));
            }
        }
    }

    fn apply(&mut self, transaction: &Transaction) -> Result<(), ledger::Rejection> {
        let effects = ledger::apply(self.genesis, self.moment, transaction, &mut self.snapshot)?;
        self.effects.push(effects);
        Ok(())
    }

    async fn seal<E: Spawner + StorageContext>(self, batches: Batches<E>) -> Sealed<E> {
        let (mut registry, mut strands) = batches;
        for effects in self.effects {
            for (key, value) in effects.registry {
                registry = registry.write(Digest::from(key), Some(Stored::new(value)));
            }
            for (key, value) in effects.strands {
                strands = strands.write(Digest::from(key), Some(Stored::new(value)));
            }
        }
        let registry = registry.merkleize().await.expect("registry is hashed");
        let strands = strands.merkleize().await.expect("strands is hashed");
        (registry, strands)
    }
}

pub(crate) fn octets(value: Stored) -> [u8; 64] {
    value.as_ref().try_into().expect("a value has 64 octets")
}

/// The parts of a header that follow from the state.
fn roots<E: Spawner + StorageContext>(sealed: &Sealed<E>) -> (Digest, Target, Target) {
    let (registry, strands) = sealed;
    let root = state_root(&registry.root().0, &strands.root().0);
    let target = |root, boundary, tip| Target { root, range: non_empty_range!(boundary, tip) };
    (
        Digest::from(root),
        target(registry.ops_root(), registry.sync_boundary(), registry.bounds().tip.size),
        target(strands.ops_root(), strands.sync_boundary(), strands.bounds().tip.size),
    )
}

fn now_ms(clock: &impl Clock) -> u64 {
    clock.current().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64)
}

impl App {
    /// The next epoch's set, in the last block of an epoch: membership does not change yet.
    fn next(&self, height: Height) -> Option<Set> {
        let epoch = self.epocher.containing(height)?.epoch();
        (self.epocher.last(epoch)? == height).then(|| self.set.clone())
    }

    /// Everything about a header that does not need the state.
    fn fits(&self, header: &Header, parent: &Header, body: &[Arc<Transaction>]) -> bool {
        header.format == 1
            && header.network == self.first.header.network
            && header.set_since == 0
            && header.timestamp_ms > parent.timestamp_ms
            && header.timestamp_ms - parent.timestamp_ms <= PARENT_AHEAD_MS.max(header_genesis_allowance(parent))
            && header.next == self.next(header.height)
            && body.windows(2).all(|pair| pair[0].rank() <= pair[1].rank())
    }
}

/// Block zero has time zero, so its child may lie any time after it.
fn header_genesis_allowance(parent: &Header) -> u64 {
    if parent.height == Height::zero() { u64::MAX } else { 0 }
}

impl<E: Spawner + StorageContext + Clock> Application<E> for App {
    type SigningScheme = Scheme;
    type Context = Proposer;
    type Block = Block;
    type Databases = Dbs<E>;
    type Captured = ();
    type Provider = ();
    type Input = ();

    fn sync_targets(block: &Block) -> (SyncTarget, SyncTarget) {
        let Header { registry, strands, .. } = &block.header;
        (
            EngineTarget::new(registry.root, registry.range.clone()),
            EngineTarget::new(strands.root, strands.range.clone()),
        )
    }

    async fn genesis(&mut self) -> Block {
        self.first.clone()
    }

    async fn propose(
        &mut self,
        (context, consensus): (E, Proposer),
        ancestry: impl Ancestry<Block>,
        batches: Batches<E>,
        _input: Input<(), ()>,
    ) -> Option<Proposed<Self, E>> {
        let mut ancestry = Box::pin(ancestry);
        let parent = ancestry.next().await?;
        let parent_header = parent.inner().header.clone();
        let height = parent_header.height.next();
        let earliest = parent_header.timestamp_ms + self.pace.block.as_millis() as u64;
        let now = now_ms(&context);
        if earliest > now {
            context.sleep(Duration::from_millis((earliest - now).min(1_000))).await;
        }
        // Behind transactions there is no idling: while this member builds, it applies nothing, and whoever waits here
        // for what the parent holds would wait for the whole idle time.
        let idle = if parent.inner().transactions.is_empty() { self.pace.idle } else { Duration::ZERO };
        let deadline = now_ms(&context) + idle.as_millis() as u64;
        while self.pool.len() == 0 && now_ms(&context) < deadline {
            context.sleep(Duration::from_millis(5)).await;
        }
        let timestamp_ms = now_ms(&context).max(parent_header.timestamp_ms + 1);
        let candidates = self.pool.candidates(TRANSACTIONS_MAX);
        let decoded: Vec<Arc<Transaction>> = candidates.iter().map(|c| c.transaction.clone()).collect();
        let moment = Moment { height: height.get(), time_ms: timestamp_ms };
        let mut execution = Execution::new(&self.genesis, moment);
        execution.load::<E>(&batches, &decoded).await;
        let (mut transactions, mut size) = (Vec::new(), 0);
        for Waiting { transaction, octets, .. } in candidates {
            // What the state refuses now is left out; it is settled when the next block is final.
            if size + octets.0.len() <= BODY_OCTETS_MAX && execution.apply(&transaction).is_ok() {
                size += octets.0.len();
                transactions.push(octets);
            }
        }
        let merkleized = execution.seal::<E>(batches).await;
        let (state_root, registry, strands) = roots::<E>(&merkleized);
        let header = Header {
            format: 1,
            network: self.first.header.network,
            set_since: 0,
            context: consensus,
            parent: parent.digest(),
            height,
            timestamp_ms,
            transactions: body_hash(&transactions),
            state_root,
            registry,
            strands,
            next: self.next(height),
        };
        Some(Proposed { block: Block { header, transactions }, merkleized })
    }

    async fn process(
        &mut self,
        (context, _): (E, Proposer),
        ancestry: impl Ancestry<Block>,
        batches: Batches<E>,
        finality: Finality,
    ) -> Option<Sealed<E>> {
        let mut ancestry = Box::pin(ancestry);
        let block = ancestry.next().await?;
        let Block { header, transactions } = block.inner();
        let decoded: Option<Vec<Arc<Transaction>>> =
            transactions.iter().map(|tx| Transaction::decode(&tx.0).ok().map(Arc::new)).collect();
        let decoded = decoded?;
        if finality == Finality::Candidate {
            let parent = ancestry.next().await?;
            if !self.fits(header, &parent.inner().header, &decoded) {
                return None;
            }
            if header.timestamp_ms > now_ms(&context) + CLOCK_AHEAD_MS_MAX {
                return None;
            }
            // Short of that, a rule on the local clock may only delay.
            let ahead = header.timestamp_ms.saturating_sub(now_ms(&context) + CLOCK_AHEAD_MS);
            if ahead > 0 {
                context.sleep(Duration::from_millis(ahead.min(2_000))).await;
            }
        }
        let moment = Moment { height: header.height.get(), time_ms: header.timestamp_ms };
        let mut execution = Execution::new(&self.genesis, moment);
        execution.load::<E>(&batches, &decoded).await;
        for transaction in &decoded {
            execution.apply(transaction).ok()?;
        }
        let merkleized = execution.seal::<E>(batches).await;
        // The engine checks the sync targets only: the root that proofs use is ours to check.
        let (state_root, _, _) = roots::<E>(&merkleized);
        (state_root == header.state_root).then_some(merkleized)
    }

    async fn capture(
        &mut self,
        _context: (E, Proposer),
        block: &Block,
        _batches: &Sealed<E>,
        _readers: <Dbs<E> as DatabaseSet<E>>::Readers,
    ) {
        // INVARIANT: bodies are durable before the block that names them is applied.
        for tx in &block.transactions {
            let transaction = Transaction::decode(&tx.0).expect("a finalized transaction decodes");
            for body in transaction.bodies() {
                self.bodies.put(&body).expect("the side store takes a body");
            }
        }
    }

    async fn finalized(
        &mut self,
        (context, _): (E, Proposer),
        block: &Block,
        _captured: (),
        _readers: <Dbs<E> as DatabaseSet<E>>::Readers,
    ) {
        let (height, time_ms) = (block.header.height.get(), block.header.timestamp_ms);
        let age = Duration::from_millis(now_ms(&context).saturating_sub(time_ms));
        self.tip.send_replace(Tip { height, time_ms, at: ago(age) });
        for tx in &block.transactions {
            let id = Transaction::decode(&tx.0).expect("a finalized transaction decodes").id();
            self.pool.settle(&id, &Ok(Receipt { height, time_ms }));
        }
    }
}
