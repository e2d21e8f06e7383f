//! In what order, and do our blocks still hold? Consensus, mempool, block store, state, catch-up.
//!
//! The only crate that names the engine's types; it exports plain handles, so that the rooms above compile fast. It
//! knows nothing of FHIR, HTTP, or what a record means. Start reading at [`start`] and [`Chain`]; inside, `app`
//! executes blocks, `node` wires the engine, `epochs` runs consensus, `serve` answers the handle.

mod app;
mod block;
mod bodies;
mod epochs;
mod node;
mod pool;
mod process;
mod serve;
#[cfg(test)]
mod sim;
mod stores;

pub use process::{Ended, Failure, Running, start};

use ledger::{Key, Rejection, Value};
use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::{mpsc, oneshot, watch};
use wire::{Hash, engine::StateProof, genesis::Genesis};

/// What a chain is told at start.
#[derive(Debug, Clone)]
pub struct Config {
    /// The chain's own folder.
    pub directory: PathBuf,
    /// The network.
    pub genesis: Genesis,
    /// The member's number.
    pub me: u32,
    /// Seed of the consensus key, which is the transport key too.
    pub consensus_secret: wire::keys::Secret,
    /// Where other members connect to.
    pub listen: SocketAddr,
    /// Where they are.
    pub peers: Vec<(u32, SocketAddr)>,
    /// Times of consensus.
    pub pace: Pace,
}

/// Times of consensus; see `docs/chain.md` for what each costs.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Least time between blocks.
    pub block: Duration,
    /// How long a proposer waits for a transaction before it proposes an empty block.
    pub idle: Duration,
    /// How long a silent leader is waited for; longer than `idle`.
    pub leader: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self { block: Duration::from_millis(200), idle: Duration::from_secs(4), leader: Duration::from_secs(5) }
    }
}

/// The newest finalized block that was applied here.
#[derive(Debug, Clone, Copy)]
pub struct Tip {
    /// Its height; zero before the first.
    pub height: u64,
    /// Its time, milliseconds since 1970 UTC.
    pub time_ms: u64,
    /// When it was made, as far as this member's clock can tell: how old its knowledge of the network is. A block that
    /// is caught up with is old, and so is what a restarted member knows until it hears of a new one.
    pub at: Instant,
}

impl Tip {
    /// Nothing was heard of the network since the start.
    pub(crate) fn unheard() -> Self {
        Self { height: 0, time_ms: 0, at: ago(Duration::from_secs(3_600)) }
    }
}

/// The instant that long ago, or as long as the clock can tell.
pub(crate) fn ago(age: Duration) -> Instant {
    let now = Instant::now();
    let shorter = std::iter::successors(Some(age), |age| Some(*age / 2));
    shorter.take(128).find_map(|age| now.checked_sub(age)).unwrap_or(now)
}

/// That a transaction is final.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    /// Height of its block.
    pub height: u64,
    /// Time of its block, milliseconds since 1970 UTC.
    pub time_ms: u64,
}

/// Why a transaction did not become final.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// The octets are no transaction.
    #[error("malformed transaction")]
    Malformed,
    /// The ledger refuses it.
    #[error("{0}")]
    Rejected(#[from] Rejection),
    /// Its last height passed before it came into a block.
    #[error("the transaction's last height passed before it came into a block")]
    Expired,
    /// The pool is full: try again later.
    #[error("the pool of transactions is full")]
    Full,
    /// The chain does not run any more.
    #[error("the chain has stopped")]
    Stopped,
}

/// The chain does not run any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the chain has stopped")]
pub struct Stopped;

/// Why a proof cannot be given now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProveError {
    /// The chain does not run any more.
    #[error("the chain has stopped")]
    Stopped,
    /// No certified block of the needed height is at hand.
    #[error("no certified block of the needed height is at hand")]
    NotCertified,
}

/// A finalized block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// Its height.
    pub height: u64,
    /// Its time, milliseconds since 1970 UTC.
    pub time_ms: u64,
    /// Its transactions in octets.
    pub transactions: Vec<Vec<u8>>,
}

/// What an operator may want to know.
#[derive(Debug, Clone, Default)]
pub struct Status {
    /// Validators in the present set.
    pub validators: usize,
    /// Whether this member is one of them.
    pub signing: bool,
    /// Transactions waiting.
    pub pool: usize,
    /// Pieces of verified evidence against validators.
    pub evidence: usize,
    /// Blocks or certificates that were read and did not hold.
    pub damaged: usize,
}

