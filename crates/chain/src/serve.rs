//! The task behind the handle: submits, gossips, reads, proves. It lives on the engine's runtime, since storage may
//! only be touched there.

use crate::{
    Ask, Block as Plain, Status, SubmitError, Tip,
    app::{App, octets},
    block::{Block, Db, Dbs, Key as Peer, Scheme, TRANSACTIONS_MAX, Tx},
    bodies::Bodies,
    epochs::Evidence,
    pool::{Pool, Waiting},
    stores::Damage,
};
use bytes::Bytes;
use commonware_codec::{Encode as _, RangeCfg, Read as _};
use commonware_consensus::{
    marshal::{Identifier, core::Mailbox as MarshalMailbox, standard::Standard},
    types::Height,
};
use commonware_glue::stateful::Mailbox as StatefulMailbox;
use commonware_macros::select_loop;
use commonware_p2p::{Receiver, Recipients, Sender};
use commonware_runtime::{Clock, Handle, Metrics, Spawner, Storage};
use commonware_storage::Context as StorageContext;
use ledger::{Moment, Snapshot, Transaction};
use rand_core::{CryptoRng, Rng};
use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::sync::{OnceCell, mpsc, watch};
use wire::{
    Format as _, Hash,
    engine::{Digest, HeaderOctets, KeyProof, StateProof},
    genesis::Genesis,
    state::{Key, Value},
};

/// Octets of a gossip message at most.
pub(crate) const GOSSIP_OCTETS_MAX: usize = 256 << 10;
/// How often own transactions that are not final yet are sent again and judged again.
const SWEEP: Duration = Duration::from_millis(500);
/// How long a proof waits for a certified block, in steps of [`STEP`].
const PROVE_STEPS: usize = 400;
const STEP: Duration = Duration::from_millis(25);
/// How far above the proved block a certificate may lie.
const LINKS_MAX: u64 = 64;

/// What the handle reads without asking.
pub(crate) struct Shared {
    pub(crate) bodies: Arc<dyn Bodies>,
    parts: Mutex<SharedParts>,
}

#[derive(Default)]
struct SharedParts {
    validators: usize,
    signing: Arc<AtomicBool>,
    /// Weak: who waits for a transaction hears that the chain has stopped when the pool goes with it, and whoever
    /// waits holds this.
    pool: Weak<Pool>,
    evidence: Evidence,
    damage: Damage,
}

impl Shared {
    pub(crate) fn new(bodies: Arc<dyn Bodies>) -> Self {
        Self { bodies, parts: Mutex::default() }
    }

    pub(crate) fn status(&self) -> Status {
        let parts = self.parts.lock().expect("no panic while held");
        Status {
            validators: parts.validators,
            signing: parts.signing.load(Ordering::Relaxed),
            pool: parts.pool.upgrade().map_or(0, |pool| pool.len()),
            evidence: parts.evidence.0.load(Ordering::Relaxed),
            damaged: parts.damage.len(),
        }
    }

    pub(crate) fn set_validators(&self, validators: usize, signing: Arc<AtomicBool>) {
        let mut parts = self.parts.lock().expect("no panic while held");
        parts.validators = validators;
        parts.signing = signing;
    }
    pub(crate) fn set_pool(&self, pool: &Arc<Pool>) {
        self.parts.lock().expect("no panic while held").pool = Arc::downgrade(pool);
    }
    pub(crate) fn set_evidence(&self, evidence: Evidence) {
        self.parts.lock().expect("no panic while held").evidence = evidence;
    }
    pub(crate) fn set_damage(&self, damage: Damage) {
        self.parts.lock().expect("no panic while held").damage = damage;
    }
}

pub(crate) struct Serve<E>
where
    E: Spawner + StorageContext + Clock,
{
    pub(crate) genesis: Arc<Genesis>,
    pub(crate) pool: Arc<Pool>,
    pub(crate) tip: Arc<watch::Sender<Tip>>,
    pub(crate) asks: mpsc::Receiver<Ask>,
    pub(crate) marshal: MarshalMailbox<Scheme, Standard<Block>>,
    pub(crate) state: StatefulMailbox<E, App>,
}

struct Reader<E>
where
    E: Spawner + StorageContext + Clock,
{
    genesis: Arc<Genesis>,
    tip: Arc<watch::Sender<Tip>>,
    marshal: MarshalMailbox<Scheme, Standard<Block>>,
    state: StatefulMailbox<E, App>,
    /// Asked for once: while this member builds a proposal, the actor behind `state` answers nothing, and an idle
    /// proposer builds for as long as it waits for a transaction.
    databases: Arc<OnceCell<Dbs<E>>>,
}

impl<E> Clone for Reader<E>
where
    E: Spawner + StorageContext + Clock,
{
    fn clone(&self) -> Self {
        Self {
            genesis: self.genesis.clone(),
            tip: self.tip.clone(),
            marshal: self.marshal.clone(),
            state: self.state.clone(),
            databases: self.databases.clone(),
        }
    }
}

