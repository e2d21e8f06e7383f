//! A block as the engine moves and stores it: a header and the transactions that it commits to.

use bytes::{BufMut, Bytes};
use commonware_codec::{Buf, EncodeSize, Error, RangeCfg, Read, ReadExt as _, Write};
use commonware_consensus::{Block as ConsensusBlock, BoundedBlock, CertifiableBlock, Heightable, types::Height};
use commonware_cryptography::{Digest as _, Digestible, Hasher as _, Sha256, ed25519};
use commonware_glue::stateful::db::Shared;
use commonware_parallel::Sequential;
use commonware_runtime::buffer::paged::CacheRef;
use commonware_storage::{
    journal::contiguous::fixed::Config as LogConfig,
    mmr::{self, full::Config as TreeConfig},
    qmdb::{
        any::ordered::fixed::Operation,
        current::{FixedConfig, ordered::fixed},
        sync,
    },
    translator::EightCap,
};
use commonware_utils::{NZU64, NZUsize};
use wire::engine::{CHUNK, Digest, Header, Proposer, Set, Stored, Target, context_genesis, digest};

pub(crate) type Key = ed25519::PublicKey;
pub(crate) type Scheme = commonware_consensus::simplex::scheme::ed25519::Scheme;
pub(crate) type Db<E> = fixed::Db<mmr::Family, E, Digest, Stored, Sha256, EightCap, CHUNK, Sequential>;
/// `registry`, then `strands`.
pub(crate) type Dbs<E> = (Shared<Db<E>>, Shared<Db<E>>);
pub(crate) type Op = Operation<mmr::Family, Digest, Stored>;
pub(crate) type SyncTarget = sync::Target<mmr::Family, Digest>;

/// Octets of transactions in a block at most.
pub(crate) const BODY_OCTETS_MAX: usize = 1 << 20;
/// Transactions in a block at most.
pub(crate) const TRANSACTIONS_MAX: usize = 2_048;

/// A transaction's octets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tx(pub(crate) Bytes);

impl Write for Tx {
    fn write(&self, buf: &mut impl BufMut) {
        self.0.write(buf);
    }
}
impl EncodeSize for Tx {
    fn encode_size(&self) -> usize {
        self.0.encode_size()
    }
}
impl Read for Tx {
    type Cfg = ();
    fn read_cfg(buf: &mut impl Buf, (): &()) -> Result<Self, Error> {
        Ok(Self(Bytes::read_cfg(buf, &RangeCfg::from(1..=ledger::TRANSACTION_OCTETS_MAX))?))
    }
}

/// A header and its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    pub(crate) header: Header,
    pub(crate) transactions: Vec<Tx>,
}

/// Hash over a body, in order.
pub(crate) fn body_hash(transactions: &[Tx]) -> Digest {
    let hashes: Vec<Digest> = transactions.iter().map(|tx| Sha256::hash(&[&tx.0])).collect();
    let parts: Vec<&[u8]> = hashes.iter().map(AsRef::as_ref).collect();
    Sha256::hash(&parts)
}

impl Write for Block {
    fn write(&self, buf: &mut impl BufMut) {
        self.header.write(buf);
        self.transactions.write(buf);
    }
}
impl EncodeSize for Block {
    fn encode_size(&self) -> usize {
        self.header.encode_size() + self.transactions.encode_size()
    }
}
impl Read for Block {
    type Cfg = ();
    fn read_cfg(buf: &mut impl Buf, (): &()) -> Result<Self, Error> {
        let header = Header::read(buf)?;
        let transactions = Vec::<Tx>::read_cfg(buf, &(RangeCfg::from(0..=TRANSACTIONS_MAX), ()))?;
        if transactions.iter().map(|tx| tx.0.len()).sum::<usize>() > BODY_OCTETS_MAX {
            return Err(Error::Invalid("Block", "more than 1 MiB of transactions"));
        }
        // INVARIANT: one digest, one body. The digest covers the header only, so the body is bound to it here.
        if body_hash(&transactions) != header.transactions {
            return Err(Error::Invalid("Block", "the body is not the header's"));
        }
        Ok(Self { header, transactions })
    }
}
impl Digestible for Block {
    type Digest = Digest;
    fn digest(&self) -> Digest {
        digest(&self.header)
    }
}
impl Heightable for Block {
    fn height(&self) -> Height {
        self.header.height
    }
}
impl ConsensusBlock for Block {
    fn parent(&self) -> Digest {
        self.header.parent
    }
}
impl CertifiableBlock for Block {
    type Context = Proposer;
    fn context(&self) -> Proposer {
        self.header.context.clone()
    }
}
impl BoundedBlock for Block {
    fn max_encode_size((): &()) -> usize {
        Header::octets_max() + 5 + BODY_OCTETS_MAX + TRANSACTIONS_MAX * 5
    }
}

impl Block {
    /// Block zero: the empty state and the genesis's validators.
    pub(crate) fn genesis(network: [u8; 32], set: Set, targets: (SyncTarget, SyncTarget)) -> Self {
        let context = context_genesis(&set).expect("a genesis has a validator");
        let header = Header {
            format: 1,
            network: Digest::from(network),
            set_since: 0,
            context,
            parent: Digest::EMPTY,
            height: Height::zero(),
            timestamp_ms: 0,
            transactions: body_hash(&[]),
            state_root: Digest::EMPTY,
            registry: Target { root: targets.0.root, range: targets.0.range },
            strands: Target { root: targets.1.root, range: targets.1.range },
            next: Some(set),
        };
        Self { header, transactions: Vec::new() }
    }
}

/// Where and how one of the two databases lies.
pub(crate) fn database(prefix: &str, name: &str, page_cache: CacheRef) -> FixedConfig<EightCap, Sequential> {
    let prefix = format!("{prefix}-{name}");
    FixedConfig {
        merkle_config: TreeConfig {
            journal_partition: format!("{prefix}-tree-journal"),
            metadata_partition: format!("{prefix}-tree-metadata"),
            items_per_blob: NZU64!(65_536),
            write_buffer: NZUsize!(1 << 16),
            replay_buffer: NZUsize!(1 << 16),
            strategy: Sequential,
            page_cache: page_cache.clone(),
        },
        journal_config: LogConfig {
            partition: format!("{prefix}-log"),
            items_per_blob: NZU64!(65_536),
            page_cache,
            write_buffer: NZUsize!(1 << 16),
            replay_buffer: NZUsize!(1 << 16),
        },
        grafted_metadata_partition: format!("{prefix}-grafted"),
        translator: EightCap,
        init_cache: Some(NZUsize!(1 << 16)),
        init_buffer: NZUsize!(1 << 18),
        init_concurrency: (),
    }
}
