//! What happens when someone asks? Decide, store, seal, anchor, log, release.
//!
//! The landing on which all rooms meet: every read and write of the product passes here, and [`gate`] has the one
//! decision function. It knows nothing of HTTP, status codes or HTML.
//!
//! Where to start: [`Records`]; then `write` (a write, from the resource to the outbox), `batch` (from the outbox to
//! the ledger), `network` (a read across members, at the reader), `answer` (the same, at a holder).

mod accesses;
mod answer;
mod batch;
mod documents;
mod enrol;
mod error;
mod follow;
mod found;
pub mod gate;
mod grants;
mod local;
mod network;
mod outbox;
mod peers;
mod people;
mod proofs;
mod replicate;
mod status;
#[cfg(test)]
mod tests;
mod write;

pub use error::{Denied, Error};
pub use found::{Founding, found};
pub use local::{Found, Search, Stored};
pub use network::{Entry, ResultPage, ResultSet};
pub use peers::{CallFailed, CallRefused, Transport};
pub use people::{Caller, NewPerson};
pub use status::Status;
pub use write::{EntryOutcome, Written};

use chain::{Chain, SubmitError};
use documents::{BatchDoc, Documents, NameDoc, SecretDoc, StrandDoc, space};
use ledger::{Action, Rejection, Transaction};
use outbox::{Plain, StrandName, Work};
use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};
use store::{Backend, OutboxRow, ResourceKey};
use tokio::sync::{Notify, watch};
use vault::Vault;
use wire::{
    Hash,
    genesis::{Genesis, Member},
    keys::{PAD_0, Seed, WrappingKey},
    seal::Opener,
    sign::{Network, Signer},
    state::Key,
};

/// Blocks after which an unfinalized transaction is void.
const LAST_HEIGHT_AHEAD: u64 = 500;
/// Sequence numbers left free after a restart for what may still be under way; far smaller than the ledger's window.
const SEQUENCE_MARGIN: u64 = 64;
/// How long it is waited for that something becomes final.
const FLUSH_MAX: Duration = Duration::from_secs(30);
/// How long it is waited for that a single transaction becomes final.
const SUBMIT_MAX: Duration = Duration::from_secs(20);
/// How often a transaction is signed anew before giving up.
const SUBMIT_ATTEMPTS: usize = 4;

/// What a member is told at start.
#[derive(Debug, Clone)]
pub struct Config {
    /// Its number.
    pub me: u32,
    /// The network.
    pub genesis: Genesis,
    /// From its key file.
    pub seed: Seed,
    /// Base URL of its FHIR interface, without a slash at the end.
    pub fhir_base: String,
    /// The FHIR base URLs of all members, by number: `fullUrl` is the holder's.
    pub fhir_bases: BTreeMap<u32, String>,
}

/// The rooms below, open.
#[derive(Clone)]
pub struct Parts {
    /// Resources and documents.
    pub store: Arc<dyn Backend>,
    /// Sealed bytes.
    pub vault: Vault,
    /// The ledger.
    pub chain: Chain,
    /// The way to other members.
    pub transport: Arc<dyn Transport>,
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Parts(..)")
    }
}

/// A member's use cases.
#[derive(Clone)]
pub struct Records(Arc<Inner>);

impl std::fmt::Debug for Records {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Records(member {})", self.0.config.me)
    }
}

/// Tasks that run beside the use cases; they end when told, after what they have begun.
#[derive(Debug)]
pub struct Tasks {
    stop: watch::Sender<bool>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Tasks {
    /// Stops and waits until all have ended.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        for task in self.tasks {
            // A task that panicked has said so in the log; the others are still waited for.
            drop(task.await);
        }
    }
}