pub(crate) fn start<E, S, R>(context: E, serve: Serve<E>, (mut sender, mut receiver): (S, R)) -> Handle<()>
where
    E: Spawner + Storage + Metrics + Clock + CryptoRng + Rng,
    S: Sender<PublicKey = Peer>,
    R: Receiver<PublicKey = Peer>,
{
    let Serve { genesis, pool, tip, mut asks, marshal, state } = serve;
    let reader = Reader { genesis, tip, marshal, state, databases: Arc::default() };
    context.spawn(move |context| async move {
        reader.recall().await;
        let mut sweep = context.current() + SWEEP;
        let mut doubted = BTreeSet::new();
        select_loop! {
            context,
            on_stopped => {},
            Some(ask) = asks.recv() else break => {
                match ask {
                    Ask::Submit(octets, reply) => {
                        let Ok(transaction) = Transaction::decode(&octets) else {
                            drop(reply.send(Err(SubmitError::Malformed)));
                            continue;
                        };
                        if let Err(rejection) = reader.judge(&transaction).await {
                            drop(reply.send(Err(SubmitError::Rejected(rejection))));
                            continue;
                        }
                        let waiting = waiting(transaction, octets.into());
                        let gossip: Bytes = vec![waiting.octets.clone()].encode();
                        match pool.add(waiting, Some(reply)) {
                            Ok(()) => drop(sender.send(Recipients::All, gossip, false)),
                            Err(reply) => drop(reply.map(|reply| reply.send(Err(SubmitError::Full)))),
                        }
                    }
                    Ask::Registry(keys, reply) => {
                        let (reader, context) = (reader.clone(), context.child("read"));
                        context.spawn(move |_| async move { drop(reply.send(reader.read(true, &keys).await)); });
                    }
                    Ask::Strands(keys, reply) => {
                        let (reader, context) = (reader.clone(), context.child("read"));
                        context.spawn(move |_| async move { drop(reply.send(reader.read(false, &keys).await)); });
                    }
                    Ask::Prove { registry, strands, min_height, reply } => {
                        let (reader, context) = (reader.clone(), context.child("prove"));
                        context.spawn(move |context| async move {
                            drop(reply.send(reader.prove(&context, &registry, &strands, min_height).await));
                        });
                    }
                    Ask::Block(height, reply) => {
                        let (reader, context) = (reader.clone(), context.child("block"));
                        context.spawn(move |_| async move { drop(reply.send(reader.block(height).await)); });
                    }
                }
            },
            Ok((_, mut message)) = receiver.recv() else break => {
                let config = (RangeCfg::from(0..=TRANSACTIONS_MAX), ());
                let Ok(transactions) = Vec::<Tx>::read_cfg(&mut message, &config) else { continue };
                for tx in transactions {
                    // Only what the state takes now may use up room.
                    if let Ok(transaction) = Transaction::decode(&tx.0)
                        && reader.judge(&transaction).await.is_ok()
                    {
                        drop(pool.add(waiting(transaction, tx.0), None));
                    }
                }
            },
            _ = context.sleep_until(sweep) => {
                sweep = context.current() + SWEEP;
                let (own, before) = (pool.own(), std::mem::take(&mut doubted));
                for own in &own {
                    let rejection = match reader.judge(&own.transaction).await {
                        Ok(()) => {
                            let gossip: Bytes = vec![own.octets.clone()].encode();
                            drop(sender.send(Recipients::All, gossip, false));
                            continue;
                        }
                        Err(rejection) => rejection,
                    };
                    // The state has a block a moment before those who wait are told: one that is refused because it
                    // just became final is gone from the pool at the next sweep.
                    if !before.contains(&own.id) {
                        doubted.insert(own.id);
                        continue;
                    }
                    let error = match rejection {
                        ledger::Rejection::Expired => SubmitError::Expired,
                        rejection => SubmitError::Rejected(rejection),
                    };
                    pool.settle(&own.id, &Err(error));
                }
                // Others' that the state does not take any more make room.
                for other in pool.candidates(256) {
                    let own = own.iter().any(|own| own.id == other.id);
                    if !own && reader.judge(&other.transaction).await.is_err() {
                        pool.settle(&other.id, &Err(SubmitError::Expired));
                    }
                }
            },
        }
    })
}

fn waiting(transaction: Transaction, octets: Bytes) -> Waiting {
    Waiting { id: transaction.id(), transaction: Arc::new(transaction), octets: Tx(octets) }
}