pub(crate) enum Ask {
    Submit(Vec<u8>, oneshot::Sender<Result<Receipt, SubmitError>>),
    Registry(Vec<Key>, oneshot::Sender<(u64, Vec<Option<Value>>)>),
    Strands(Vec<Key>, oneshot::Sender<(u64, Vec<Option<Value>>)>),
    Prove { registry: Vec<Key>, strands: Vec<Key>, min_height: u64, reply: oneshot::Sender<Option<StateProof>> },
    Block(u64, oneshot::Sender<Option<Block>>),
}

/// The handle of a running chain.
#[derive(Clone)]
pub struct Chain {
    pub(crate) asks: mpsc::Sender<Ask>,
    pub(crate) tip: watch::Receiver<Tip>,
    pub(crate) shared: Arc<serve::Shared>,
}

impl std::fmt::Debug for Chain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Chain(height {})", self.tip().height)
    }
}

impl Chain {
    /// Submits a transaction; answers when it is final and applied here.
    ///
    /// # Errors
    /// [`SubmitError`].
    pub async fn submit(&self, transaction: Vec<u8>) -> Result<Receipt, SubmitError> {
        let (reply, answer) = oneshot::channel();
        self.asks.send(Ask::Submit(transaction, reply)).await.map_err(|_| SubmitError::Stopped)?;
        answer.await.map_err(|_| SubmitError::Stopped)?
    }

    /// The newest block.
    #[must_use]
    pub fn tip(&self) -> Tip {
        *self.tip.borrow()
    }

    /// The newest block, as it changes.
    #[must_use]
    pub fn tips(&self) -> watch::Receiver<Tip> {
        self.tip.clone()
    }

    /// Values in `registry`, and the height of the state that has them.
    ///
    /// # Errors
    /// [`Stopped`].
    pub async fn registry(&self, keys: Vec<Key>) -> Result<(u64, Vec<Option<Value>>), Stopped> {
        let (reply, answer) = oneshot::channel();
        self.asks.send(Ask::Registry(keys, reply)).await.map_err(|_| Stopped)?;
        answer.await.map_err(|_| Stopped)
    }

    /// Values in `strands`, and the height of the state that has them.
    ///
    /// # Errors
    /// [`Stopped`].
    pub async fn strands(&self, keys: Vec<Key>) -> Result<(u64, Vec<Option<Value>>), Stopped> {
        let (reply, answer) = oneshot::channel();
        self.asks.send(Ask::Strands(keys, reply)).await.map_err(|_| Stopped)?;
        answer.await.map_err(|_| Stopped)
    }

    /// Proves keys, present or absent, at one state of at least `min_height`. Keys come sorted and once each.
    ///
    /// # Errors
    /// [`ProveError`] when no certified block of that height comes within ten seconds.
    pub async fn prove(
        &self,
        registry: Vec<Key>,
        strands: Vec<Key>,
        min_height: u64,
    ) -> Result<StateProof, ProveError> {
        let (reply, answer) = oneshot::channel();
        let ask = Ask::Prove { registry, strands, min_height, reply };
        self.asks.send(ask).await.map_err(|_| ProveError::Stopped)?;
        answer.await.map_err(|_| ProveError::Stopped)?.ok_or(ProveError::NotCertified)
    }

    /// A finalized block; `None` when it is not here.
    ///
    /// # Errors
    /// [`Stopped`].
    pub async fn block(&self, height: u64) -> Result<Option<Block>, Stopped> {
        let (reply, answer) = oneshot::channel();
        self.asks.send(Ask::Block(height, reply)).await.map_err(|_| Stopped)?;
        answer.await.map_err(|_| Stopped)
    }

    /// Follows finalized blocks from `height` on, none skipped.
    #[must_use]
    pub fn follow(&self, height: u64) -> Follow {
        Follow { chain: self.clone(), next: height.max(1) }
    }

    /// A body from the side store, checked against its name.
    #[must_use]
    pub fn body(&self, name: &Hash) -> Option<Vec<u8>> {
        self.shared.bodies.get(name)
    }

    /// What an operator may want to know.
    #[must_use]
    pub fn status(&self) -> Status {
        self.shared.status()
    }
}

/// Finalized blocks in order.
#[derive(Debug)]
pub struct Follow {
    chain: Chain,
    next: u64,
}

impl Follow {
    /// The next block, when it is final; `None` when the chain has stopped or the block is not here.
    pub async fn next(&mut self) -> Option<Block> {
        let mut tips = self.chain.tips();
        tips.wait_for(|tip| tip.height >= self.next).await.ok()?;
        let block = self.chain.block(self.next).await.ok()??;
        self.next += 1;
        Some(block)
    }
}