pub(crate) struct Inner {
    config: Config,
    me: Member,
    network: Network,
    signer: Signer,
    kek: WrappingKey,
    opener: Opener,
    store: Arc<dyn Backend>,
    documents: Documents,
    vault: Vault,
    chain: Chain,
    transport: Arc<dyn Transport>,
    /// Held while a write reads what it depends on and commits.
    writing: tokio::sync::Mutex<()>,
    /// Wakes the outbox's worker.
    work: Notify,
    /// Up to which row of the outbox records may be taken now.
    wanted: AtomicI64,
    /// The last sequence number that was signed since start.
    sequence: AtomicU64,
    processed: watch::Sender<u64>,
    /// How many batches were finalized since start, and the height of the last.
    batches: watch::Sender<(u64, u64)>,
    reads: Mutex<HashMap<Hash, network::Pending>>,
    results: Mutex<network::Results>,
    nonces: Mutex<peers::Nonces>,
    latencies: Mutex<VecDeque<u64>>,
    trouble: Mutex<Option<String>>,
    answers: Arc<tokio::sync::Semaphore>,
    /// Requests that are being answered.
    answering: Mutex<HashSet<Hash>>,
    /// When this process began, milliseconds since 1970 UTC.
    began_ms: u64,
}

impl Records {
    /// Opens the use cases and starts what runs beside them: the outbox's worker and the follower of the ledger.
    ///
    /// # Errors
    /// When the store lacks this member's own secrets, or does not answer.
    pub async fn start(config: Config, parts: Parts) -> Result<(Self, Tasks), Error> {
        let Parts { store, vault, chain, transport } = parts;
        let me = config.genesis.member(config.me).cloned();
        let me = me.ok_or("the genesis has no such member").map_err(Error::internal("starting"))?;
        let documents = Documents(store.clone());
        let kek = config.seed.wrapping(0, &PAD_0);
        let hpke: SecretDoc = documents
            .load(space::SECRET, found::HPKE)
            .await?
            .ok_or("the store lacks the member's HPKE key")
            .map_err(Error::internal("starting"))?;
        let (stop, stopped) = watch::channel(false);
        let inner = Arc::new(Inner {
            network: config.genesis.network(),
            signer: config.seed.identity(),
            opener: Opener::from_seed(hpke.open(&kek, found::HPKE)?),
            kek,
            me,
            config,
            store,
            documents,
            vault,
            chain,
            transport,
            writing: tokio::sync::Mutex::new(()),
            work: Notify::new(),
            wanted: AtomicI64::new(0),
            sequence: AtomicU64::new(0),
            processed: watch::channel(0).0,
            batches: watch::channel((0, 0)).0,
            reads: Mutex::default(),
            results: Mutex::default(),
            nonces: Mutex::default(),
            latencies: Mutex::default(),
            trouble: Mutex::default(),
            answers: Arc::new(tokio::sync::Semaphore::new(answer::AT_ONCE)),
            answering: Mutex::default(),
            began_ms: now_ms(),
        });
        inner.take_up_sequence().await?;
        let worker = tokio::spawn(batch::run(inner.clone(), stopped.clone()));
        let follower = tokio::spawn(follow::run(inner.clone(), stopped.clone()));
        let granter = tokio::spawn(grants::run(inner.clone(), stopped));
        Ok((Self(inner), Tasks { stop, tasks: vec![worker, follower, granter] }))
    }

    /// This member as the network knows it.
    #[must_use]
    pub fn me(&self) -> &Member {
        &self.0.me
    }

    /// Base URL of the FHIR interface, without a slash at the end.
    #[must_use]
    pub fn fhir_base(&self) -> &str {
        &self.0.config.fhir_base
    }

    /// Has everything that was written so far finalized; gives the height at which it is.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when that takes more than 30 seconds.
    pub async fn flush(&self) -> Result<u64, Error> {
        self.0.flush().await
    }
}

impl Inner {
    /// Has every row that is in the outbox now finalized, whatever is written meanwhile; gives a height at which it is.
    pub(crate) async fn flush(&self) -> Result<u64, Error> {
        let newest = self.outbox_newest().await?;
        self.want(newest);
        self.finalized_to(&[outbox::LANE_RECORDS, outbox::LANE_ACCESS], newest).await
    }

