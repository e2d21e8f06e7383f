//! The block header: everything that a finalization certificate commits to.

use super::ProofError;
use crate::{
    genesis::Genesis,
    hash::{Hash, hash},
};
use bytes::BufMut;
use commonware_codec::DecodeExt as _;
use commonware_codec::{Buf, Encode, EncodeSize, Error, MaxEncodeSize, RangeCfg, Read, ReadExt as _, Write};
use commonware_consensus::{
    simplex::types::Context,
    types::{Epoch, Height, Round, View},
};
use commonware_cryptography::{Digest as _, Hasher as _, Sha256, ed25519, sha256};
use commonware_storage::mmr::Location;
use commonware_utils::range::NonEmptyRange;

/// The format written today.
pub(super) const FORMAT: u8 = 1;
/// A set has at most this many validators.
const VALIDATORS_MAX: usize = 64;

/// A SHA-256 value of the engine.
pub type Digest = sha256::Digest;
/// A validator set.
pub type Set = commonware_utils::ordered::Set<ed25519::PublicKey>;
/// Who proposed a block, in which round, on which parent.
pub type Proposer = Context<Digest, ed25519::PublicKey>;

/// What state sync of one database verifies against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Root over its log of operations.
    pub root: Digest,
    /// Operations needed.
    pub range: NonEmptyRange<Location>,
}

/// A block's header. Its digest, `SHA-256(octets)`, is what validators finalize.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// 1.
    pub format: u8,
    /// The genesis.
    pub network: Digest,
    /// The epoch in which the present set of validators began.
    pub set_since: u64,
    /// Round, leader and parent, as consensus sees them.
    pub context: Proposer,
    /// Digest of the parent.
    pub parent: Digest,
    /// Height.
    pub height: Height,
    /// The proposer's clock, milliseconds since 1970 UTC.
    pub timestamp_ms: u64,
    /// Hash over the transactions, in order.
    pub transactions: Digest,
    /// [`state_root`] after this block.
    pub state_root: Digest,
    /// Sync target of `registry`.
    pub registry: Target,
    /// Sync target of `strands`.
    pub strands: Target,
    /// The next epoch's validators, in the last block of an epoch.
    pub next: Option<Set>,
}

impl Header {
    /// Reads a header in its one form.
    ///
    /// # Errors
    /// [`ProofError::Malformed`].
    pub fn from_octets(octets: &[u8]) -> Result<Self, ProofError> {
        let malformed = || ProofError::Malformed("a header");
        let buffer = octets;
        let header = Self::read_cfg(&mut commonware_codec::Copying(buffer), &()).map_err(|_| malformed())?;
        if header.encode() != octets { Err(malformed()) } else { Ok(header) }
    }

    /// Octets of a header at most.
    #[must_use]
    pub fn octets_max() -> usize {
        1 + 8
            + Proposer::MAX_ENCODE_SIZE
            + Height::MAX_ENCODE_SIZE
            + 8
            + 6 * 32
            + 2 * NonEmptyRange::<Location>::MAX_ENCODE_SIZE
            + 1
            + 5
            + VALIDATORS_MAX * 32
    }
}

/// What validators finalize.
#[must_use]
pub fn digest(header: &Header) -> Digest {
    Sha256::hash(&[&header.encode()])
}

/// One root over both databases.
#[must_use]
pub fn state_root(registry: &Hash, strands: &Hash) -> Hash {
    hash("state", &[&[FORMAT], registry, strands])
}

/// The genesis set of validators. `None` when a key is none.
#[must_use]
pub fn set_of(genesis: &Genesis) -> Option<Set> {
    let keys = genesis
        .members
        .iter()
        .filter(|m| m.validator)
        .map(|m| ed25519::PublicKey::decode(commonware_codec::Copying(&m.consensus[..])));
    Some(Set::from_iter_dedup(keys.collect::<Result<Vec<_>, _>>().ok()?))
}

/// The context of block zero, which nobody proposed: its leader is the first validator.
#[must_use]
pub fn context_genesis(set: &Set) -> Option<Proposer> {
    let leader = set.iter().next()?.clone();
    Some(Context { round: Round::new(Epoch::zero(), View::zero()), leader, parent: (View::zero(), Digest::EMPTY) })
}

impl Write for Target {
    fn write(&self, buf: &mut impl BufMut) {
        self.root.write(buf);
        self.range.write(buf);
    }
}

impl EncodeSize for Target {
    fn encode_size(&self) -> usize {
        self.root.encode_size() + self.range.encode_size()
    }
}

impl Read for Target {
    type Cfg = ();
    fn read_cfg(buf: &mut impl Buf, (): &()) -> Result<Self, Error> {
        Ok(Self { root: Digest::read(buf)?, range: NonEmptyRange::read(buf)? })
    }
}

impl Write for Header {
    fn write(&self, buf: &mut impl BufMut) {
        let Self {
            format,
            network,
            set_since,
            context,
            parent,
            height,
            timestamp_ms,
            transactions,
            state_root,
            registry,
            strands,
            next,
        } = self;
        format.write(buf);
        network.write(buf);
        set_since.write(buf);
        context.write(buf);
        parent.write(buf);
        height.write(buf);
        timestamp_ms.write(buf);
        transactions.write(buf);
        state_root.write(buf);
        registry.write(buf);
        strands.write(buf);
        next.write(buf);
    }
}

impl EncodeSize for Header {
    fn encode_size(&self) -> usize {
        1 + 8
            + 8
            + 4 * 32
            + self.context.encode_size()
            + self.height.encode_size()
            + self.registry.encode_size()
            + self.strands.encode_size()
            + self.next.encode_size()
    }
}

impl Read for Header {
    type Cfg = ();
    fn read_cfg(buf: &mut impl Buf, (): &()) -> Result<Self, Error> {
        Ok(Self {
            format: u8::read(buf)?,
            network: Digest::read(buf)?,
            set_since: u64::read(buf)?,
            context: Proposer::read(buf)?,
            parent: Digest::read(buf)?,
            height: Height::read(buf)?,
            timestamp_ms: u64::read(buf)?,
            transactions: Digest::read(buf)?,
            state_root: Digest::read(buf)?,
            registry: Target::read(buf)?,
            strands: Target::read(buf)?,
            next: Option::<Set>::read_cfg(buf, &(RangeCfg::from(1..=VALIDATORS_MAX), ()))?,
        })
    }
}