impl<E> Reader<E>
where
    E: Spawner + StorageContext + Clock,
{
    /// The tip of before this start: without it, judging and reading would be at height zero until the next block.
    async fn recall(&self) {
        let Some(processed) = self.marshal.get_processed().await else { return };
        let height = processed.height().get();
        let Some(block) = self.marshal.get_block(Identifier::Height(Height::new(height))).await else { return };
        self.tip.send_if_modified(|tip| {
            // A newer block may have come. When this one was made says nothing: it was heard of before the start.
            let newer = height > tip.height;
            if newer {
                (tip.height, tip.time_ms) = (height, block.inner().header.timestamp_ms);
            }
            newer
        });
    }

    async fn databases(&self) -> &Dbs<E> {
        self.databases.get_or_init(|| self.state.subscribe_databases()).await
    }

    /// Whether the state would take a transaction in the next block.
    async fn judge(&self, transaction: &Transaction) -> Result<(), ledger::Rejection> {
        // The tip comes first: blocks are applied while the state is read, and to a state above the tip the genesis,
        // whose keys never change, does no harm.
        let tip = *self.tip.borrow();
        let reads = transaction.reads();
        let (_, registry) = self.read(true, &reads.registry).await;
        let (_, strands) = self.read(false, &reads.strands).await;
        let mut snapshot = Snapshot::new();
        if tip.height == 0 {
            snapshot.absorb(&ledger::genesis_effects(&self.genesis));
        }
        for (key, value) in reads.registry.into_iter().zip(registry) {
            snapshot.insert_registry(key, value);
        }
        for (key, value) in reads.strands.into_iter().zip(strands) {
            snapshot.insert_strand(key, value);
        }
        let moment = Moment { height: tip.height + 1, time_ms: tip.time_ms };
        ledger::apply(&self.genesis, moment, transaction, &mut snapshot).map(drop)
    }

    async fn read(&self, registry: bool, keys: &[Key]) -> (u64, Vec<Option<Value>>) {
        let databases = self.databases().await;
        let height = self.tip.borrow().height;
        let shared = if registry { &databases.0 } else { &databases.1 };
        let database = shared.read().await;
        let mut values = Vec::with_capacity(keys.len());
        for key in keys {
            let found = database.get(&Digest::from(*key)).await.expect("the state is read");
            values.push(found.map(octets));
        }
        (height, values)
    }

    async fn block(&self, height: u64) -> Option<Plain> {
        let block = self.marshal.get_block(Identifier::Height(Height::new(height))).await?;
        let Block { header, transactions } = block.inner();
        Some(Plain {
            height,
            time_ms: header.timestamp_ms,
            transactions: transactions.iter().map(|tx| tx.0.to_vec()).collect(),
        })
    }

    /// Proves keys at one state root, and finds the block that has this root and a certificate at or above it.
    async fn prove(
        &self,
        clock: &impl Clock,
        registry: &[Key],
        strands: &[Key],
        min_height: u64,
    ) -> Option<StateProof> {
        for _ in 0..PROVE_STEPS {
            if self.tip.borrow().height >= min_height.max(1)
                && let Some(proof) = self.prove_now(registry, strands, min_height).await
            {
                return Some(proof);
            }
            clock.sleep(STEP).await;
        }
        None
    }

    async fn prove_now(&self, registry: &[Key], strands: &[Key], min_height: u64) -> Option<StateProof> {
        let databases = self.databases().await;
        // Both locks at once: root and proofs must be of one state.
        let (of_registry, of_strands) = futures::join!(databases.0.read(), databases.1.read());
        let (registry_root, strands_root) = (of_registry.root().0, of_strands.root().0);
        let root = wire::engine::state_root(&registry_root, &strands_root);
        let height = self.height_of(root, min_height).await?;
        let registry = keys(&of_registry, registry).await?;
        let strands = keys(&of_strands, strands).await?;
        drop((of_registry, of_strands));
        let mut headers = Vec::new();
        for at in height..=height + LINKS_MAX {
            let block = self.marshal.get_block(Identifier::Height(Height::new(at))).await?;
            headers.push(HeaderOctets { octets: block.inner().header.encode().into() });
            if let Some(certificate) = self.marshal.get_finalization(Height::new(at)).await {
                let header = headers.remove(0);
                let certificate = certificate.encode().into();
                let proof = StateProof {
                    header,
                    links: headers,
                    sets: Vec::new(),
                    certificate,
                    registry_root,
                    strands_root,
                    registry,
                    strands,
                };
                debug_assert!(StateProof::from_octets(&proof.to_octets()).is_ok());
                return Some(proof);
            }
        }
        None
    }

    /// The newest finalized block with this state root, near the tip.
    async fn height_of(&self, root: Hash, min_height: u64) -> Option<u64> {
        let tip = self.tip.borrow().height;
        for height in (min_height.max(tip.saturating_sub(4))..=tip + 2).rev() {
            if let Some(block) = self.marshal.get_block(Identifier::Height(Height::new(height))).await
                && block.inner().header.state_root.0 == root
            {
                return Some(height);
            }
        }
        None
    }
}

async fn keys<E: StorageContext>(database: &Db<E>, keys: &[Key]) -> Option<Vec<KeyProof>> {
    let mut proofs = Vec::with_capacity(keys.len());
    for key in keys {
        let place = Digest::from(*key);
        proofs.push(match database.get(&place).await.ok()? {
            Some(value) => KeyProof::present(*key, octets(value), &database.key_value_proof(place).await.ok()?),
            None => KeyProof::absent(*key, &database.exclusion_proof(&place).await.ok()?),
        });
    }
    Some(proofs)
}