    /// Waits until nothing that was written into this patient's record before is on its way to the ledger, neither in
    /// the outbox nor in a batch. What waits for others goes on waiting for its interval.
    pub(crate) async fn settle(&self, owner: &str) -> Result<(), Error> {
        const LOOKED_AT: usize = 4_096;
        let name = StrandName::records(owner).to_octets();
        let rows = self.outbox(outbox::LANE_RECORDS, LOOKED_AT).await?;
        if rows.len() == LOOKED_AT || rows.iter().any(|row| row.strand == name) {
            return self.flush().await.map(drop);
        }
        self.finalized_to(&[], 0).await.map(drop)
    }

    /// Has the rows of the access lane finalized, without waiting for the interval of the others.
    pub(crate) async fn flush_access(&self) -> Result<(), Error> {
        let newest = self.outbox_newest().await?;
        self.finalized_to(&[outbox::LANE_ACCESS], newest).await.map(drop)
    }

    /// Waits until all rows of these lanes up to `newest` are final.
    async fn finalized_to(&self, lanes: &[u8], newest: i64) -> Result<u64, Error> {
        let deadline = tokio::time::Instant::now() + FLUSH_MAX;
        let mut done = self.batches.subscribe();
        let late = || Error::unavailable("stored, but the network did not finalize it within 30 seconds");
        let changed = async |done: &mut watch::Receiver<(u64, u64)>| {
            tokio::time::timeout_at(deadline, done.changed()).await.is_ok_and(|sent| sent.is_ok())
        };
        self.work.notify_one();
        for lane in lanes {
            while self.outbox(*lane, 1).await?.first().is_some_and(|row| row.seq <= newest) {
                if !changed(&mut done).await {
                    return Err(late());
                }
            }
        }
        // Rows leave the outbox when their batch is fixed: the batch that is under way now may be theirs, a later one not.
        let current = |batch: Option<BatchDoc>| batch.map(|batch| batch.witness);
        let theirs = current(self.documents.load(space::BATCH, b"current").await?);
        while theirs.is_some() && current(self.documents.load(space::BATCH, b"current").await?) == theirs {
            if !changed(&mut done).await {
                return Err(late());
            }
        }
        let (_, height) = *done.borrow();
        Ok(height.max(1))
    }

    /// Lets the worker take rows of records up to this one.
    pub(crate) fn want(&self, newest: i64) {
        self.wanted.fetch_max(newest, Ordering::SeqCst);
    }

    pub(crate) async fn outbox_newest(&self) -> Result<i64, Error> {
        self.store.outbox_newest().await.map_err(Error::internal("reading the outbox"))
    }

    pub(crate) fn member(&self, number: u32) -> Option<&Member> {
        self.config.genesis.member(number)
    }

    pub(crate) async fn outbox(&self, lane: u8, limit: usize) -> Result<Vec<OutboxRow>, Error> {
        self.store.outbox(lane, limit).await.map_err(Error::internal("reading the outbox"))
    }

    /// The strand with this name, if it has begun.
    pub(crate) async fn strand(&self, name: &StrandName) -> Result<Option<StrandDoc>, Error> {
        match self.documents.load::<NameDoc>(space::STRAND_OF, &name.to_octets()).await? {
            Some(NameDoc(entry)) => self.documents.load(space::STRAND, &entry).await,
            None => Ok(None),
        }
    }

    /// The ledger's entry at a place.
    pub(crate) async fn entry(&self, place: &Key) -> Result<Option<wire::state::Entry>, Error> {
        let (_, values) = self.chain.strands(vec![*place]).await?;
        Ok(values.first().copied().flatten().as_ref().and_then(wire::state::Entry::from_value))
    }

    /// What a row of the outbox seals: octets in clear, category, month. `None` when it is gone.
    pub(crate) async fn plain(&self, work: &Work) -> Result<Option<(Vec<u8>, String, String)>, Error> {
        match work {
            Work::Resource { resource_type, id, version } => {
                let key = ResourceKey { resource_type: resource_type.clone(), id: id.clone() };
                let found = self.store.version(&key, *version).await.map_err(Error::internal("reading a version"))?;
                Ok(found.map(|v| {
                    let name = format!("{resource_type}/{id}/_history/{version}");
                    let plain = match &v.content {
                        Some(json) => Plain::Resource(json).to_octets(),
                        None => Plain::Deletion(name.as_bytes()).to_octets(),
                    };
                    (plain, resource_type.clone(), month(v.updated_ms))
                }))
            }
            Work::Removed { resource_type, id, version } => {
                let name = format!("{resource_type}/{id}/_history/{version}");
                let plain = Plain::Deletion(name.as_bytes()).to_octets();
                Ok(Some((plain, resource_type.clone(), month(now_ms() as i64))))
            }
            Work::Document { space, key } => {
                let found = self.store.document(space, key).await.map_err(Error::internal("reading a document"))?;
                Ok(found.map(|value| {
                    let mut octets = (space.len() as u16).to_be_bytes().to_vec();
                    octets.extend_from_slice(space.as_bytes());
                    octets.extend_from_slice(&(key.len() as u16).to_be_bytes());
                    octets.extend_from_slice(key);
                    octets.extend_from_slice(&value);
                    (Plain::Document(&octets).to_octets(), "own".into(), month(now_ms() as i64))
                }))
            }
            Work::Item { .. } | Work::Open => Ok(None),
        }
    }

    /// Signs an action under the next sequence number.
    pub(crate) fn sign(&self, action: Action) -> Transaction {
        let sequence = self.sequence.fetch_add(1, Ordering::SeqCst) + 1;
        let last_height = self.chain.tip().height + LAST_HEIGHT_AHEAD;
        Transaction::sign(&self.signer, self.network, self.config.me, sequence, last_height, action)
    }

    /// Takes up the sequence numbers behind the highest on the ledger, leaving room for what may still be under way
    /// from before a restart. Called when a number turns out to be used.
    pub(crate) async fn take_up_sequence(&self) -> Result<(), Error> {
        let (_, values) = self.chain.registry(vec![wire::state::window_key(self.config.me)]).await?;
        let highest = ledger::member::highest_sequence(values.first().and_then(Option::as_ref));
        self.sequence.fetch_max(highest + SEQUENCE_MARGIN, Ordering::SeqCst);
        Ok(())
    }

    /// Signs an action and sends it until it is final.
    pub(crate) async fn submit(&self, action: Action) -> Result<(Hash, u64), Error> {
        for _ in 0..SUBMIT_ATTEMPTS {
            let transaction = self.sign(action.clone());
            let submitted = tokio::time::timeout(SUBMIT_MAX, self.chain.submit(transaction.encode())).await;
            let Ok(submitted) = submitted else {
                return Err(Error::unavailable("the network did not finalize it within 20 seconds"));
            };
            match submitted {
                Ok(receipt) => return Ok((transaction.id(), receipt.height)),
                Err(SubmitError::Rejected(Rejection::SequenceUsed | Rejection::SequenceOutside)) => {
                    self.take_up_sequence().await?;
                }
                Err(SubmitError::Rejected(rejection)) => return Err(Error::Conflict(rejection.to_string())),
                Err(other) => return Err(Error::unavailable(format!("the ledger did not take it: {other}"))),
            }
        }
        Err(Error::unavailable("the ledger refused this member's sequence numbers several times"))
    }

    pub(crate) fn note_trouble(&self, trouble: Option<String>) {
        *self.trouble.lock().expect("no panic while held") = trouble;
    }
}

/// The clock: milliseconds since 1970 UTC.
pub(crate) fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
}

/// `YYYY-MM` of a moment in UTC.
fn month(ms: i64) -> String {
    fhir::instant(ms)[..7].to_owned()
}
